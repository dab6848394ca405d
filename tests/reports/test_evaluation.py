"""The report of an evaluation: right neighbours and counts, a page that loads nothing and runs no class name."""

import html
import json
import re
from dataclasses import replace
from importlib.machinery import ModuleSpec
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from eml.cli.app import main
from eml.dataset.table import Table
from eml.errors import OutputError
from eml.evaluation.analysis import EvaluationAnalysis, analyze
from eml.evaluation.comparison import ModelComparison, compare
from eml.evaluation.evaluate import Evaluation, evaluate_embeddings
from eml.evaluation.slices import Slice, Slices
from eml.evaluation.texts.embedded import CachedImages, EmbeddedTexts
from eml.evaluation.texts.text_set import TextSet, captions_of, named_classes
from eml.models.calibration import CalibratedRate, Calibration
from eml.models.fingerprint import Fingerprint
from eml.reports.evaluation import write_report
from eml.reports.evaluation.confusions import find_confusions
from eml.reports.evaluation.curves import cmc_points, histogram_bins
from eml.reports.evaluation.embedding_map import OF_A_COLOURED_CLASS, POINTS, THUMBNAILS, embedding_map
from eml.reports.evaluation.page import choose_contents, cmc_table
from eml.reports.evaluation.queries import NEIGHBOURS, SHOWN, choose_places, example_queries, with_neighbours
from eml.reports.evaluation.similarity import nearest_similarities
from eml.reports.evaluation.text_queries import FOUND
from eml.retrieval.statistics.interval import Difference, Interval
from eml.retrieval.tip_adapter import class_means
from eml.texts.class_texts import TextSource
from tests.reports.chromium import PROGRAM, Chromium

pytestmark = pytest.mark.slow


EVIL = "<img src=x onerror=alert(1)>&\"'{{7*7}}</script>"  # a class
COLUMNS = [{}, {"leave_out_same": "camera"}, {"within": "kind"}, {"leave_out_same": "camera", "within": "kind"}]


def evaluation(
    root: Path, classes: int = 9, images: int = 7, *, pairs: bool = False, noise: float = 1.0, **protocol: str
) -> Evaluation:
    """Images around the middle of their class, in embeddings of 8 numbers; the last class has one, and a bad name."""
    random = np.random.default_rng(0)
    labels = [f"class {label}" for label in range(classes) for _ in range(images)] + [EVIL]
    labels[images : 2 * images] = [EVIL + "2"] * images
    number = np.repeat(np.arange(classes + 1), images)[: len(labels)]
    middles = random.normal(size=(classes + 1, 8))
    embeddings = torch.from_numpy((middles[number] + noise * random.normal(size=(len(labels), 8))).astype(np.float32))
    frame = pd.DataFrame({"label": labels, "file_name": [f"{n}/{i}<b>.png" for i, n in enumerate(number)]})
    frame["camera"] = random.choice(["", "a", "b"], len(frame))
    frame["kind"] = [f"kind {n % 2}" for n in number]
    if pairs:
        frame["is_query"] = random.random(len(frame)) < 0.5
        frame["is_gallery"] = ~frame["is_query"] | (random.random(len(frame)) < 0.5)
    return evaluate_embeddings("runs/<i>a</i>", embeddings, Table(frame, root), **protocol)


def calibration(threshold: float) -> Calibration:
    rate = CalibratedRate(value=threshold, low=None, high=None)
    return Calibration.model_construct(threshold=rate, table_digest=None)


def draw_all(made: Evaluation) -> Evaluation:
    """The images of an evaluation, a colour for each class."""
    for row, name in enumerate(made.table.frame["file_name"]):
        path = made.table.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (90, 70), (37 * row % 256, 91 * int(name.split("/")[0]) % 256, 120)).save(path)
    return made


def compared_with(made: Evaluation, row: int) -> list[tuple[float, int, bool]]:
    """(similarity, row, of its class) of all that the protocol lets a query be compared with; best first."""
    wanted, frame = made.retrieval, made.retrieval.frame
    unit = torch.nn.functional.normalize(made.embeddings.double(), dim=1)
    others = []
    for other in wanted.gallery.tolist():
        own = bool(frame["label"][other] == frame["label"][row])
        if other == row or (wanted.within is not None and frame["kind"][other] != frame["kind"][row]):
            continue
        if (
            wanted.groups is not None
            and own
            and frame["camera"][row]
            and frame["camera"][other] == frame["camera"][row]
        ):
            continue
        others.append((float(unit[row] @ unit[other]), other, own))
    return sorted(others, key=lambda each: (-each[0], each[1]))


def text_of(page: str) -> str:
    body = re.sub(r"<(style|script)[^>]*>.*?</\1>", "", page, flags=re.DOTALL)
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]*>", " ", body)))


