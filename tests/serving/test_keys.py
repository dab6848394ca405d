"""Keys of a server: made, shown once, kept as digests, read again when the file changes."""

import hmac
import json
import logging
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import eml
from eml.cli.app import main
from eml.cli.secrets import hidden_text
from eml.errors import DataError
from eml.serving import keys
from eml.serving.keys import KeyRing, add_key, read_keys, remove_key


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


def test_a_key_is_known_by_either_header_and_by_what_it_may_do(file: Path) -> None:
    reader, writer = add_key(file, "shop", ["read"], 60), add_key(file, "import", ["write"])
    ring = KeyRing.read(file)
    shop, importer = ring.check(f"Bearer {reader}"), ring.check(None, writer)
    assert shop is not None
    assert importer is not None
    assert (shop.name, shop.rate, shop.may("read"), shop.may("write")) == ("shop", 60, True, False)
    assert (importer.name, importer.rate, importer.may("read"), importer.may("write")) == ("import", None, True, True)
    assert ring.check(f"bearer  {reader} ") == shop
    assert ring.check("Basic dXNlcjpwYXNz", reader) == shop  # the other header is a proxy's
    assert ring.wrong == 0


@pytest.mark.parametrize(
    "shown",
    [
        (None, None), ("", None), ("Bearer", None), ("Bearer ", None), ("Basic {key}", None), ("{key}", None),
        ("Bearer {key}x", None), ("Bearer {short}", None), ("Bearer {key} {key}", None), (None, ""), (None, "{key}\0"),
        ("Bearer {key}", "another"), ("Bearer {digest}", None),
        (None, "é" * 100_000), ("Bearer " + "x" * 100_000, None),
    ],
)  # fmt: skip
def test_what_is_no_key_lets_nobody_in(file: Path, shown: tuple[str | None, str | None]) -> None:
    key = add_key(file, "shop", ["read"])
    digest = read_keys(file)[0].digest
    headers = [text and text.format(key=key, short=key[:-1], digest=digest) for text in shown]
    assert KeyRing.read(file).check(*headers) is None


def test_wrong_keys_are_counted_and_requests_without_one_are_not(file: Path) -> None:
    add_key(file, "shop", ["read"])
    ring = KeyRing.read(file)
    for headers in [("Bearer wrong", None), (None, "wrong"), ("Bearer a", "b"), (None, None), ("Basic x", None)]:
        ring.check(*headers)
    assert ring.wrong == 3


