"""A run in stages: what it gives is what its table says, resumed or not, in one process or two."""

import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch

from eml.dataset.table import Table
from eml.errors import Interrupted
from eml.evaluation.evaluate import evaluate_model, rank_gallery
from eml.inference.embed import embed_table
from eml.inference.load import load
from eml.models.config import Inference
from eml.models.pointers import find_checkpoint
from eml.retrieval.metrics import summarise
from eml.training.build import build_parts
from eml.training.config import RunConfig
from eml.training.data import training_data
from eml.training.events import Event, Note, Stepped, Validating
from eml.training.fit import fit
from eml.training.stages.outcomes import with_distractors
from eml.training.stages.staging import stages_problem
from eml.training.stages.steps import StagesResult
from eml.training.stages.views import USUAL, View, passes_of, views_to_try
from tests.training.runs import changed, left_by, lines

pytestmark = pytest.mark.slow
FLIP, CROPS = View(tta="flip"), View(tta="crops")


def given(run: Path) -> dict[str, bytes]:
    """What a run in stages must leave the same besides."""
    facts = json.loads((run / "run.json").read_text())
    return left_by(run) | {"stages": json.dumps(facts["stages"]).encode()}


def test_the_run_gives_what_its_table_of_stages_says(staged: RunConfig, open_table: Table) -> None:
    notes: list[str] = []
    result = fit(
        staged, open_table, observe=lambda event: notes.append(event.text) if isinstance(event, Note) else None
    )
    stages = result.stages
    assert stages is not None
    assert [step.name for step in stages.steps] == ["closed form", "fine-tuned", "mirror image"]
    assert any(note.startswith("closed form (shrinkage") for note in notes)
    assert find_checkpoint(staged.output).name == "finished"
    model = load(staged.output, device="cpu")
    data = training_data(open_table, 0)
    images = data.validation
    assert images is not None
    gallery = with_distractors(images, data.labels)  # the training images, which no query is of
    assert len(gallery.gallery) == 48
    embeddings = torch.cat([embed_table(model, open_table, frame) for frame in (images.frame, data.frame)])
    own = summarise(rank_gallery(embeddings, gallery))
    kept = [step for step in stages.steps if step.kept]
    assert stages.value == pytest.approx(kept[-1].value if kept else stages.untouched)
    assert (model.tta == "flip") == any(step.name == "mirror image" for step in kept)
    if not kept or kept[-1].name == "closed form":  # no choice that is nested in folds, and no mirror image
        assert own.values["map_at_r"] == pytest.approx(stages.value, abs=2e-3)
    facts = json.loads((staged.output / "run.json").read_text())["stages"]
    assert StagesResult.of_dict(facts) == stages
    assert set(stages.judging) == {"c0", "c3", "c6", "c9"}
    assert result.verdict is not None
    assert result.verdict.before == pytest.approx(stages.untouched)
    assert result.verdict.after == pytest.approx(stages.value)
    assert result.verdict.question == "unseen classes"
    before = load(staged.output / "checkpoints" / "start", device="cpu")
    assert before.trained_on is not None
    assert before.trained_on.status == "pretrained"


def test_each_way_to_embed_is_tried_at_each_size_the_quickest_first(staged: RunConfig) -> None:
    side = staged.image.size
    assert side is not None
    assert views_to_try(staged) == [FLIP]
    tried = views_to_try(changed(staged, test_views=["crops", 2 * side, "flip", side]))
    larger = View(2 * side), View(2 * side, "flip"), View(2 * side, "crops")
    assert tried == [FLIP, larger[0], CROPS, *larger[1:]]
    assert passes_of([USUAL, *tried]) == [FLIP, CROPS, *larger[1:]], "an image comes with its mirror image"
    assert [view.cost(side) for view in tried] == [2, 4, 5, 8, 20]
    assert larger[1].text == f"mean with the mirror image, at {2 * side} px"
    assert views_to_try(changed(staged, test_views=[])) == []


