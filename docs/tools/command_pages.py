"""Make the reference pages of the commands, as manual pages have them, from the commands' configs.

`command_pages()` returns them for the site; `python docs/tools/command_pages.py FOLDER` writes them into a folder.
"""

import inspect
import re
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, get_args

import typer
from pydantic.fields import FieldInfo

from eml.cli.adapter import Terminal, in_options, terminal_of
from eml.cli.app import COMMANDS, app, build_command
from eml.cli.exit_codes import BUG, CHECK_SAYS_NO, DONE, FIXABLE, INTERRUPTED
from eml.cli.groups import TerminalGroup
from eml.commands.base import CommandResult, type_text
from eml.dataset.ancestry import PIPELINE
from eml.files import write_text

ROOT = Path(__file__).parents[2]
TO_DOCS = "../../"  # from reference/commands/ to the folder of the other pages
MOST_EXAMPLES = 5
MOST_PAGES = 6
COMMON = tuple(item.name for item in fields(CommandResult))
"""Attributes of every result."""
OUTPUTS = ("out", "csv", "markdown", "latex", "plot", "html", "report", "save_embeddings", "move", "copy_to", "cache")
"""Fields that name what a command writes."""
BOUNDS = (("ge", "at least"), ("gt", "above"), ("le", "at most"), ("lt", "below"))
SHELL_BLOCK = re.compile(r"^```(?:sh|bash|shell)\n(.*?)^```", re.MULTILINE | re.DOTALL)
STEPS = {
    "Data": (
        "scan",
        "protocol",
        "merge",
        "filter",
        "split",
        "kfold",
        "audit",
        "report",
        "pack",
        "cache",
        "text",
        "merge-shards",
    ),
    "Training": ("backbones", "margins", "probe", "init", "train", "sweep", "plot", "ensemble"),
    "Measuring": ("evaluate", "calibrate", "suspects"),
    "Using a model": (
        "embed",
        "compress",
        "index",
        "search",
        "classify",
        "serve",
        "serve-key",
        "export",
        "push",
        "upload",
    ),
    "Help": ("demo", "config", "completion", "doctor", "version"),
}
"""Heading in the list of all commands → their first words."""
EXIT_CODES = {
    DONE: "done",
    CHECK_SAYS_NO: "the answer to a check is no",
    FIXABLE: "something that you can mend: each problem is a line on stderr, with what to do",
    BUG: "a bug in eml: its traceback is on stderr, with what a report needs",
    INTERRUPTED: "interrupted by Ctrl-C or SIGTERM; what the command saves is saved",
}


@dataclass(frozen=True)
class Page:
    """A command and what is known of it.

    Args:
        words: As typed after `eml`.
        command: As Click has it.
        terminal: Its config and function; None for those without.
    """

    words: tuple[str, ...]
    command: Any
    terminal: Terminal | None

    @property
    def title(self) -> str:
        """`eml index build`."""
        return " ".join(("eml", *self.words))

    @property
    def file(self) -> str:
        """`index_build.md`; `index_group.md` of a word with several commands, since index.md lists all."""
        return "_".join((*self.words, *(["group"] if self.members else []))) + ".md"

    @property
    def members(self) -> dict[str, Any]:
        """Second word → command."""
        return dict(getattr(self.command, "commands", {}))

    @property
    def summary(self) -> str:
        """The first sentence of the help."""
        return first_sentence(self.command.help or "")

    def context(self) -> typer.Context:
        """Return a context by which Click describes the command."""
        return typer.Context(self.command, info_name=self.title, help_option_names=["-h", "--help"])


def command_pages() -> dict[str, str]:
    """Return file name under reference/commands/ → Markdown, for each command, each group and the list of all."""
    known = all_pages()
    examples = examples_of(known)
    return {"index.md": overview(known)} | {page.file: markdown(page, known, examples) for page in known}


def all_pages() -> list[Page]:
    """Return every command, those of a group after the group."""
    pages = []
    for name in COMMANDS:
        terminal = terminal_of(name)
        group = Page((name,), build_command(name), terminal if isinstance(terminal, Terminal) else None)
        pages.append(group)
        of_members = terminal.members if isinstance(terminal, TerminalGroup) else {}
        pages += [Page((name, word), command, of_members.get(word)) for word, command in group.members.items()]
    return pages


