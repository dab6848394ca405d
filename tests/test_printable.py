"""What files say cannot steer the terminal."""

from collections.abc import Callable

import pytest

from eml.cli import app
from eml.cli.display import console
from eml.errors import DataError
from eml.printable import printable, printable_line
from eml.training.events import Note

EVIL = "a\x1b[2J\x1b]0;t\x07\x9b31m\u202egpj\u2066\rb\ud800"
HARMLESS = "a\\x1b[2J\\x1b]0;t\\x07\\x9b31m\\u202egpj\\u2066\\x0db\\ud800"


def test_control_and_direction_characters_are_written_out() -> None:
    assert printable(EVIL) == HARMLESS
    assert printable("Müller\t😀 née\n日本 عربي") == "Müller\t😀 née\n日本 عربي"
    assert printable_line("a\nb\tc") == "a\\nb\\tc"


def show_training(text: str) -> None:
    from eml.cli.display.training import TrainingDisplay

    with TrainingDisplay() as display:
        display.observe(Note(text))


@pytest.mark.parametrize(
    "shows",
    [
        console.say,
        console.warn,
        console.show,
        console.paragraph,
        lambda text: console.table(text, [text], [[text]]),
        lambda text: console.table("", [text * 80], [[text * 80]]),
        lambda text: console.written([text], []),
        show_training,
    ],
)
def test_every_way_to_the_terminal_writes_them_out(
    shows: Callable[[str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    shows(EVIL)
    shown = capsys.readouterr()
    assert HARMLESS in shown.out + shown.err
    assert not set("\x1b\x07\x9b\u202e\u2066\r\ud800") & set(shown.out + shown.err)


def test_errors_are_written_out_and_counted(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(arguments: object) -> None:
        raise DataError([EVIL] * 100)

    monkeypatch.setattr(app, "run", fail)
    assert app.main([]) == 2
    assert capsys.readouterr().err.splitlines() == [HARMLESS] * 60 + ["and 40 more"]
