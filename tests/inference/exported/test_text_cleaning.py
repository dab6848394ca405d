import random
import sys

import pytest

from eml.errors import ConfigError
from eml.inference.exported.text_cleaning import clean

ALL = ("ftfy", "unescape", "strip", "whitespace", "lower")


def test_texts_are_cleaned_as_open_clip_cleans_them() -> None:
    pytest.importorskip("ftfy")
    assert clean("  A “RED”\tMug &amp;lt; cafÃ©\n", ALL) == 'a "red" mug < café'
    assert clean("Ein_Wort, zwei -- Worte!", ("ftfy", "unescape", "strip", "canonicalize")) == "ein wort zwei worte"
    assert clean(" A  B ", ("strip",)) == "A  B"


def test_without_ftfy_only_texts_that_it_may_change_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ftfy", None)
    assert clean("A red mug, 5 < 7\t\n'yes' \\x41 ~", ALL) == "a red mug, 5 < 7 'yes' \\x41 ~"
    for text in ("café", "a &amp; b", "bell\x07"):
        with pytest.raises(ConfigError, match="need the ftfy package") as error:
            clean(text, ALL)
        assert error.value.code == "missing-package"


def test_ftfy_changes_no_text_that_is_taken_without_it() -> None:
    ftfy = pytest.importorskip("ftfy")
    letters = [chr(code) for code in range(32, 127) if chr(code) != "&"] + ["\t", "\n"]
    draw = random.Random(0)
    for _ in range(500):
        text = "".join(draw.choices(letters, k=40))
        assert ftfy.fix_text(text) == text == clean(text, ("ftfy",))