def overview(known: Sequence[Page]) -> str:
    """Return the page that lists all commands."""
    lines = ["# Commands", "", *paragraphs(typer.main.get_command(app).help or ""), ""]
    lines += ["`eml -h`, `--help` shows the commands, `eml COMMAND --help` the options of one; `eml -V`, `--version`"]
    lines += ["the version. Results go to stdout; progress, warnings and the next command to stderr.", ""]
    for step, names in STEPS.items():
        lines += [f"## {step}", "", "| Command | |", "|---|---|"]
        of_step = [page for name in names for page in known if page.words[0] == name]
        lines += [f"| [{page.title}]({page.file}) | {escaped(page.summary)} |" for page in of_step]
        lines += [""]
    return "\n".join([*lines, ""]) + "\n"


def markdown(page: Page, known: Sequence[Page], examples: dict[tuple[str, ...], list[tuple[str, str]]]) -> str:
    """Return the page of one command."""
    context = page.context()
    usage = " ".join(piece for piece in page.command.collect_usage_pieces(context) if piece)
    lines = [f"# {page.title}", "", "## Synopsis", "", "```text", f"{page.title} {usage}", "```", ""]
    lines += ["## Description", "", *paragraphs(page.command.help or ""), ""]
    for title, kind in (("Arguments", "argument"), ("Options", "option")):
        described = [param for param in page.command.get_params(context) if param.param_type_name == kind]
        described = [param for param in described if not getattr(param, "hidden", False)]
        if described:
            lines += [f"## {title}", "", *(line for param in described for line in parameter(page, param, context))]
    if page.members:
        lines += ["## Commands", ""]
        lines += [f"- [{member.title}]({member.file}): {escaped(member.summary)}" for member in members(page, known)]
        lines += [""]
    else:
        lines += [*files_written(page), *exit_status(page.terminal)]
    lines += example_lines(examples.get(page.words, []))
    lines += python(page)
    return "\n".join([*lines, *see_also(page, known, examples)]) + "\n"


def parameter(page: Page, param: Any, context: typer.Context) -> list[str]:
    """Return an argument or option with its help, and its type, default and bounds as Python has them."""
    name, help_text = param.get_help_record(context) or ("", "")
    info = page.terminal.config_type.model_fields.get(param.name) if page.terminal else None
    if param.param_type_name == "argument":
        name = f"{param.metavar}..." if param.nargs != 1 else str(param.metavar)
    if info is None or page.terminal is None:
        return [f"### `{name}`", "", escaped(help_text), ""]
    text = coded(info.description or "", page.terminal)
    is_default = not (info.is_required() or info.default in (None, False, ()))
    facts = [f"Python: `{param.name}: {type_text(info.annotation)}`"]
    facts += [f"default `{shown_default(page.terminal, info)}`"] if is_default else []
    facts += bounds(info)
    facts += ["required"] if info.is_required() else []
    facts += ["repeatable"] if getattr(param, "multiple", False) and "epeat" not in text else []
    return [f"### `{name}`", "", text, "", "; ".join(facts) + ".", ""]


def python_parameter(name: str, info: FieldInfo) -> str:
    """Return `k: int | None = None`."""
    default = "" if info.is_required() else f" = {info.get_default(call_default_factory=True)!r}"
    return f"{name}: {type_text(info.annotation)}{default}"


def shown_default(terminal: Terminal, info: FieldInfo) -> str:
    """Return a default as it is typed."""
    value = info.get_default(call_default_factory=True)
    if isinstance(value, tuple):
        return " ".join(str(item) for item in value)
    return "yes" if value is True else str(value)


def bounds(info: FieldInfo) -> list[str]:
    """Return `at least 1`, of the field or of its items."""
    constraints = [constraint for source in (info.metadata, *metadata_of(info.annotation)) for constraint in source]
    for constraint in list(constraints):
        constraints += getattr(constraint, "metadata", [])
    pairs = [(word, getattr(constraint, key, None)) for constraint in constraints for key, word in BOUNDS]
    return list(dict.fromkeys(f"{word} {bound:,}" for word, bound in pairs if bound is not None))


