"""What was found out of backbones before."""

from pathlib import Path

import pytest

from eml.commands.backbones import choice_of_backbones
from eml.models.catalog import facts_of
from eml.models.catalog_cache import CatalogCache, MeasuredSpeed, shipped_facts


def test_facts_are_kept_for_one_set_of_versions_and_speeds_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "deep" / "backbones.json"
    cache = CatalogCache(file)
    facts = cache.facts("test_vit.r160_in1k")
    speed = MeasuredSpeed(12.5, "cpu", 2, "here", "2026-11-30")
    cache.keep_speed("test_vit.r160_in1k", speed)
    cache.write()
    monkeypatch.setattr("eml.models.catalog_cache.facts_of", lambda name: facts_of("test_resnet"))
    assert CatalogCache(file).facts("test_vit.r160_in1k") == facts, "not built again"
    assert CatalogCache(file).speed("test_vit.r160_in1k") == speed
    monkeypatch.setattr("eml.models.catalog_cache.version_of", lambda package: "another")
    assert CatalogCache(file).facts("test_vit.r160_in1k") == facts_of("test_resnet"), "built by other versions"
    assert CatalogCache(file).speed("test_vit.r160_in1k") == speed
    file.write_text("{")
    assert CatalogCache(file).speed("test_vit.r160_in1k") is None


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    CatalogCache(tmp_path / "file" / "backbones.json").write()


def test_the_backbones_that_are_shown_without_a_pattern_are_shipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eml.models.catalog_cache.facts_of", lambda name: pytest.fail(f"{name} is not shipped"))
    cache = CatalogCache(tmp_path / "backbones.json")
    names = [own.name for own in choice_of_backbones()]
    assert len(names) > 20
    assert {cache.facts(name) for name in names} <= set(shipped_facts().values())


@pytest.mark.wide
def test_what_is_shipped_is_what_the_installed_timm_says(tmp_path: Path) -> None:
    for own in choice_of_backbones():
        assert CatalogCache(tmp_path / "backbones.json").facts(own.name) == facts_of(own.name), "run: make docs"
