"""A run stays compatible with an older model, measures that in the end, and declares it only where it holds."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from torch.nn.functional import normalize as unit_length

import eml
from eml.config import load
from eml.dataset.table import Table
from eml.errors import CheckpointError, ConfigError
from eml.images.mixes import Mixed
from eml.models.checkpoint import read_compatible, read_trained_on, save_checkpoint
from eml.training.build import build_parts
from eml.training.checks import check, run_notes
from eml.training.compatibility.measure import CompatibilityResult
from eml.training.config import RunConfig
from eml.training.dry_run import dry_run
from eml.training.events import Note
from eml.training.fit import fit
from eml.training.recipe import apply_recipe
from eml.training.stages.staging import stages_problem
from tests.distributed import process_group
from tests.distributed.process_group import task
from tests.models.test_compatible import compatible_model
from tests.training.runs import assert_near, by_class, changed, left_by, lines, stop_at


@pytest.fixture(scope="module")
def old(table: Table, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on classes 3 and 4 alone, of 16 numbers."""
    folder = tmp_path_factory.mktemp("old")
    own = by_class(table, folder)
    config = {
        "output": folder / "run",
        "recipe": "none",
        "data": {"table": own.path, "workers": 0},
        "image": {"size": 32},
        "model": {"backbone": "test_resnet", "weights": "none", "neck": {"type": "linear", "size": 16}},
        "epochs": 1,
        "batch_size": 4,
        "seed": 5,
    }
    fit(RunConfig.model_validate(config), own)
    return folder / "run"


def compatible(config: RunConfig, old: Path, **section: object) -> RunConfig:
    return changed(config, compatible_with={"model": old, **section})


