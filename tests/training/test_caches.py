import json
import re
import shutil
from pathlib import Path

import pytest

from eml.cli.app import main
from eml.dataset.table import Table, read_table
from eml.errors import CheckpointError, ConfigError, DataError
from eml.images.augment.base import Augmenter
from eml.images.cache import caches
from eml.images.crop import Crop
from eml.images.preprocess import Preprocess
from eml.training.batches import TrainingBatches
from eml.training.build import build_parts
from eml.training.caches import training_settings
from eml.training.config import CacheConfig, RunConfig
from eml.training.dry_run import dry_run
from eml.training.events import Caching, Event, Note
from eml.training.fit import fit
from tests.training.runs import changed, left_by, stop_at

pytestmark = pytest.mark.slow


@pytest.fixture
def own(table: Table, tmp_path: Path) -> Table:
    """A copy of the images, in whose folder caches may be made."""
    root = tmp_path / "colours"
    shutil.copytree(table.root, root)
    return read_table(root / "folds.csv")


def with_cache(config: RunConfig, table: Table, cache: object, **values: object) -> RunConfig:
    return changed(config, data={"table": table.path, "workers": 0, "cache": cache}, **values)


@pytest.mark.parametrize("kept", ["raw", pytest.param("jpeg", marks=pytest.mark.wide)])
def test_a_run_with_a_cache_stopped_and_resumed_equals_an_uninterrupted_one(
    kept: str, config: RunConfig, own: Table, tmp_path: Path
) -> None:
    whole = with_cache(config, own, kept)
    fit(whole, own)
    other = changed(whole, output=tmp_path / "other")
    stop_at(other, own, 7)
    shutil.rmtree(own.root / ".eml_cache")  # is made again, with the same bytes
    fit(other, own, resume=True)
    assert left_by(other.output) == left_by(whole.output)


def test_validation_sees_the_same_with_and_without_a_cache_and_training_other_pixels(
    config: RunConfig, own: Table, tmp_path: Path
) -> None:
    tables = {"again": own.path}
    left = {}
    for name, cache in (("files", None), ("raw", {"format": "raw", "folder": tmp_path / "caches"})):
        run = with_cache(config, own, cache, output=tmp_path / name, epochs=1, validation={"tables": tables})
        fit(run, own)
        left[name] = [
            (run.output / f"{log}.jsonl").read_text(encoding="utf-8").splitlines() for log in ("metrics", "steps")
        ]
    assert left["raw"][0][0] == left["files"][0][0]
    assert left["raw"][1] != left["files"][1]
    assert len(caches(tmp_path / "caches")) == 2
    assert not (own.root / ".eml_cache").exists()


def test_a_cache_is_filled_with_progress_and_reused_the_next_time(config: RunConfig, own: Table) -> None:
    run = with_cache(config, own, "raw", epochs=1)
    seen: list[Event] = []
    fit(run, own, observe=seen.append)
    assert Caching(20, 20) in seen
    notes = [event.text for event in seen if isinstance(event, Note)]
    assert any("cache: 20 images to add, about " in text for text in notes)
    assert any("cache: training: added 20 of 20 images, " in text for text in notes)
    assert any("cache: validation: added 30 of 30 images, " in text for text in notes)
    seen.clear()
    fit(run, own, overwrite=True, observe=seen.append)
    assert not [event for event in seen if isinstance(event, Caching)]
    assert Note("cache: training: 20 images are cached, unchanged") in seen


def test_going_on_with_another_cache_is_a_change_that_matters_unless_only_its_place_differs(
    config: RunConfig, own: Table, tmp_path: Path
) -> None:
    run = with_cache(config, own, "raw")
    stop_at(run, own, 3)
    with pytest.raises(CheckpointError, match=r"data: .*'format': 'raw'.* → .*'format': 'jpeg'|data\.cache"):
        fit(with_cache(config, own, "jpeg"), own, resume=True)
    with pytest.raises(CheckpointError, match=r"data\.cache"):
        fit(with_cache(config, own, None), own, resume=True)
    moved = {"format": "raw", "folder": tmp_path / "elsewhere", "validation": False}
    fit(with_cache(config, own, moved), own, resume=True)
    assert len(caches(tmp_path / "elsewhere")) == 1


