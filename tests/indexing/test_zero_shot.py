"""Images classified by the names of classes, and texts that search, as typed and in Python."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import eml
from eml.cli.app import main
from eml.errors import ConfigError, EmlError
from eml.indexing.index import Index
from eml.indexing.queries import embed_list, embed_pixels
from eml.indexing.zero_shot import ZeroShotClassifier
from eml.inference.image_list import list_images
from eml.texts.class_texts import TextSource, texts_of
from tests.indexing.shop import CLASSES, draw, network, photo, text_network


def test_each_image_gets_the_class_whose_texts_are_nearest_with_the_towers_own_softmax() -> None:
    model = text_network()
    images = [photo("tea", 7), photo("mug", 7), photo("<b>jam", 7)]
    zero_shot = ZeroShotClassifier(model, ["of tea", "red mug", "jam"], [("tea",), ("a mug", "one mug"), ("<b>jam",)])
    answers = zero_shot.classify(embed_pixels(model, images))
    assert [answer.label for answer in answers] == ["of tea", "red mug", "jam"]
    cosines = model.embed(images).astype(np.float64) @ model.embed_text(["tea", "mug", "<b>jam"]).T
    shares = np.exp(10 * cosines) / np.exp(10 * cosines).sum(axis=1, keepdims=True)
    for row, answer in enumerate(answers):
        order = np.argsort(-cosines[row])
        assert answer.probability == pytest.approx(shares[row, order[0]], abs=1e-6)
        assert answer.runner_up_probability == pytest.approx(shares[row, order[1]], abs=1e-6)
        assert answer.cosine == pytest.approx(cosines[row, order[0]], abs=1e-6)
        assert answer.margin == pytest.approx(cosines[row, order[0]] - cosines[row, order[1]], abs=1e-6)
        assert answer.unknown is None


def test_a_tower_trained_with_sigmoids_gives_each_class_its_own_probability() -> None:
    zero_shot = ZeroShotClassifier(text_network(), ["a", "b"], [("tea",), ("mug",)])
    zero_shot.bias = -3.0
    values = zero_shot.probabilities(np.array([[0.5, 0.1]]))
    np.testing.assert_allclose(values, 1 / (1 + np.exp([[-2.0, 2.0]])), rtol=1e-6)


def test_a_single_name_and_unreadable_images_have_their_answers(tmp_path: Path) -> None:
    photos = draw(tmp_path / "photos", ("tea",), per_class=1)
    (photos / "broken.jpg").write_text("no image")
    zero_shot = ZeroShotClassifier(text_network(), ["tea"], [("tea",)])
    answers = zero_shot.classify(embed_list(text_network(), list_images(photos)))
    tea, broken = sorted(answers, key=lambda answer: answer.label is None)
    assert (tea.label, tea.probability, tea.runner_up) == ("tea", 1.0, None)
    assert (broken.label, broken.file_name) == (None, "broken.jpg")


def test_a_model_without_text_tower_is_refused() -> None:
    with pytest.raises(ConfigError, match="has no text tower") as error:
        ZeroShotClassifier(network(), ["a"], [("a",)])
    assert error.value.code == "no-text-tower"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"template": "a {label}"}, "`template` goes with `names`"),
        ({"image_size": 64}, "`image_size` is for a model, with `names`"),
        ({"weights": "none"}, "`weights` is for a model, with `names`"),
        ({"names": "n.txt", "unknown_share": 0.5}, "`unknown_share` has no effect with `names`"),
        ({"names": "n.txt", "model": "m"}, "`model` goes with an index, and timm:test_resnet is none"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    fields: dict[str, object], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("n.txt").write_text("mug\ntea\n")
    draw(Path("photos"), ("tea",), per_class=1)
    with pytest.raises(EmlError, match=message):
        eml.classify("timm:test_resnet", "photos", **fields)


@pytest.mark.xdist_group("clip")
def test_labels_and_probabilities_equal_those_of_open_clips_own_code(tiny_clip: Path) -> None:
    open_clip = pytest.importorskip("open_clip")
    name, names = f"local-dir:{tiny_clip}", ["cat", "red mug", "window"]
    theirs, _, transform = open_clip.create_model_and_transforms(name)
    templates = ["a photo of a {}.", "many {}s"]
    classifier = open_clip.build_zero_shot_classifier(theirs.eval(), open_clip.get_tokenizer(name), names, templates)
    images = [photo(label, number).resize((160, 160)) for label in CLASSES for number in range(3)]
    with torch.no_grad():
        features = theirs.encode_image(torch.stack([transform(image) for image in images]), normalize=True)
        expected = (theirs.logit_scale.exp() * features @ classifier).softmax(dim=-1).numpy()
    own = TextSource(template=("a photo of a {label}.", "many {label}s"))
    zero_shot = ZeroShotClassifier(eml.load(f"open_clip:{name}"), names, texts_of(None, names, own))
    answers = zero_shot.classify(embed_pixels(zero_shot.model, images))
    assert [answer.label for answer in answers] == [names[row] for row in expected.argmax(axis=1)]
    np.testing.assert_allclose([answer.probability for answer in answers], expected.max(axis=1), atol=1e-6)


@pytest.mark.slow
@pytest.mark.xdist_group("clip")
def test_search_and_classify_take_texts_as_typed(
    tiny_clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    draw(Path("photos"))
    model = f"open_clip:local-dir:{tiny_clip}"
    Path("names.txt").write_text("mug\ttea or mug\ntea\n<b>jam\ta jar\n")
    words = ["classify", model, "photos", "--names", "names.txt", "--template", "a photo of {label}"]
    assert main([*words, "--truth", "label", "--out", "answers.csv", "--html", "answers.html"]) == 0
    captured = capsys.readouterr()
    assert "warning: zero-shot: the probability compares the 3 names with each other" in captured.err
    assert "the right class, of images whose class is among the names" in captured.out
    answers = pd.read_csv("answers.csv")
    assert set(answers["label"]) <= set(CLASSES)
    assert answers["probability"].between(1 / 3, 1).all()
    assert answers["unknown"].isna().all()
    page = Path("answers.html").read_text()
    assert "compares the 3 names" in page
    assert "&lt;b&gt;jam" in page

    usual = eml.classify(model, "photos", names="names.txt")
    larger = eml.classify(model, "photos", names="names.txt", image_size=96, precision="bfloat16")
    assert [image.probability for image in usual.images] != [image.probability for image in larger.images]

    eml.build_index("shop.index", model, "photos", with_model=True)
    with pytest.raises(ConfigError, match="`precision` is for a model, and shop"):
        eml.classify("shop.index", "photos", names="names.txt", precision="bfloat16")
    assert main(["search", "shop.index", "--text", "a red mug", "--k", "2", "--html", "found.html", "--json"]) == 0
    captured = capsys.readouterr()
    (answer,) = json.loads(captured.out)["results"]
    assert (answer["query"], answer["is_text"], len(answer["neighbours"])) == ("a red mug", True, 2)
    assert "no calibration" not in captured.err
    assert "“a red mug”" in Path("found.html").read_text()
    assert main(["classify", "shop.index", "photos", "--names", "names.txt", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["zero_shot"] is True
    with Index.open("shop.index") as index:
        by_text = index.search(text="a red mug", k=2)
    assert [image.file_name for image in by_text[0]] == [image["file_name"] for image in answer["neighbours"]]
    assert main(["search", "shop.index"]) == 2
    assert "IMAGES or a query as --text is needed" in capsys.readouterr().err
