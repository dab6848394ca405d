"""X holds what is known of each image, in every format, as eml and other programs read it."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from eml.dataset.table import Table
from eml.errors import DataError, OutputError
from eml.files import digest
from eml.images.preprocess import Preprocess
from eml.inference.embed_images import EmbeddedImages
from eml.inference.embedding_store import key_of
from eml.inference.embeddings_file import read_embeddings
from eml.inference.embeddings_output import EmbeddingsOutput
from eml.inference.image_list import ImageList
from eml.models.fingerprint import Fingerprint

pyarrow = pytest.importorskip("pyarrow")
pytest.importorskip("pyarrow.parquet")

FINGERPRINT = Fingerprint(
    digest="a" * 32,
    backbone="test_resnet",
    weights="b" * 32,
    preprocess=Preprocess(size=32),
    precision="float32",
    tta="none",
    size=4,
)
FRAME = pd.DataFrame(
    {
        "file_name": ["a/1.jpg", "a/2.jpg", "b/3.jpg"],
        "label": ["a", "a", ""],
        "content": ["1" * 32, "2" * 32, "1" * 32],
        "x_1": pd.array([None, 0, 5], "Int64"),
        "y_1": pd.array([None, 0, 5], "Int64"),
        "x_2": pd.array([None, 9, 9], "Int64"),
        "y_2": pd.array([None, 9, 9], "Int64"),
        "is_query": pd.array([True, None, False], "boolean"),
        "is_gallery": pd.array([True, True, True], "boolean"),
        "bytes": [1, 2, 3],
        "price": [0.5, np.nan, 2.5],
        "shop": ["x", None, "y, “z”"],
        "nothing": [None, None, None],
        "embedding": [1, 2, 3],
    }
)
EMBEDDINGS = torch.nn.functional.normalize(torch.randn(3, 4, generator=torch.Generator().manual_seed(0)))
NO_ERRORS = pd.DataFrame(columns=["file_name", "reason", "detail"])
ERRORS = pd.DataFrame([["b/4.jpg", "empty", "0 bytes"]], columns=NO_ERRORS.columns)


def embedded(errors: pd.DataFrame = NO_ERRORS, fingerprint: Fingerprint = FINGERPRINT) -> EmbeddedImages:
    return EmbeddedImages(EMBEDDINGS, FRAME, errors, 0, 3, 1.0, fingerprint)


def write(path: Path, images: EmbeddedImages | None = None) -> tuple[list[Path], list[Path], list[Path]]:
    listed = ImageList(FRAME, path.parent)
    return EmbeddingsOutput(path).write(images or embedded(), listed, command="eml embed run photos --out x")


@pytest.mark.parametrize("suffix", [".parquet", ".npz", ".npy"])
def test_every_format_is_read_again_with_all_columns(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x{suffix}"
    frame = FRAME.assign(label=["a", "a", "b"])
    images = EmbeddedImages(EMBEDDINGS, frame, NO_ERRORS, 0, 3, 1.0, FINGERPRINT)
    written, *_ = write(path, images)
    assert written == [path, *([tmp_path / "x.csv"] if suffix == ".npy" else [])]
    table = Table(frame[["file_name", "label"]], tmp_path) if suffix == ".npy" else None
    read, values = read_embeddings(path, table)
    assert np.array_equal(values.numpy(), EMBEDDINGS.numpy())
    if table is None:
        expected = frame.rename(columns={"embedding": "own_embedding"})
        assert sorted(read.frame.columns) == sorted(expected.columns)
        for name in ("file_name", "label", "content", "x_1", "bytes", "price", "own_embedding"):
            assert (
                read.frame[name].astype(object).where(read.frame[name].notna(), None).tolist()
                == expected[name].astype(object).where(expected[name].notna(), None).tolist()
            )
    before = path.read_bytes()
    write(path, images)
    assert path.read_bytes() == before


def test_parquet_is_plain_and_says_of_which_model_it_is(tmp_path: Path) -> None:
    write(tmp_path / "x.parquet")
    table = pyarrow.parquet.read_table(tmp_path / "x.parquet")
    assert table.column_names[:3] == ["file_name", "label", "content"]
    assert str(table.schema.field("embedding").type) == "fixed_size_list<element: float>[4]"
    assert str(table.schema.field("nothing").type) == "string"
    facts = json.loads(table.schema.metadata[b"eml"])
    assert facts["fingerprint"]["digest"] == "a" * 32
    assert facts["eml_version"]
    assert b"pandas" not in table.schema.metadata


def test_images_without_any_label_are_told_in_a_line_and_those_with_are_found_by_their_root(tmp_path: Path) -> None:
    photos, out = tmp_path / "photos", tmp_path / "x"
    photos.mkdir()
    for suffix in (".parquet", ".npz"):
        for label in ("", "a"):
            images = EmbeddedImages(EMBEDDINGS, FRAME.assign(label=label), NO_ERRORS, 0, 3, 1.0, FINGERPRINT)
            output = EmbeddingsOutput(out.with_suffix(suffix))
            output.write(images, ImageList(FRAME, photos), command="eml embed")
            if label:
                assert read_embeddings(output.path)[0].root == photos
                continue
            with pytest.raises(DataError) as caught:
                read_embeddings(output.path)
            assert [problem.code for problem in caught.value.problems] == ["missing-labels"]


def test_a_fixed_size_list_with_holes_is_refused_row_by_row(tmp_path: Path) -> None:
    values = pyarrow.array([[1.0, 2.0], None, [3.0, None]], pyarrow.list_(pyarrow.float32(), 2))
    for rows, message in ((values[:2], "1 of 2 rows have no embedding"), (values[2:], "NaN, infinite or zero")):
        table = pyarrow.table({"embedding": rows, "label": ["a"] * len(rows)})
        pyarrow.parquet.write_table(table, tmp_path / "e.parquet")
        with pytest.raises(DataError, match=message):
            read_embeddings(tmp_path / "e.parquet")


@pytest.mark.parametrize("suffix", [".parquet", ".npz", ".npy"])
def test_embeddings_that_are_there_are_used_for_the_same_model_alone(tmp_path: Path, suffix: str) -> None:
    output, told = EmbeddingsOutput(tmp_path / f"x{suffix}"), list[str]()
    assert len(output.earlier(FINGERPRINT)) == 0
    write(output.path)
    store = output.earlier(FINGERPRINT, told.append)
    keys = [key_of(bytes([17]) * 16), key_of(bytes([34]) * 16, (0, 0, 9, 9)), key_of(bytes([17]) * 16, (5, 5, 9, 9))]
    assert torch.equal(store.take(keys), EMBEDDINGS)
    other = FINGERPRINT.model_copy(update={"digest": "c" * 32, "tta": "flip"})
    assert len(output.earlier(other, told.append)) == 0
    assert told == [f"{output.path} is of another model (tta none, not flip); it will be replaced"]
    changed = output.table or output.path
    changed.write_bytes(changed.read_bytes() + b" ")
    assert len(output.earlier(FINGERPRINT)) == 0


def test_the_list_of_errors_is_there_only_if_there_are_any(tmp_path: Path) -> None:
    path, errors = tmp_path / "x.npz", tmp_path / "x_errors.csv"
    EmbeddingsOutput(path).partial.write_bytes(b"kept")
    assert write(path, embedded(ERRORS)) == ([path, errors], [], [])
    assert errors.read_text() == "file_name,reason,detail\nb/4.jpg,empty,0 bytes\n"
    assert write(path) == ([path], [path], [errors])
    assert sorted(file.name for file in tmp_path.iterdir()) == ["x.npz", "x.npz.eml.json"]


def test_nothing_of_the_user_is_replaced(tmp_path: Path) -> None:
    for name in ("x.npy", "x.csv", "x_errors.csv", "folder.npz/x"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("mine")
    for path, codes in (
        ("x.npy", ["file-exists"] * 3),
        ("y.pt", ["wrong-suffix"]),
        ("y", ["wrong-suffix"]),
        ("folder.npz", ["not-a-file"]),
        ("x.csv/y.npz", ["not-writable"]),
    ):
        with pytest.raises(OutputError) as caught:
            EmbeddingsOutput(tmp_path / path).check(overwrite=False)
        assert [problem.code for problem in caught.value.problems] == codes
    table = tmp_path / "x.csv"
    with pytest.raises(OutputError, match="the input is this file"):
        EmbeddingsOutput(tmp_path / "x.npy").check(overwrite=True, inputs={table: digest(table)})
    EmbeddingsOutput(tmp_path / "x.npy").check(overwrite=True)