def metadata_of(annotation: Any) -> Iterator[Sequence[Any]]:
    """Yield the constraints of a type and of all types inside of it."""
    if metadata := getattr(annotation, "__metadata__", None):
        yield metadata
    for inner in get_args(annotation):
        yield from metadata_of(inner)


def files_written(page: Page) -> list[str]:
    """Return what the command writes."""
    if page.terminal is None:
        return []
    options = page.terminal.config_type.model_fields
    lines = []
    if table := PIPELINE.get(page.words[0]):
        lines.append(
            f"- `{table}.csv`, the table for the commands that follow, with a sidecar that says how it was made"
        )
    names = [name for name in OUTPUTS if name in options]
    for name in names:
        spelling = page.terminal.option(name) if name not in page.terminal.function.arguments else name.upper()
        lines.append(f"- `{spelling}`: {coded(options[name].description or '', page.terminal)}")
    if not lines:
        return []
    end = "A file is written whole or not at all. "
    if "overwrite" in options:
        end += f"`--overwrite`: {coded(options['overwrite'].description or '', page.terminal)}"
    return ["## Files written", "", *lines, "", end.strip(), ""]


def exit_status(terminal: Terminal | None) -> list[str]:
    """Return the exit codes; of a command that checks nothing without that of a check."""
    default = Terminal.__dataclass_fields__["says_no"].default
    is_check = terminal is not None and terminal.says_no is not default
    codes = [code for code in EXIT_CODES if is_check or code != CHECK_SAYS_NO]
    return ["## Exit status", "", *(f"- {code}: {EXIT_CODES[code]}" for code in codes), ""]


def python(page: Page) -> list[str]:
    """Return the function's signature and what its result has."""
    if page.terminal is None:
        return []
    function = page.terminal.function
    options = function.config_type.model_fields
    ordered = [*function.arguments, *(name for name in options if name not in function.arguments)]
    parameters = [python_parameter(name, options[name]) for name in ordered]
    if len(function.arguments) < len(options) or not options:
        parameters.insert(len(function.arguments), "*")
    parameters.append("progress: Progress | bool | None = None")
    result = str(inspect.signature(function.run).return_annotation)
    signature = [f"def {function.__name__}(", *(f"    {text}," for text in parameters), f") -> {result}: ..."]
    lines = [
        "## Python",
        "",
        f"`eml.{function.__name__}` takes the same by name, prints nothing, and returns the result. ",
    ]
    lines += ["`--json` prints what its `to_dict()` returns.", "", "```python", *signature, "```", ""]
    for name in result_types(function, result):
        text = inspect.cleandoc(getattr(sys.modules[function.__module__], name).__doc__ or "")
        lines += [f"`{name}`: {result_text(text)}", ""]
        lines += [*attribute_lines(getattr(sys.modules[function.__module__], name), google_attributes(text)), ""]
    return lines


def attribute_lines(result_type: type[Any], texts: Mapping[str, str]) -> list[str]:
    """Return a line for each attribute of a result; texts: what the docstring says of them."""
    own = [item for item in fields(result_type) if item.name not in COMMON]
    return [
        f"- `{item.name}: {item.type}`" + (f": {escaped(texts[item.name])}" if item.name in texts else "")
        for item in own
    ]


def result_types(function: Any, annotation: str) -> list[str]:
    """Return the names of the classes of a result; an alias such as Outcome stands for several."""
    value = getattr(sys.modules[function.__module__], annotation)
    return [branch.__name__ for branch in get_args(value)] or [annotation]


def result_text(docstring: str) -> str:
    """Return what a class's docstring says before its attributes."""
    return escaped(re.sub(r"\s+", " ", re.split(r"\n\s*Attributes:", docstring)[0]).strip())


