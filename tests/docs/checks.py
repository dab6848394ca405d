"""Check every block without running it."""

import ast
import importlib
import json
import re
import shlex
import tomllib
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

import eml
from eml.config import load
from eml.errors import EmlError
from eml.indexing.where import parse_where
from eml.training.config import RunConfig
from tests.docs.blocks import ROOT, Block, Page
from tests.docs.inline import inline_problems
from tests.docs.shell import USAGE_ERROR, check_command, commands

LANGUAGES = {"sh", "python", "yaml", "csv", "json", "toml", "dockerfile", "sql", ""}

MARK = "<!-- not run: REASON -->"
"""Stands in the line before a block that is not run."""

COLUMNS: dict[str, Any] = {"sold_out": "bool"} | {
    **dict.fromkeys(("label", "category", "brand"), "text"),
    **dict.fromkeys(("price", "size"), "number"),
}
"""Columns that conditions in the pages may name, and what each holds."""

BASE = {"output": "run", "data": {"table": "folds.csv"}}
"""The config that a fragment is put into."""


def problems(page: Page, folder: Path) -> Iterator[str]:
    """Yield what is wrong with a page's blocks; folder: the current one, where files of the page may be written."""
    yield from inline_problems(page.place, page.text)
    for line in page.stale:
        yield f"{page.place}:{line}: this mark `not run` has no block after it; remove it"
    for block in page.blocks:
        if block.title and block.language:
            (folder / block.title).parent.mkdir(parents=True, exist_ok=True)
            (folder / block.title).write_text(block.text, encoding="utf-8")
    for block in page.blocks:
        if block.reason == "":
            yield f"{block.place}: say why this block is not run: <!-- not run: REASON -->"
        if block.language == "indented":
            yield from _indented(block)
        elif block.language not in LANGUAGES:
            known = ", ".join(sorted(LANGUAGES - {""}))
            yield f"{block.place}: '{block.language}' is no language of the pages' blocks; known: {known}, or none"
        yield from {
            "sh": _shell,
            "python": _python,
            "yaml": _yaml,
            "json": _json,
            "toml": _toml,
            "sql": _conditions,
            "": _output,
        }.get(block.language, lambda page, block: ())(page, block)


def _shell(page: Page, block: Block) -> Iterator[str]:
    for line in commands(block.place, block.text):
        if line.text.startswith("pip install"):
            yield from _extras(line.place, line.text)
        elif line.text.startswith("make "):
            yield from _targets(line.place, line.words)
        yield from _benchmark(line.place, line.bare)
        for words in _calls(line.bare):
            yield from _call(page, line.place, words)


def _calls(text: str) -> Iterator[list[str]]:
    """Yield the words of each call of eml in a line: also of those in pipes and after `&&`."""
    words = list(shlex.shlex(text, punctuation_chars="|&;<>()", posix=True)) if not _is_plain(text) else []
    if not words:
        yield from [shlex.split(text)] if text.startswith("eml ") else []
        return
    call: list[str] | None = None
    lexer = shlex.shlex(text, punctuation_chars="|&;<>()", posix=True)
    lexer.whitespace_split = True
    for word in lexer:
        if re.fullmatch(r"[|&;<>()]+", word):
            if call:
                yield call
            call = None
        elif word == "eml" and call is None:
            call = ["eml"]
        elif call is not None:
            call.append(word)
    if call:
        yield call


def _is_plain(text: str) -> bool:
    return not re.search(r"[|&;<>()]", re.sub(r"'[^']*'|\"[^\"]*\"", "", text))


def _call(page: Page, place: str, words: list[str]) -> Iterator[str]:
    text = shlex.join(words)
    if any(word.startswith("$") for word in words):
        return
    try:
        config = check_command(words)
    except EmlError as error:
        yield from (f"{place}: `{text}` is refused: {line}" for line in error.problems)
    except USAGE_ERROR as error:
        yield f"{place}: `{text}` is refused: {error.format_message()}"
    else:
        overrides = getattr(config, "overrides", None)
        if overrides and words[1] == "train":
            yield from _config(place, "", [str(item) for item in overrides])


