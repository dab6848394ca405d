"""Embeddings made elsewhere are evaluated as those of a model, and what does not fit is told."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from eml.dataset.table import Table
from eml.engine.embeddings_file import read_embeddings, write_embeddings
from eml.engine.evaluation import evaluation_of_embeddings
from eml.errors import DataError

EMBEDDINGS = np.random.default_rng(0).standard_normal((6, 4)).astype(np.float32)
FRAME = pd.DataFrame({"file_name": [f"{i}.png" for i in range(6)], "label": ["007", "007", "b", "b", "b", "c"]})


@pytest.fixture
def pictures(tmp_path: Path) -> Table:
    return Table(FRAME, tmp_path)


def files(folder: Path) -> list[Path]:
    write_embeddings(folder / "e.npz", torch.from_numpy(EMBEDDINGS), FRAME)
    FRAME.assign(embedding=list(EMBEDDINGS)).to_parquet(folder / "lists.parquet")
    columns = {f"embedding_{i}": EMBEDDINGS[:, i] for i in (2, 0, 1, 3)}
    FRAME.assign(**columns).to_parquet(folder / "columns.parquet")
    return [folder / name for name in ("e.npz", "lists.parquet", "columns.parquet")]


def test_every_kind_of_file_gives_the_same_pictures_and_embeddings(tmp_path: Path, pictures: Table) -> None:
    for file in files(tmp_path):
        table, embeddings = read_embeddings(file)
        assert table.frame[["label", "file_name"]].equals(FRAME[["label", "file_name"]]), file
        assert np.array_equal(embeddings.numpy(), EMBEDDINGS), file
        some = Table(FRAME.iloc[[4, 1, 0]].reset_index(drop=True), tmp_path)
        assert np.array_equal(read_embeddings(file, some)[1].numpy(), EMBEDDINGS[[4, 1, 0]])
    np.save(tmp_path / "e.npy", EMBEDDINGS)
    assert np.array_equal(read_embeddings(tmp_path / "e.npy", pictures)[1].numpy(), EMBEDDINGS)
    told = evaluation_of_embeddings("e", torch.from_numpy(EMBEDDINGS), pictures).facts()
    assert (told["queries"], told["queries_without_partner"], told["classes"]) == (5, 1, 3)


def test_rows_that_are_neither_query_nor_gallery_take_their_embeddings_with_them(pictures: Table) -> None:
    flags = {"is_query": [False, True, True, False, False, False], "is_gallery": [False, True, True, True, True, False]}
    table = Table(pictures.frame.assign(**flags, camera=["x", "y", "x", "x", "y", ""]), pictures.root)
    done = evaluation_of_embeddings("e", torch.from_numpy(EMBEDDINGS), table)
    assert np.array_equal(done.embeddings.numpy(), EMBEDDINGS[1:5])
    assert (done.summary.queries, done.summary.queries_without_partner) == (1, 1)
    done = evaluation_of_embeddings("e", torch.from_numpy(EMBEDDINGS), table, leave_out_same="camera")
    assert done.wanted.protocol == "query/gallery, without the same camera"
    assert done.summary.answers.nearest[1] in (0, 3), "the picture of its class and camera does not count"
    done = evaluation_of_embeddings("e", torch.from_numpy(EMBEDDINGS), table, within="camera")
    assert done.summary.answers.nearest.tolist() == [3, 2]
    with pytest.raises(DataError, match=r"has no column .kamera.; it has file_name"):
        evaluation_of_embeddings("e", torch.from_numpy(EMBEDDINGS), table, within="kamera")


def test_what_does_not_fit_is_told(tmp_path: Path, pictures: Table) -> None:
    np.save(tmp_path / "short.npy", EMBEDDINGS[:5])
    np.savez(tmp_path / "nothing.npz", vectors=EMBEDDINGS)
    np.savez(tmp_path / "uneven.npz", embeddings=EMBEDDINGS, label=np.array(["a"]))
    write_embeddings(tmp_path / "some.npz", torch.from_numpy(EMBEDDINGS[:5]), FRAME[:5])
    (tmp_path / "broken.npz").write_bytes(b"PK")
    (tmp_path / "text.npz").write_text("hello")
    (bad := EMBEDDINGS.copy())[[1, 3]] = np.array([[0], [np.nan]])
    write_embeddings(tmp_path / "bad.npz", torch.from_numpy(bad), FRAME)
    for name, table, told in (
        ("short.npy", pictures, "5 embeddings without file names, and the table of .* has 6 rows"),
        ("short.npy", None, "has no labels.*--data TABLE"),
        ("nothing.npz", None, "has no array 'embeddings'; it has vectors"),
        ("uneven.npz", None, "6 embeddings and 1 values of 'label'"),
        ("some.npz", pictures, r"has no embedding for 1 of 6 pictures of .*, first: 5\.png"),
        ("broken.npz", None, r"cannot be read as \.npz"),
        ("text.npz", None, r"text\.npz: cannot be read as \.npz: it is no array of numbers$"),
        ("bad.npz", None, r"bad\.npz: 2 of 6 embeddings are NaN, infinite or zero, first: 1\.png"),
        ("bad.npz", Table(FRAME[2:4], tmp_path), r"bad\.npz: 1 of 2 embeddings .* first: 3\.png"),
        ("none.npy", pictures, r"none\.npy: there is no such file"),
    ):
        with pytest.raises(DataError, match=told):
            read_embeddings(tmp_path / name, table)
