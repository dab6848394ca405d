"""pyproject.toml, the extras and the description of the package agree with the code and the docs."""

import ast
import importlib.util
import re
import sys
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from eml.commands.doctor import EXTRAS

TOP = Path(__file__).resolve().parents[2]
FOR_DEVELOPERS = {"all", "databases", "dev", "docs", "notebook", "test"}
OF_DEPENDENCIES = {
    *(
        "PIL",
        "annotated_types",
        "click",
        "cv2",
        "huggingface_hub",
        "pydantic_core",
        "threadpoolctl",
        "torchvision",
        "transformers",
        "triton",
    ),
}
"""Modules that eml imports and that come with a package that it depends on."""


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    """The table `project` of pyproject.toml."""
    project: dict[str, Any] = tomllib.loads((TOP / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return project


@pytest.fixture(scope="module")
def setup() -> ModuleType:
    """setup.py, which sets nothing up when it is imported."""
    spec = importlib.util.spec_from_file_location("eml_setup", TOP / "setup.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def names_in(requirement: str) -> set[str]:
    """The extras in `package[a,b]`."""
    brackets = re.search(r"\[(.*?)\]", requirement)
    return set(brackets[1].split(",")) if brackets else set()


UNDER_THE_GPL = {"heic", "jxl"}  # or with code under it in their wheels: their user decides


def test_all_brings_each_extra_that_doctor_knows_and_nothing_for_developers(project: dict[str, Any]) -> None:
    extras = project["optional-dependencies"]
    assert set(extras) - FOR_DEVELOPERS == set(EXTRAS)
    assert set.union(*map(names_in, extras["all"])) == set(EXTRAS) - UNDER_THE_GPL


def test_the_page_has_a_row_for_each_extra_with_the_packages_that_it_brings(project: dict[str, Any]) -> None:
    page = (TOP / "docs" / "install.md").read_text(encoding="utf-8")
    rows = {}
    table = page.partition("## Extras")[2].partition("## ")[0]
    for names, packages in re.findall(r"^\| (`[a-z`, -]+`) \|.*\| (.*?) ?\|$", table, flags=re.MULTILINE):
        rows |= dict.fromkeys(re.findall("`(.*?)`", names), packages)
    extras = set(project["optional-dependencies"])
    assert extras <= set(rows) <= extras | FOR_DEVELOPERS
    for extra, requirements in project["optional-dependencies"].items():
        if extra not in FOR_DEVELOPERS:
            own = [name for line in requirements if (name := re.split(r"[\[<>=; ]", line)[0]) != project["name"]]
            assert rows[extra].count("`") == 2 * len(requirements), extra
            assert all(f"`{name}`" in rows[extra] for name in own), (extra, own)


def test_the_page_and_the_conda_file_name_the_pythons_of_pyproject(project: dict[str, Any]) -> None:
    lowest = project["requires-python"].removeprefix(">=")
    pythons = re.findall(r"Python :: (3\.\d+)", "\n".join(project["classifiers"]))
    assert pythons[0] == lowest
    page = (TOP / "docs" / "install.md").read_text(encoding="utf-8")
    assert f"Python {pythons[0]} to {pythons[-1]}" in page


def test_links_of_the_readme_lead_somewhere_or_are_text(setup: ModuleType) -> None:
    text = "[a](docs/a.md#b) `x[0](y)` [web](https://x.org/a) ![plot](docs/p.png) [here](#there)\n```\n[c](d)\n```\n"
    shown = setup.description(text)
    assert shown.startswith("a `x[0](y)` [web](https://x.org/a) plot here\n```\n[c](d)\n```\n")
    assert "`docs/`" in shown
    shown = setup.description(text, "https://x.org/v1/")
    assert shown.startswith(
        "[a](https://x.org/v1/docs/a.md#b) `x[0](y)` [web](https://x.org/a) ![plot](https://x.org/v1/"
    )


@pytest.mark.xdist_group("sources")
def test_every_package_that_eml_imports_is_a_dependency_or_in_an_extra(project: dict[str, Any]) -> None:
    """And every dependency is imported somewhere."""
    from tests.sources import files, nodes_of

    imported: set[str] = set()
    for path in files():
        for node in nodes_of(path):
            if isinstance(node, ast.Import):
                imported |= {name.name.partition(".")[0] for name in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                imported.add(node.module.partition(".")[0])
    third_party = imported - set(sys.stdlib_module_names) - {"eml"}
    modules = {"pillow": "PIL", "pyyaml": "yaml", "scikit-learn": "sklearn"}
    base = {re.split(r"[<>=]", line)[0] for line in project["dependencies"]}
    base_modules = {modules.get(name, name) for name in base}
    assert base_modules <= third_party
    packages = {
        re.split(r"[\[<>=; ]", line)[0].lower().replace("-", "_")
        for extra, lines in project["optional-dependencies"].items()
        if extra not in FOR_DEVELOPERS
        for line in lines
    }
    optional = packages | {"open_clip", "faiss", "umap", "mlflow"}
    assert third_party - base_modules - optional - OF_DEPENDENCIES == set()
