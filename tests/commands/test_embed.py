"""`eml embed`: from images of any kind to a file that the other commands read."""

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

import eml
from eml.cli.app import main
from eml.errors import ConfigError, DataError, EmlError, Interrupted, OutputError
from eml.training.out_of_fold import read_embedded

pyarrow = pytest.importorskip("pyarrow")
pytest.importorskip("pyarrow.parquet")

MODEL: dict[str, Any] = {"checkpoint": "timm:test_resnet", "weights": "none", "image_size": 32, "device": "cpu"}


def rows(path: Path) -> pd.DataFrame:
    return pyarrow.parquet.read_table(path).to_pandas()


def test_a_folder_becomes_a_file_that_evaluate_reads(images: Path, tmp_path: Path) -> None:
    (images / "class 0/broken.jpg").write_bytes(b"no image")
    out = tmp_path / "x.parquet"
    result = eml.embed(images=images, out=out, **MODEL)
    assert (result.images, result.computed, result.reused, result.size) == (24, 24, 0, 96)
    assert result.written == (out, tmp_path / "x_errors.csv")
    assert result.errors["reason"].tolist() == ["not_an_image"]
    assert result.messages == (f"1 file cannot be read as an image and is left out; see {tmp_path / 'x_errors.csv'}",)
    assert result.next_command == f"eml evaluate {out} --out {tmp_path / 'x_evaluation'}"
    (index,) = result.later_commands
    model = "--weights none --image-size 32 --device cpu"
    assert index == f"eml index build {tmp_path / 'x.index'} timm:test_resnet {images} {model}"
    assert repr(result) == f"EmbedResult({out}: 24 × 96, 1 unreadable)"
    evaluated = eml.evaluate(str(out), out=tmp_path / "e", report=False).results[0]
    again = eml.evaluate(
        MODEL["checkpoint"], data=eml_table(images), out=tmp_path / "f", report=False, **timm_options()
    )
    assert evaluated.metrics == pytest.approx(again.results[0].metrics, abs=1e-6)


def test_suspects_finds_the_images_and_knows_that_they_are_of_one_network(images: Path, tmp_path: Path) -> None:
    eml.scan(images)
    eml.kfold(images, k=2, out=tmp_path)
    result = eml.embed(images=tmp_path / "folds.csv", out=tmp_path / "x.parquet", **MODEL)
    assert "fold" in rows(result.out)
    _, root, embedded = read_embedded(result.out)
    assert root == images
    assert embedded.spaces is None
    eml.suspects(result.out, out=tmp_path / "suspects")


def eml_table(images: Path) -> Path:
    (images / "class 0/broken.jpg").unlink()
    return eml.scan(images).written[0]


def timm_options() -> dict[str, Any]:
    return {name: value for name, value in MODEL.items() if name != "checkpoint"}


def test_unchanged_images_are_taken_from_the_file_that_is_there(images: Path, tmp_path: Path) -> None:
    out = tmp_path / "x.npz"
    eml.embed(images=images, out=out, **MODEL)
    before = out.read_bytes()
    (images / "class 1/0.jpg").write_bytes((images / "class 2/0.jpg").read_bytes())
    (images / "class 1/1.jpg").rename(images / "class 1/9.jpg")
    again = eml.embed(images=images, out=out, **MODEL)
    assert (again.computed, again.reused, again.rate) == (0, 24, None)
    assert again.messages == ("24 of 24 images were embedded before",)
    assert again.replaced == (out,)
    assert out.read_bytes() != before
    flipped = eml.embed(images=images, out=out, tta="flip", **MODEL)
    assert (flipped.computed, flipped.reused) == (23, 0)  # a file that is there twice is computed once
    assert "is of another model (tta none, not flip); it will be replaced" in flipped.messages[0]


def test_the_command_line_takes_a_list_on_stdin_and_prints_json(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, printed_json: Callable[..., dict[str, Any]]
) -> None:
    monkeypatch.chdir(images)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"class 1/0.jpg\ngone.jpg\n")))
    options = ["--weights", "none", "--image-size", 32, "--device", "cpu", "--out", tmp_path / "x.npy"]
    facts = printed_json("embed", "timm:test_resnet", "-", *options)
    assert facts.pop("images_per_second") > 0
    assert facts.pop("fingerprint")["backbone"] == "test_resnet"
    assert facts == {
        "out": str(tmp_path / "x.npy"),
        "images": 1,
        "computed": 1,
        "reused": 0,
        "unreadable": 1,
        "reasons": {"missing": 1},
        "size": 96,
    }
    assert pd.read_csv(tmp_path / "x.csv")["file_name"].tolist() == ["class 1/0.jpg"]