def test_every_digest_is_compared_in_constant_time_whichever_fits(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = add_key(file, "a", ["read"])
    for name in "bcd":
        add_key(file, name, ["read"])
    ring, compared = KeyRing.read(file), []
    compare = hmac.compare_digest
    monkeypatch.setattr(keys.hmac, "compare_digest", lambda *pair: compared.append(pair) or compare(*pair))
    assert ring.check(f"Bearer {first}") is not None
    assert len(compared) == 4


def test_the_file_holds_no_key_and_its_owner_alone_can_read_it(file: Path) -> None:
    before = os.umask(0)
    try:
        made = [add_key(file, name, ["read"]) for name in ("a", "b")]
    finally:
        os.umask(before)
    assert len(set(made)) == 2
    assert all(key.startswith("eml_") and len(key) == 47 for key in made)
    assert not any(key[4:] in file.read_text() for key in made)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_running_ring_sees_keys_that_are_added_and_removed(file: Path) -> None:
    first = add_key(file, "first", ["read"])
    ring = KeyRing.read(file)
    second = add_key(file, "second", ["read"])
    assert ring.check(f"Bearer {second}") is not None
    assert len(ring) == 2
    remove_key(file, "first")
    assert ring.check(f"Bearer {first}") is None
    assert ring.check(f"Bearer {second}") is not None


def test_while_the_file_is_damaged_or_gone_nobody_is_let_in_and_the_log_says_so_once(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    key = add_key(file, "first", ["read"])
    ring, whole = KeyRing.read(file), file.read_text()
    with caplog.at_level(logging.ERROR, "eml.serving"):
        for text in ("{", None):
            file.unlink() if text is None else file.write_text(text)
            assert [ring.check(f"Bearer {key}") for _ in range(3)] == [None] * 3
    assert len(caplog.records) == 2
    file.write_text(whole)
    file.chmod(0o600)
    assert ring.check(f"Bearer {key}") is not None


def test_a_file_that_others_can_write_is_refused(file: Path) -> None:
    key = add_key(file, "first", ["read"])
    ring = KeyRing.read(file)
    file.chmod(0o660)
    assert ring.check(f"Bearer {key}") is None
    with pytest.raises(DataError, match="others than its owner can write it") as caught:
        KeyRing.read(file)
    assert caught.value.code == "unsafe-key-file"


ROW = {"name": "a", "scopes": ["read"], "rate": None, "created": "now", "digest": "0" * 64}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"format": "another", "version": 1, "keys": []}, "it says format 'another'"),
        ({"format": "eml serve keys", "version": 2, "keys": []}, "version 2"),
        ({"format": "eml serve keys", "version": 1, "keys": [ROW, ROW]}, "same name"),
        ({"format": "eml serve keys", "version": 1, "keys": [ROW | {"digest": "0"}]}, "no digest"),
        ({"format": "eml serve keys", "version": 1, "keys": [ROW | {"rate": -1}]}, "no digest or rate"),
        ({"format": "eml serve keys", "version": 1, "keys": [ROW | {"scopes": ["admin"]}]}, "scopes"),
        ({"keys": []}, "format"),
        ([], "is no file of keys"),
    ],
)
def test_what_is_no_file_of_keys_is_refused(file: Path, content: object, reason: str) -> None:
    file.write_text(json.dumps(content))
    with pytest.raises(DataError, match=reason) as caught:
        read_keys(file)
    assert caught.value.code == "not-a-key-file"


def test_keys_that_are_made_at_once_are_all_kept(file: Path) -> None:
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda number: add_key(file, f"k{number}", ["read"]), range(8)))
    assert {key.name for key in read_keys(file)} == {f"k{number}" for number in range(8)}


def test_the_command_shows_a_key_once_and_lists_and_revokes(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve-key", "add", str(file), "shop", "--scope", "read", "--rate", "60"]) == 0
    output = capsys.readouterr()
    key = output.out.strip()
    assert KeyRing.read(file).check(f"Bearer {key}") is not None
    assert key not in output.err
    assert "shown this once" in output.err
    assert f"wrote {file}\n" in output.err
    assert output.err.endswith(f"next: eml serve INDEX --keys {file}\n")
    assert main(["serve-key", "add", str(file), "shop"]) == 2
    assert "has a key named 'shop' already" in capsys.readouterr().err
    assert main(["serve-key", "add", str(file), "other"]) == 0
    assert "replaced" not in capsys.readouterr().err, "the other keys are still there"
    assert main(["serve-key", "remove", str(file), "other"]) == 0
    assert main(["serve-key", "add", str(file), "a\nb"]) == 2
    assert "a\\nb" in capsys.readouterr().err
    assert main(["serve-key", "list", str(file), "--json"]) == 0
    text = capsys.readouterr().out
    assert json.loads(text)["keys"][0]["name"] == "shop"
    assert read_keys(file)[0].digest not in text
    assert main(["serve-key", "remove", str(file), "shp"]) == 2
    assert "did you mean 'shop'?" in capsys.readouterr().err
    assert main(["serve-key", "remove", str(file), "shop"]) == 0
    assert "removed the key shop; 0 keys left" in capsys.readouterr().out
    assert main(["serve-key", "list", str(file)]) == 0
    assert capsys.readouterr().out == "no keys: nobody is let in\n"
    assert main(["serve-key", "list", str(file.with_name("none"))]) == 2
    assert "eml serve-key add" in capsys.readouterr().err


def test_a_key_is_in_no_repr_and_is_hidden_in_reports_of_bugs(file: Path) -> None:
    made = eml.add_serve_key(file, "shop")
    assert made.key not in repr(made)
    assert made.key not in hidden_text(f"curl -H 'X-API-Key: {made.key}'\nthe key was {made.key}, as sent")