def test_what_is_kept_follows_from_what_crops_need() -> None:
    preprocess, raw = Preprocess(size=160), CacheConfig()
    for augmenter, side in (
        (Augmenter(), 160),
        (Augmenter(crop=Crop(0.3, 1.2)), 192),
        (Augmenter(crop=Crop(0.75, 1.2)), 320),
        (Augmenter(before_resize=lambda pixels, seed: pixels), 240),
    ):
        assert training_settings(raw, preprocess, augmenter).side == side
    assert training_settings(CacheConfig(side=170), preprocess, Augmenter()).side == 170
    with pytest.raises(ConfigError, match=r"data\.cache\.side must be at least image\.size, 160, .*; got 100"):
        training_settings(CacheConfig(side=100), preprocess, Augmenter())


def test_what_is_kept_of_images_that_are_no_squares_covers_height_and_width() -> None:
    preprocess, augmenter = Preprocess(size=(256, 128)), Augmenter(crop=Crop(0.3, 1.2))
    assert training_settings(CacheConfig(), preprocess, augmenter).side == (306, 153)
    assert training_settings(CacheConfig.model_validate({"side": "300x140"}), preprocess, augmenter).side == (300, 140)
    assert training_settings(CacheConfig(side=256), preprocess, augmenter).side == 256
    for side, text in ((200, "200"), ((300, 100), "300×100"), ((200, 200), "200")):
        expected = rf"data\.cache\.side must be at least image\.size, 256×128, .*; got {text}$"
        with pytest.raises(ConfigError, match=expected):
            training_settings(CacheConfig(side=side), preprocess, augmenter)


def test_an_unreadable_image_ends_the_run_before_it_has_a_folder(config: RunConfig, own: Table) -> None:
    (own.root / "c1" / "1.png").write_bytes(b"no image")
    run = with_cache(config, own, "raw")
    with pytest.raises(DataError, match=r"c1/1\.png: its bytes are of no known image format"):
        fit(run, own)
    assert not config.output.exists()


def test_a_dry_run_makes_no_cache_and_says_so(config: RunConfig, own: Table) -> None:
    result = dry_run(with_cache(config, own, "raw"), own)
    assert any("a dry run fills no cache" in line for line in result.warnings)
    assert not (own.root / ".eml_cache").exists()


def test_eml_cache_makes_what_the_run_reads(
    config: RunConfig, own: Table, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from eml.config import dump

    run = with_cache(config, own, "jpeg", epochs=1)
    file = tmp_path / "config.yaml"
    file.write_text(dump(run), encoding="utf-8")
    assert main(["cache", str(file), "--json"]) == 0
    made = json.loads(capsys.readouterr().out)["caches"]
    assert [(each["use"], each["added"]) for each in made] == [("training", 20), ("validation", 30)]
    seen: list[Event] = []
    TrainingBatches(build_parts(run, own)).fill_caches(seen.append)
    assert [str(event) for event in seen if isinstance(event, Caching)] == []
    assert main(["cache", str(own.path), "--side", "16"]) == 0
    capsys.readouterr()
    assert len(caches(own.root / ".eml_cache")) == 3
    assert main(["cache", str(file), "--prune", "--check"]) == 0
    assert "side 16, bicubic, raw" in capsys.readouterr().err
    assert len(caches(own.root / ".eml_cache")) == 2
    assert main(["cache", str(own.path), "--clear"]) == 0
    assert not (own.root / ".eml_cache").exists()


def test_eml_cache_says_which_options_go_with_what(
    config: RunConfig, own: Table, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from eml.config import dump

    file = tmp_path / "config.yaml"
    file.write_text(dump(config), encoding="utf-8")
    for arguments, told in (
        ([str(file), "--side", "20"], "--side: only for a table; for a config set data.cache"),
        ([str(own.path), "--set", "epochs=1"], "--set: only for a config"),
        ([str(own.path)], "a table needs --side"),
        ([str(own.path), "--side", "20", "--quality", "90"], "--quality goes with --format jpeg"),
    ):
        assert main(["cache", *arguments]) == 2
        assert told in capsys.readouterr().err


def test_the_page_on_images_lists_every_key_with_its_default() -> None:
    page = (Path(__file__).parents[2] / "docs" / "images.md").read_text(encoding="utf-8")
    listed = dict(re.findall(r"^\| `(\w+)` \| `?(\w+)`? \|", page, flags=re.MULTILINE))
    fields = {name: json.dumps(field.default).strip('"') for name, field in CacheConfig.model_fields.items()}
    assert listed == fields
