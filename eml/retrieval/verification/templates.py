"""Verification of templates: several images of a person, joined to one embedding, as IJB-B and IJB-C compare them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from eml.dataset.problems import SHOWN, column_names, short_repr
from eml.errors import DataError, Problem
from eml.retrieval.arrays import Integers
from eml.retrieval.similarity import unit_length
from eml.retrieval.verification.pair_counts import AcceptedPairs
from eml.retrieval.verification.pair_rates import verify_listed_pairs
from eml.retrieval.verification.pairs import SAME, Pairs

NAMES = ("template_1", "template_2", "same")


def is_template_pairs(source: Path) -> bool:
    """Return whether a file is a CSV of pairs of templates, by its first line."""
    try:
        with source.open(encoding="utf-8-sig") as file:
            return set(NAMES) <= set(file.readline(1000).strip().split(","))
    except (OSError, UnicodeDecodeError):
        return False


def verify_templates(
    embeddings: Tensor, frame: pd.DataFrame, source: Path, second_embeddings: Tensor | None = None
) -> tuple[dict[str, float], AcceptedPairs]:
    """Compute the verification metrics of the pairs of templates of a file, and their counts at every threshold.

    A template's embedding is the sum over its media of the mean of their images' unit embeddings, each times its
    weight: frames of one video count as one photograph (Maze 2018, IJB-C; Deng 2019, arXiv:1801.07698, section 4.1).

    Args:
        embeddings: (N, D) of the rows.
        frame: The rows, with the columns template and, optionally, media and weight (at least 0).
        source: A CSV with template_1, template_2 and same (0 or 1).
        second_embeddings: (N, D) by the model of template_2, where it is not that of template_1.

    Raises:
        DataError: A column is missing, the file names a template that no row has, or a weight is no number.
    """
    if "template" not in frame:
        text = f"{source}: pairs templates, and the images have no column 'template'; they have "
        text += column_names(frame.columns)
        raise DataError(text, code="missing-column", parameter="pairs")
    template, names = pd.factorize(frame["template"].astype(str), sort=True)
    weight = _weights(frame, source)
    media = frame["media"].astype(str) if "media" in frame else pd.Series(range(len(frame)), index=frame.index)
    groups = template.astype(np.int64), pd.factorize(media)[0].astype(np.int64), weight
    second = None if second_embeddings is None else join_templates(second_embeddings, *groups)
    pairs = read_template_pairs(source, [str(name) for name in names])
    return verify_listed_pairs(join_templates(embeddings, *groups), pairs, second)


def join_templates(embeddings: Tensor, template: Integers, media: Integers, weight: NDArray[np.float64]) -> Tensor:
    """Return (T, D) float32 embeddings of templates.

    Args:
        embeddings: (N, D), of any length but 0.
        template: (N,) integers from 0 to T − 1.
        media: (N,) integers; images of equal template and media are one medium.
        weight: (N,) at least 0.
    """
    unit = unit_length(embeddings).float()
    medium = pd.factorize(pd.Series(template * (int(media.max()) + 1) + media))[0].astype(np.int64)
    size = np.bincount(medium)
    factor = torch.from_numpy(weight / size[medium]).to(unit)
    joined = torch.zeros(int(template.max()) + 1, unit.shape[1], device=unit.device)
    joined.index_add_(0, torch.from_numpy(template).to(unit.device), unit * factor[:, None])
    return joined


def read_template_pairs(source: Path, templates: Sequence[str]) -> Pairs:
    """Read a CSV of template_1, template_2, same; millions of lines take seconds.

    Args:
        source: The file.
        templates: The names of the templates, whose positions the pairs count.

    Raises:
        DataError: With the lines that name another template, pair one with itself, or have another `same`.
    """
    try:
        columns: Any = dict.fromkeys(NAMES, "category")
        pairs = pd.read_csv(source, dtype=columns, usecols=list(NAMES), keep_default_na=False, encoding="utf-8-sig")
    except (OSError, ValueError) as error:  # pandas' own errors are ValueErrors
        text = f"{source}: cannot be read as a CSV of {', '.join(NAMES)}: {error}"
        raise DataError(text, code="not-a-table", parameter="pairs") from error
    if pairs.empty:
        raise DataError(f"{source}: holds no pairs", code="empty-table", parameter="pairs")
    position = {name: place for place, name in enumerate(templates)}
    first, second = (_codes(pairs[name], position) for name in NAMES[:2])
    same = _codes(pairs["same"], {text: int(flag) for text, flag in SAME.items()})
    problems: list[Problem] = []
    for name, codes in zip(NAMES, (first, second, same), strict=True):
        rule = "must be 0 or 1" if name == "same" else "is of no template of the images"
        wrong = np.flatnonzero(codes < 0)
        problems += [
            Problem(
                f"{source}:{row + 2}: {name} {rule}, got {short_repr(pairs[name].iloc[row])}", "unknown-image", "pairs"
            )
            for row in wrong[:SHOWN]
        ]
    for row in np.flatnonzero((first == second) & (first >= 0))[:SHOWN]:
        text = f"{source}:{row + 2}: template {pairs[NAMES[0]].iloc[row]} is paired with itself"
        problems.append(Problem(text, "invalid-value", "pairs"))
    if problems:
        raise DataError(problems[:SHOWN])
    return Pairs(first, second, same.astype(bool), None)


def _codes(column: "pd.Series[Any]", position: dict[str, int]) -> Integers:
    """Return (P,) positions of the values, −1 for those that have none."""
    of_category = np.array(
        [position.get(str(name).lower() if column.name == "same" else str(name), -1) for name in column.cat.categories],
        np.int64,
    )
    codes: Integers = of_category[column.cat.codes.to_numpy()]
    return codes


def _weights(frame: pd.DataFrame, source: Path) -> NDArray[np.float64]:
    if "weight" not in frame:
        return np.ones(len(frame))
    weight = pd.to_numeric(frame["weight"], errors="coerce").to_numpy(np.float64)
    if not (np.isfinite(weight) & (weight >= 0)).all():
        row = int(np.flatnonzero(~(np.isfinite(weight) & (weight >= 0)))[0])
        text = f"{source}: the weight of {frame['file_name'].iloc[row]} must be a number of at least 0"
        raise DataError(text, code="invalid-value", parameter="pairs")
    return weight
