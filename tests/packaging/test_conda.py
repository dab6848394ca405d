"""environment.yml asks conda for what pyproject.toml asks pip for."""

import re
import tomllib
from pathlib import Path

import yaml

TOP = Path(__file__).resolve().parents[2]
CONDA_NAMES = {"pytorch": "torch", "matplotlib-base": "matplotlib"}


def test_conda_gets_the_bounds_of_pyproject_and_pip_brings_eml_with_all_extras() -> None:
    environment = yaml.safe_load((TOP / "environment.yml").read_text(encoding="utf-8"))
    project = tomllib.loads((TOP / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = [*project["dependencies"], *(line for extra in project["optional-dependencies"].values() for line in extra)]
    bounds = dict(re.match(r"([\w-]+)(.*)", line).groups() for line in lines)  # type: ignore[union-attr]
    (pip,) = (line["pip"] for line in environment["dependencies"] if isinstance(line, dict))
    assert pip == ["easy-metric-learning[all]"]
    for line in environment["dependencies"]:
        if isinstance(line, dict) or line in ("pip", "torchvision"):
            continue
        name, bound = re.match(r"([\w-]+)(.*)", line).groups()  # type: ignore[union-attr]
        if name == "python":
            assert bound.startswith(project["requires-python"])
        else:
            assert bound == bounds[CONDA_NAMES.get(name, name)], name