def google_attributes(docstring: str) -> dict[str, str]:
    """Return the attributes that a docstring lists, with their text on one line."""
    _, _, text = docstring.partition("Attributes:\n")
    attributes: dict[str, str] = {}
    for line in text.splitlines():
        if match := re.match(r" {4}(\w+): (.*)", line):
            attributes[match[1]] = match[2]
        elif line.startswith(" " * 8) and attributes:
            attributes[list(attributes)[-1]] += f" {line.strip()}"
        elif line.strip():
            break
    return attributes


def examples_of(known: Sequence[Page]) -> dict[tuple[str, ...], list[tuple[str, str]]]:
    """Return command → (line, page that has it), from the shell blocks of the documentation."""
    examples: dict[tuple[str, ...], list[tuple[str, str]]] = {page.words: [] for page in known}
    for path in sorted((ROOT / "docs").glob("*.md")):
        for block in SHELL_BLOCK.findall(path.read_text(encoding="utf-8")):
            for line in block.replace("\\\n", "").splitlines():
                words = words_of(line)
                if words[:1] != ["eml"]:
                    continue
                key = next((tuple(words[1:end]) for end in (3, 2) if tuple(words[1:end]) in examples), None)
                if key is not None and line not in [text for text, _ in examples[key]]:
                    examples[key].append((line, path.name))
    return examples


def words_of(line: str) -> list[str]:
    """Return the words of a line of a shell; none of one that cannot be read."""
    try:
        return shlex.split(line, comments=True)
    except ValueError:
        return []


def example_lines(examples: Sequence[tuple[str, str]]) -> list[str]:
    """Return the section of examples: of each page one, then more of the first."""
    first_of_pages = list({page: (line, page) for line, page in reversed(examples)}.values())[::-1]
    chosen = [*first_of_pages, *(pair for pair in examples if pair not in first_of_pages)][:MOST_EXAMPLES]
    lines = [line for line, _ in examples if line in [text for text, _ in chosen]]
    return ["## Examples", "", "```sh", *lines, "```", ""] if lines else []


def see_also(page: Page, known: Sequence[Page], examples: dict[tuple[str, ...], list[tuple[str, str]]]) -> list[str]:
    """Return links to the commands of its group or beside it, and to the pages that use it."""
    is_member = len(page.words) > 1
    beside = [sibling for sibling in known if sibling.words[:-1] == page.words[:-1]]
    place = beside.index(page)
    near = beside if is_member else [*beside[max(0, place - 1) : place], *beside[place + 1 : place + 2]]
    links = [f"[{sibling.title}]({sibling.file})" for sibling in near if sibling is not page]
    of_group = [
        example for words, some in examples.items() if words[: len(page.words)] == page.words for example in some
    ]
    names = list(dict.fromkeys(name for _, name in of_group))
    links += [f"[{title_of(name)}]({TO_DOCS}{name})" for name in names[:MOST_PAGES]]
    return ["## See also", "", ", ".join(links)] if links else []


def title_of(name: str) -> str:
    """Return the heading of a page of the documentation."""
    first = (ROOT / "docs" / name).read_text(encoding="utf-8").partition("\n")[0]
    return escaped(first.lstrip("# ").strip())


def members(page: Page, known: Sequence[Page]) -> list[Page]:
    """Return the commands of a group."""
    return [member for member in known if member.words[:-1] == page.words]


def first_sentence(text: str) -> str:
    """Return the first sentence without its full stop."""
    return inspect.cleandoc(text).partition("\n\n")[0].replace("\n", " ").partition(". ")[0].rstrip(".")


def paragraphs(text: str) -> list[str]:
    """Return a help's paragraphs as Markdown."""
    return [escaped(line) for line in inspect.cleandoc(text.replace("\b", "")).splitlines()]


def coded(text: str, terminal: Terminal) -> str:
    """Return a description with the options that it names as code."""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(f"`{in_options(part, terminal)}`" if part.startswith("`") else escaped(part) for part in parts)


def escaped(text: str) -> str:
    """Return plain text such that Markdown shows it as it is."""
    text = re.sub(r"([\\*\[\]|]|(?<!\w)_|_(?!\w))", r"\\\1", text)
    return text.replace("<", "&lt;")


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in command_pages().items():
        write_text(folder / name, text)