@pytest.mark.parametrize(
    "pairs, protocol", [*((False, protocol) for protocol in COLUMNS), (True, COLUMNS[0]), (True, COLUMNS[-1])]
)
def test_neighbours_and_similarities_follow_the_protocol(tmp_path: Path, protocol: dict[str, str], pairs: bool) -> None:
    made = evaluation(tmp_path, pairs=pairs, **protocol)
    answers, score = made.summary.answers, made.summary.per_query["map_at_r"]
    places = np.flatnonzero(answers.has_positive)
    for place, query in zip(places.tolist(), with_neighbours(made, places), strict=True):
        others = compared_with(made, query.row)
        assert [each.row for each in query.neighbours] == [other for _, other, _ in others[:NEIGHBOURS]]
        assert [each.right for each in query.neighbours] == [own for _, _, own in others[:NEIGHBOURS]]
        assert [each.similarity for each in query.neighbours] == pytest.approx([s for s, _, _ in others[:NEIGHBOURS]])
        assert query.neighbours[0].row == made.retrieval.gallery[answers.nearest[place]]
        assert query.rank == 1 + [own for _, _, own in others].index(True)
        assert query.map_at_r == score[place]
    both = nearest_similarities(made)
    for at, place in enumerate(places.tolist()):
        others = compared_with(made, int(made.retrieval.queries[place]))
        for kind, value in ((True, both.same_class[at]), (False, both.other_class[at])):
            assert value == pytest.approx(max((s for s, _, own in others if own == kind), default=-np.inf), abs=1e-6)


def test_the_worst_are_the_worst_and_no_query_is_shown_twice(tmp_path: Path) -> None:
    made = evaluation(tmp_path, classes=20)
    score, answers = made.summary.per_query["map_at_r"], made.summary.answers
    chosen = choose_places(made)
    assert {name: len(places) for name, places in chosen.items()} == dict.fromkeys(("worst", "median", "best"), SHOWN)
    assert len({place for places in chosen.values() for place in places}) == 3 * SHOWN
    labels = made.retrieval.labels[made.retrieval.queries]
    for places in chosen.values():
        assert len(set(labels[places].tolist())) == SHOWN
    assert score[chosen["worst"][0]] == np.nanmin(score)
    assert score[chosen["best"][0]] == np.nanmax(score)
    assert (np.diff(score[chosen["worst"]]) >= 0).all()
    assert (np.diff(score[chosen["best"]]) <= 0).all()
    assert np.abs(score[chosen["median"][0]] - np.nanmedian(score)) < 0.05
    least = np.flatnonzero(score == np.nanmin(score))
    surest = least[np.argmax(np.where(answers.right[least], -2, answers.similarity[least]))]
    assert chosen["worst"][0] == surest


def test_few_queries_are_shared_out_among_the_three(tmp_path: Path) -> None:
    made = evaluation(tmp_path, classes=2, images=2)
    shown = example_queries(made)
    rows = [query.row for some in shown.values() for query in some]
    assert sorted(rows) == sorted(set(rows))
    assert 1 <= len(rows) <= 4


def test_confusions_count_wrong_first_answers_both_ways(tmp_path: Path) -> None:
    made = evaluation(tmp_path)
    wanted, answers = made.retrieval, made.summary.answers
    counts: dict[tuple[str, str], int] = {}
    for place, row in enumerate(wanted.queries.tolist()):
        if answers.has_positive[place]:
            label, other = (wanted.frame["label"][at] for at in (row, wanted.gallery[answers.nearest[place]]))
            if label != other:
                counts[label, other] = counts.get((label, other), 0) + 1
    assert counts
    pairs, more = find_confusions(made)
    assert more == 0
    told = {}
    for each in pairs:
        one, other = each.labels
        told |= {pair: n for pair, n in (((one, other), each.wrong[0]), ((other, one), each.wrong[1])) if n}
        assert each.wrong[0] >= each.wrong[1]
        assert {wanted.frame["label"][row] for row in each.rows} == set(each.labels)
        assert each.similarity == pytest.approx(compared_with(made, each.rows[0])[0][0])
        assert each.queries == 14
    assert told == counts
    totals = [sum(each.wrong) for each in pairs]
    assert totals == sorted(totals, reverse=True)


def test_the_cmc_passes_through_recall_at_k(tmp_path: Path) -> None:
    made = evaluation(tmp_path)
    ranks = np.rint(1 / made.summary.per_query["mean_reciprocal_rank"])
    points = dict(cmc_points(ranks, made.summary.gallery))
    for k in (1, 5, 10):
        value = made.summary.values[f"recall_at_{k}"]
        assert points[k] == pytest.approx(value)
        assert dict(cmc_table(ranks, made.summary.gallery))[k] == pytest.approx(value)
    assert points[made.summary.gallery] == 1
    edges, own, other = histogram_bins(nearest_similarities(made))
    assert own.sum() == pytest.approx(1)
    assert other.sum() == pytest.approx(1)
    assert np.allclose(np.diff(edges), edges[1] - edges[0])


