"""A student follows its teacher, what that was trained on is told and recorded, and a resumed run needs it no more."""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import normalize as unit_length

import eml
from eml.config import load
from eml.dataset.table import Table
from eml.errors import CheckpointError, ConfigError
from eml.head.shards import Shard
from eml.images.mixes import Mixed
from eml.inference.embed import Batching
from eml.models.checkpoint import read_trained_on
from eml.training.build import build_parts
from eml.training.checks import check, run_notes
from eml.training.config import RunConfig
from eml.training.distillation.distiller import references_folder
from eml.training.distillation.terms import angle_term, cosine_term, distance_term
from eml.training.dry_run import dry_run
from eml.training.events import Note
from eml.training.fit import fit
from tests.distributed import process_group
from tests.distributed.process_group import task
from tests.training.runs import assert_near, by_class, changed, left_by, lines, stop_at

ALL_TERMS = {"distance": 1.0, "angle": 2.0}


@pytest.fixture(scope="module")
def teacher(table: Table, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on classes 3 and 4 alone, of 24 numbers."""
    folder = tmp_path_factory.mktemp("teacher")
    own = by_class(table, folder)
    neck = {"type": "linear", "size": 24}
    config = {
        "output": folder / "run",
        "recipe": "none",
        "data": {"table": own.path, "workers": 0},
        "image": {"size": 32},
        "model": {"backbone": "test_resnet", "weights": "none", "neck": neck},
        "epochs": 1,
        "batch_size": 4,
        "seed": 5,
    }
    fit(RunConfig.model_validate(config), own)
    return folder / "run"


def distilled(config: RunConfig, teacher: Path, **section: object) -> RunConfig:
    return changed(config, distill={"teacher": teacher, **section})


def rows(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_terms_are_the_papers_and_zero_for_a_student_that_agrees() -> None:
    """Distances and angles, by loops over all pairs and triplets."""
    student, teacher = rows(5, 3), rows(5, 4, seed=1)

    def distances(rows: torch.Tensor) -> torch.Tensor:
        unit = unit_length(rows)
        pairs = [(unit[i] - unit[j]).norm() for i in range(5) for j in range(i + 1, 5)]
        return torch.stack(pairs) / torch.stack(pairs).mean()

    def angles(rows: torch.Tensor) -> torch.Tensor:
        unit, cosines = unit_length(rows), []
        for i in range(5):
            for j in range(5):
                for k in range(5):
                    first, second = unit[j] - unit[i], unit[k] - unit[i]
                    length = first.norm() * second.norm()
                    cosines.append(first @ second / length if length > 1e-6 else torch.zeros(()))
        return torch.stack(cosines)

    huber = torch.nn.functional.smooth_l1_loss
    torch.testing.assert_close(distance_term(student, teacher), huber(distances(student), distances(teacher)))
    torch.testing.assert_close(angle_term(student, teacher), huber(angles(student), angles(teacher)))
    for term in (distance_term, angle_term):
        assert float(term(7 * student, student)) == pytest.approx(0, abs=1e-6)
    turned = torch.tensor([[0.0, 2.0], [1.0, 1.0]])
    assert cosine_term(torch.tensor([[3.0, 0.0], [1.0, 0.0]]), turned).tolist() == pytest.approx(
        [1.0, 1 - math.sqrt(0.5)]
    )


def test_terms_have_finite_gradients_where_images_coincide_and_in_large_batches() -> None:
    together = torch.ones(3, 4, requires_grad=True)
    (distance_term(together, rows(3, 4)) + angle_term(together, rows(3, 4))).backward()
    assert together.grad is not None
    assert together.grad.isfinite().all()
    assert float(distance_term(torch.ones(1, 4), torch.ones(1, 4)).nan_to_num()) == 0
    large = rows(130, 4)
    assert float(angle_term(large, large)) == 0


def test_a_run_follows_its_teacher_and_records_it(
    config: RunConfig, table: Table, teacher: Path, tmp_path: Path
) -> None:
    plain = distilled(config, teacher, labels=0.0, weight=3.0)
    notes: list[str] = []
    fit(plain, table, observe=lambda event: notes.append(event.text) if isinstance(event, Note) else None)
    first, *_, last = (line["teacher_cosine"] for line in lines(plain.output))
    assert last > first + 0.1, "labels play no part"
    assert lines(plain.output)[0]["loss"] == pytest.approx(3 * (1 - first), rel=1e-4)
    assert any("teacher: " in note and "by a linear map from 16 to 24 numbers" in note for note in notes)
    facts = json.loads((plain.output / "run.json").read_text())
    assert facts["distill"]["fingerprint"] == eml.load(teacher, device="cpu").fingerprint.digest
    assert eml.load(plain.output, device="cpu").size == 16, "the map stays behind"
    record = read_trained_on(plain.output)
    assert len(record.keys) == 20 + 4, "4 held-out images are of the classes that the teacher was trained on"
    assert record.classes == {f"c{number}" for number in range(5)}
    assert lines(plain.output, "timings")[0]["phase"] == "teacher"


@pytest.mark.slow
@pytest.mark.wide
def test_a_resumed_run_ends_with_the_same_bits_without_its_teacher(
    config: RunConfig, table: Table, teacher: Path, tmp_path: Path
) -> None:
    gone = tmp_path / "gone"
    shutil.copytree(teacher, gone)
    whole = changed(distilled(config, gone, **ALL_TERMS), epochs=1)
    fit(whole, table)
    stopped = changed(whole, output=tmp_path / "stopped")
    stop_at(stopped, table, 3)
    shutil.rmtree(gone)
    kept = references_folder(stopped).rename(tmp_path / "kept")
    with pytest.raises(CheckpointError, match=r"distill\.teacher: .*gone"):
        fit(stopped, table, resume=True)
    shutil.move(kept, references_folder(stopped))
    fit(stopped, table, resume=True)
    assert left_by(stopped.output) == left_by(whole.output)


@pytest.mark.wide
def test_another_teacher_is_no_reason_to_go_on_silently(
    config: RunConfig, table: Table, teacher: Path, tmp_path: Path
) -> None:
    fit(own := distilled(config, teacher), table)
    shutil.copytree(own.output, tmp_path / "second")
    other = distilled(config, tmp_path / "second")
    with pytest.raises(CheckpointError, match=r"another model|does not fit"):
        fit(other, table, resume=True)


@pytest.mark.xdist_group("processes")
@pytest.mark.wide
def test_two_processes_distil_as_one(config: RunConfig, table: Table, teacher: Path, tmp_path: Path) -> None:
    model = {**config.model.model_dump(), "batch_norm": "frozen", "neck": {"type": "identity"}}
    sgd = {"name": "sgd", "lr": {"backbone": 0.01, "neck": 0.01, "class_weights": 0.1}, "clip": 1.0}
    plain = changed(config, model=model, optimizer=sgd, batch_size=5)
    one = distilled(plain, teacher, **ALL_TERMS, batch_size=3)
    two, mixed = changed(one, output=tmp_path / "two"), distilled(plain, teacher, map="linear")
    mixed = changed(mixed, output=tmp_path / "mixed", mix={"type": "cutmix"})
    assert process_group.run(2, [task(two, table), task(mixed, table)], tmp_path) == [(0, ""), (0, "")]
    fit(one, table)
    assert_near(two.output, one.output, rel=1e-4)
    (first,), (second,) = (list(references_folder(own).glob("*.embeddings")) for own in (one, two))
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.wide
def test_parts_of_a_batch_give_the_step_of_the_whole(
    config: RunConfig, table: Table, teacher: Path, tmp_path: Path
) -> None:
    model = {**config.model.model_dump(), "batch_norm": "frozen"}
    sgd = {"name": "sgd", "lr": {"backbone": 0.01, "neck": 0.01, "class_weights": 0.1}, "clip": 1.0}
    whole = changed(distilled(config, teacher, **ALL_TERMS), model=model, epochs=1, optimizer=sgd)
    parts = changed(whole, output=tmp_path / "parts", accumulate=2)
    fit(whole, table)
    fit(parts, table)
    assert_near(parts.output, whole.output, rel=1e-4)


def test_mixed_images_follow_both_teachers_embeddings(config: RunConfig, table: Table, teacher: Path) -> None:
    parts = build_parts(distilled(config, teacher, map="linear"), table)
    distiller = parts.distiller
    assert distiller is not None
    assert distiller.map is not None
    embeddings, numbers = rows(4, 16), torch.tensor([3, 0, 9, 5])
    mixed = Mixed(torch.zeros(4, 3, 8, 8), torch.tensor([1, 0, 3, 2]), torch.tensor([0.7, 0.7, 0.2, 1.0]))
    shard = Shard.whole(2)
    loss, figures = distiller.add_to(torch.tensor(2.0), embeddings, numbers, mixed=mixed, shard=shard)
    targets = distiller.targets(numbers)
    mapped = unit_length(unit_length(embeddings) @ distiller.map.weight.T)
    cosines = mapped @ unit_length(targets - targets.mean(0)).T
    expected = [mixed.share[i] * cosines[i, i] + (1 - mixed.share[i]) * cosines[i, mixed.partners[i]] for i in range(4)]
    torch.testing.assert_close(loss, 2.0 + 1.0 - torch.stack(expected).mean())
    assert float(figures["class_loss"]) == 2.0
    alone, _ = distiller.add_to(torch.tensor(2.0), embeddings, numbers, shard=shard)
    torch.testing.assert_close(alone, 2.0 + 1.0 - cosines.diagonal().mean())


@pytest.mark.wide
def test_what_all_images_share_is_left_out_unless_the_teachers_space_is_to_be_learned(
    config: RunConfig, table: Table, teacher: Path, tmp_path: Path
) -> None:
    shard, embeddings, numbers = Shard.whole(2), rows(3, 16), torch.tensor([3, 0, 9])
    for centered in (True, False):
        distiller = build_parts(distilled(config, teacher, centered=centered, labels=0.0), table).distiller
        assert distiller is not None
        assert distiller.map is not None
        before = distiller.targets(numbers)
        references = distiller.prepare(tmp_path, batching=Batching())
        torch.testing.assert_close(before, references.embeddings[numbers], rtol=0, atol=1e-5)
        common = references.embeddings.mean(0) if centered else torch.zeros(24)
        expected = cosine_term(distiller.map(unit_length(embeddings)), references.embeddings[numbers] - common)
        loss, _ = distiller.add_to(torch.tensor(0.0), embeddings, numbers, shard=shard)
        torch.testing.assert_close(loss, expected.mean())


def test_equal_sizes_need_no_map_and_start_weights_are_those_without_a_teacher(
    config: RunConfig, table: Table, teacher: Path
) -> None:
    plain = changed(config, model={**config.model.model_dump(), "neck": {"type": "linear", "size": 24}})
    parts = build_parts(distilled(plain, teacher), table)
    assert parts.distiller is not None
    assert parts.distiller.map is None
    alone, mapped = (build_parts(own, table) for own in (plain, distilled(plain, teacher, map="linear")))
    for name, weight in alone.embedder.state_dict().items():
        assert torch.equal(weight, mapped.embedder.state_dict()[name])
    assert {group["part"] for group in mapped.optimizer.param_groups} >= {"teacher_map"}


def test_a_teacher_that_knows_what_is_measured_is_told(
    config: RunConfig, table: Table, teacher: Path, tmp_path: Path
) -> None:
    held_out = by_class(table, tmp_path)
    unseen = changed(config, data={**config.data.model_dump(), "table": held_out.path})
    parts = build_parts(distilled(unseen, teacher), held_out)
    assert not [note for note in run_notes(parts) if "distill.teacher" in note], "it saw what the student sees"
    assert parts.validation.questions[""].text == "unseen classes"
    fold_1 = changed(unseen, data={**unseen.data.model_dump(), "fold": 1})
    parts = build_parts(distilled(fold_1, teacher), held_out)
    (note,) = [note for note in run_notes(parts) if "distill.teacher" in note]
    assert "was trained on 2 of the 2 classes that the student does not see and on 12 of the 12 query images" in note
    assert parts.validation.questions[""].text == "images that were trained on (12 of 12)"


def test_a_dry_run_says_how_long_the_teacher_takes_and_writes_nothing(
    config: RunConfig, table: Table, teacher: Path
) -> None:
    result = dry_run(distilled(config, teacher, **ALL_TERMS), table)
    assert result.teacher_minutes is not None
    assert result.teacher is not None
    assert "weight 1 of cosine 1, distance 1, angle 2" in result.teacher
    assert not config.output.exists()


def test_runs_in_the_folder_of_a_run_share_its_references(config: RunConfig, teacher: Path, tmp_path: Path) -> None:
    def folder(output: Path) -> Path:
        return references_folder(changed(distilled(config, teacher), output=output))

    run, folds = tmp_path / "run", tmp_path / "folds"
    for file in (run / "run.json", folds / "folds.json"):
        file.parent.mkdir()
        file.write_text("{}")
    assert {folder(own) for own in (run, run / "refit", run / "rotation" / "fold-1")} == {run / "references"}
    assert folder(folds / "fold-3") == folds / "references"
    assert folder(tmp_path / "refit") == tmp_path / "refit" / "references"
    assert references_folder(distilled(config, teacher, folder=tmp_path)) == tmp_path


def test_several_teachers_are_put_beside_each_other(config: RunConfig, table: Table, teacher: Path) -> None:
    section: dict[str, Any] = {"teacher": [teacher, "timm:test_resnet"], "weights": "none", "size": 32}
    parts = build_parts(changed(config, distill=section), table)
    assert parts.distiller is not None
    assert parts.distiller.teacher.size == 24 + eml.load("timm:test_resnet", weights="none", device="cpu").size
    assert parts.distiller.teacher.status == "known"


def test_settings_that_cannot_be_are_refused_where_they_stand(tmp_path: Path, config: RunConfig) -> None:
    file = tmp_path / "run.yaml"
    start = f"output: {tmp_path}/out\ndata: {{table: t.csv}}\n"
    for text, message in (
        ("distill:\n  teacher: big\n  cosine: 0\n", "run.yaml:5: distill.cosine, distance and angle are all 0"),
        ("distill:\n  teacher: big\n  weights: none\n", "weights is for a teacher timm:NAME"),
        ("distill:\n  teacher: big\n  weigth: 2\n", "run.yaml:5: "),
        ("distill:\n  teacher: big\n  angle: 1\nmix: mixup\n", "distill.angle compares"),
        ("distill:\n  weight: 2\n", "distill.teacher"),
    ):
        file.write_text(start + text)
        with pytest.raises(ConfigError) as caught:
            load(RunConfig, file)
        assert message in str(caught.value)
    file.write_text(start + "distill: {teacher: big}\n")
    read: RunConfig = load(RunConfig, file)
    assert read.distill is not None
    assert read.distill.teacher == tmp_path / "big"
    for section, key in (
        ({"teacher": tmp_path / "big"}, "distill.teacher"),
        ({"teacher": "timm:no_such"}, "distill.teacher"),
        ({"teacher": "timm:test_resnet", "weights": tmp_path / "w.pth"}, "distill.weights"),
    ):
        with pytest.raises(ConfigError) as refused:
            check(changed(config, distill=section), resume=False, overwrite=False)
        assert key in str(refused.value)
        assert refused.value.parameter == key
