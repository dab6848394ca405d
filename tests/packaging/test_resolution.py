"""The dependencies of eml are there as wheels alone, for each Python and platform that docs/install.md names.

Asks the package index, by uv: skipped where there is no uv or no network.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = [pytest.mark.wide, pytest.mark.xdist_group("uv")]

TOP = Path(__file__).resolve().parents[2]
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
PLATFORMS = {
    "Linux, x86-64": "x86_64-manylinux_2_28",
    "Linux, aarch64": "aarch64-manylinux_2_35",
    "macOS 14 or later, Apple silicon": "aarch64-apple-darwin",
    "Windows, x86-64": "x86_64-pc-windows-msvc",
}
NONE_FOR = {
    "macOS, Intel's processors": ("x86_64-apple-darwin", "torch"),
    "Windows, ARM": ("aarch64-pc-windows-msvc", "torch"),
}
PAGE = (TOP / "docs" / "install.md").read_text(encoding="utf-8")


def resolve(python: str, platform: str, *options: str) -> subprocess.CompletedProcess[str]:
    uv = os.environ.get("UV") or shutil.which("uv")
    if uv is None:
        pytest.skip("needs uv")
    command = [uv, "pip", "compile", "--quiet", "--only-binary", ":all:", "--python-version", python]
    command += ["--python-platform", platform, *options, str(TOP / "pyproject.toml")]
    environment = {**os.environ, "MACOSX_DEPLOYMENT_TARGET": "14.0"}
    shown = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", env=environment)
    if any(words in shown.stderr for words in ("Failed to fetch", "error sending request", "dns error")):
        pytest.skip("needs a network")
    return shown


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("name", PLATFORMS)
@pytest.mark.parametrize("options", [(), ("--extra", "all")], ids=["base", "all"])
def test_wheels_are_there(name: str, python: str, options: tuple[str, ...]) -> None:
    assert f"| {name}" in PAGE
    shown = resolve(python, PLATFORMS[name], *options)
    assert shown.returncode == 0, shown.stderr
    assert "\ntorch==" in shown.stdout


@pytest.mark.parametrize("name", NONE_FOR)
def test_the_page_is_right_that_there_are_none(name: str) -> None:
    platform, package = NONE_FOR[name]
    assert f"| {name} | no:" in PAGE
    shown = resolve(PYTHONS[1], platform)
    assert shown.returncode != 0
    assert package in shown.stderr