def _extras(place: str, text: str) -> Iterator[str]:
    known = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    for names in re.findall(r"(?:easy-metric-learning|\.)\[([\w,-]+)\]", text):
        for name in set(names.split(",")) - set(known):
            yield f"{place}: pyproject.toml has no extra '{name}'; known: {', '.join(known)}"


def _targets(place: str, words: list[str]) -> Iterator[str]:
    known = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for name in [word for word in words[1:] if "=" not in word and not word.startswith("-")]:
        if name not in known:
            yield f"{place}: the Makefile has no target '{name}'"


def _indented(block: Block) -> Iterator[str]:
    if re.match(r"eml ", block.text) and not block.text.startswith("eml --help   "):
        yield f"{block.place}: these are commands: put them between ```sh and ```, without indentation"
    yield from _benchmark(block.place, block.text)


def _benchmark(place: str, text: str) -> Iterator[str]:
    """Yield what a call of a script of tests/benchmarks has and the script has not."""
    for name, options in re.findall(r"python (tests/benchmarks/\w+\.py)(.*)", text):
        if not (ROOT / name).is_file():
            yield f"{place}: there is no {name}"
            continue
        script = (ROOT / name).read_text(encoding="utf-8")
        for option in re.findall(r"(?<=\s)--[a-z][\w-]*", options):
            if f'"{option}"' not in script and not re.search(rf"\b{option[2:].replace('-', '_')}\b", script):
                yield f"{place}: {name} has no option {option}"