def test_the_map_shows_every_class_and_more_of_the_coloured() -> None:
    random = np.random.default_rng(0)
    labels = np.unique((1200 * random.random(9000) ** 3).astype(int), return_inverse=True)[1]
    embeddings = torch.from_numpy(random.normal(size=(len(labels), 6)).astype(np.float32))
    drawn = embedding_map(embeddings, labels)
    assert drawn is not None
    assert len(set(drawn.rows.tolist())) == POINTS
    of = labels[drawn.rows]
    assert set(of.tolist()) == set(labels.tolist())
    counts, sizes = np.bincount(of), np.bincount(labels)
    assert drawn.coloured == np.argsort(-sizes, kind="stable")[:8].tolist()
    assert (counts[drawn.coloured] >= np.minimum(OF_A_COLOURED_CLASS, sizes[drawn.coloured])).all()
    assert drawn.with_thumbnail.sum() == THUMBNAILS
    assert (drawn.planes[0].place >= 0).all()
    assert (drawn.planes[0].place <= [1000, drawn.planes[0].height]).all()
    again = embedding_map(embeddings, labels)
    assert again is not None
    assert np.array_equal(again.planes[0].place, drawn.planes[0].place)


def test_the_page_escapes_what_comes_from_the_data_and_loads_nothing(tmp_path: Path) -> None:
    made = draw_all(evaluation(tmp_path / "images"))
    write_report(EvaluationAnalysis(made), tmp_path / "report.html", command="eml evaluate '<i>a</i>'")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "<img src=x" not in page
    assert "{{7*7}}" in page  # told, not computed
    assert "<i>a</i>" not in page
    assert not re.search(r"https?:|//[a-z]", re.sub(r'"data:image/webp;base64,[^"]*"', "", page).lower())
    assert page.count("</script>") == 2
    text = text_of(page)
    assert EVIL + "2" in text
    assert "63 queries among 63 images, 10 classes" in text
    assert "1 query has no positive of the class in the gallery and is not counted" in text
    assert "cannot be read" not in text
    for name, value in made.summary.values.items():
        assert f"{made.summary.shown[name]} {100 * value:.1f} %" in text
    data = json.loads(re.findall(r'id="map-data">(.*?)</script>', page)[0])
    assert data["names"] == made.retrieval.frame["file_name"].tolist()
    assert [data["classes"][point[0]] for point in data["points"]] == made.retrieval.frame["label"].tolist()
    assert all(each.startswith("data:image/webp;base64,") for each in data["images"])


def test_what_others_found_is_shown_only_where_it_is_given(tmp_path: Path) -> None:
    made = draw_all(evaluation(tmp_path / "images"))
    write_report(EvaluationAnalysis(made), tmp_path / "bare.html", command="eml evaluate a")
    camera = [
        Slice("a&b", 3, 2, {"map_at_r": 0.125}, {"map_at_r": Interval(0.1, 0.2, 2)}),
        Slice("c", 1, 1, {"map_at_r": 0.25}, {"map_at_r": Interval(np.nan, np.nan, 1)}),
    ]
    analysis = EvaluationAnalysis(
        replace(made, calibration=calibration(0.25)),
        intervals={"recall_at_1": Interval(0.25, 0.5, 9)},
        slices=Slices({"by <camera>": camera}),
        verification={
            **{"auc": 0.875, "tar_at_far_1e-3": 0.375, "eer_threshold": 0.25, "same_pairs": 1234},
            **{"auc_error": 1.5e-6, "fold_accuracy": 0.9375},
        },
        clustering={"nmi": 0.75, "ami": 0.625},
        roc={"false_accept_rate": [0.0, 0.001, 0.1, 1.0], "true_accept_rate": [0.2, 0.375, 0.9, 1.0]},
        comparison=ModelComparison(
            name="this",
            against="<other>",
            shown={"recall_at_1": "R@1"},
            differences={"recall_at_1": Difference(0.75, 0.5, Interval(-0.5, -0.125, 9))},
            to_right=1,
            to_right_classes=1,
            to_wrong=12,
            to_wrong_classes=3,
            both_right=45,
            both_wrong=6,
            gained=[],
            lost=[],
        ),
    )
    write_report(analysis, tmp_path / "full.html", command="eml evaluate a")
    bare, full = (text_of((tmp_path / name).read_text(encoding="utf-8")) for name in ("bare.html", "full.html"))
    for told in (
        *("25.0 to 50.0 %", "by <camera>", "a&b 3 12.5 % 10.0 to 20.0 %", "AUC 87.5 %", "TAR@FAR=1e-3 37.5 %"),
        *("threshold at EER 0.2500", "pairs of the same class 1,234", "accuracy over folds 93.8 %", "NMI 75.0 %"),
        *("error of the AUC, at most 1.5e-06", "clustering NMI", "AMI 62.5 %"),
        *(
            "Verification (ROC)",
            "Against <other>",
            "R@1 50.0 % 75.0 % -25.0 % -50.0 to -12.5 % worse",
            "threshold 0.250",
            "With so few classes they are only a hint",
            "1 query became right, 12 wrong; 45 stayed right, 6 wrong",
        ),
    ):
        assert told in full
        assert told not in bare
    for word in ("Slices", "Against", "ROC", "interval", "threshold"):
        assert word not in bare


