"""`eml text`."""

import json
import shlex
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import eml
from eml.cli.app import main
from eml.dataset.sidecar import read_sidecar
from eml.dataset.table import write_table
from eml.errors import ConfigError, OutputError
from eml.texts.vectors import read_text_vectors
from tests.texts.words import Words

NAMES = {"0a": "a red mug", "0b": "a green mug", "0c": "a bowl", "0d": "a bowl"}


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Return a table of four classes whose labels say nothing, with a column that does."""
    rows = [(label, f"{label}/{number}.jpg", text) for label, text in NAMES.items() for number in range(2)]
    for label, name, _ in rows:
        (tmp_path / label).mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(label.encode())
    frame = pd.DataFrame(rows, columns=["label", "file_name", "meaning"])
    return write_table(frame, tmp_path / "dataset_info.csv", command="eml scan", root=tmp_path).source


def test_a_column_gives_each_class_its_vector_in_a_file_that_training_reads(table: Path) -> None:
    result = eml.text(table, encoder="words:a", column="meaning", template="a photo of {label}")
    assert result.out == table.parent / "text_vectors.safetensors"
    read = read_text_vectors(result.out)
    assert read.labels == ("0a", "0b", "0c", "0d")
    assert read.texts[0] == ("a photo of a red mug",)
    np.testing.assert_array_equal(read.vectors, result.vectors.vectors)
    assert result.similarities is not None
    assert result.similarities.equal == (("0c", "0d"),)
    assert repr(result) == f"TextResult({result.out}: 4 classes, 3 texts, 512 numbers)"
    sidecar = read_sidecar(result.out)
    assert sidecar is not None
    assert sidecar.command.startswith(f"eml text {table} --encoder words:a")
    Words.encoded.clear()
    again = eml.text(table, encoder="words:a", column="meaning", template="a photo of {label}")
    assert again.replaced == (result.out,)
    assert not Words.encoded  # all from the cache


def test_labels_that_say_nothing_are_warned_of_and_names_of_a_file_help(
    table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["text", str(table), "--encoder", "words:a"]) == 0
    captured = capsys.readouterr()
    assert "warning: 4 of 4 labels have no word of their own ('0a', '0b', '0c' …)" in captured.err
    assert "Give each class a text by --names, a file, or by --column of the table" in captured.err
    assert "next: " not in captured.err, "such vectors are no use for a training"
    names = table.parent / "names.txt"
    names.write_text("".join(f"{label}\t{text}\n" for label, text in NAMES.items()))
    assert main(["text", str(table), "--encoder", "words:a", "--names", str(names)]) == 0
    captured = capsys.readouterr()
    assert "no word of their own" not in captured.err
    assert "warning: 2 classes have the same texts as others, which do not tell them apart: 0c, 0d" in captured.err
    assert "0a: a red mug" in captured.out


def test_json_has_the_counts_the_encoder_and_the_nearest_classes(
    table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["text", str(table), "--encoder", "words:a", "--column", "meaning", "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert (value["classes"], value["texts"], value["size"]) == (4, 3, 512)
    assert value["encoder"]["name"] == "words:a"
    assert value["equal_texts"] == [["0c", "0d"]]
    assert value["nearest"][0] == {"cosine": round(2 / 3, 4), "first": "0a", "second": "0b"}


def test_the_next_command_is_one_that_reads_the_vectors(table: Path) -> None:
    (table.parent / "config.yaml").write_text(f"output: run\ndata: {{table: {table}}}\n")
    following = eml.text(table.parent, encoder="words:a", column="meaning").next_command
    assert following is not None
    words = shlex.split(following)
    assert words[:3] == ["eml", "train", str(table.parent / "config.yaml")]
    settings = words[4::2]
    assert settings == [
        f"class_texts.vectors={table.parent / 'text_vectors.safetensors'}",
        "head.init=text",
        "text=anchor",
    ]


def test_what_cannot_be_written_or_embedded_is_refused_before_the_work(table: Path, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"`out` is a file whose name ends in .safetensors"):
        eml.text(table, encoder="words:a", out=tmp_path / "v.npz")
    (tmp_path / "mine.safetensors").write_text("")
    with pytest.raises(OutputError, match="was not written by eml"):
        eml.text(table, encoder="words:a", out=tmp_path / "mine.safetensors")
    with pytest.raises(ConfigError, match="`encoder`: 'nothing:a' is no text encoder"):
        eml.text(table, encoder="nothing:a")
    with pytest.raises(ConfigError, match=r"`template` has no \{label\} and no \{COLUMN\}"):
        eml.text(table, encoder="words:a", template="a photo")
