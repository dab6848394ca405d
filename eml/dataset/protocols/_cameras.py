"""Re-identification sets whose file names say the identity and the camera."""

import re
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from eml.dataset.protocols._lists import frame_of, image_files, refuse
from eml.errors import Problem


def rows_of(root: Path, folder: str, pattern: re.Pattern[str], example: str) -> Iterator[dict[str, str]]:
    """Yield label, file_name and camera of each image in a folder.

    Args:
        root: Of the download.
        folder: Its part.
        pattern: Finds `label` and `camera` at the beginning of a name.
        example: A name, for the error.

    Raises:
        DataError: Names are not of the pattern.
    """
    problems = []
    for name in image_files(root / folder):
        if (match := pattern.match(name)) is None:
            text = f"{root / folder / name}: its name says no identity and camera, as in {example}"
            problems.append(Problem(text, "unusable-name", "dataset"))
            continue
        yield {"label": match["label"], "file_name": f"{folder}/{name}", "camera": match["camera"]}
    refuse(root / folder, problems)


def query_gallery(queries: list[dict[str, str]], gallery: list[dict[str, str]], source: Path) -> pd.DataFrame:
    """Return one table of the queries and the gallery."""
    rows = [row | {"is_query": True, "is_gallery": False} for row in queries]
    return frame_of([*rows, *(row | {"is_query": False, "is_gallery": True} for row in gallery)], source)
