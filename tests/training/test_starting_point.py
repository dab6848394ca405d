"""The run that training starts from, and what is said of it."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file

from eml.dataset.table import Table
from eml.files import from_here
from eml.models.trained_on import TrainedOn, trained_on
from eml.training.config import RunConfig
from eml.training.fit import fit
from eml.training.starting_point import earlier_record, starting_note, starting_run
from tests.tiny_clip import CLIP, write_tiny_clip
from tests.training.runs import changed, left_by, stop_at

OLD_RUN = Path(__file__).parents[1] / "fixtures" / "v0_1_0" / "run"


def test_only_a_run_or_a_checkpoint_is_a_starting_point(config: RunConfig) -> None:
    assert starting_run(config) is None
    assert earlier_record(config) is None
    for weights in ("pretrained", str(OLD_RUN / "run.json")):
        assert starting_run(changed(config, model=config.model.model_dump() | {"weights": weights})) is None


def test_the_note_says_what_the_run_was_trained_on_as_far_as_it_is_recorded(config: RunConfig) -> None:
    config = changed(config, model=config.model.model_dump() | {"weights": str(OLD_RUN)})
    assert starting_run(config) == OLD_RUN
    old = earlier_record(config)
    note = starting_note(config, old)
    assert note is not None
    assert note.endswith("classes; on which images it does not record")
    assert starting_note(config, None) is None
    record = trained_on(["a"], np.arange(1200, dtype=np.uint64))
    said = f"starts from {from_here(OLD_RUN)}, which was trained on 1 class and 1,200 images"
    assert starting_note(config, record) == said
    partly = TrainedOn(record.classes, record.images, ("runs/old",))
    assert starting_note(config, partly) == f"{said}, and on more that runs/old does not record"


@pytest.mark.wide
@pytest.mark.xdist_group("clip")
def test_a_run_with_a_frozen_text_tower_resumes_to_the_bit_without_the_folder_that_it_began_from(
    config: RunConfig, table: Table, tmp_path: Path
) -> None:
    pytest.importorskip("open_clip", reason="open_clip_torch is not installed")
    text = CLIP["text_cfg"] | {"width": 8, "heads": 1, "layers": 1}
    folder = write_tiny_clip(tmp_path / "tiny", config=CLIP | {"text_cfg": text})
    model = {"backbone": f"open_clip:local-dir:{folder}", "neck": {"type": "linear", "size": 16}}
    ema = {"decay": 0.9}
    whole = changed(config, model=model, ema=ema)
    fit(whole, table)
    other = changed(whole, output=tmp_path / "other")
    stop_at(other, table, 7)
    folder.rename(tmp_path / "gone")
    fit(other, table, resume=True)
    assert left_by(other.output) == left_by(whole.output)
    before = load_file(tmp_path / "gone" / "open_clip_model.safetensors")
    after = load_file(whole.output / "checkpoints" / "epoch-002" / "model.safetensors")
    assert after["text.network.token_embedding.weight"].equal(before["token_embedding.weight"])
    assert not after["backbone.visual.head.proj.weight"].equal(before["visual.head.proj.weight"])

    next_run = {"backbone": "open_clip:tiny", "weights": whole.output, "neck": {"type": "identity"}}
    fit(changed(config, model=next_run, output=tmp_path / "next", epochs=1), table)
