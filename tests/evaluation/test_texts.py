"""What an evaluation measures with texts: images of one colour and words for colours, whose answers are known."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from eml.dataset.table import Table
from eml.errors import ConfigError, DataError
from eml.evaluation.analysis import EvaluationAnalysis, analyze
from eml.evaluation.evaluate import Evaluation, evaluate_embeddings, evaluate_model
from eml.evaluation.options import EvaluationOptions
from eml.evaluation.retrieval_set import build_retrieval_set
from eml.evaluation.runs import evaluate_models
from eml.evaluation.texts.adapting import BOTH, IMAGES, NAMES, choose_labelled, labelled_images
from eml.evaluation.texts.embedded import EmbeddedTexts, embed_texts
from eml.evaluation.texts.measures import TextMeasures, measure_texts
from eml.evaluation.texts.prepared import PreparedTexts, prepare_texts
from eml.evaluation.texts.text_set import TextSet, captions_of, named_classes
from eml.images.preprocess import Preprocess
from eml.inference.embed import Batching
from eml.inference.model import Model
from eml.models.embedder import Embedder
from eml.models.text_tower import TextTower
from eml.progress import no_progress
from eml.retrieval.chance import chance_of_recall
from eml.texts.class_texts import TextSource
from eml.texts.vectors import EncoderFacts, TextVectors, write_text_vectors

COLOURS = {"red": (230, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 230), "sun_yellow": (220, 220, 20)}
WORDS = ["", "red", "green", "blue", "yellow", "dark"]
MEANINGS = [(0, 0, 0), (2, -2, -2), (-2, 2, -2), (-2, -2, 2), (2, 2, -2), (-1, -1, -1)]


class MeanColour(nn.Module):
    """The mean of an image's pixels as its features."""

    def forward(self, images: Tensor) -> Tensor:
        return images.mean((2, 3))


