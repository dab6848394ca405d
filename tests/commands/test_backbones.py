"""`eml backbones`: what there is, what is known of it, and how fast it is here."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import eml
from eml.cli.app import main
from eml.commands.backbones import BackbonesResult
from eml.errors import ConfigError


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of the user's cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "eml" / "backbones.json"


def test_backbones_are_listed_with_what_is_known_and_the_next_command(
    printed_json: Callable[..., dict[str, Any]], capsys: pytest.CaptureFixture[str], cache: Path
) -> None:
    result = eml.backbones("test_vit*.r160_in1k", limit=1)
    assert isinstance(result, BackbonesResult)
    [row] = result.rows
    assert (row.listed.name, row.licence) == ("test_vit.r160_in1k", "apache-2.0")
    assert row.facts is not None
    assert (row.facts.size, row.facts.multiple, row.facts.embedding_size, row.facts.pooling) == (160, 16, 64, "token")
    assert result.matching >= 2
    assert printed_json("backbones", "test_vit*.r160_in1k", "--limit", 1) == result.to_dict()
    assert json.loads(cache.read_text())["facts"].keys() == {"test_vit 160"}
    capsys.readouterr()
    assert main(["backbones", "test_vit.r160_in1k"]) == 0
    out, error = capsys.readouterr()
    assert out.splitlines()[1].split() == ["test_vit.r160_in1k", "0.306", "M", "160", "16", "64", "token", "apache-2.0"]
    assert "next: eml init DATASET --backbone test_vit.r160_in1k" in error


def test_the_next_command_names_the_smallest() -> None:
    result = eml.backbones("test_convnext*.r160_in1k")
    assert isinstance(result, BackbonesResult)
    sizes = {row.listed.name: row.facts.parameters for row in result.rows if row.facts}
    smallest = sorted(sizes, key=lambda name: sizes[name])[:3]
    assert result.next_command == f"eml probe DATASET --backbones {','.join(smallest)}"


def test_a_measured_speed_is_shown_with_its_machine_and_date_from_then_on(capsys: pytest.CaptureFixture[str]) -> None:
    measured = eml.backbones("test_resnet.r160_in1k", measure=True, device="cpu").rows[0].speed
    assert measured is not None
    assert measured.images_per_second > 0
    assert main(["backbones", "test_resnet.r160_in1k"]) == 0
    out, error = capsys.readouterr()
    assert f"{measured.images_per_second:.3g}" in out
    assert f"images/s: measured on {measured.machine}, cpu, {measured.threads} thread" in error
    assert measured.date in error


def test_a_backbone_that_cannot_be_measured_is_a_row_with_the_reason() -> None:
    [row] = eml.backbones("test_resnet.r160_in1k", measure=True, device="cuda:9").rows
    assert row.facts is not None
    assert "cuda:9" in row.problem
    assert row.to_dict()["problem"] == row.problem


def test_a_pattern_without_backbones_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"no backbone has 'convnxt_tiny' in its name \(did you mean .*convnext_tiny"):
        eml.backbones("convnxt_tiny")


def test_a_narrow_terminal_gets_whole_names_in_two_lines(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eml.cli.display.console.fits", lambda columns, rows: False)
    assert main(["backbones", "test_vit.r160_in1k"]) == 0
    assert capsys.readouterr().out == ("test_vit.r160_in1k\n  0.306 M, 160 px or ×16, 64 features, token, apache-2.0\n")


@pytest.mark.wide
def test_without_a_pattern_the_usual_and_the_tested_ones_are_shown() -> None:
    result = eml.backbones()
    assert isinstance(result, BackbonesResult)
    names = [row.listed.name for row in result.rows]
    assert names[0] == "mobilenetv2_100.ra_in1k"
    assert {"vit_pe_core_tiny_patch16_384.fb", "vit_base_patch16_siglip_224.v2_webli"} <= set(names)
    assert len(names) == len(set(names)) == result.matching > 20
    assert all(row.facts and row.facts.embedding_size for row in result.rows)
    assert result.next_command == "eml probe DATASET"