def rows(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.wide
def test_a_run_comes_closer_to_its_older_model_measures_it_and_records_it(
    config: RunConfig, table: Table, old: Path
) -> None:
    own, notes = compatible(config, old), list[str]()
    own = changed(own, optimizer={"lr": {"backbone": 1e-3, "neck": 1e-2}}, epochs=3)
    result = fit(own, table, observe=lambda event: notes.append(event.text) if isinstance(event, Note) else None)
    first, *_, last = lines(own.output)
    assert last["compatible_cosine"] > first["compatible_cosine"] + 0.05
    assert last["influence"] < first["influence"]
    assert any(note.startswith(f"compatible with {old}") for note in notes)
    facts = json.loads((own.output / "run.json").read_text())
    digest = eml.load(old, device="cpu").fingerprint.digest
    assert facts["compatible_with"]["fingerprint"] == facts["compatibility"]["fingerprint"] == digest
    assert read_trained_on(own.output).classes == {f"c{number}" for number in range(5)}
    measured = result.compatibility
    assert measured is not None
    assert measured.measured is not None
    assert measured.measured.queries == 10
    assert [entry.fingerprint for entry in read_compatible(own.output)] == ([digest] if measured.is_declared else [])
    assert measured.to_dict()["measured"] == facts["compatibility"]["measured"]
    evaluated = eml.evaluate(
        str(own.output), data=[table.path], gallery_model=str(old), out=own.output / "out", report=False
    )
    cross_model = evaluated.results[0].analysis.cross_model
    assert cross_model is not None
    assert "own" in measured.measured.model_dump()


def test_what_fits_is_declared_and_what_does_not_is_not_and_says_so(
    config: RunConfig, table: Table, old: Path, tmp_path: Path
) -> None:
    """A run that starts from the older model and does not move fits its gallery; one of random weights does not."""
    weak = {"influence": 1e-6, "cosine": 0.0}
    frozen = {"lr": {"backbone": 0.0, "neck": 0.0}}
    same = changed(compatible(config, old, **weak), optimizer=frozen, epochs=1)
    same = changed(same, model={**config.model.model_dump(), "weights": old})
    result = fit(same, table)
    assert result.compatibility is not None
    assert result.compatibility.is_declared
    (entry,) = read_compatible(same.output)
    assert entry.own == eml.load(same.output, device="cpu").fingerprint.digest
    assert "The checkpoint declares it" in result.compatibility.lines()[1]

    other = changed(compatible(config, old, **weak), output=tmp_path / "other", optimizer=frozen, epochs=1)
    result = fit(other, table)
    assert result.compatibility is not None
    assert result.compatibility.measured is not None
    assert not result.compatibility.is_declared
    assert read_compatible(other.output) == ()
    assert result.compatibility.lines()[0].startswith(f"Not compatible with {old}")


def test_the_last_epoch_is_declared_where_the_best_one_does_not_fit() -> None:
    worse, fits = (compatible_model(crossed) for crossed in (0.4, 0.6))
    last = CompatibilityResult("old", 4, fits)
    result = CompatibilityResult("old", 2, worse, last=last)
    assert not result.is_declared
    assert "give checkpoints/last" in result.lines()[1]
    assert result.to_dict()["last"]["declared"]
    assert "does not declare it" in CompatibilityResult("old", 2, worse).lines()[1]


@pytest.mark.wide
def test_nothing_is_declared_where_nothing_is_held_out(config: RunConfig, table: Table, old: Path) -> None:
    everything = changed(compatible(config, old), data=config.data.model_dump() | {"fold": None}, epochs=1)
    result = fit(everything, table)
    assert result.compatibility is not None
    assert "nothing is held out" in result.compatibility.lines()[0]
    assert read_compatible(everything.output) == ()


@pytest.mark.slow
@pytest.mark.wide
def test_a_resumed_run_ends_with_the_same_bits_and_tells_of_a_model_that_is_gone(
    config: RunConfig, table: Table, old: Path, tmp_path: Path
) -> None:
    gone = tmp_path / "gone"
    shutil.copytree(old, gone)
    whole = compatible(config, gone)
    fit(whole, table)
    stopped = changed(whole, output=tmp_path / "stopped")
    stop_at(stopped, table, 7)
    shutil.move(gone, tmp_path / "elsewhere")
    result = fit(stopped, table, resume=True)
    assert result.compatibility is not None
    assert "gone" in result.compatibility.problem, "its embeddings are kept, and the measurement needs itself"
    assert read_compatible(stopped.output) == ()
    shutil.move(tmp_path / "elsewhere", gone)
    fit(stopped, table, resume=True)
    assert left_by(stopped.output) == left_by(whole.output)
    shutil.rmtree(gone)
    again = fit(stopped, table, resume=True)
    assert again.compatibility is not None
    assert again.compatibility.measured is not None, "what was measured is in run.json"


def test_influence_is_the_softmax_over_class_means_and_the_cosine_that_of_each_image(
    config: RunConfig, table: Table, old: Path, tmp_path: Path
) -> None:
    parts = build_parts(compatible(config, old, influence=2.0, cosine=3.0, influence_scale=7.0), table)
    term = parts.compatibility
    assert term is not None
    embeddings, numbers = rows(4, 16), torch.tensor([3, 0, 9, 5])
    labels = parts.labels[numbers]
    assert term.add_to(torch.tensor(2.0), embeddings, labels, numbers)[0] == 2.0, "before it is prepared"
    from eml.inference.embed import Batching

    references = term.prepare(tmp_path, batching=Batching()).embeddings
    means = torch.stack([references[parts.labels == number].mean(0) for number in range(5)])
    logits = 7 * unit_length(embeddings) @ unit_length(means).T
    cosine = (unit_length(embeddings) * references[numbers]).sum(1)
    entropy = torch.nn.functional.cross_entropy
    loss, figures = term.add_to(torch.tensor(2.0), embeddings, labels, numbers)
    torch.testing.assert_close(loss, 2 + 2 * entropy(logits, labels) + 3 * (1 - cosine).mean())
    assert float(figures["compatible_cosine"]) == pytest.approx(float(cosine.mean()), abs=1e-6)

    mixed = Mixed(torch.zeros(4, 3, 8, 8), torch.tensor([1, 0, 3, 2]), torch.tensor([0.7, 0.7, 0.2, 1.0]))
    share, partners = mixed.share, mixed.partners
    partner_cosine = (unit_length(embeddings) * references[numbers[partners]]).sum(1)
    influence = [entropy(logits, own, reduction="none") for own in (labels, labels[partners])]
    expected = 2 * (share * influence[0] + (1 - share) * influence[1])
    expected = expected + 3 * (share * (1 - cosine) + (1 - share) * (1 - partner_cosine))
    loss, _ = term.add_to(torch.tensor(2.0), embeddings, labels, numbers, mixed=mixed)
    torch.testing.assert_close(loss, 2 + expected.mean())


@pytest.mark.wide
def test_parts_of_a_batch_give_the_step_of_the_whole(
    config: RunConfig, table: Table, old: Path, tmp_path: Path
) -> None:
    model = {**config.model.model_dump(), "batch_norm": "frozen"}
    sgd = {"name": "sgd", "lr": {"backbone": 0.01, "neck": 0.01, "class_weights": 0.1}, "clip": 1.0}
    whole = changed(compatible(config, old), model=model, epochs=1, optimizer=sgd)
    parts = changed(whole, output=tmp_path / "parts", accumulate=2)
    fit(whole, table)
    fit(parts, table)
    assert_near(parts.output, whole.output, rel=1e-4)


@pytest.mark.xdist_group("processes")
@pytest.mark.wide
def test_two_processes_train_and_measure_as_one(config: RunConfig, table: Table, old: Path, tmp_path: Path) -> None:
    neck = {"type": "linear", "size": 16, "batch_norm": False}
    model = {**config.model.model_dump(), "batch_norm": "frozen", "neck": neck}
    sgd = {"name": "sgd", "lr": {"backbone": 0.01, "neck": 0.01, "class_weights": 0.1}, "clip": 1.0}
    one = changed(compatible(config, old, batch_size=3), model=model, optimizer=sgd, batch_size=5)
    two, mixed = changed(one, output=tmp_path / "two"), changed(one, output=tmp_path / "mixed", mix={"type": "cutmix"})
    assert process_group.run(2, [task(two, table), task(mixed, table)], tmp_path) == [(0, ""), (0, "")]
    fit(one, table)
    assert_near(two.output, one.output, rel=1e-4)
    measured = [json.loads((run.output / "run.json").read_text())["compatibility"] for run in (one, two)]
    assert measured[0]["measured"]["crossed"] == pytest.approx(measured[1]["measured"]["crossed"], abs=1e-3)


def test_a_size_that_differs_is_told_with_what_to_set(config: RunConfig, table: Table, old: Path) -> None:
    own = changed(compatible(config, old), model={**config.model.model_dump(), "neck": {"type": "linear", "size": 24}})
    with pytest.raises(ConfigError, match=r"set model\.neck: {type: linear, size: 16}$") as caught:
        check(own, resume=False, overwrite=False)
    assert caught.value.problems[0].code == "wrong-shape"
    with pytest.raises(ConfigError, match=r"{type: linear, size: 16} or leave it out"):
        check(changed(own, recipe="auto"), resume=False, overwrite=False)
    own = changed(own, model={**config.model.model_dump(), "neck": {"type": "identity"}})
    with pytest.raises(ConfigError, match=r"set model\.neck: {type: linear, size: 16}"):
        build_parts(own, table)


@pytest.fixture
def centred(config: RunConfig, table: Table, tmp_path: Path) -> Path:
    """A checkpoint with a BNNeck, and embeddings as large as the features."""
    model = {**config.model.model_dump(), "neck": {"type": "bnneck"}}
    parts = build_parts(changed(config, model=model), table)
    save_checkpoint(tmp_path / "centred", parts.embedder, parts.config.model, parts.preprocess, ["c0"], {})
    return tmp_path / "centred"


@pytest.mark.parametrize("starts", [False, True])
def test_an_open_neck_is_that_of_the_older_model_and_one_that_does_not_fit_is_refused_with_it(
    config: RunConfig, table: Table, centred: Path, starts: bool
) -> None:
    model = {"backbone": "test_resnet", "weights": centred if starts else "none"}
    plain = {"output": config.output, "data": config.data.model_dump(), "compatible_with": centred, "model": model}
    own = RunConfig.model_validate(plain)
    check(own, resume=False, overwrite=False)
    chosen, _ = apply_recipe(own, table)
    assert chosen.model.neck.type == "bnneck"
    assert build_parts(changed(chosen, image={"size": 32}), table).compatibility is not None

    for other in (changed(own, model=model | {"neck": {"type": "linear", "size": 24}}), changed(own, recipe="none")):
        with pytest.raises(ConfigError, match=r"set model\.neck: {type: bnneck}") as caught:
            check(other, resume=False, overwrite=False)
        assert caught.value.problems[0].parameter == "model.neck"


def test_a_recipe_takes_the_older_models_size_and_leaves_the_stages_out(
    config: RunConfig, table: Table, old: Path
) -> None:
    plain = {"output": config.output, "data": config.data.model_dump(), "image": {"size": 32}}
    plain |= {"model": {"backbone": "test_vit", "weights": "none"}, "compatible_with": old}
    chosen, reasons = apply_recipe(RunConfig.model_validate(plain), table)
    assert (chosen.model.neck.type, getattr(chosen.model.neck, "size", None)) == ("linear", 16)
    assert chosen.stages == "none"
    assert any(f"the size of the embeddings of {old}" in reason for reason in reasons)
    staged = build_parts(changed(compatible(config, old), stages="auto", model={**config.model.model_dump()}), table)
    assert stages_problem(staged) is not None


def test_an_older_model_that_knows_what_is_measured_is_told(
    config: RunConfig, table: Table, old: Path, tmp_path: Path
) -> None:
    held_out = by_class(table, tmp_path)
    own = changed(compatible(config, old), data={**config.data.model_dump(), "table": held_out.path, "fold": 1})
    (note,) = [note for note in run_notes(build_parts(own, held_out)) if "compatible_with" in note]
    assert "was trained on 2 of the 2 classes that the new model does not see" in note
    assert "student" not in note


def test_a_dry_run_counts_the_older_model_and_writes_nothing(config: RunConfig, table: Table, old: Path) -> None:
    result = dry_run(compatible(config, old), table)
    assert result.teacher_minutes is not None
    assert not config.output.exists()


def test_settings_that_cannot_be_are_refused_where_they_stand(tmp_path: Path, config: RunConfig) -> None:
    file = tmp_path / "run.yaml"
    start = f"output: {tmp_path}/out\ndata: {{table: t.csv}}\n"
    for text, message in (
        ("compatible_with:\n  model: old\n  influence: 0\n  cosine: 0\n", "influence and cosine are both 0"),
        ("compatible_with:\n  model: old\n  weigth: 2\n", "run.yaml:5: "),
        ("compatible_with:\n  influence: 2\n", "compatible_with.model"),
    ):
        file.write_text(start + text)
        with pytest.raises(ConfigError) as caught:
            load(RunConfig, file)
        assert message in str(caught.value)
    file.write_text(start + "compatible_with: old\n")
    read: RunConfig = load(RunConfig, file)
    assert read.compatible_with is not None
    assert read.compatible_with.model == tmp_path / "old"
    with pytest.raises(ConfigError, match="compatible_with: ") as refused:
        check(changed(config, compatible_with=tmp_path / "old"), resume=False, overwrite=False)
    assert "compatible_with" in {problem.parameter for problem in refused.value.problems}
    assert not isinstance(refused.value, CheckpointError)