def test_a_number_is_the_longer_side_of_the_shape_of_training(staged: RunConfig) -> None:
    tall = changed(staged, test_views=[128, "flip", 64], image={"size": [64, 32]})
    larger = View((128, 64)), View((128, 64), "flip")
    assert views_to_try(tall) == [FLIP, larger[0], larger[1]], "64 is the size of training"
    assert [view.cost((64, 32)) for view in larger] == [4, 8]
    assert larger[1].text == "mean with the mirror image, at 128×64 px"
    assert larger[0].inference == Inference(size=(128, 64))


def test_what_the_mirror_image_changes_is_measured_without_the_training_images(
    staged: RunConfig, open_table: Table
) -> None:
    from eml.training.stages.features import StageFeatures
    from eml.training.stages.outcomes import Outcome, OutcomeMeasure

    images = training_data(open_table, 0).validation
    assert images is not None
    random = torch.Generator().manual_seed(3)
    held_out = torch.randn(len(images.frame), 4, generator=random)
    mirrored = held_out + torch.randn(len(images.frame), 4, generator=random)
    train = torch.randn(40, 4, generator=random)
    features = {0.0: StageFeatures(train, np.arange(40) // 4, {USUAL: (held_out,), FLIP: (held_out, mirrored)})}
    in_gallery = OutcomeMeasure(images, "map_at_r", features, distractors=40)
    alone = OutcomeMeasure(images, "map_at_r", features)
    assert len(in_gallery.rows) == 40
    plain, flipped = (in_gallery(Outcome(view=view), None) for view in (USUAL, FLIP))
    change = alone(Outcome(view=FLIP), None) - alone(Outcome(), None)
    assert plain.mean() < alone(Outcome(), None).mean()
    assert np.allclose(flipped, (plain + change).clip(0, 1))
    assert not np.allclose(plain, flipped)


@pytest.mark.wide
def test_every_outcome_that_is_shipped_embeds_as_it_was_measured(staged: RunConfig, open_table: Table) -> None:
    from eml.training.run_folder import RunFolder
    from eml.training.stages.closed_form import choose_closed_form
    from eml.training.stages.features import stage_features
    from eml.training.stages.networks import network_of, ship, untouched
    from eml.training.stages.outcomes import TUNED, UNTOUCHED, Outcome, OutcomeMeasure

    staged = changed(staged, test_views=["flip", "crops", 40])
    parts = build_parts(staged, open_table)
    folder = RunFolder(staged.output)
    folder.create(staged, {}, overwrite=False)
    weights = {UNTOUCHED: parts.embedder.state_dict(), TUNED: {**parts.embedder.state_dict()}}
    with torch.no_grad():  # stands for training
        weights[TUNED] = {name: value * 1.1 + 0.01 if value.is_floating_point() else value
                          for name, value in weights[TUNED].items()}  # fmt: skip
    networks = {UNTOUCHED: untouched(parts, network_of(parts, weights[UNTOUCHED]).embedder),
                TUNED: network_of(parts, weights[TUNED])}  # fmt: skip
    features = {alpha: stage_features(parts, network.embedder, folder.path / "stages" / f"{alpha}.pt")
                for alpha, network in networks.items()}  # fmt: skip
    known = {alpha: own for alpha, own in features.items() if own is not None}
    closed = choose_closed_form(known[UNTOUCHED].train, known[UNTOUCHED].labels, "map_at_r", seed=1)
    assert closed is not None
    ((_, images),) = parts.validation.sets.values()
    measure = OutcomeMeasure(images, "map_at_r", known)
    for outcome in (Outcome(), Outcome(after=closed.name), Outcome(after=closed.name, view=FLIP), Outcome(TUNED),
                    Outcome(TUNED, "shrinkage 0.5"), Outcome(TUNED, "shrinkage 0.1", FLIP), Outcome(view=CROPS),
                    Outcome(TUNED, view=View(40)), Outcome(TUNED, view=View(40, "crops"))):  # fmt: skip
        ship(parts, folder, outcome, weights, measure.projection(outcome), {"epoch": 1}, (None, None))
        model = load(folder.path, device="cpu")
        mine = known[outcome.alpha].embeddings(measure.projection(outcome), outcome.view)
        theirs = evaluate_model(model, open_table, images).embeddings
        assert torch.allclose(mine, theirs, atol=1e-4), outcome.text


@pytest.mark.wide
def test_a_run_in_stages_that_is_stopped_at_any_point_and_resumed_leaves_the_same_bytes(
    staged: RunConfig, open_table: Table, tmp_path: Path
) -> None:
    fit(staged, open_table)
    config = changed(staged, output=tmp_path / "stopped")
    points = iter([("embedding", 2), ("step", 3), ("embedding", 3)])  # in epoch 0, in epoch 1, after the last
    resume = False
    for kind, number in points:
        seen = 0

        def observe(event: Event, kind: str = kind, number: int = number) -> None:
            nonlocal seen
            seen += isinstance(event, Validating)
            if (kind == "step" and isinstance(event, Stepped) and event.step == number) or (
                kind == "embedding" and isinstance(event, Validating) and seen == number
            ):
                os.kill(os.getpid(), signal.SIGINT)

        with pytest.raises(Interrupted):
            fit(config, open_table, observe=observe, resume=resume)
        resume = (config.output / "state.pt").exists()
    (config.output / "stages" / "untouched.pt").unlink(missing_ok=True)  # is computed again, of the kept network
    fit(config, open_table, resume=True)
    assert given(config.output) == given(staged.output)


def test_the_epoch_is_chosen_by_the_classes_that_do_not_judge(
    staged: RunConfig, tmp_path_factory: pytest.TempPathFactory
) -> None:
    import pandas as pd

    from tests.training.runs import draw

    root = tmp_path_factory.mktemp("many")
    frame = draw(root, 30, 2, 24)
    frame["fold"] = np.where(pd.factorize(frame["label"])[0] < 24, 0, 1)
    table = Table(frame, root)
    config = changed(staged, data={"table": root, "workers": 0, "fold": 0})
    result = fit(config, table)
    assert result.stages is not None
    assert not set(result.stages.choosing) & set(result.stages.judging)
    assert len(result.stages.judging) == 12
    validations = lines(config.output, "metrics")
    assert all("choosing" in line for line in validations)
    best = max(validations[1:], key=lambda line: (line["choosing"], -line["epoch"]))
    assert result.best_epoch == best["epoch"]


def test_stages_are_off_where_nothing_can_be_measured_and_a_line_says_so(staged: RunConfig, open_table: Table) -> None:
    notes: list[str] = []
    config = changed(staged, epochs=1, data={"table": open_table.path, "workers": 0, "fold": None})
    result = fit(
        config, open_table, observe=lambda event: notes.append(event.text) if isinstance(event, Note) else None
    )
    assert result.stages is None
    assert "stages are off: nothing is held out to measure them on" in notes
    notes.clear()
    later = changed(staged, stages="none", epochs=1, output=staged.output.with_name("later"))
    fit(later, open_table)
    longer = changed(later, stages="auto", epochs=2)
    result = fit(
        longer,
        open_table,
        resume=True,
        accept_changes=True,
        observe=lambda event: notes.append(event.text) if isinstance(event, Note) else None,
    )
    assert result.stages is None
    assert any(note.startswith("stages are off: the run began without them") for note in notes)
    gap = changed(staged, validation={"metric": "GAP"})
    assert "is no mean over queries" in (stages_problem(build_parts(gap, open_table)) or "")


def test_a_closed_form_is_judged_with_training_classes_only_where_no_protocol_holds(
    staged: RunConfig, open_table: Table
) -> None:
    from dataclasses import replace

    from eml.training.fit import Run
    from eml.training.stages.features import StageFeatures

    staging = Run(build_parts(staged, open_table)).staging
    assert staging is not None
    train = torch.randn(32, 8)
    held_out = torch.randn(len(staging.images.frame), 8)
    features = StageFeatures(train, np.arange(32) // 4, {USUAL: (held_out,)})
    free = staging._closed_form(features)
    staging.closed = None
    staging.images = replace(staging.images, groups=np.zeros(len(held_out), np.int64))
    bound = staging._closed_form(features)
    assert free is not None
    assert bound is not None
    assert free.judged is not None
    assert bound.judged is None
