"""The reference of the site is complete: each public name, command and config key has its place."""

import re
from pathlib import Path

import pytest
from command_pages import STEPS
from config_pages import config_pages
from python_pages import python_pages

import eml
from eml.cli.app import COMMANDS

SNAPSHOTS = Path(__file__).parents[1] / "snapshots"
ANCHOR = re.compile(r"\{ #([^ }]+) \}")


@pytest.fixture(scope="module")
def of_config() -> dict[str, str]:
    return config_pages()


@pytest.fixture(scope="module")
def of_python() -> dict[str, str]:
    return python_pages()


def test_every_config_key_has_an_anchor_of_its_name(of_config: dict[str, str]) -> None:
    families = {page.removeprefix("families/").removesuffix(".md") for page in of_config} - {"config.md"}
    assert {"margin", "augment", "mode", "row_optimizer", "tracker"} <= families
    everywhere = {anchor for text in of_config.values() for anchor in ANCHOR.findall(text)}
    for key in (SNAPSHOTS / "config_keys.txt").read_text(encoding="utf-8").splitlines():
        *_, inside = re.split(r"[\w.]+\{(?=[^{]*$)", key)  # the member, and its keys, of the innermost family
        anchor = inside.replace("}", "")
        assert anchor in everywhere, f"{key} has no place in the reference: {anchor}"


def test_a_key_shows_its_type_bounds_default_and_unit(of_config: dict[str, str]) -> None:
    assert "whole number, at least 2; default `64`\n{ .eml-facts }\n\nimages per step" in of_config["config.md"]
    margin = of_config["families/margin.md"].partition("`arcface.m`")[2].partition("####")[0]
    assert "radians; default `0.5`" in margin


def test_every_public_name_has_its_place(of_python: dict[str, str]) -> None:
    for name in eml.__all__:
        assert f"`eml.{name}`" in of_python["index.md"], name


def test_types_of_results_are_described_with_the_functions_that_return_them(of_python: dict[str, str]) -> None:
    page = of_python["data.md"]
    assert "- `counts: dict[str, SideCounts]` → [SideCounts](#SideCounts)" in page
    assert "### `SideCounts` { #SideCounts }" in page


def test_the_list_of_commands_has_every_command_once_by_step() -> None:
    assert sorted(name for names in STEPS.values() for name in names) == sorted(COMMANDS)
