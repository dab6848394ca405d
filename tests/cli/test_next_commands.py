"""Each `next:` that a command prints can be pasted, from scan on."""

import json
import re
import shlex
from pathlib import Path

import pytest

from eml.cli.app import main
from eml.commands.next_steps import evaluate_command
from eml.dataset.table import Table, read_table
from tests.cli.test_way import draw

pytestmark = pytest.mark.slow

SMALL = "--set epochs=1 --set image.size=32 --set batch_size=16"
WITHOUT_A_HUB = {"init": "--backbone test_resnet --weights none", "train": SMALL}
"""What a command gets besides, so that nothing is downloaded and the training is short."""


class Pasting:
    """A user who pastes the command that is printed as the next one."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys
        self.names: list[str] = []

    def run(self, line: str) -> str | None:
        """Run a command and return the next one, if any."""
        words = shlex.split(line)
        assert words.pop(0) == "eml"
        self.capsys.readouterr()
        code = main([*words, *shlex.split(WITHOUT_A_HUB.get(words[0], ""))])
        err = self.capsys.readouterr().err
        assert code == 0, f"{line}\n{err}"
        self.names.append(words[0])
        lines = re.findall(r"^next: (.*)$", err, flags=re.MULTILINE)
        assert len(lines) <= 1
        return lines[0] if lines else None

    def follow(self, line: str | None) -> list[str]:
        """Run a command and those that are printed as the next ones, until there is none; return their names."""
        self.names = []
        while line is not None:
            line = self.run(line)
        return self.names


@pytest.fixture
def pasting(capsys: pytest.CaptureFixture[str]) -> Pasting:
    return Pasting(capsys)


def test_the_next_commands_lead_from_a_relative_folder_to_an_evaluation(
    pasting: Pasting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    photos = draw(Path("it's my photos"), classes=8, per_class=8)
    names = pasting.follow(f"eml scan {shlex.quote(str(photos))}")
    assert names == ["scan", "filter", "split", "kfold", "init", "train", "evaluate"]
    again = pasting.follow(f"eml scan {shlex.quote(str(photos))}")
    assert again == ["scan", "filter", "split", "kfold"], "no config or run is replaced"


@pytest.mark.wide
@pytest.mark.usefixtures("one_scoring")
def test_with_enough_classes_a_threshold_follows_the_evaluation(pasting: Pasting, tmp_path: Path) -> None:
    photos = draw(tmp_path / "photos", classes=40, per_class=8)
    for line in (f"scan {photos}", f"split {photos} --by alternate", f"init {photos}"):
        pasting.run(f"eml {line}")
    assert pasting.follow(f"eml train {photos}") == ["train", "evaluate", "calibrate", "index", "search"]


@pytest.mark.wide
def test_they_do_so_with_tables_elsewhere(pasting: Pasting, tmp_path: Path) -> None:
    photos, out = draw(tmp_path / "photos", classes=8, per_class=8), tmp_path / "out"
    names = pasting.follow(f"eml scan {photos} --out {out}/images.csv")
    assert names[:7] == ["scan", "filter", "split", "kfold", "init", "train", "evaluate"]
    assert not list(photos.glob("*.csv"))


@pytest.mark.wide
def test_those_after_all_folds_lead_to_a_table_without_suspects(pasting: Pasting, tmp_path: Path) -> None:
    photos = draw(tmp_path / "photos", classes=4, per_class=8)
    first, second = sorted(path for path in photos.iterdir() if path.is_dir())[:2]
    wrong = next(first.iterdir())
    wrong.rename(second / f"wrong{wrong.suffix}")  # so that there is a suspect
    for line in (f"scan {photos}", f"kfold {photos} --k 2", f"init {photos}"):
        pasting.run(f"eml {line}")
    suspects = pasting.run(f"eml train {photos} --fold all")
    assert suspects == f"eml suspects {photos}/run"
    assert pasting.run(f"{suspects} --min-score 1 --out {photos}/run/none") is None  # and here none
    assert pasting.run(suspects) == f"eml filter {photos} --exclude {photos}/run/suspects.csv"


@pytest.mark.parametrize(
    "sizes, after_filter, after_split",
    [
        ([8] * 10, "--by ratio", ""),
        ([8, 8, 8, 2, 2], "--by alternate", ""),
        ([3] * 12, "--by ratio", ""),
        ([2] * 10, "--by ratio", ""),
        ([3] * 5, "--by ratio --test-ratio 0.3", ""),
        ([8, 8], None, None),
    ],
)
def test_the_options_are_those_that_the_data_allow(
    sizes: list[int], after_filter: str | None, after_split: str | None, pasting: Pasting, tmp_path: Path
) -> None:
    photos = draw(tmp_path / "photos", classes=len(sizes), per_class=8)
    for label, size in enumerate(sizes):
        for number in range(size, 8):
            (photos / f"{label:03d}" / f"{number}.jpg").unlink()
    pasting.run(f"eml scan {photos}")
    splitting = pasting.run(f"eml filter {photos} --min-size 8")
    assert splitting == (None if after_filter is None else f"eml split {photos} {after_filter}".rstrip())
    if splitting is not None:
        folding = pasting.run(splitting)
        assert folding == f"eml kfold {photos} {after_split}".rstrip()
        assert pasting.run(folding) == f"eml init {photos}"


def report_of(photos: Path, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Return the commands that the data report recommends."""
    capsys.readouterr()
    assert main(["report", str(photos), "--json"]) == 0
    return [step["command"] for step in json.loads(capsys.readouterr().out)["suggestions"]]


