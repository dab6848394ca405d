"""Every command that reads a table refuses one that is out of date, whether it is named or found in a folder."""

import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import eml
from eml.cli.app import COMMANDS, main
from eml.commands.cache import fill_cache
from eml.dataset.ancestry import staleness
from eml.dataset.sidecar import read_sidecar
from eml.dataset.table import write_tables
from eml.errors import EmlError
from eml.files import digest
from tests.commands.conftest import draw
from tests.texts.words import Words

RUN = Path(__file__).parents[1] / "fixtures" / "v0_1_0" / "run"
READ_NO_TABLE = {
    "backbones",
    "push",
    "upload",
    "scan",
    "merge-shards",
    "protocol",
    "plot",
    "suspects",
    "serve-key",
    "demo",
    "margins",
    "config",
    "completion",
    "doctor",
    "serve",
    "version",
}


def readers(table: Path, config: Path, checkpoint: Path, out: Path) -> dict[str, list[Callable[[], Any]]]:
    """Return calls of every command that read the table, or the tables of its folder."""
    other = draw(out / "another dataset", classes=2, per_class=2) if not out.exists() else out / "another dataset"
    overrides = [f"data.table={table}", f"output={out / 'run'}"]
    validation = [
        "data.fold=null",
        "validation.metric=test/map_at_r",
        f"validation.tables.test={table}",
        f"data.table={other}",
        f"output={out / 'run'}",
    ]
    index = out.parent / "an.index"
    eml.build_index(index, checkpoint, other)
    return {
        "pack": [lambda: eml.pack(table, out / "packed", format="tar")],
        "merge": [lambda: eml.merge([table, other], out=out / "merged")],
        "filter": [lambda: eml.filter(table, min_size=2, out=out), lambda: eml.filter(other, exclude=table, out=out)],
        "split": [lambda: eml.split(table, by="alternate", out=out)],
        "kfold": [lambda: eml.kfold(table, k=2, out=out)],
        "audit": [lambda: eml.audit(table), lambda: eml.audit(other, table)],
        "report": [lambda: eml.report(table, out=out)],
        "init": [lambda: eml.init(table, out=out / "config.yaml", backbone="test_resnet", weights="none")],
        "export": [lambda: eml.export(checkpoint, out / "model.onnx", prove_on=table)],
        "cache": [
            lambda: fill_cache(table, side=32, folder=out / "cache"),
            lambda: fill_cache(config, overrides=overrides),
        ],
        "train": [
            lambda: eml.train(config, overrides=overrides),
            lambda: eml.train(config, overrides=overrides, dry_run=True),
            lambda: eml.train(config, overrides=overrides, preview=True, out=out / "sheet.png"),
            lambda: eml.train(config, overrides=overrides, fold="all"),
            lambda: eml.train(config, overrides=validation),
        ],
        "evaluate": [lambda: eml.evaluate(checkpoint, data=table, out=out / "evaluated", report=False)],
        "calibrate": [lambda: eml.calibrate(checkpoint, data=table, far=0.1)],
        "compress": [lambda: eml.compress(checkpoint, data=table)],
        "ensemble": [lambda: eml.ensemble([checkpoint, checkpoint], out=out / "both", data=table)],
        "probe": [lambda: eml.probe(table, backbones="test_resnet=none", image_size=32)],
        "sweep": [lambda: eml.sweep(config, vary="seed=0,1", overrides=overrides, out=out / "sweep")],
        "embed": [lambda: eml.embed(checkpoint, table, out=out / "e.npz")],
        "text": [lambda: eml.text(table, encoder=f"{Words.prefix}a", out=out / "v.safetensors")],
        "index": [
            lambda: eml.build_index(out / "new.index", checkpoint, table),
            lambda: eml.add_to_index(index, table),
        ],
        "search": [lambda: eml.search(index, table)],
        "classify": [lambda: eml.classify(index, table)],
    }


def split_again(photos: Path) -> tuple[Path, str]:
    """Split after the folds were made."""
    eml.split(photos, by="alternate")
    return photos / "folds.csv", "dataset_train.csv was changed after folds.csv was made from it"


def copy_a_test_table(photos: Path) -> tuple[Path, str]:
    """Put the test table of another split beside the training table."""
    other = Path(shutil.copytree(photos, photos.parent / "other"))
    eml.split(other, by="alternate")
    for file in other.glob("dataset_test.csv*"):
        shutil.copy(file, photos)
    return photos / "dataset_test.csv", "dataset_train.csv beside it is of another run of eml split"


def filter_afterwards(photos: Path) -> tuple[Path, str]:
    """Filter after the split, which did not use it then."""
    eml.filter(photos, min_size=2)
    return photos / "dataset_train.csv", "dataset_info_filtered.csv is newer and was not used for it"


@pytest.mark.parametrize("happened", [split_again, copy_a_test_table, filter_afterwards])
def test_every_command_that_reads_a_table_refuses_one_that_is_out_of_date(
    happened: Callable[[Path], tuple[Path, str]], photos: Path, tmp_path: Path
) -> None:
    checkpoint = Path(shutil.copytree(RUN, tmp_path / "trained"))
    table, reason = happened(photos)
    calls = readers(table, photos / "config.yaml", checkpoint, tmp_path / "out")
    assert calls.keys() | READ_NO_TABLE == set(COMMANDS)
    before = sorted(tmp_path.rglob("*"))
    for command, ways in calls.items():
        for number, call in enumerate(ways):
            with pytest.raises(EmlError) as error:
                call()
            assert error.value.code == "out-of-date", (command, number, str(error.value))
            assert reason in str(error.value), (command, number)
    own = tmp_path / "out" / "another dataset"
    new = {path for path in set(tmp_path.rglob("*")) - set(before) if path != own and own not in path.parents}
    assert new <= {tmp_path / "out"}  # nothing was written
    shutil.copy(table, photos / "mine.csv")  # a copy of it is the user's own table
    assert eml.kfold(photos / "mine.csv", k=2, by="class", out=tmp_path / "copy").table.path == photos / "mine.csv"


