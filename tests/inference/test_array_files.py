"""Arrays from elsewhere: what lies, is pickled or would fill the memory is refused before it is read."""

import io
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from eml.errors import DataError
from eml.inference.array_files import read_arrays
from eml.inference.embeddings_file import read_embeddings

EMBEDDINGS = np.arange(1, 13, dtype=np.float32).reshape(6, 2)
LABELS = np.array(["a", "a", "b", "b", "c", "c"])


def npy(shape: tuple[int, ...], dtype: str = "<f4", data: bytes = b"") -> bytes:
    """Return an .npy whose header says something else than its data."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": dtype, "fortran_order": False, "shape": shape})
    return file.getvalue() + data


def npz(path: Path, compress: int = zipfile.ZIP_STORED, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w", compress) as archive:
        for name, data in members.items():
            archive.writestr(f"{name}.npy", data)
    return path


def refused(path: Path) -> str:
    with pytest.raises(DataError) as error:
        read_embeddings(path)
    assert error.value.code == "not-an-embeddings-file"
    return str(error.value)


@pytest.mark.parametrize("name", ["e.npy", "e.npz"])
@pytest.mark.parametrize(
    ("shape", "dtype", "reason"),
    [
        ((10**9, 512), "<f4", "array .* says to be (1000000000, 512) of float32, 2,048,000,000,000 bytes, and has 4"),
        ((2**62, 2**62), "<f4", "bytes, and has 4: damaged"),
        ((1, 2), "<f4", "8 bytes, and has 4: damaged"),
        ((1,), "|O", "holds objects (object), which eml does not unpickle; save it as text: numpy.array("),
        ((1,), "<M8[s]", "holds objects (datetime64[s])"),
        ((1,), "|V4", "holds objects (|V4)"),
    ],
)
def test_a_header_decides_before_memory_is_taken(
    tmp_path: Path, name: str, shape: tuple[int, ...], dtype: str, reason: str
) -> None:
    path = tmp_path / name
    if name == "e.npy":
        path.write_bytes(npy(shape, dtype, b"1234"))
    else:
        npz(path, embeddings=npy(shape, dtype, b"1234"))
    assert re.search(re.escape(reason).replace("array\\ \\.\\*", "array.*"), refused(path))


@pytest.mark.parametrize("data", [b"", b"\x93NUMPY", b"\x93NUMPY\x09\x00" + b"x" * 100, npy((1, 1), "<f4")[:40], b"x"])
def test_damaged_files_are_told(tmp_path: Path, data: bytes) -> None:
    for name in ("e.npy", "e.npz", "e.parquet"):
        (tmp_path / name).write_bytes(data)
        assert f"{name}: " in refused(tmp_path / name)


def test_a_zip_that_unpacks_to_far_more_than_it_is_is_refused_unread(tmp_path: Path) -> None:
    zeros = npy((1 << 26, 1), "<f4", bytes(1 << 28))
    path = npz(tmp_path / "e.npz", zipfile.ZIP_DEFLATED, embeddings=zeros)
    assert "says to hold 268,435,584 bytes in" in refused(path)


def test_a_wrong_suffix_is_told(tmp_path: Path) -> None:
    np.save(tmp_path / "e.npy", EMBEDDINGS)
    np.savez(tmp_path / "f.npz", embeddings=EMBEDDINGS)
    (tmp_path / "e.npy").rename(tmp_path / "g.npz")
    (tmp_path / "f.npz").rename(tmp_path / "h.npy")
    assert refused(tmp_path / "g.npz").endswith("is .npy by its content, not .npz; rename it")
    assert refused(tmp_path / "h.npy").endswith("is .npz by its content, not .npy; rename it")


@pytest.mark.parametrize("embeddings", [EMBEDDINGS.astype(complex), EMBEDDINGS > 3, EMBEDDINGS.astype(str)])
def test_only_real_numbers_are_embeddings(tmp_path: Path, embeddings: Any) -> None:
    np.savez(tmp_path / "e.npz", embeddings=embeddings, label=LABELS)
    assert "embeddings must be (N, D) real numbers, got (6, 2) of" in refused(tmp_path / "e.npz")


def test_labels_as_objects_are_never_unpickled(tmp_path: Path) -> None:
    np.savez(tmp_path / "e.npz", embeddings=EMBEDDINGS, label=LABELS.astype(object))
    assert (
        "array 'label' holds objects (object), which eml does not unpickle; save it as text: numpy.array("
        in refused(tmp_path / "e.npz")
    )


@pytest.mark.parametrize("labels", [LABELS, LABELS.astype("S"), LABELS.astype("S1")])
def test_an_array_named_labels_is_taken_as_the_label(tmp_path: Path, labels: Any) -> None:
    np.savez(tmp_path / "e.npz", embeddings=EMBEDDINGS, labels=labels)
    table, _ = read_embeddings(tmp_path / "e.npz")
    assert table.frame["label"].tolist() == LABELS.tolist()
    pd.DataFrame({"labels": LABELS, "embedding_0": 1.0}).to_parquet(tmp_path / "e.parquet")
    assert read_arrays(tmp_path / "e.parquet")[1]["label"].tolist() == LABELS.tolist()
    np.savez(tmp_path / "f.npz", embeddings=EMBEDDINGS, label=LABELS, labels=np.arange(6))
    assert read_embeddings(tmp_path / "f.npz")[0].frame["label"].tolist() == LABELS.tolist()


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        (["embedding_0", "embedding_99999999999"], "has embedding_99999999999 but no embedding_1"),
        (["embedding_" + "9" * 5000], "has no column 'embedding' of lists"),
        (["embedding_01"], "has no column 'embedding' of lists"),
    ],
)
def test_a_dimension_takes_no_memory_by_its_number(tmp_path: Path, columns: list[str], reason: str) -> None:
    pd.DataFrame({"label": LABELS, **dict.fromkeys(columns, 1.0)}).to_parquet(tmp_path / "e.parquet")
    assert reason in refused(tmp_path / "e.parquet")


@pytest.mark.parametrize(
    "values", [["x"] * 6, [["x"]] * 6, [[1.0]] * 5 + [[1.0, 2.0]], [{"a": 1}] * 6, [[[1.0]]] * 6, [1.5] * 6]
)
def test_a_column_of_embeddings_holds_lists_of_numbers_of_one_length(tmp_path: Path, values: list[Any]) -> None:
    pd.DataFrame({"label": LABELS, "embedding": values}).to_parquet(tmp_path / "e.parquet")
    assert "embedding" in refused(tmp_path / "e.parquet")


def test_lists_of_more_values_than_their_file_can_hold_are_refused_unread(tmp_path: Path) -> None:
    pd.DataFrame({"label": ["a"] * 10, "embedding": [np.ones(500_000, np.float32)] * 10}).to_parquet(
        tmp_path / "e.parquet", compression="zstd"
    )
    assert "it says to hold 5,000,010 values in" in refused(tmp_path / "e.parquet")