def with_texts(made: Evaluation) -> EvaluationAnalysis:
    """An evaluation with captions and texts of its classes, near the middle of their images, and labelled images."""
    random = np.random.default_rng(1)
    frame = made.retrieval.frame
    said = [f"caption {row // 2} {EVIL}" for row in range(len(frame))]
    made = replace(made, retrieval=replace(made.retrieval, frame=frame.assign(said=said)))
    texts = TextSet(
        captions_of(made.retrieval, ["said"], "t"),
        named_classes(made.retrieval, TextSource(template=("a {label}", "one {label}")), "t"),
    )
    assert texts.captions is not None
    middle = torch.zeros(len(texts.captions.texts), 8)
    middle.index_add_(0, torch.from_numpy(texts.captions.text_of_pair), made.embeddings)
    labels = made.retrieval.labels
    classes = class_means(made.embeddings, labels, int(labels.max()) + 1).float()
    noise = [torch.from_numpy(random.normal(size=values.shape)).float() for values in (middle, classes)]
    labelled = CachedImages(made.embeddings + 0.1, labels, "other<b>.csv", 3)
    embedded = EmbeddedTexts(texts, middle + noise[0], classes + 0.4 * noise[1], labelled=labelled)
    return analyze(replace(made, texts=embedded))


def test_text_queries_are_shown_with_the_images_that_they_find(tmp_path: Path) -> None:
    analysis = with_texts(evaluation(tmp_path, classes=9))
    made = analysis.evaluation
    captions, classes = choose_contents(analysis).texts
    assert captions.title == "Texts of said"
    assert [len(queries) for queries in captions.queries.values()] == [6, 6, 6]
    assert analysis.text is not None
    assert made.texts is not None
    frame, unit = made.retrieval.frame, torch.nn.functional.normalize
    for shelf, column, vectors in ((captions, "said", made.texts.captions), (classes, "label", made.texts.classes)):
        assert vectors is not None
        cosines = (unit(vectors) @ unit(made.embeddings).T).numpy()
        names = made.texts.texts.captions.texts if shelf is captions else made.texts.texts.classes.labels  # type: ignore[union-attr]
        for query in (query for queries in shelf.queries.values() for query in queries):
            name = query.text if shelf is captions else query.label
            row = cosines[list(names).index(name)]
            order = np.argsort(-row, kind="stable")
            own = [" ".join(str(value).split()) == name for value in frame[column].iloc[order]]
            assert [each.row for each in query.neighbours] == order[:FOUND].tolist()
            assert [each.right for each in query.neighbours] == own[:FOUND]
            assert query.rank == 1 + own.index(True)
    assert {query.more for queries in classes.queries.values() for query in queries} == {1}


def test_captions_that_are_the_texts_of_the_classes_are_shown_once(tmp_path: Path) -> None:
    analysis = with_texts(evaluation(tmp_path, classes=3, images=3))
    texts = analysis.evaluation.texts
    assert texts is not None
    assert texts.texts.classes is not None
    labels = tuple((label,) for label in texts.texts.classes.labels)
    same = captions_of(analysis.evaluation.retrieval, ["label"], "t")
    texts = replace(
        texts, texts=TextSet(same, replace(texts.texts.classes, texts=labels)), captions=texts.classes, labelled=None
    )
    [gallery] = choose_contents(analyze(replace(analysis.evaluation, texts=texts))).texts
    assert gallery.title == "Texts of label"