@pytest.mark.parametrize("command", ["kfold", "split", "filter", "merge", "audit"])
def test_what_is_made_of_a_table_that_is_replaced_meanwhile_is_out_of_date(
    command: str, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    eml.scan(images)
    table, out = images / "dataset_info.csv", tmp_path / "out"
    sides = (table,) if command != "merge" else ([table, draw(tmp_path / "other", classes=2, per_class=2)],)
    settings = {"kfold": {"k": 2}, "split": {"by": "alternate"}, "filter": {"min_per_class": 2}}.get(command, {})
    if command == "audit":
        eml.kfold(table, k=2)
        sides = (table := images / "folds.csv",)
    rows = table.read_text().splitlines(keepends=True)
    was = digest(table)

    def replace_table(*args: Any, **options: Any) -> list[Path]:
        (images / "new").write_text("".join(rows[:-2]))
        (images / "new").replace(table)
        return write_tables(*args, **options)

    monkeypatch.setattr("eml.dataset.table.write_tables", replace_table)
    result = getattr(eml, command)(*sides, **settings, out=out if command != "audit" else out / "pairs.csv")
    written = result.written[0]
    sidecar = read_sidecar(written)
    assert sidecar is not None
    assert sidecar.inputs[0]["digest"] == was != digest(table)
    assert f"{table.name} was changed after {written.name} was made from it" in str(staleness(written))
    assert [f"{table}: was changed while the command ran" in line for line in result.messages].count(True) == 1


@pytest.fixture
def paste(capsys: pytest.CaptureFixture[str]) -> Callable[[str], tuple[int, str]]:
    """Return a function that runs a command line, and returns its code and the command that its error advises."""

    def run(line: str) -> tuple[int, str]:
        capsys.readouterr()
        code = main(shlex.split(line)[1:])
        advised = re.search(r"[Rr]un: (eml .*)$", capsys.readouterr().err, flags=re.MULTILINE)
        return code, advised[1] if advised and code else ""

    return run


def drop_rows(table: Path, count: int = 3) -> str:
    """Take the last rows out by hand, and return the text that is left."""
    text = "".join(table.read_text().splitlines(keepends=True)[:-count])
    table.write_text(text)
    return text


SPLIT, KFOLD = "eml split photos --by ratio --test-ratio 0.4", "eml kfold photos --k 2"


@pytest.fixture
def here(photos: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Split and fold from the folder in which the photos lie, so that the advice can be pasted there."""
    monkeypatch.chdir(photos.parent)
    for line in (SPLIT, KFOLD):
        assert main(shlex.split(line)[1:]) == 0
    return photos


def test_the_advice_after_an_edit_of_the_scan_table_leads_on_and_keeps_the_edit(
    here: Path, paste: Callable[[str], tuple[int, str]]
) -> None:
    edited = drop_rows(here / "dataset_info.csv")
    assert paste(KFOLD) == (2, SPLIT)
    assert [paste(line) for line in (SPLIT, KFOLD, "eml filter photos --min-size 2")] == [(0, "")] * 3
    assert (here / "dataset_info.csv").read_text() == edited
    rows = [len((here / name).read_text().splitlines()) - 1 for name in ("dataset_train.csv", "dataset_test.csv")]
    assert sum(rows) == 8 * 4 - 3


def test_the_advice_names_what_it_replaces_where_the_table_to_make_again_was_edited_too(
    here: Path, paste: Callable[[str], tuple[int, str]]
) -> None:
    drop_rows(here / "dataset_info.csv")
    drop_rows(here / "dataset_test.csv")
    with pytest.raises(EmlError, match=r"to replace what is not as eml wrote it \(dataset_test\.csv\), run"):
        eml.kfold(here, k=2)
    assert paste(KFOLD) == (2, f"{SPLIT} --overwrite")
    assert [paste(line) for line in (f"{SPLIT} --overwrite", KFOLD)] == [(0, "")] * 2


def test_the_advice_after_an_image_of_an_edited_scan_table_went_leads_on(
    here: Path, paste: Callable[[str], tuple[int, str]]
) -> None:
    drop_rows(here / "dataset_info.csv")
    (here / "class 0" / "0.jpg").unlink()
    assert paste("eml split photos --by alternate") == (2, "eml scan photos --overwrite")
    lines = ("eml scan photos --overwrite", "eml split photos --by alternate", KFOLD)
    assert [paste(line) for line in lines] == [(0, "")] * 3


@pytest.mark.wide
def test_a_test_table_of_two_splits_ago_is_refused_and_made_again(
    here: Path, paste: Callable[[str], tuple[int, str]]
) -> None:
    test = here / "dataset_test.csv"
    old, latest = test.read_bytes(), f"{SPLIT} --random-seed 3"
    for line in (f"{SPLIT} --random-seed 2", latest):
        assert paste(line) == (0, "")
    new = test.read_bytes()
    assert new != old
    evaluate = "eml evaluate timm:test_resnet --weights none --image-size 32 --no-report --out evaluated"
    train = "eml train photos/config.yaml --dry-run --set image.size=32 --set batch_size=8 --set output=run"
    for line in (KFOLD, f"{evaluate} --data photos/dataset_test.csv", train):
        test.write_bytes(old)
        assert paste(line) == (2, latest)
        assert (paste(latest), paste(line)) == ((0, ""), (0, ""))
        assert test.read_bytes() == new
