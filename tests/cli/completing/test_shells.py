"""The shells get answers in the form that their scripts read; the wide tests drive the shells themselves."""

import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from eml.cli.completing import shells
from eml.cli.completing.shells import answer, answer_shell

BREAKS = " \t\n\"'@><=;|&(:"
CODES = re.compile(r"\x1b[\[\]()][0-9;?]*[A-Za-z]?|[\r\x07]")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a config and folders, one with a blank in its name."""
    monkeypatch.chdir(tmp_path)
    for name in ("photos", "my photos"):
        (tmp_path / name).mkdir()
    (tmp_path / "photos" / "folds.csv").write_text("file_name,label,track id\n")
    (tmp_path / "photos" / "notes.txt").touch()
    (tmp_path / "run.yaml").write_text("margin: cosface\n")
    return tmp_path


def bash(line: str) -> list[str]:
    return answer({"_EML_COMPLETE": "bash", "_EML_LINE": line, "_EML_BREAKS": BREAKS}).split("\n")


def test_bash_gets_the_part_behind_its_word_breaks_with_quotes_and_spaces(folder: Path) -> None:
    assert bash("eml tra") == ["eml-completion words", "train "]
    assert bash("eml train run.yaml --set margin=arc") == ["eml-completion words", "arcface "]
    assert bash("eml train run.yaml --set mar") == ["eml-completion words", "margin=", "margin.m="]
    assert bash("eml evaluate timm:mobilenetv2_11") == [
        "eml-completion words",
        "mobilenetv2_110d ",
        "mobilenetv2_110d.ra_in1k ",
    ]
    assert bash("eml kfold photos --group-by tr") == ["eml-completion words", "track\\ id "]
    assert bash('eml kfold photos --group-by "tr') == ["eml-completion words", 'track id" ']


def test_bash_gets_names_of_files_as_they_are(folder: Path) -> None:
    assert bash("eml scan my") == ["eml-completion files", "my photos"]
    assert bash(r"eml scan my\ ph") == ["eml-completion files", "my photos"]
    assert bash("eml train run.yaml --set data.table=photos/") == ["eml-completion files", "photos/folds.csv"]
    assert bash("eml evaluate ") == ["eml-completion words", "timm:", "open_clip:", "my\\ photos/", "photos/"]


def test_zsh_and_fish_get_words_with_descriptions(folder: Path) -> None:
    zsh = answer({"_EML_COMPLETE": "zsh", "_EML_WORDS": "train\nrun.yaml\n--set\ndata.table=ph"})
    assert zsh == "eml-completion\tfiles\tdata.table=\tcsv|parquet"
    zsh = answer({"_EML_COMPLETE": "zsh", "_EML_WORDS": "train\nrun.yaml\n--set\nmargin=arcf"})
    assert zsh == "eml-completion\tnone\tmargin=\t\nclosed\tmargin=arcface\tAdditive angular margin, cos(θ+m)"
    fish = answer({"_EML_COMPLETE": "fish", "_EML_WORDS": "train\nrun.yaml\n--set\ndata.table=ph"})
    assert fish == "eml-completion\ndata.table=photos/"


@pytest.mark.parametrize("line", ["eml", "", "eml '", "eml train \\", "eml index", "eml train run.yaml --set =", "\0"])
def test_no_line_is_an_error(line: str, folder: Path) -> None:
    bash(line)


def test_an_error_is_neither_shown_nor_a_failure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(shells, "answer", lambda environment: 1 / 0)
    answer_shell({})
    assert capsys.readouterr() == ("", "")
    with pytest.raises(ZeroDivisionError):
        answer_shell({"_EML_COMPLETE_DEBUG": "1"})


class Terminal:
    """A shell in a pseudo-terminal, into which keys are typed."""

    def __init__(self, shell: list[str], folder: Path) -> None:
        own = folder / "bin" / "eml"
        own.parent.mkdir()
        own.write_text(f'#!/bin/sh\nexec {sys.executable} -m eml "$@"\n')
        own.chmod(0o755)
        environment = os.environ | {
            "HOME": str(folder),
            "PATH": f"{own.parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(Path(shells.__file__).parents[3]),
            "TERM": "xterm",
            "LC_ALL": "C.UTF-8",
            "COLUMNS": "200",
        }
        self.process, self.terminal = pty.fork()
        if self.process == 0:
            os.chdir(folder)
            os.execvpe(shell[0], shell, environment)
        self.shown = ""

    def type(self, keys: str, expected: str = "", seconds: float = 30.0) -> None:
        """Type keys and wait until the text is shown."""
        self.shown = ""
        os.write(self.terminal, keys.encode())
        end = time.monotonic() + seconds
        while expected not in self.shown and time.monotonic() < end:
            if select.select([self.terminal], [], [], 0.2)[0]:
                part = os.read(self.terminal, 65536).decode(errors="replace")
                if re.search(r"\x1b\[0?c", part):  # fish asks what terminal this is
                    os.write(self.terminal, b"\x1b[?62c")
                self.shown += CODES.sub("", part)
        assert expected in self.shown, (keys, self.shown)

    def close(self) -> None:
        os.close(self.terminal)
        os.waitpid(self.process, 0)


STARTS = {
    "bash": (["bash", "--norc", "-i"], 'PS1="ready> "; source <(eml completion bash)\n'),
    "zsh": (["zsh", "-f", "-i"], 'PS1="ready> "; autoload -Uz compinit; compinit -u; eval "$(eml completion zsh)"\n'),
    "fish": (["fish", "--private"], "eml completion fish | source; function fish_prompt; echo 'ready> '; end\n"),
}


@pytest.mark.wide
@pytest.mark.parametrize("shell", STARTS)
def test_a_shell_completes_at_tab(shell: str, folder: Path) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    arguments, start = STARTS[shell]
    terminal = Terminal(arguments, folder)
    try:
        terminal.type(start)
        time.sleep(3)
        terminal.type("\n", "ready> ")
        for keys, expected in (
            ("eml tra\t", "train "),
            ("run.y\t", "run.yaml "),
            ("--set margin=arc\t", "arcface "),
            ("--set data.table=photos/fo\t", "folds.csv"),
            ("\x15eml scan my\t", "my\\ photos/"),
            ("\x15eml evaluate timm:mobilenetv2_11\t", "mobilenetv2_110d"),
            ("\x15eml kfold photos --group-by tr\t", "track\\ id"),
            ("\x15eml index bu\t", "build "),
        ):
            terminal.type(keys, expected)
    finally:
        terminal.close()
    assert {path.name for path in folder.iterdir() if not path.name.startswith(".")} == {
        *("photos", "my photos", "run.yaml", "bin")
    }


@pytest.mark.wide
def test_a_shell_that_asks_gets_an_answer_from_the_program(folder: Path) -> None:
    environment = os.environ | {"_EML_COMPLETE": "zsh", "_EML_WORDS": "tra"}
    done = subprocess.run([sys.executable, "-m", "eml"], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("eml-completion\tnone\t\t\nclosed\ttrain\t")
