"""Tables of open-metric-learning, which are converted.

open-metric-learning's columns: `path` (absolute, or relative to the root), `label`, `split` (train or validation; the
classes of the validation are not trained on), `is_query` and `is_gallery` (blank where split is train), and optionally
`category`, `x_1, x_2, y_1, y_2` (with the same meaning as here), `sequence`.
"""

import pandas as pd

from eml.dataset.columns import ALWAYS_TEST, ALWAYS_TRAIN, FLAGS
from eml.dataset.problems import RowProblems, short_repr
from eml.errors import Problem

OML = ("path", "label", "split", "is_query", "is_gallery")

OML_NOTE = (
    "has open-metric-learning's columns: path is read as file_name, split 'validation' as 'test' with fold -2, never "
    "trained on"
)


def is_oml(frame: pd.DataFrame) -> bool:
    """Return whether the header is open-metric-learning's."""
    return set(OML) <= set(frame.columns) and "file_name" not in frame.columns


def from_oml(frame: pd.DataFrame, problems: RowProblems) -> pd.DataFrame:
    """Convert open-metric-learning's columns to ours.

    `path` becomes `file_name`. Rows of split `validation` get split `test` and fold −2 (never
    trained on), the others fold −1; an existing column `fold` stays.

    Args:
        frame: The table with its own columns.
        problems: Receives the values that do not fit, with the row's index.
    """
    frame = frame.rename(columns={"path": "file_name"})
    split = frame["split"].astype(str)
    for row in split.index[~split.isin(["train", "validation"])]:
        text = f"split must be 'train' or 'validation', got {short_repr(split[row])}"
        problems.append((row, Problem(text, "invalid-value")))
    for name in FLAGS:
        filled = frame[name].notna() & (frame[name].astype(str) != "") & (split == "train")
        text = f"{name} must be blank where split is 'train'"
        problems += [(row, Problem(text, "invalid-value")) for row in filled.index[filled]]
    test = split == "validation"
    frame["split"] = split.mask(test, "test")
    if "fold" not in frame.columns:
        frame["fold"] = test.map({True: ALWAYS_TEST, False: ALWAYS_TRAIN})
    return frame
