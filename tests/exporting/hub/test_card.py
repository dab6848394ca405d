"""The model card: front matter that the hub reads, and nothing that is not recorded."""

from typing import Any

import pytest
import yaml

from eml.exporting.hub.card import card_text, proof_text
from eml.exporting.hub.card_facts import CardFacts, MeasuredTable, StartingWeights

FACTS: dict[str, Any] = {
    **{"backbone": "resnet50", "architecture": "resnet50", "size": 256, "shape": (224, 224), "fit": "squash"},
    **{"neck": "linear", "is_direct": True, "trained_images": 2668, "trained_classes": 41},
}
TIMM = StartingWeights(words="timm's pretrained weights resnet50.a1_in1k", licence="apache-2.0", repository="timm/r")


def front(text: str) -> Any:
    return yaml.safe_load(text.split("---\n")[1])


@pytest.mark.parametrize(
    ("licence", "start", "trained", "expected", "words"),
    [
        (None, None, 41, {}, "Of this model: not stated."),
        (
            None,
            TIMM,
            41,
            {},
            "Of this model: not stated. Of timm's pretrained weights resnet50.a1_in1k, which training",
        ),
        (None, TIMM, None, {"license": "apache-2.0"}, "a1_in1k: apache-2.0, as timm states it."),
        ("MIT", TIMM, 41, {"license": "mit"}, "Of this model: MIT."),
        ("My own 1.0", None, 41, {"license": "other", "license_name": "my-own-1.0"}, "Of this model: My own 1.0."),
    ],
)
def test_a_licence_is_the_users_or_as_timm_states_it_or_not_stated(
    licence: str | None, start: StartingWeights | None, trained: int | None, expected: dict[str, str], words: str
) -> None:
    own = FACTS | {"trained_classes": trained, "trained_images": trained}
    text = card_text("m", CardFacts(**own, licence=licence, start=start))
    stated = {key: value for key, value in front(text).items() if key.startswith("license")}
    assert stated == expected
    assert words in text
    assert front(text).get("base_model") == ("timm/r" if start else None)


def test_metrics_stand_with_their_intervals_and_how_much_of_the_table_was_trained_on() -> None:
    table = MeasuredTable(
        name="shelf|test",
        queries=2753,
        classes=40,
        values={"recall_at_1": 0.9, "map_at_r": 0.5},
        intervals={"map_at_r": (0.4, 0.6)},
        confidence=0.95,
        overlap="0 of 40 classes",
    )
    text = card_text("m", CardFacts(**FACTS, measured=[table]), proof="the proof passed on 200 images")
    assert r"| shelf\|test | 0.900 | 0.500 (0.400 to 0.600) | 2,753 | 40 | 0 of 40 classes |" in text
    assert "with 95 % intervals" in text
    assert "the proof passed on 200 images." in text
    assert "2,668 images of 41 classes" in text


def test_nothing_is_claimed_that_is_not_recorded() -> None:
    text = card_text("m", CardFacts(**FACTS | {"trained_classes": None, "trained_images": None}))
    assert "No evaluation of these weights is recorded." in text
    assert "How well it finds images is not recorded." in text
    assert "Not recorded." in text
    assert proof_text(None) == ""
    assert "proof" not in text.lower().replace("proof.", "")


def test_code_is_for_what_the_folder_holds() -> None:
    direct, layered = (card_text("m", CardFacts(**FACTS | {"is_direct": value})) for value in (True, False))
    assert "With timm, whose network gives the embedding" in direct
    assert "timm, whose network gives the embedding" not in layered
    assert "SentenceTransformer" in layered


def test_what_the_libraries_leave_out_stands_under_limits() -> None:
    text = card_text("m", CardFacts(**FACTS, left_out=["eml embeds a mirror too."], differences=["Borders differ."]))
    limits = text.split("## Limits")[1]
    assert "- eml embeds a mirror too.\n- Borders differ." in limits
