"""An unfinished line of bash, with its quotes and the characters after which bash replaces."""

import shlex

import pytest

from eml.cli.completing.lines import escaped, split_line

BREAKS = " \t\n\"'@><=;|&(:"


@pytest.mark.parametrize(
    ("text", "words", "current", "kept", "quote"),
    [
        ("eml tr", ["eml"], "tr", "", ""),
        ("eml train ", ["eml", "train"], "", "", ""),
        ("eml train a.yaml --set margin=arc", ["eml", "train", "a.yaml", "--set"], "margin=arc", "margin=", ""),
        ("eml evaluate timm:mob", ["eml", "evaluate"], "timm:mob", "timm:", ""),
        (r"eml scan my\ ph", ["eml", "scan"], "my ph", "", ""),
        (r"eml scan a\=b", ["eml", "scan"], "a=b", "", ""),
        ('eml scan "my p', ["eml", "scan"], "my p", "", '"'),
        ("eml scan 'a\"=b", ["eml", "scan"], 'a"=b', "", "'"),
        ('eml train --set margin="ar', ["eml", "train", "--set"], "margin=ar", "margin=", '"'),
        (r'eml scan "a\"b" c', ["eml", "scan", 'a"b'], "c", "", ""),
        ("eml scan '' x", ["eml", "scan", ""], "x", "", ""),
    ],
)
def test_words_current_word_and_what_bash_keeps(
    text: str, words: list[str], current: str, kept: str, quote: str
) -> None:
    line = split_line(text, BREAKS)
    assert (list(line.words), line.current, line.kept, line.quote) == (words, current, kept, quote)


def test_escaped_text_is_read_by_a_shell_as_it_was() -> None:
    text = 'it\'s $5 & "more" \\ of `this`; track id'
    assert shlex.split(escaped(text, "")) == [text]
    assert shlex.split(f"'{escaped(text, chr(39))}'") == [text]
    assert shlex.split(f'"{escaped(text, chr(34))}"')[0].replace("\\$", "$").replace("\\`", "`") == text
