"""Text vectors and their file."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from safetensors.torch import save_file as save_torch_file

from eml.errors import DataError
from eml.texts.vectors import EncoderFacts, TextVectors, read_text_vectors, write_text_vectors


@pytest.fixture
def vectors() -> TextVectors:
    facts = EncoderFacts(name="words:a", digest="0" * 32, logit_scale=100.0)
    rows = np.eye(3, 8, dtype=np.float32)
    return TextVectors(("a", "b", "ç"), rows, (("x",), ("y", "z"), ("ü",)), facts, ("{label}",))


def test_a_file_holds_all_of_them_and_the_same_vectors_give_the_same_bytes(
    vectors: TextVectors, tmp_path: Path
) -> None:
    path = tmp_path / "v.safetensors"
    write_text_vectors(path, vectors)
    read = read_text_vectors(path)
    assert (read.labels, read.texts, read.encoder, read.template) == (
        vectors.labels,
        vectors.texts,
        vectors.encoder,
        vectors.template,
    )
    np.testing.assert_array_equal(read.vectors, vectors.vectors)
    assert (read.digest, read.texts_digest) == (vectors.digest, vectors.texts_digest)
    before = path.read_bytes()
    write_text_vectors(path, read)
    assert path.read_bytes() == before


def test_the_vectors_of_labels_are_in_their_order_and_every_missing_one_is_named(vectors: TextVectors) -> None:
    chosen = vectors.of(["ç", "a"], "v.safetensors")
    assert chosen.labels == ("ç", "a")
    assert chosen.texts == (("ü",), ("x",))
    np.testing.assert_array_equal(chosen.vectors, vectors.vectors[[2, 0]])
    with pytest.raises(DataError) as error:
        vectors.of(["a", "d", "e"], "v.safetensors")
    assert error.value.problems == [
        "v.safetensors: no vector for class 'd'",
        "v.safetensors: no vector for class 'e'. Run eml text on a table that has all classes",
    ]
    assert error.value.code == "missing-text"


def test_the_digest_follows_labels_and_values(vectors: TextVectors) -> None:
    assert replace(vectors, labels=("a", "b", "d")).digest != vectors.digest
    assert replace(vectors, vectors=vectors.vectors[::-1]).digest != vectors.digest


def test_a_file_that_is_damaged_newer_or_of_another_kind_is_refused(vectors: TextVectors, tmp_path: Path) -> None:
    path = tmp_path / "v.safetensors"
    write_text_vectors(path, vectors)
    whole, arrays = path.read_bytes(), load_file(path)
    path.write_bytes(whole[:-8])
    with pytest.raises(DataError, match=r"is no whole file of text vectors \(.*\)\. Run eml text again"):
        read_text_vectors(path)
    tensors = {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}
    save_torch_file(tensors | {"vectors": tensors["vectors"].bfloat16()}, path, {"kind": "eml-text-vectors"})
    with pytest.raises(DataError, match=r"is no whole file of text vectors|type bfloat16"):  # as ml_dtypes is there
        read_text_vectors(path)
    save_file(arrays, path)
    with pytest.raises(DataError, match="it is no file of text vectors; eml text writes one"):
        read_text_vectors(path)
    kind = {"kind": "eml-text-vectors"}
    save_file(arrays | {"vectors": arrays["vectors"] * 2}, path, kind)
    with pytest.raises(DataError, match="vectors are not of unit length"):
        read_text_vectors(path)
    save_file(arrays | {"texts": np.frombuffer(b'[["x"],["y"],["z"]]', np.uint8)}, path, kind)
    with pytest.raises(DataError, match="the texts are not those that were embedded"):
        read_text_vectors(path)
    save_file(arrays | {"facts": np.frombuffer(b'{"format": 2, "eml_version": "9"}', np.uint8)}, path, kind)
    with pytest.raises(DataError, match="written by a newer eml"):
        read_text_vectors(path)
    with pytest.raises(DataError, match="no such file of text vectors; eml text writes one"):
        read_text_vectors(tmp_path / "none")