def test_a_config_names_images_relative_to_itself(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = MODEL | {"images": ["images/class 1", "images/class 2/*.jpg"], "out": "x.parquet"}
    (tmp_path / "embed.yaml").write_text(yaml.safe_dump(options))
    assert main(["embed", "--config", str(tmp_path / "embed.yaml")]) == 0
    assert len(rows(tmp_path / "x.parquet")) == 12
    assert "wrote" in capsys.readouterr().err


@pytest.mark.parametrize(
    "change, error, code, parameter",
    [
        ({"out": "x.pt"}, OutputError, "wrong-suffix", "out"),
        ({"images": "gone"}, DataError, "missing-file", "images"),
        ({"images": "embed.yaml"}, DataError, "no-images", "images"),
        ({"file_column": "name"}, DataError, "conflicting-settings", "file_column"),
        ({"checkpoint": "timm:resnot"}, ConfigError, "unknown-choice", None),
        ({"class_level": "0"}, ConfigError, "invalid-value", "class_level"),
        ({"out": "mine.npz"}, OutputError, "file-exists", "overwrite"),
    ],
)
def test_what_cannot_be_done_is_told(
    images: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: dict[str, Any],
    error: type[EmlError],
    code: str,
    parameter: str,
) -> None:
    monkeypatch.chdir(images.parent)
    Path("mine.npz").write_text("mine")
    Path("embed.yaml").write_text("no image")
    with pytest.raises(error) as caught:
        eml.embed(**{"images": "images", "out": "x.npz", **MODEL, **change})
    assert (caught.value.code, caught.value.parameter) == (code, parameter)
    assert not Path("x.npz").exists()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="starts quick processes")
@pytest.mark.parametrize("suffix", [".parquet", ".npy"])
def test_a_killed_command_goes_on_and_writes_the_same_bytes(images: Path, tmp_path: Path, suffix: str) -> None:
    """SIGKILL at several moments of one work, each time a few batches later."""
    (images / "class 0/broken.jpg").write_bytes(b"no image")
    options = MODEL | {"images": images, "batch_size": 2}
    whole = eml.embed(out=tmp_path / f"whole{suffix}", **options)
    out, kept = tmp_path / f"x{suffix}", tmp_path / f".x{suffix}.eml-embed"
    for blocks in (1, 7):
        if (child := os.fork()) == 0:
            eml.embed(out=out, **options, progress=slow)
            os._exit(0)
        while not (kept.exists() and kept.stat().st_size > 900 * blocks) and os.waitpid(child, os.WNOHANG) == (0, 0):
            time.sleep(0.001)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        assert not out.exists()
    last = eml.embed(out=out, **options)
    assert last.reused >= 12
    assert last.computed + last.reused == whole.computed == 24
    assert out.read_bytes() == (tmp_path / f"whole{suffix}").read_bytes()
    assert not kept.exists()


def test_an_interrupted_command_says_what_is_kept(images: Path, tmp_path: Path) -> None:
    with pytest.raises(
        Interrupted, match=r"^interrupted\. 10 embeddings are kept: the same command goes on from there$"
    ):
        eml.embed(images=images, out=tmp_path / "x.npz", batch_size=10, progress=stopped, **MODEL)
    assert eml.embed(images=images, out=tmp_path / "x.npz", batch_size=10, **MODEL).reused == 10


@contextmanager
def stopped(description: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
    """Stop as Ctrl-C does after the first batch."""

    def advance(done: int) -> None:
        if description.startswith("embedding"):
            raise KeyboardInterrupt

    yield advance


@contextmanager
def slow(description: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
    """Wait a moment after each batch, so that there is one to be killed in."""
    yield lambda done: time.sleep(0.01)


@pytest.mark.wide
def test_several_processes_write_the_same_bytes(images: Path, tmp_path: Path) -> None:
    (images / "class 0/broken.jpg").write_bytes(b"no image")
    words = [sys.executable, "-m", "eml", "embed", "timm:test_resnet.r160_in1k", "-", "--weights", "none"]
    words += ["--device", "cpu", "--batch-size", "4"]
    names = "\n".join(str(path) for path in sorted(images.rglob("*.jpg"))).encode()
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    for number in (1, 2):
        subprocess.run(
            [*words, "--out", str(tmp_path / f"{number}.parquet"), "--devices", str(number)],
            input=names,
            check=True,
            capture_output=True,
            env=environment,
        )
    assert (tmp_path / "1.parquet").read_bytes() == (tmp_path / "2.parquet").read_bytes()
    assert len(rows(tmp_path / "2.parquet")) == 24