@pytest.mark.parametrize("sizes", [[2] * 10, pytest.param([8, 8, 8, 2, 2], marks=pytest.mark.wide)])
def test_the_data_report_recommends_the_same_commands(
    sizes: list[int], pasting: Pasting, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = draw(tmp_path / "my photos", classes=len(sizes), per_class=8)
    for label, size in enumerate(sizes):
        for number in range(size, 8):
            (photos / f"{label:03d}" / f"{number}.jpg").unlink()
    pasting.run(f"eml scan {shlex.quote(str(photos))}")
    recommended = report_of(photos, capsys)
    splitting = pasting.run(f"eml filter {shlex.quote(str(photos))} --min-size 8")
    assert splitting is not None
    folding = pasting.run(splitting)
    assert recommended == [splitting, folding]
    assert report_of(photos, capsys) == [folding]


@pytest.mark.wide
def test_after_folds_the_next_command_trains_on_them_whatever_the_config_names(
    pasting: Pasting, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = draw(tmp_path / "my photos", classes=4, per_class=4)
    place = shlex.quote(str(photos))
    pasting.run(f"eml scan {place}")
    assert pasting.run(f"eml init {place}") == shlex.join(["eml", "train", f"{photos}/config.yaml"])
    training = pasting.run(f"eml kfold {place} --k 3")
    folds = ["--set", f"data.table={photos}/folds.csv"]
    assert training == shlex.join(["eml", "train", f"{photos}/config.yaml", *folds])
    assert main(["train", f"{photos}/config.yaml", "--dry-run", *shlex.split(SMALL)]) == 0
    assert (
        f"warning: {photos}/folds.csv has folds and is not used; to use them set data.table" in capsys.readouterr().err
    )
    assert main(["train", f"{photos}/config.yaml", *shlex.split(SMALL)]) == 0
    assert main(["kfold", str(photos), "--k", "3"]) == 0
    err = capsys.readouterr().err
    assert f"{photos}/config.yaml names another table; to train on these folds set its data.table: folds.csv\n" in err
    output = ["--set", f"output={photos}/run-2"]
    assert err.endswith(f"next: {shlex.join(['eml', 'train', f'{photos}/config.yaml', *folds, *output])}\n")


def with_a_test(photos: Path, test: str) -> Table:
    """Return a table of classes 0 and 1 outside of their folder, beside a test of classes that `test` names."""
    tables = photos.with_name("the tables")
    tables.mkdir()
    for name, labels in (("dataset_train", "01"), ("dataset_test", test)):
        rows = [f"00{label},00{label}/{number}.jpg" for label in labels for number in range(2)]
        (tables / f"{name}.csv").write_text("\n".join(["label,file_name", *rows]) + "\n")
    return read_table(tables / "dataset_train.csv", photos)


@pytest.mark.parametrize("test, unseen", [("23", 2), ("12", 1), ("01", 0)])
def test_a_run_is_evaluated_on_the_test_beside_its_table_with_the_root_that_it_needs(
    test: str, unseen: int, tmp_path: Path
) -> None:
    table = with_a_test(draw(tmp_path / "my photos", classes=4, per_class=2), test)
    following = evaluate_command(Path("run"), table, None)
    assert following is not None
    assert shlex.split(following.command) == [
        *("eml", "evaluate", "run", "--data", f"{tmp_path}/the tables/dataset_test.csv", "--root"),
        f"{tmp_path}/my photos",
    ]
    assert following.unseen_classes == unseen


def test_a_test_that_measures_nothing_is_not_offered(tmp_path: Path) -> None:
    table = with_a_test(draw(tmp_path / "photos", classes=4, per_class=2), "2")
    assert evaluate_command(Path("run"), table, None) is None, "one class"
    one_each = "label,file_name\n002,002/0.jpg\n003,003/0.jpg\n"
    table.source.with_name("dataset_test.csv").write_text(one_each)
    assert evaluate_command(Path("run"), table, None) is None, "no query has a positive"


def test_without_hashes_there_is_nothing_to_filter_by(pasting: Pasting, tmp_path: Path) -> None:
    photos = draw(tmp_path / "photos", classes=5)
    assert pasting.run(f"eml scan {photos} --no-hashes") == f"eml split {photos} --by ratio --test-ratio 0.3"


def test_those_after_merge_lead_to_a_split(pasting: Pasting, tmp_path: Path) -> None:
    one, two = draw(tmp_path / "one", classes=4), tmp_path / "two"
    two.mkdir()
    for label in ("002", "003"):
        (one / label).rename(two / label)
    filtering = pasting.run(f"eml merge {one} {two} --out {tmp_path}/all")
    assert filtering == f"eml filter {tmp_path}/all --dedup"
    assert pasting.run(filtering) == f"eml split {tmp_path}/all --by ratio --test-ratio 0.4"
