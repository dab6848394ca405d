"""Embeddings made elsewhere are evaluated as those of a model, and what does not fit is told."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from eml.dataset.table import Table
from eml.errors import DataError
from eml.evaluation.analysis import analyze
from eml.evaluation.comparison import compare
from eml.evaluation.evaluate import evaluate_embeddings
from eml.evaluation.options import EvaluationOptions
from eml.evaluation.retrieval_set import label_codes
from eml.inference.embeddings_file import read_embeddings, write_embeddings
from tests.fuzz.outcome import memory_below

EMBEDDINGS = np.random.default_rng(0).standard_normal((6, 4)).astype(np.float32)
FRAME = pd.DataFrame({"file_name": [f"{i}.png" for i in range(6)], "label": ["007", "007", "b", "b", "b", "c"]})


@pytest.fixture
def images(tmp_path: Path) -> Table:
    return Table(FRAME, tmp_path)


def files(folder: Path) -> list[Path]:
    write_embeddings(folder / "e.npz", torch.from_numpy(EMBEDDINGS), FRAME)
    FRAME.assign(embedding=list(EMBEDDINGS)).to_parquet(folder / "lists.parquet")
    columns = {f"embedding_{i}": EMBEDDINGS[:, i] for i in (2, 0, 1, 3)}
    FRAME.assign(**columns).to_parquet(folder / "columns.parquet")
    return [folder / name for name in ("e.npz", "lists.parquet", "columns.parquet")]


def test_one_long_text_among_many_takes_no_memory(tmp_path: Path) -> None:
    labels = ["a" * 1000, *["b"] * 7_999]
    frame = pd.DataFrame({"label": labels, "file_name": ["x/" * 2000 + "1.png", *map(str, range(7_999))]})
    with memory_below(5 * 10**7):  # arrays of it take 160 MB
        write_embeddings(tmp_path / "e.npz", torch.ones(8_000, 1), frame)
    with zipfile.ZipFile(tmp_path / "e.npz") as archive, archive.open("label.npy") as file:
        assert np.load(io.BytesIO(file.read())).tolist() == labels
    with memory_below(5 * 10**7):
        assert label_codes(frame).tolist() == [0, *[1] * 7_999]


def test_every_kind_of_file_gives_the_same_images_and_embeddings(tmp_path: Path, images: Table) -> None:
    for file in files(tmp_path):
        table, embeddings = read_embeddings(file)
        assert table.frame[["label", "file_name"]].equals(FRAME[["label", "file_name"]]), file
        assert np.array_equal(embeddings.numpy(), EMBEDDINGS), file
        some = Table(FRAME.iloc[[4, 1, 0]].reset_index(drop=True), tmp_path)
        assert np.array_equal(read_embeddings(file, some)[1].numpy(), EMBEDDINGS[[4, 1, 0]])
    np.save(tmp_path / "e.npy", EMBEDDINGS)
    assert np.array_equal(read_embeddings(tmp_path / "e.npy", images)[1].numpy(), EMBEDDINGS)
    told = evaluate_embeddings("e", torch.from_numpy(EMBEDDINGS), images).facts()
    assert (told["queries"], told["queries_without_positive"], told["classes"]) == (5, 1, 3)


def test_rows_that_are_neither_query_nor_gallery_take_their_embeddings_with_them(images: Table) -> None:
    flags = {"is_query": [False, True, True, False, False, False], "is_gallery": [False, True, True, True, True, False]}
    table = Table(images.frame.assign(**flags, camera=["x", "y", "x", "x", "y", ""]), images.root)
    done = evaluate_embeddings("e", torch.from_numpy(EMBEDDINGS), table)
    assert np.array_equal(done.embeddings.numpy(), EMBEDDINGS[1:5])
    assert (done.summary.queries, done.summary.queries_without_positive) == (1, 1)
    done = evaluate_embeddings("e", torch.from_numpy(EMBEDDINGS), table, leave_out_same="camera")
    assert done.retrieval.protocol == "query/gallery, without the same camera"
    assert done.summary.answers.nearest[1] in (0, 3), "the image of its class and camera does not count"
    done = evaluate_embeddings("e", torch.from_numpy(EMBEDDINGS), table, within="camera")
    assert done.summary.answers.nearest.tolist() == [3, 2]
    with pytest.raises(DataError, match=r"has no column .kamera., which `within` names; it has file_name"):
        evaluate_embeddings("e", torch.from_numpy(EMBEDDINGS), table, within="kamera")


def test_what_does_not_fit_is_told(tmp_path: Path, images: Table) -> None:
    np.save(tmp_path / "short.npy", EMBEDDINGS[:5])
    np.savez(tmp_path / "nothing.npz", vectors=EMBEDDINGS)
    np.savez(tmp_path / "uneven.npz", embeddings=EMBEDDINGS, label=np.array(["a"]))
    np.savez(tmp_path / "scalar.npz", embeddings=EMBEDDINGS, label=FRAME["label"].to_numpy(str), model="resnet50")
    np.savez(tmp_path / "boxes.npz", embeddings=EMBEDDINGS, label=FRAME["label"].to_numpy(str), box=np.zeros((6, 4)))
    np.savez(tmp_path / "decimal.npz", embeddings=EMBEDDINGS, label=np.array([1, 1, 2, 2, 3, np.nan]))
    FRAME.assign(embedding=list(EMBEDDINGS), label=["a", None, "b", "b", "b", "c"]).to_parquet(
        tmp_path / "null.parquet"
    )
    FRAME.assign(embedding=[*EMBEDDINGS[:5], None]).to_parquet(tmp_path / "hole.parquet")
    FRAME.assign(embedding_0=1.0, embedding_2=1.0).to_parquet(tmp_path / "gap.parquet")
    flags = {"is_query": np.array(["yes", "no"] * 3), "is_gallery": np.array(["no", "yes"] * 3)}
    np.savez(tmp_path / "flags.npz", embeddings=EMBEDDINGS, label=FRAME["label"].to_numpy(str), **flags)
    write_embeddings(tmp_path / "some.npz", torch.from_numpy(EMBEDDINGS[:5]), FRAME[:5])
    (tmp_path / "broken.npz").write_bytes(b"PK")
    (tmp_path / "text.npz").write_text("hello")
    (bad := EMBEDDINGS.copy())[[1, 3]] = np.array([[0], [np.nan]])
    write_embeddings(tmp_path / "bad.npz", torch.from_numpy(bad), FRAME)
    for name, table, told in (
        ("short.npy", images, "5 embeddings without file names, and the table of .* has 6 rows"),
        ("short.npy", None, "has no labels.*give the table of their images as `data`"),
        ("nothing.npz", None, "has no array 'embeddings'; it has vectors"),
        ("uneven.npz", None, "6 embeddings and 1 values of 'label'"),
        ("scalar.npz", None, r"6 embeddings and an array \(\) of 'model'; one for each"),
        ("boxes.npz", None, r"6 embeddings and an array \(6, 4\) of 'box'"),
        ("decimal.npz", None, "row 5: label is empty"),
        ("null.parquet", None, "row 1: label is empty"),
        ("hole.parquet", None, "1 of 6 rows have no embedding"),
        ("gap.parquet", None, "has embedding_2 but no embedding_1"),
        ("flags.npz", None, "row 0: is_query must be True, False or blank, got 'yes'"),
        ("some.npz", images, r"has no embedding for 1 of 6 images of .*, first: 5\.png"),
        ("broken.npz", None, r"cannot be read as \.npz"),
        ("text.npz", None, r"text\.npz: cannot be read as \.npz: File is not a zip file$"),
        ("bad.npz", None, r"bad\.npz: 2 of 6 embeddings are NaN, infinite or zero, first: 1\.png"),
        ("bad.npz", Table(FRAME[2:4], tmp_path), r"bad\.npz: 1 of 2 embeddings .* first: 3\.png"),
        ("none.npy", images, r"none\.npy: there is no such file"),
    ):
        with pytest.raises(DataError, match=told):
            read_embeddings(tmp_path / name, table)


def test_a_column_whose_name_is_a_number_is_no_part_of_the_embeddings(tmp_path: Path) -> None:
    columns = {f"embedding_{i}": EMBEDDINGS[:, i] for i in range(4)}
    FRAME.assign(**columns, **{"2023": range(6)}).to_parquet(tmp_path / "e.parquet")
    table, embeddings = read_embeddings(tmp_path / "e.parquet")
    assert np.array_equal(embeddings.numpy(), EMBEDDINGS)
    assert list(table.frame["2023"]) == list(range(6))


@pytest.mark.parametrize("kind", [bool, int, str])
def test_query_and_gallery_of_a_file_are_those_of_a_table_and_are_kept(tmp_path: Path, kind: type) -> None:
    flags = {
        "is_query": np.array([1, 0, 1, 0, 0, 0], bool).astype(kind),
        "is_gallery": np.array([0, 1, 0, 1, 1, 0], bool).astype(kind),
    }
    np.savez(tmp_path / "e.npz", embeddings=EMBEDDINGS, label=FRAME["label"].to_numpy(str), **flags)
    table, embeddings = read_embeddings(tmp_path / "e.npz")
    done = evaluate_embeddings("e", embeddings, table)
    assert (done.summary.queries, done.summary.gallery) == (2, 3)
    write_embeddings(tmp_path / "again.npz", done.embeddings, done.retrieval.frame)
    table, embeddings = read_embeddings(tmp_path / "again.npz")
    assert evaluate_embeddings("e", embeddings, table).facts()["protocol"] == "query/gallery"


def test_embeddings_that_were_saved_go_with_the_table_that_they_are_of(tmp_path: Path, images: Table) -> None:
    flags = {"is_query": [False, True, True, False, False, False], "is_gallery": [False, True, True, True, True, False]}
    table = Table(images.frame.assign(**flags), images.root)
    every = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    made = evaluate_embeddings("model", every, table)
    write_embeddings(tmp_path / "e.npz", made.embeddings, made.retrieval.frame)
    np.save(tmp_path / "all.npy", every.numpy())
    for name in ("e.npz", "all.npy"):
        kept, embeddings = read_embeddings(tmp_path / name, table)
        assert kept.frame["file_name"].tolist() == made.retrieval.frame["file_name"].tolist()
        again = evaluate_embeddings(name, embeddings, kept)
        assert again.summary.values == made.summary.values
        assert compare(again, made).alike


def test_clusters_are_by_direction_as_the_other_metrics_are(images: Table) -> None:
    lengths = 10.0 ** torch.arange(-3, 3).unsqueeze(1)
    directions = torch.nn.functional.normalize(torch.from_numpy(EMBEDDINGS))
    one, other = (
        analyze(evaluate_embeddings("e", rows, images), EvaluationOptions(clustering=True)).clustering
        for rows in (directions, directions * lengths)
    )
    assert one == pytest.approx(other)
