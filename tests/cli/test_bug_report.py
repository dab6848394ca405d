"""A bug is reported by one paste, in which no secret and no name of a home folder is."""

from importlib.metadata import version
from pathlib import Path

import pytest

from eml.cli.bug_report import bug_report, without_private


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
    assert command == "command: eml train '~/my photos/run.yaml' --set tracker.api_key=***"


@pytest.mark.parametrize(
    "secret",
    [
        "--token s3cretvalue",
        "--hub-token=s3cretvalue",
        "tracker.api_key=s3cretvalue",
        "{'password': 's3cretvalue'}",
        "WANDB_API_KEY=s3cretvalue",
        "hf_s3cretvalueABCDEF",
        "https://ana:s3cretvalue@host/path",
        "s3://bucket/x?X-Amz-Signature=s3cretvalue&y=1",
        "Authorization: Bearer s3cretvalue",
        "key 5ec4e7va1ue".replace("5ec4e7va1ue", "0123456789" * 4),
    ],
)
def test_secrets_are_hidden(secret: str) -> None:
    text = without_private(f"before {secret} after")
    assert "s3cret" not in text
    assert "0123456789" not in text
    assert "***" in text
    assert text.startswith("before ")


@pytest.mark.parametrize(
    "text",
    [
        "eml train run.yaml --set margin.m=0.3",
        "self.token = read(path)",
        "tokenizer: no file",
        "/homework/ana",
        "--text a",
    ],
)
def test_what_is_no_secret_stays(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home")
    assert without_private(text) == text


def test_a_home_that_is_the_root_is_not_shortened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/")
    assert without_private("/photos/a") == "/photos/a"
    monkeypatch.setenv("HOME", str(Path("/home/ana")))
    assert without_private("/home/anabel/x, /home/ana: no") == "/home/anabel/x, ~: no"