def _python(page: Page, block: Block) -> Iterator[str]:
    try:
        tree = ast.parse(block.code, block.place)
    except SyntaxError as error:
        yield f"{block.place}: line {error.lineno}: {error.msg}"
        return
    for node in ast.walk(tree):
        where = f"{block.place.rpartition(':')[0]}:{getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.Import):
            names = [(alias.name, None) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [(node.module or "", alias.name) for alias in node.names]
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "eml":
            names = [("eml", node.attr)]
        else:
            names = []
        for module, name in names:
            if module.partition(".")[0] == "eml" and not _exists(module, name):
                yield f"{where}: there is no {module}{'.' + name if name else ''}"
        if isinstance(node, ast.Call):
            yield from _arguments(where, node)


def _exists(module: str, name: str | None) -> bool:
    try:
        parent = importlib.import_module(module)
    except ModuleNotFoundError:
        return False
    if name is None or hasattr(parent, name):
        return True
    try:
        importlib.import_module(f"{module}.{name}")
    except ModuleNotFoundError:
        return False
    return True


def _arguments(where: str, call: ast.Call) -> Iterator[str]:
    """Yield the arguments that a command has not, of a call like eml.split(…)."""
    match call.func:
        case ast.Attribute(value=ast.Name(id="eml"), attr=name) if config := getattr(
            getattr(eml, name, None), "config_type", None
        ):
            function = getattr(eml, name)
            known = {
                *config.model_fields,
                *_own_arguments(function),
                *(RunConfig.model_fields if function.others else ()),
            }
            for keyword in call.keywords:
                if keyword.arg and keyword.arg not in known:
                    yield f"{where}: eml.{name} has no parameter '{keyword.arg}'"


def _own_arguments(function: Any) -> set[str]:
    import inspect

    return set(inspect.signature(function).parameters)


def _yaml(page: Page, block: Block) -> Iterator[str]:
    if block.reason is not None:
        try:
            list(yaml.safe_load_all(block.text))
        except yaml.YAMLError as error:
            yield f"{block.place}: is no YAML: {error}"
        return
    if _is_of_command(page, block.title):  # it is read when the command line is checked
        return
    for text in alternatives(block.text):
        yield from _config(block.place, text, [])


def _is_of_command(page: Page, title: str) -> bool:
    """Return whether a command of the page reads the file by --config."""
    lines = (line for block in page.blocks if block.language == "sh" for line in commands(block.place, block.text))
    return bool(title) and any(re.search(rf"--config[ =]{re.escape(title)}(?!\S)", line.text) for line in lines)


def alternatives(text: str) -> list[str]:
    """Return a fragment once for each of a key that it has several times: `tune: norm`, then `tune: bitfit`."""
    entries = [entry for entry in re.split(r"^(?=[A-Za-z_]\w*:)", text, flags=re.MULTILINE) if entry.strip()]
    keys = [entry.partition(":")[0] for entry in entries]
    several = {key for key in keys if keys.count(key) > 1}
    shared = "".join(entry for key, entry in zip(keys, entries, strict=True) if key not in several)
    variants = [entry for key, entry in zip(keys, entries, strict=True) if key in several]
    return [shared + entry for entry in variants] or [text]


def _config(place: str, text: str, overrides: list[str]) -> Iterator[str]:
    """Yield what is wrong with a training config or a fragment of one."""
    try:
        own = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        yield f"{place}: is no YAML: {error}"
        return
    if not isinstance(own, dict):
        yield f"{place}: is no config"
        return
    missing = {key: value for key, value in BASE.items() if key not in own}
    if isinstance(own.get("data"), dict) and "table" not in own["data"]:
        overrides = ["data.table=folds.csv", *overrides]
    yield from _load(place, RunConfig, text + (yaml.safe_dump(missing) if missing else ""), overrides)


def _load(place: str, config: Any, text: str, overrides: list[str]) -> Iterator[str]:
    file = Path("snippet.yaml")
    file.write_text(text, encoding="utf-8")
    page, _, first = place.rpartition(":")
    try:
        load(config, file, overrides)
    except EmlError as error:
        for line in error.problems:
            yield re.sub(r"snippet\.yaml:(\d+)", lambda match: f"{page}:{int(match[1]) + int(first)}", line)
    finally:
        file.unlink()


def _json(page: Page, block: Block) -> Iterator[str]:
    try:
        json.loads(block.text)
    except ValueError as error:
        yield f"{block.place}: is no JSON: {error}"


def _toml(page: Page, block: Block) -> Iterator[str]:
    try:
        tomllib.loads(block.text)
    except ValueError as error:
        yield f"{block.place}: is no TOML: {error}"


def _conditions(page: Page, block: Block) -> Iterator[str]:
    """Yield what is wrong with conditions on rows, one a line."""
    for line in block.text.splitlines():
        try:
            parse_where(line, COLUMNS)
        except EmlError as error:
            yield f"{block.place}: `{line}`: {error}"


def _output(page: Page, block: Block) -> Iterator[str]:
    """Yield lines that look like commands, and phrases of eml's output that eml does not say any more."""
    if block.text.startswith(("eml ", "$ eml ", "pip install", "make ")):
        if not block.place.startswith("README.md"):
            yield f"{block.place}: these are commands: mark the block as ```sh"
        return
    if block.reason is not None or block.text.partition("\n")[0].endswith("/"):  # a tree of files
        return
    own = {pair for other in page.blocks if other != block for pair in word_pairs(other.text)}
    for number, line in enumerate(block.text.splitlines(), int(block.place.rpartition(":")[2]) + 1):
        for phrase in phrases(line):
            pairs = list(pairwise(phrase.split()))
            if sum(pair in said() or pair in own for pair in pairs) < 0.6 * len(pairs):
                yield f"{block.place.rpartition(':')[0]}:{number}: eml nowhere says '{phrase}' (or mark: {MARK})"


def phrases(line: str) -> Iterator[str]:
    """Yield the runs of four plain words or more in a line of output, without numbers, names and paths."""
    for cell in re.split(r"\s{2,}|[:;,()│─]|\. ", line):
        for run in re.split(r"\S*[^A-Za-z\s'-]\S*|'[^']*'", cell):
            words = run.strip(" '-").split()
            if len(words) >= 4:
                yield " ".join(words)


@cache
def said() -> set[tuple[str, str]]:
    """Return the pairs of words that follow each other in the strings of the package; docstrings are none."""
    pairs: set[tuple[str, str]] = set()
    for path in (ROOT / "eml").rglob("*.py"):
        text = re.sub(r'""".*?"""', "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
        text = re.sub(r'"\s*\n\s*f?"', "", text)
        for literal in re.findall(r'"([^"\n]+)"', text):
            pairs.update(word_pairs(literal))
    return pairs


def word_pairs(text: str) -> Iterator[tuple[str, str]]:
    """Yield the pairs of words that follow each other in a text, between numbers and signs."""
    for part in re.split(r"[^A-Za-z\s'-]+", text):
        yield from pairwise(part.split())