class ColourWords(nn.Module):
    """The sum of the colours that words mean; others mean nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.meanings = nn.Parameter(torch.tensor(MEANINGS))

    def forward(self, tokens: Tensor) -> Tensor:
        return self.meanings[tokens].sum(1)


def tokens_of(texts: list[str]) -> Tensor:
    rows = [[WORDS.index(word) if word in WORDS else 0 for word in text.split()] for text in texts]
    return torch.tensor([(row + [0] * 8)[:8] for row in rows])


MEANINGS = [tuple(map(float, meaning)) for meaning in MEANINGS]


def colour_model() -> Model:
    tower = TextTower(ColourWords(), tokens_of, logit_scale=3.0)
    preprocess = Preprocess(size=8, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
    return Model(Embedder(MeanColour(), nn.Identity(), 3, text=tower), preprocess, torch.device("cpu"))


@pytest.fixture
def table(tmp_path: Path) -> Table:
    """Six images of each colour, the second half darker; their captions name the colour, of the darker ones both."""
    random = np.random.default_rng(0)
    rows = []
    for label, colour in COLOURS.items():
        for number in range(6):
            shade = np.array(colour) * (1.0 if number < 3 else 0.6) + random.integers(-9, 10, 3)
            name = f"{label}/{number}.png"
            (tmp_path / label).mkdir(exist_ok=True)
            Image.new("RGB", (16, 16), tuple(shade.clip(0, 255).astype(int).tolist())).save(tmp_path / name)
            word = label.rpartition("_")[2]
            caption = f"a {word} thing" if number < 3 else f"a dark {word} thing"
            rows.append((label, name, "" if number == 5 else caption, f"  {word}\n wall " if number == 0 else None))
    return Table(pd.DataFrame(rows, columns=["label", "file_name", "caption", "caption_2"]), tmp_path)


def measured(table: Table, **options: Any) -> tuple[Evaluation, EvaluationAnalysis, TextMeasures]:
    model = colour_model()
    retrieval = build_retrieval_set(table.frame, table.name, unknown_label=table.unknown_label)
    chosen = EvaluationOptions(["model"], [Path("t.csv")], **options)
    prepared = prepare_texts(retrieval, table, chosen)
    assert prepared is not None
    evaluation = evaluate_model(model, table, retrieval)
    evaluation = replace(evaluation, texts=prepared.embed(model, Batching(), no_progress))
    analysis = analyze(evaluation, chosen)
    assert analysis.text is not None
    return evaluation, analysis, analysis.text


def test_captions_find_their_images_and_images_their_captions(table: Table) -> None:
    evaluation, _, text = measured(table, text_column=("caption", "caption_2"))
    captions = text.embedded.texts.captions
    assert captions is not None
    assert len(captions.texts) == 12, "equal captions are one text, on one line and without spaces around it"
    assert captions.texts[:3] == ("a red thing", "red wall", "a dark red thing")
    assert captions.images == 20, "one image of each colour has none"
    forth, back = text.captions_to_images, text.images_to_captions
    assert forth is not None
    assert back is not None
    assert (forth.summary.queries, forth.summary.gallery) == (12, 24)
    assert (back.summary.queries, back.summary.gallery) == (20, 12)
    assert back.summary.queries_without_positive == 0, "an image without a caption does not ask"
    unit = torch.nn.functional.normalize
    vectors = unit(evaluation.texts.captions)  # type: ignore[union-attr, arg-type]
    cosines = (vectors @ unit(evaluation.embeddings).T).numpy()
    own = [
        [f"{label}/{number}.png" for number in numbers] for label in COLOURS for numbers in ((0, 1, 2), (0,), (3, 4))
    ]
    files, ranks = evaluation.retrieval.frame["file_name"].tolist(), []
    for row, right in zip(cosines, own, strict=True):
        order = np.lexsort((np.arange(24), -row))
        ranks.append(1 + [files[place] in right for place in order].index(True))
    assert forth.values["recall_at_1"] == pytest.approx(np.mean([rank == 1 for rank in ranks]))
    assert forth.values["recall_at_5"] == pytest.approx(np.mean([rank <= 5 for rank in ranks]))
    assert forth.values["median_rank"] == sorted(ranks)[5]
    positives = np.array([3, 1, 2] * 4)
    assert forth.chance["recall_at_5"] == pytest.approx(chance_of_recall(positives, 24, 5))
    assert set(forth.shown) <= set(forth.intervals) == set(forth.values)
    assert all(interval.classes == 4 for interval in forth.intervals.values()), "the classes of their images"
    assert text.zero_shot is None


def test_zero_shot_by_names_is_right_for_colours_and_facts_say_it_beside_chance(table: Table) -> None:
    _, analysis, text = measured(table, template=("a photo of {label}", "{label} or so"))
    classes, zero_shot = text.embedded.texts.classes, text.zero_shot
    assert classes is not None
    assert zero_shot is not None
    assert classes.texts[2] == ("a photo of red", "red or so")
    assert zero_shot.values == {"top_1": 1.0, "mean_per_class": 1.0}, "of five classes or fewer there is no top-5"
    facts = json.loads(json.dumps(analysis.facts()))["text"]
    assert set(facts) == {"class_texts", "zero_shot"}
    assert facts["zero_shot"]["chance"] == {"top_1": 0.25, "mean_per_class": 0.25}
    assert facts["zero_shot"]["images"] == 24
    assert facts["class_texts"]["template"] == ["a photo of {label}", "{label} or so"]
    assert facts["class_texts"]["text_to_image"]["metrics"]["map_at_r"] == 1.0
    assert facts["class_texts"]["text_to_image"]["intervals"]["recall_at_1"][0] < 1
    assert analysis.evaluation.texts is not None
    assert analysis.evaluation.texts.scale == pytest.approx(np.exp(3.0))
    released = analysis.without_embeddings()
    assert released.text is not None
    assert released.text.embedded.classes is None
    assert released.facts()["text"] == analysis.facts()["text"]
    assert "text" not in replace(analysis, text=None).facts()


def test_images_of_unknown_identity_are_searched_and_not_classified(table: Table) -> None:
    table = replace(table, unknown_label="blue")
    _, _, text = measured(table, template=("{label}",), text_column=("caption",))
    assert text.zero_shot is not None
    assert (len(text.zero_shot.rows), text.zero_shot.places.num_classes) == (18, 3)
    assert text.classes_to_images is not None
    assert (text.classes_to_images.summary.queries, text.classes_to_images.summary.gallery) == (3, 24)


def test_so_many_texts_and_images_are_drawn_by_class(table: Table) -> None:
    evaluation, _, text = measured(table, text_column=("caption",), template=("{label}",))
    drawn = measure_texts(evaluation, recall_at=(3,), queries=4)
    assert drawn is not None
    assert drawn.captions_to_images is not None
    assert drawn.captions_to_images.facts()["drawn_of"] == 8
    assert drawn.captions_to_images.summary.queries == 4
    assert {*drawn.captions_to_images.shown} == {"recall_at_1", "recall_at_3", "map_at_r", "median_rank"}
    assert len(np.unique(drawn.captions_to_images.classes)) == 4
    assert drawn.images_to_captions is not None
    assert drawn.images_to_captions.summary.queries == 4
    assert drawn.zero_shot == replace(text.zero_shot, places=drawn.zero_shot.places, rows=drawn.zero_shot.rows)  # type: ignore[union-attr, type-var]


def test_classes_of_equal_texts_are_named(table: Table) -> None:
    frame = table.frame.assign(kind=table.frame["label"].map({"red": "red", "green": "red"}).fillna("blue"))
    classes = named_classes(build_retrieval_set(frame, "t"), TextSource(template="a {kind} thing"), "t")
    assert classes.equal_texts == [("blue", "sun_yellow"), ("green", "red")]
    assert classes.facts()["classes_with_equal_texts"] == [["blue", "sun_yellow"], ["green", "red"]]


def test_labels_that_say_nothing_are_warned_of_where_they_are_the_texts(tmp_path: Path) -> None:
    frame = pd.DataFrame({"label": ["0041", "0042"] * 2, "file_name": list("abcd"), "kind": ["cat", "dog"] * 2})
    retrieval = build_retrieval_set(frame, "t")
    names = tmp_path / "names.csv"
    names.write_text("label,text\n0041,cat\n0042,dog\n")
    for source, warns in (
        (TextSource(template="a photo of {label}"), True),
        (TextSource(template="a photo of a {kind}"), False),
        (TextSource(column="kind"), False),
        (TextSource(names=names), False),
    ):
        warning = named_classes(retrieval, source, "t").meaning_warning
        assert (warning is not None) == warns
        assert warning is None or "2 of 2 labels have no word of their own ('0041', '0042')" in warning


MISSING = [
    ({"text_column": ("captions",)}, "no column 'captions', which `text_column` names; it has", "missing-column"),
    ({"text_column": ("empty",)}, "no text in 'empty'; retrieval by text needs two", "missing-text"),
    ({"text_column": ("alike",)}, "only 'a' in 'alike'", "missing-text"),
    ({"names": "names.csv"}, "names.csv: no text for class 'green'", "missing-text"),
    ({"template": ("{kind}",)}, "no column 'kind'", "missing-column"),
    ({"text_vectors": "vectors"}, "no text for 2 of the 4 classes of the images: 'green', 'sun_ye", "missing-text"),
    ({"text_vectors": "gone"}, "gone: no such file of text vectors", "missing-file"),
]


@pytest.mark.parametrize("options, message, code", MISSING)
def test_texts_that_are_missing_are_named_before_anything_is_embedded(
    table: Table, tmp_path: Path, options: dict[str, Any], message: str, code: str
) -> None:
    (tmp_path / "names.csv").write_text("label,text\nred,red\nblue,blue\nsun_yellow,yellow\n")
    vectors(tmp_path / "vectors", ["red", "blue"], np.eye(2, 3))
    files = {name: tmp_path / value for name, value in options.items() if isinstance(value, str)}
    frame = table.frame.assign(empty=" ", alike="a")
    with pytest.raises(DataError, match=message) as caught:
        prepare_texts(build_retrieval_set(frame, "t"), Table(frame, table.root), EvaluationOptions(**options | files))
    assert (caught.value.problems[0].code, caught.value.problems[0].parameter) == (code, next(iter(options)))


def vectors(path: Path, labels: list[str], rows: np.ndarray) -> None:
    facts = EncoderFacts(name="elsewhere", digest="0" * 32, logit_scale=20.0)
    unit = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    write_text_vectors(path, TextVectors(tuple(labels), unit, tuple((label,) for label in labels), facts))


def test_a_model_without_a_text_tower_is_refused(table: Table) -> None:
    model = colour_model()
    model.embedder.text = None
    retrieval = build_retrieval_set(table.frame, "t")
    prepared = prepare_texts(retrieval, table, EvaluationOptions(template=("{label}",)))
    assert prepared is not None
    assert prepared.texts.needs_tower
    with pytest.raises(ConfigError, match="has no text tower") as caught:
        prepared.embed(model, Batching(), no_progress)
    assert caught.value.code == "no-text-tower"


def test_text_vectors_of_another_space_are_refused(table: Table, tmp_path: Path) -> None:
    vectors(tmp_path / "v", sorted(COLOURS), np.eye(4))
    texts = TextSet(classes=named_classes(build_retrieval_set(table.frame, "t"), tmp_path / "v", "t"))
    with pytest.raises(DataError, match="text vectors of 4 numbers by elsewhere, and embeddings of 3: they are of"):
        embed_texts(texts, None, 3)
    assert embed_texts(texts, None, 4).scale == pytest.approx(20)
    assert not texts.needs_tower


def test_options_of_texts_that_do_not_fit_are_all_told_at_once(tmp_path: Path) -> None:
    options = EvaluationOptions(
        ["a.npz", "b.npz"],
        [tmp_path],
        template=("{label", "a photo"),
        names=tmp_path / "gone.csv",
        text_vectors=tmp_path / "gone.safetensors",
        adapt_on=tmp_path / "gone",
    )
    with pytest.raises(ConfigError) as caught:
        options.check()
    problems = [(problem.code, problem.parameter) for problem in caught.value.problems]
    assert problems == [
        ("missing-file", "adapt_on"),
        ("conflicting-settings", "adapt_on"),  # a folder, for embeddings
        ("conflicting-settings", "template"),
        ("missing-file", "names"),
        ("missing-file", "text_vectors"),
        ("invalid-value", "template"),
        ("invalid-value", "template"),
        ("no-text-tower", "template"),
        ("no-text-tower", "template"),
    ]
    with pytest.raises(ConfigError, match="`adapt_on` is measured beside the texts of the classes; give these too"):
        EvaluationOptions(["run"], [tmp_path], adapt_on=tmp_path).check()


def adapted(table: Table, labelled: Table, noise: float) -> TextMeasures:
    """Return what is measured of colours whose names are wrong by some noise, with labelled images."""
    model, retrieval = colour_model(), build_retrieval_set(table.frame, "t")
    prepared = prepare_texts(retrieval, table, EvaluationOptions(template=("{label}",)), labelled)
    assert prepared is not None
    evaluation = evaluate_model(model, table, retrieval)
    embedded = prepared.embed(model, Batching(), no_progress)
    assert embedded is not None
    assert embedded.classes is not None
    wrong = embedded.classes + noise * torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    text = measure_texts(replace(evaluation, texts=replace(embedded, classes=wrong)))
    assert text is not None
    return text


def test_names_images_and_both_stand_side_by_side(table: Table) -> None:
    odd = table.frame["file_name"].str.contains("[135]").to_numpy()
    others = pd.concat([table.frame[odd], pd.DataFrame({"label": ["other"], "file_name": ["red/0.png"]})])
    labelled = Table(others.reset_index(drop=True), table.root)
    measures = adapted(Table(table.frame[~odd].reset_index(drop=True), table.root), labelled, noise=3.0)
    result, zero_shot = measures.adapted, measures.zero_shot
    assert result is not None
    assert zero_shot is not None
    assert [way.name for way in result.ways] == [NAMES, IMAGES, BOTH]
    assert result.ways[0].values == zero_shot.values
    assert result.ways[0].differences == {}
    assert result.ways[2].values["top_1"] >= result.ways[0].values["top_1"] < 1
    assert (result.images, result.left_out) == (12, 1)
    assert result.adapter.judges == 12
    assert len(result.adapter.images) == 0, "the result keeps no images"
    facts = json.loads(json.dumps(measures.facts()))["adapted"]
    assert facts["rows"][2]["against_names"]["top_1"]["difference"] == pytest.approx(
        result.ways[2].values["top_1"] - result.ways[0].values["top_1"]
    )
    assert facts["held_out_top_1"] == result.adapter.held_out
    assert "12 labelled images" in result.line()


def test_no_measured_image_has_a_part_in_the_choice_of_weights(table: Table) -> None:
    names = table.frame["file_name"]
    labelled = Table(table.frame[names.str.contains("[135]")].reset_index(drop=True), table.root)
    chosen = []
    for images in ("[024]", "[02]", "[4]"):
        rows = table.frame[names.str.contains(images)].reset_index(drop=True)
        rows = pd.concat([rows, rows.assign(file_name=[f"{row}.png" for row in range(len(rows))])])
        for name, row in zip(rows["file_name"][len(rows) // 2 :], names[names.str.contains(images)], strict=True):
            (table.root / name).write_bytes((table.root / row).read_bytes())
        adapter = adapted(Table(rows.reset_index(drop=True), table.root), labelled, noise=3.0).adapted
        assert adapter is not None
        chosen.append((adapter.adapter.alpha, adapter.adapter.beta, adapter.adapter.held_out))
    assert len(set(chosen)) == 1


def test_labelled_images_that_are_measured_too_and_classes_without_any_are_refused(
    table: Table, tmp_path: Path
) -> None:
    measured_rows = table.frame[table.frame["file_name"].str.contains("[012]")].reset_index(drop=True)
    measured_table = Table(measured_rows, table.root)
    classes = named_classes(build_retrieval_set(measured_rows, "t"), TextSource(), "t")
    (tmp_path / "copy.png").write_bytes((tmp_path / "red/0.png").read_bytes())
    rest = table.frame[table.frame["file_name"].str.contains("[345]")]
    copy = pd.DataFrame({"label": ["blue"], "file_name": ["copy.png"]})
    shared = Table(pd.concat([rest, copy]).reset_index(drop=True), table.root)
    with pytest.raises(DataError, match="1 of its images are among those that are measured") as caught:
        choose_labelled(shared, classes, measured_table)
    assert (caught.value.code, caught.value.parameter) == ("images-on-both-sides", "adapt_on")
    few = Table(rest[rest["label"] != "red"].reset_index(drop=True), table.root)
    with pytest.raises(DataError, match="no labelled image of 1 of the 4 classes that are measured: 'red'") as caught:
        choose_labelled(few, classes, measured_table)
    assert (caught.value.code, caught.value.parameter) == ("too-few-images", "adapt_on")
    chosen = choose_labelled(Table(rest.reset_index(drop=True), table.root), classes, measured_table)
    labels = labelled_images(torch.zeros(12, 3), chosen, shared, classes).labels
    assert [classes.labels[label] for label in labels] == chosen["label"].tolist()


def test_embeddings_from_elsewhere_are_measured_with_vectors_of_a_file(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    names, centres = [f"c{number}" for number in range(8)], random.standard_normal((8, 6))
    labels = np.repeat(np.arange(8), 6)
    rows = centres[labels] + 0.3 * random.standard_normal((48, 6))
    first = np.arange(48) % 6 < 3
    for name, part in (("test", ~first), ("labelled", first)):
        np.savez(tmp_path / f"{name}.npz", embeddings=rows[part], label=np.array(names)[labels[part]])
    vectors(tmp_path / "texts", names, centres + 0.2 * random.standard_normal((8, 6)))
    options = EvaluationOptions(
        [str(tmp_path / "test.npz")],
        text_vectors=tmp_path / "texts",
        adapt_on=tmp_path / "labelled.npz",
        out=tmp_path / "out",
    )
    [result] = evaluate_models(options).results
    facts = json.loads((result.folder / "metrics.json").read_text())["text"]
    assert set(facts) == {"class_texts", "zero_shot", "adapted"}
    assert facts["class_texts"]["vectors"] == str(tmp_path / "texts")
    assert facts["zero_shot"]["metrics"]["top_1"] > 0.8
    assert facts["adapted"]["scale"] == pytest.approx(20)
    assert [row["name"] for row in facts["adapted"]["rows"]] == [NAMES, IMAGES, BOTH]
    plain = evaluate_models(replace(options, text_vectors=None, adapt_on=None)).results[0]
    assert "text" not in plain.facts()
    assert plain.metrics == result.metrics, "what is measured of images does not change"


def test_the_class_of_a_caption_is_that_of_its_first_image() -> None:
    frame = pd.DataFrame({"label": ["a", "a", "b", "b"], "file_name": list("wxyz"), "said": ["1", "2", "2", "3"]})
    captions = captions_of(build_retrieval_set(frame, "t"), ["said"], "t")
    assert captions.texts == ("1", "2", "3")
    assert captions.classes.tolist() == [0, 0, 1]
    evaluation = evaluate_embeddings("e", torch.eye(4, 6) + 1, Table(frame, Path()))
    embedded = EmbeddedTexts(TextSet(captions), torch.eye(3, 6) + 1, None)
    text = measure_texts(replace(evaluation, texts=embedded))
    assert text is not None
    assert text.captions_to_images is not None
    assert np.bincount(text.embedded.texts.captions.text_of_pair).tolist() == [1, 2, 1]  # type: ignore[union-attr]


def test_prepared_texts_without_labelled_images_need_no_table(table: Table) -> None:
    prepared = PreparedTexts(TextSet(classes=named_classes(build_retrieval_set(table.frame, "t"), TextSource(), "t")))
    embedded = prepared.embed(colour_model(), Batching(), no_progress)
    assert embedded is not None
    assert embedded.labelled is None
    assert embedded.without_vectors().classes is None