def test_the_page_shows_texts_their_chance_and_what_labelled_images_add(tmp_path: Path) -> None:
    analysis = with_texts(draw_all(evaluation(tmp_path / "images", classes=6, images=4)))
    write_report(analysis, tmp_path / "report.html", command="eml evaluate a")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "<img src=x" not in page
    assert "other<b>.csv" not in page
    text, measures = text_of(page), analysis.text
    assert measures is not None
    assert measures.zero_shot is not None
    assert measures.adapted is not None
    assert measures.captions_to_images is not None
    assert f"R@1 {100 * measures.captions_to_images.values['recall_at_1']:.1f} %" in text
    for way in measures.adapted.ways:
        assert f"{way.name} {100 * way.values['top_1']:.1f} %" in text
    assert f"chance {100 * measures.zero_shot.chance['top_1']:.1f} %" in text
    assert "“a " in text
    assert "and 1 other text of" in text
    assert "25 images of 7 classes, each given the class of the most similar text" in text
    without = tmp_path / "without.html"
    write_report(EvaluationAnalysis(analysis.evaluation), without, command="eml evaluate a")
    assert 'id="texts"' not in without.read_text(encoding="utf-8")


def test_classes_that_changed_are_shown_with_their_queries(tmp_path: Path) -> None:
    made = draw_all(evaluation(tmp_path / "images"))
    other = replace(evaluation(tmp_path / "images", noise=1.6), name="<b>other</b>")
    comparison = compare(made, other)
    facts = comparison.facts()
    write_report(EvaluationAnalysis(made, comparison=comparison), tmp_path / "report.html", command="eml")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    text, section = text_of(page), page.partition('id="comparison"')[2].partition("</section>")[0]
    assert "Classes that gained most" in text
    assert "before (<b>other</b>) and now" in text.replace(" )", ")").replace("( ", "(")
    for change in (*facts["gained"], *facts["lost"]):
        before, after = (f"{100 * change[when]:.1f}" for when in ("before", "after"))
        assert f"{change['label']} MAP@R {before} → {after} %" in text
        turned = f"{change['to_right']} became right, {change['to_wrong']} wrong"
        assert (turned if change["to_right"] or change["to_wrong"] else "none became right or wrong") in text
        for query in change["changed"]:
            for each in (query, query["was"], query["now"]):
                assert f'alt="{html.escape(each["file_name"])}"' in section
    same = EvaluationAnalysis(made, comparison=compare(made, made))
    write_report(same, tmp_path / "same.html", command="eml")
    section = (tmp_path / "same.html").read_text(encoding="utf-8").partition('id="comparison"')[2]
    told = text_of(section.partition("</section>")[0])
    assert "Both models answer every query alike, by every metric." in told
    assert "interval" not in told


def test_long_galleries_are_folded_and_hold_all(tmp_path: Path) -> None:
    made = draw_all(evaluation(tmp_path / "images", classes=30))
    write_report(EvaluationAnalysis(made), tmp_path / "report.html", command="eml evaluate a")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert page.count('<article class="query">') == 3 * SHOWN
    told = [text_of(each).strip() for each in re.findall(r"<summary>(.*?)</summary>", page)]
    shown = choose_contents(EvaluationAnalysis(made))
    assert told == [
        *("10 more of the worst", "10 more in the middle", "10 more of the best"),
        f"{len(shown.confusions) - 3} more pairs",
        f"{len(shown.worst) - 8} more of the worst",
    ]
    assert len(shown.worst) == 20
    section = text_of(page.partition('id="worst"')[2].partition("</section>")[0])
    assert all(f"{each.label} {each.queries} " in section for each in shown.worst)


@pytest.mark.wide
@pytest.mark.slow
def test_the_size_does_not_grow_with_the_number_of_images(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)  # the worst case of a JPEG
    Image.fromarray(noise).save(tmp_path / "0.jpg")
    random = np.random.default_rng(0)
    labels = random.integers(0, 1500, 5000).astype(str)
    frame = pd.DataFrame({"label": labels, "file_name": "0.jpg"})
    made = evaluate_embeddings("a", torch.randn(5000, 4), Table(frame, tmp_path))
    write_report(EvaluationAnalysis(made), tmp_path / "report.html", command="eml evaluate a")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert len(page) < 15e6
    assert page.count("data:image/webp") <= 3 * SHOWN * (1 + NEIGHBOURS) + 48 + THUMBNAILS


def test_a_set_without_mistakes_and_a_set_of_equal_embeddings_have_a_page(tmp_path: Path) -> None:
    frame = pd.DataFrame({"label": list("aaabbb"), "file_name": [f"{i}.png" for i in range(6)]})
    tidy = torch.eye(2).repeat_interleave(3, 0) + 0.01 * torch.arange(12).view(6, 2)
    for name, table, embeddings in (("tidy", frame, tidy), ("equal", frame[1:4], torch.ones(3, 2))):
        made = evaluate_embeddings("a", embeddings, Table(table, tmp_path))
        write_report(EvaluationAnalysis(made), tmp_path / f"{name}.html", command="eml evaluate a")
        text = text_of((tmp_path / f"{name}.html").read_text(encoding="utf-8"))
        assert "None: every first answer is right." in text
        assert "No image is where the table says" in text
        assert "1.png" in text
    assert "Map of the embeddings" not in text  # of three embeddings that are one


