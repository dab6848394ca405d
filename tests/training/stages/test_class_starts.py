"""Classes that begin at means and texts, in whole runs."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from eml.dataset.table import Table
from eml.errors import CheckpointError, ConfigError
from eml.head.inits import HeadInit
from eml.head.text_terms import TextTerm
from eml.texts.vectors import EncoderFacts, TextVectors, write_text_vectors
from eml.training.build import build_parts
from eml.training.config import RunConfig
from eml.training.dry_run import dry_run
from eml.training.events import Event, Note
from eml.training.fit import fit
from eml.training.run_folder import RunFolder
from eml.training.stages.class_starts import StartVectors, class_means, start_classes
from eml.training.stages.features import embed_training_images
from eml.training.text_projection import centred
from tests.distributed import process_group
from tests.distributed.process_group import task
from tests.training.runs import assert_near, changed, left_by, lines, stop_at

OFF = {"check": False}
ANCHOR, GUIDANCE = {"type": "anchor", **OFF}, {"type": "language_guidance", **OFF}


@pytest.fixture
def open_run(staged: RunConfig) -> RunConfig:
    """A run of 6 steps on 12 classes, without neck and validation."""
    model = staged.model.model_dump() | {"neck": {"type": "identity"}}
    return changed(staged, stages="none", model=model, data=staged.data.model_dump() | {"fold": None}, epochs=1)


def write_vectors(path: Path, labels: list[str], rows: np.ndarray) -> dict[str, Any]:
    unit = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    encoder = EncoderFacts(name="words:a", digest="0" * 32)
    write_text_vectors(path, TextVectors(tuple(labels), unit, tuple((label,) for label in labels), encoder))
    return {"vectors": path}


@pytest.fixture
def texts(open_run: RunConfig, open_table: Table, tmp_path: Path) -> dict[str, Any]:
    """Texts that are as similar as the classes look to the starting network."""
    parts = build_parts(open_run, open_table)
    rows = StartVectors(parts).means().numpy()[:, ::-1]
    return write_vectors(tmp_path / "texts.safetensors", parts.data.classes, rows)


@pytest.fixture
def nonsense(open_table: Table, tmp_path: Path) -> dict[str, Any]:
    labels = sorted(open_table.frame["label"].unique())
    rows = np.random.default_rng(1).normal(size=(len(labels), 24))
    return write_vectors(tmp_path / "nonsense.safetensors", labels, rows)


def noted(config: RunConfig, table: Table) -> list[str]:
    notes: list[str] = []

    def observe(event: Event) -> None:
        if isinstance(event, Note) and event.text.startswith("class texts"):
            notes.append(event.text)

    fit(config, table, observe=observe)
    return notes


def test_class_weights_begin_at_the_texts_with_their_cosines_and_the_term_has_the_same_rows(
    open_run: RunConfig, open_table: Table, texts: dict[str, Any]
) -> None:
    head = {"scale": 16, "init": "text"}
    parts = build_parts(changed(open_run, head=head, text="language_guidance", class_texts=texts), open_table)
    fit = start_classes(parts)
    assert fit is not None
    assert fit.correlation == pytest.approx(1)
    rows, centre = parts.head.class_weights.detach(), centred(StartVectors(parts).means())
    assert torch.allclose(rows @ rows.T, (centre @ centre.T).float(), atol=1e-4)
    assert torch.equal(parts.head.state_dict()["text_rows"], rows)
    several = build_parts(changed(open_run, head=head | {"centers": 2}, class_texts=texts), open_table)
    start_classes(several)
    assert ((several.head.class_weights.detach() * rows.unsqueeze(1)).sum(-1) > 0.9).all()


def test_before_a_batch_norm_neck_texts_are_compared_with_means_of_evenly_scaled_outputs(
    staged: RunConfig, open_run: RunConfig, open_table: Table, tmp_path: Path
) -> None:
    parts = build_parts(open_run, open_table)
    outputs, labels = embed_training_images(parts, parts.embedder)
    scaled = (outputs - outputs.mean(0)) / outputs.std(0, correction=0).clamp_min(1e-5**0.5)
    means = class_means(scaled, torch.from_numpy(labels), 12)
    texts = write_vectors(tmp_path / "texts.safetensors", parts.data.classes, means.numpy()[:, ::-1])
    fit = start_classes(
        build_parts(changed(open_run, model=staged.model, text="anchor", class_texts=texts), open_table)
    )
    assert fit is not None
    assert fit.correlation == pytest.approx(1, abs=1e-3)


@pytest.mark.wide
@pytest.mark.parametrize(
    ("init", "term"),
    [
        pytest.param("text", ANCHOR, id="anchor"),
        pytest.param("random", GUIDANCE, id="guidance", marks=pytest.mark.wide),
    ],
)
def test_a_run_that_is_resumed_leaves_the_same_bytes_without_its_texts(
    init: str, term: dict[str, Any], open_run: RunConfig, open_table: Table, nonsense: dict[str, Any], tmp_path: Path
) -> None:
    head = {"scale": 16, "init": {"type": "text", **OFF} if init == "text" else init}
    whole = changed(open_run, head=head, text=term, class_texts=nonsense, accumulate=2)
    (text, fit_text) = noted(whole, open_table)
    assert text.startswith("class texts: 24 numbers each by words:a, such as of 'c0'; ")
    assert f"term {term['type']}, weight " in text
    assert fit_text.endswith("), and are used, since check is false")
    assert json.loads((whole.output / "run.json").read_text())["class_texts"]["classes"] == 12
    stopped = changed(whole, output=tmp_path / "stopped")
    stop_at(stopped, open_table, 3)
    nonsense["vectors"].unlink()
    other = changed(stopped, class_texts={"encoder": "st:other"})
    with pytest.raises(CheckpointError, match=r"does not fit \(its text vectors are of the class_texts before"):
        fit(other, open_table, resume=True, accept_changes=True)
    fit(changed(stopped, class_texts={"vectors": tmp_path / "moved.safetensors"}), open_table, resume=True)
    mine, theirs = left_by(stopped.output), left_by(whole.output)
    assert {name: data for name, data in mine.items() if data} == theirs, "the log of no validations is empty"
    plain = changed(open_run, output=tmp_path / "plain", accumulate=2)
    fit(plain, open_table)
    assert lines(plain.output)[0]["loss"] != lines(whole.output)[0]["loss"]


@pytest.mark.slow
def test_texts_that_say_nothing_leave_the_run_as_it_is_without_them_to_the_bit(
    open_run: RunConfig, open_table: Table, nonsense: dict[str, Any], tmp_path: Path
) -> None:
    head = {"scale": 16, "init": "text"}
    (_, note) = noted(changed(open_run, head=head, text="anchor", class_texts=nonsense), open_table)
    assert note.startswith("class texts: classes with similar texts do not look more alike than chance (correlation ")
    assert note.endswith("), so head.init and text are left out; check: false keeps them")
    plain = changed(open_run, output=tmp_path / "plain")
    assert noted(plain, open_table) == []
    mine, theirs = left_by(open_run.output), left_by(plain.output)
    assert mine.keys() == theirs.keys()
    assert mine["steps.jsonl"] == theirs["steps.jsonl"]
    weights = "checkpoints/epoch-001/model.safetensors"
    assert mine[weights] == theirs[weights]


@pytest.mark.wide
@pytest.mark.xdist_group("processes")
def test_two_processes_train_with_texts_as_one_does(
    open_run: RunConfig, open_table: Table, texts: dict[str, Any], tmp_path: Path
) -> None:
    model = open_run.model.model_dump() | {"batch_norm": "frozen", "neck": {"type": "identity"}}
    sgd = {"name": "sgd", "lr": {"backbone": 0.05, "neck": 0.05, "class_weights": 0.5}, "clip": 1.0}
    values = {"model": model, "optimizer": sgd, "head": {"scale": 16, "init": "text"}, "class_texts": texts}
    one = changed(open_run, data=open_run.data.model_dump() | {"fold": 0}, **values)
    for name in TextTerm.members():
        alone = changed(one, text=name, output=tmp_path / name)
        fit(alone, open_table)
        two = changed(alone, output=tmp_path / f"{name}-two")
        (tmp_path / f"meet-{name}").mkdir()
        assert process_group.run(2, [task(two, open_table)], tmp_path / f"meet-{name}") == [(0, ""), (0, "")]
        assert_near(two.output, alone.output)
        both = [RunFolder(run.output).load_state()[0]["head"]["text_rows"] for run in (two, alone)]
        assert len(both[0]) == 8, "the classes of both processes"
        torch.testing.assert_close(*both, rtol=0, atol=1e-5)


def test_a_dry_run_says_which_texts_are_used_and_whether_they_fit(
    open_run: RunConfig, open_table: Table, texts: dict[str, Any]
) -> None:
    config = changed(open_run, text={"type": "anchor", "weight": 0.5}, class_texts=texts)
    notes = [note for note in dry_run(config, open_table).warnings if note.startswith("class texts")]
    assert notes[0].endswith("by words:a, such as of 'c0'; term anchor, weight 0.5 falling to 0")
    assert notes[1].startswith("class texts: classes with similar texts look alike (correlation ")
    assert not open_run.output.exists()


def test_texts_without_an_encoder_are_refused_before_a_folder_is_made(open_run: RunConfig, open_table: Table) -> None:
    with pytest.raises(ConfigError, match=r"class_texts\.encoder: .* no text tower, so name what embeds"):
        fit(changed(open_run, head={"scale": 16, "init": "text"}), open_table)
    assert not open_run.output.exists()


def test_the_key_that_head_init_had_before_is_read(open_run: RunConfig, tmp_path: Path) -> None:
    given = {"output": tmp_path, "data": {"table": tmp_path}, "class_weights": "means"}
    assert RunConfig.model_validate(given).head.init.type == "means"
    assert RunConfig.model_validate(given | {"head": {"scale": 4}}).head == changed(open_run, head={
        "scale": 4, "init": "means"}).head  # fmt: skip
    with pytest.raises(ValueError, match=r"class_weights is now head\.init, which is set too; leave class_weights out"):
        RunConfig.model_validate(given | {"head": {"init": "random"}})
    assert sorted(HeadInit.members()) == ["means", "random", "text"]
