"""A bug is reported by one paste, in which no secret and no name of a home folder is."""

from importlib.metadata import version
from pathlib import Path

import pytest

from eml.cli.bug_report import bug_report, without_home


def test_the_block_has_traceback_versions_and_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ana")
    try:
        raise ZeroDivisionError("of /home/ana/photos")
    except ZeroDivisionError:
        text = bug_report(["train", "/home/ana/my photos/run.yaml", "--set", "tracker.api_key=abc123"])
    first, *_, platform, packages, command, last = text.splitlines()
    assert (first, last) == ("```text", "```")
    assert "ZeroDivisionError: of ~/photos" in text
    assert platform.startswith(f"eml {version('easy-metric-learning')}, Python 3.")
    assert f"torch {version('torch')}" in packages
    assert command == "command: eml train '~/my photos/run.yaml' --set 'tracker.api_key=***'"


def test_secrets_are_hidden() -> None:
    try:
        raise ValueError("cannot log in with 'SEC RETV' at https://SECRETV@host/x")
    except ValueError:
        text = bug_report(["train", "run.yaml", "--set", "wandb.key=SEC RETV"])
    assert "RETV" not in text
    assert "at https://***@host/x" in text


def test_a_home_that_is_the_root_is_not_shortened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/")
    assert without_home("/photos/a") == "/photos/a"
    monkeypatch.setenv("HOME", str(Path("/home/ana")))
    assert without_home("/home/anabel/x, /home/ana: no") == "/home/anabel/x, ~: no"
    assert without_home("/tmp/home/ana/q --out=/home/ana/q") == "/tmp/home/ana/q --out=~/q"
    assert without_home("'file:///home/ana/q'") == "'file://~/q'"
