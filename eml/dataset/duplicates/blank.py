"""Blank images: all of one colour. They show nothing, so none of them is a duplicate of, or in conflict with, another.

A blank image stays in its table; it is neither compared with other images nor grouped with them.
"""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from eml.dataset.duplicates.components import Indices

COLUMN = "is_blank"


def blank_rows(frame: pd.DataFrame) -> NDArray[np.bool_]:
    """Return (N,) whether a row's image is blank, as `is_blank` says; False where the table does not say."""
    if COLUMN not in frame.columns:
        return np.zeros(len(frame), bool)
    return frame[COLUMN].fillna(False).to_numpy(bool)


def apart_where_blank(groups: Indices, blank: NDArray[np.bool_]) -> Indices:
    """Return (N,) the groups, with each blank row in a group of its own."""
    return np.where(blank, groups.max(initial=-1) + 1 + np.arange(len(groups)), groups)