def test_a_image_that_cannot_be_read_is_shown_as_such(tmp_path: Path) -> None:
    made = draw_all(evaluation(tmp_path / "images"))
    for name in made.table.frame["file_name"][:30]:
        (tmp_path / "images" / name).write_bytes(b"broken")
    write_report(EvaluationAnalysis(made), tmp_path / "report.html", command="eml evaluate a")
    text = text_of((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert "cannot be read (not_an_image)" in text
    assert "No image" not in text


def test_a_page_of_the_users_is_not_replaced(tmp_path: Path) -> None:
    made = evaluation(tmp_path / "images")
    (tmp_path / "report.html").write_text("<p>mine")
    with pytest.raises(OutputError, match="was not written by eml"):
        write_report(EvaluationAnalysis(made), tmp_path / "report.html", command="eml evaluate a")
    assert (tmp_path / "report.html").read_text() == "<p>mine"
    for _ in range(2):
        write_report(EvaluationAnalysis(made), tmp_path / "other.html", command="eml evaluate a")


def test_evaluate_writes_the_page_beside_the_metrics(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for label in "ab":
        for number in range(3):
            path = tmp_path / "data" / label / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = np.random.default_rng(ord(label)).integers(0, 200, (6, 6, 3)) + 20 * number
            Image.fromarray(pixels.astype(np.uint8)).resize((40, 40)).save(path)
    command = ["evaluate", "timm:test_resnet", "--weights", "none", "--image-size", "32"]
    command += ["--data", str(tmp_path / "data")]
    assert main([*command, "--out", str(tmp_path / "without"), "--no-report"]) == 0
    assert [path.name for path in (tmp_path / "without").glob("*/*")] == ["metrics.json"]
    assert main([*command, "--out", str(tmp_path / "with")]) == 0
    page = next((tmp_path / "with").glob("*/report.html"))
    assert f"wrote {page}" in capsys.readouterr().err
    text = text_of(page.read_text(encoding="utf-8"))
    assert f"--out {tmp_path}/with" in text
    facts = json.loads((page.parent / "metrics.json").read_text())
    assert facts["table_digest"] in text
    assert "size 32; fit" in text
    page.write_text("mine")
    assert main([*command, "--out", str(tmp_path / "with")]) == 2


TOO_WIDE = """[...document.querySelectorAll('body *')].filter(each => !each.closest('.wide') && !each.closest('svg') &&
  each.getBoundingClientRect().right > innerWidth + 1).map(each => each.outerHTML.slice(0, 80))"""
HEIGHT = "document.documentElement.scrollHeight"
POINT = """(() => {
  const plane = document.querySelector('#map svg'), data = JSON.parse(document.querySelector('#map-data').textContent);
  plane.scrollIntoView();
  const box = plane.getBoundingClientRect(), [x, y] = data.planes[0].places[NUMBER];
  plane.dispatchEvent(new PointerEvent('TYPE', {bubbles: true, pointerType: 'mouse',
    clientX: box.left + x * box.width / 1000, clientY: box.top + y * box.width / 1000}));
})()"""
CARD = """(() => {
  const card = document.querySelector('.map-card'), image = card.querySelector('img');
  return [card.hidden, card.querySelector('b').textContent, image.hidden, image.naturalWidth,
    card.getBoundingClientRect().left >= 0 && card.getBoundingClientRect().right <= innerWidth];
})()"""

KEY = "{}.dispatchEvent(new KeyboardEvent('keydown', {{key: '{}', bubbles: true, cancelable: true}}))"
FIND = """(() => {
  const find = document.getElementById('map-find');
  find.value = 'TEXT';
  find.dispatchEvent(new Event('input'));
  return [...document.querySelectorAll('#map-matches [role=option]')].map(each => each.textContent);
})()"""
RINGS = "document.querySelector('#map .rings').getAttribute('d').split('M').length - 1"
COLOURED = "[...document.querySelectorAll('#map-colours button[aria-pressed]')].map(each => each.textContent)"
PLANE = """(() => {
  document.querySelectorAll('input[name=plane]')[1].click();
  return [...document.querySelectorAll('.of-plane')].map(each => each.hidden);
})()"""

BORDERS = """[...new Set([...document.querySelectorAll('.found .KIND .frame')]
  .map(each => getComputedStyle(each).borderTopStyle))]"""


@pytest.mark.wide
@pytest.mark.skipif(not PROGRAM, reason="no Chromium is installed")
def test_a_browser_shows_the_page_and_its_map_by_pointer_and_keys(tmp_path: Path) -> None:
    made = draw_all(evaluation(tmp_path / "images", noise=0.6))
    write_report(EvaluationAnalysis(made), tmp_path / "report.html", command="eml evaluate " + "a" * 300)
    labels = made.retrieval.frame["label"].tolist()
    with Chromium() as browser:
        for width in (360, 768, 1200):
            for dark in (False, True):
                browser.open(tmp_path / "report.html", width=width, dark=dark)
                assert browser.evaluate("document.documentElement.scrollWidth") == width
                assert browser.evaluate(TOO_WIDE) == []
                assert browser.evaluate("[...document.images].every(each => each.hidden || each.naturalWidth > 0)")
                assert browser.evaluate(CARD)[0] is True
                for number in (0, 8, 30):
                    browser.evaluate(POINT.replace("NUMBER", str(number)).replace("TYPE", "pointermove"))
                    browser.evaluate("document.querySelector('.map-card img').decode()")
                    assert browser.evaluate(CARD) == [False, labels[number], False, 90, True]
                browser.evaluate(POINT.replace("NUMBER", "0").replace("TYPE", "pointerleave"))
                assert browser.evaluate(CARD)[0] is True
                folded = browser.evaluate(HEIGHT)
                browser.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true; })")
                assert browser.evaluate(TOO_WIDE) == []
                assert browser.evaluate("document.documentElement.scrollWidth") == width
                assert browser.evaluate(HEIGHT) > 1.5 * folded
                assert [each for each in browser.asked if not each.startswith("data:")] == []
                assert browser.complaints == []
        browser.open(tmp_path / "report.html", width=360)
        for _ in range(60):  # with Tab from the top to what is folded, which Enter opens
            browser.press("Tab")
            if browser.evaluate("document.activeElement.matches('details.more:not([open]) > summary')"):
                browser.press("Enter", "\r")
        opened = "[...document.querySelectorAll('details.more')].every(each => each.open)"
        assert browser.evaluate(opened)
        browser.open(tmp_path / "report.html", width=360)
        assert not browser.evaluate(opened)
        browser.evaluate("dispatchEvent(new Event('beforeprint'))")
        assert browser.evaluate(opened)
        browser.evaluate(KEY.format("document.querySelector('#queries .frame.enlarges')", "Enter"))
        first = browser.evaluate("document.querySelector('dialog.zoom[open] img').alt")
        browser.evaluate(KEY.format("document.querySelector('dialog.zoom')", "ArrowRight"))
        assert browser.evaluate("document.querySelector('dialog.zoom img').alt") != first
        assert browser.evaluate("document.querySelector('dialog.zoom').getBoundingClientRect().right <= innerWidth")
        browser.evaluate("document.querySelector('dialog.zoom').close(); new Promise(done => setTimeout(done, 100))")
        assert browser.evaluate("document.activeElement.matches('.frame.enlarges')")
        told = []
        browser.evaluate("document.querySelector('#map svg').focus()")
        for key in ("ArrowRight", "ArrowLeft", "ArrowDown", "ArrowRight"):
            browser.evaluate(f"document.activeElement.dispatchEvent(new KeyboardEvent('keydown', {{key: '{key}'}}))")
            told.append(browser.evaluate("document.querySelector('.map-card span').textContent"))
        assert len(set(told)) > 2
        assert browser.evaluate(CARD)[0] is False
        browser.evaluate("document.activeElement.dispatchEvent(new KeyboardEvent('keydown', {key: 'Escape'}))")
        assert browser.evaluate(CARD)[0] is True
        for kind, border in (("right", "solid"), ("wrong", "dashed"), ("asked", "double")):
            assert browser.evaluate(BORDERS.replace("KIND", kind)) == [border]


@pytest.mark.wide
@pytest.mark.skipif(not PROGRAM, reason="no Chromium is installed")
def test_a_browser_finds_classes_on_the_map_and_colours_them(tmp_path: Path) -> None:
    made = draw_all(evaluation(tmp_path / "images", classes=12))
    intervals = {name: Interval(0.9, 0.99999, 9) for name in made.summary.shown}
    comparison = compare(made, replace(evaluation(tmp_path / "images", classes=12, noise=1.6), name="timm:" + "b" * 60))
    fingerprint = Fingerprint.model_construct(digest="0" * 32, weights="0" * 32, precision="float32", tta="none")
    full = EvaluationAnalysis(replace(made, fingerprint=fingerprint), intervals=intervals, comparison=comparison)
    write_report(full, tmp_path / "report.html", command="eml", projection="tsne")
    with Chromium() as browser:
        for width in (360, 640, 1120):
            browser.open(tmp_path / "report.html", width=width)
            assert browser.evaluate("document.documentElement.scrollWidth") == width
            assert browser.evaluate(TOO_WIDE) == []
        browser.open(tmp_path / "report.html", width=390)
        before = browser.evaluate(COLOURED)
        assert len(before) == 8
        grey = next(label for number in range(12) if (label := f"class {number}") not in before and number != 1)
        assert f"{grey} (7)" in browser.evaluate(FIND.replace("TEXT", "LASS"))
        assert browser.evaluate(FIND.replace("TEXT", grey.upper())) == [f"{grey} (7)"]
        assert browser.evaluate(RINGS) == 7
        browser.evaluate(KEY.format("document.getElementById('map-find')", "Enter"))
        after = browser.evaluate(COLOURED)
        assert set(after) - set(before) == {grey}
        assert len(after) == 8
        assert browser.evaluate(FIND.replace("TEXT", "<img"))[0] == f"{EVIL} (1)"
        assert browser.evaluate(PLANE) == [True, False]
        browser.evaluate("document.getElementById('map-none').click()")
        assert browser.evaluate(COLOURED) == []
        browser.evaluate("document.getElementById('map-largest').click()")
        assert browser.evaluate(COLOURED) == before
        assert browser.complaints == []


def test_the_map_shows_another_projection_beside_the_principal_components(tmp_path: Path) -> None:
    made = draw_all(evaluation(tmp_path / "images"))
    plain = choose_contents(EvaluationAnalysis(made)).map
    other = choose_contents(EvaluationAnalysis(made), "tsne").map
    assert plain is not None
    assert other is not None
    assert [plane.kind for plane in plain.planes] == ["pca"]
    assert [plane.kind for plane in other.planes] == ["tsne", "pca"]
    assert np.array_equal(other.planes[1].place, plain.planes[0].place)
    for plane in other.planes:
        assert (plane.place >= 0).all()
        assert (plane.place <= [1000, plane.height]).all()
    kept = neighbours_kept(made, other.planes[0].place)
    assert kept > neighbours_kept(made, other.planes[1].place)


def neighbours_kept(made: Evaluation, places: np.ndarray) -> float:
    """The share of images whose nearest image stays among the three nearest on the map."""
    unit = torch.nn.functional.normalize(made.embeddings.double(), dim=1).numpy()
    near = (unit @ unit.T - 9 * np.eye(len(unit))).argmax(1)
    far = np.linalg.norm(places[:, None] - places[None], axis=2) + 1e9 * np.eye(len(places))
    return float((np.argsort(far, axis=1)[:, :3] == near[:, None]).any(1).mean())


def test_a_map_by_umap_without_its_package_is_refused_before_the_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["evaluate", "timm:test_resnet", "--weights", "none", "--data", str(tmp_path), "--out", str(tmp_path)]
    for spec in (None, ModuleSpec("umap", None)):  # nothing, or a folder of that name
        monkeypatch.setattr("importlib.util.find_spec", lambda name, spec=spec: spec)
        assert main([*command, "--map", "umap"]) == 2
        assert "pip install 'easy-metric-learning[umap]'" in capsys.readouterr().err
    assert main([*command, "--map", "tsne", "--no-report"]) == 2
    assert "--map: only with --report" in capsys.readouterr().err


def test_the_scores_show_the_model_before_and_the_runs_own_validation(tmp_path: Path) -> None:
    run = tmp_path / "run"
    made = draw_all(replace(evaluation(tmp_path / "images"), name=str(run)))
    (run / "checkpoints" / "epoch-002").mkdir(parents=True)
    for name in ("config.json", "model.safetensors"):
        (run / "checkpoints" / "epoch-002" / name).write_text("")
    (run / "checkpoints" / "best").write_text("epoch-002")
    (run / "run.json").write_text(json.dumps({"validations": {"": {"question": "<b>unseen</b> classes"}}}))
    lines = [{"epoch": at, "step": at, "recall_at_1": 0.25 + at / 4, "map_at_r": 0.125 * at} for at in range(3)]
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    comparison = compare(made, replace(evaluation(tmp_path / "images", noise=1.6), name="before"))
    write_report(EvaluationAnalysis(made, comparison=comparison), tmp_path / "report.html", command="eml")
    text = text_of((tmp_path / "report.html").read_text(encoding="utf-8"))
    change = comparison.differences["map_at_r"]
    assert f"{100 * change.before:.1f} % with before , {100 * change.value:+.1f} %" in text
    assert "In the training's own validation, of other images ( <b>unseen</b> classes ): R@1 25.0 % before" in text
    assert "75.0 % after 2 epochs; MAP@R 0.0 % before training, 25.0 % after 2 epochs." in text
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines[1:]))
    write_report(EvaluationAnalysis(made), tmp_path / "report.html", command="eml")
    assert "own validation" not in text_of((tmp_path / "report.html").read_text(encoding="utf-8"))
