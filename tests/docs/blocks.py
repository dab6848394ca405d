"""The fenced blocks of the pages: docs/*.md and README.md."""

import re
import textwrap
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = {path.name: path for path in [*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md"]}

_FENCE = re.compile(r"^( *)(`{3,}|~{3,}) *([\w+-]*)(.*)$")
_NOT_RUN = re.compile(r"^\s*<!-- not run:(.*?)-->\s*$")
_NEEDS = re.compile(r"^\s*<!-- needs:(.*?)-->\s*$", re.MULTILINE)
_INDENTED = re.compile(r"^ {4,}(\w+=\S+ )*(eml |pip install |python |make |torchrun )")
_ALIASES = {"bash": "sh", "shell": "sh", "console": "sh", "py": "python", "yml": "yaml", "text": "", "txt": ""}


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Args:
        place: Page and line, as docs/text.md:17.
        language: `sh` for bash, "" for text; "indented" for the first line of commands without fences.
        title: The name of the file that the block is, of `title="run.yaml"` after the language or of a first line
            `# run.yaml`; or "".
        text: What stands between the fences, without the indentation of a list.
        reason: Why it is not run, of the mark `<!-- not run: … -->` before it; None without a mark.
    """

    place: str
    language: str
    title: str
    text: str
    reason: str | None

    @property
    def code(self) -> str:
        """Return the text after as many empty lines as stand before it in its page, for line numbers of errors."""
        return "\n" * int(self.place.rpartition(":")[2]) + self.text


@dataclass(frozen=True)
class Page:
    """A page.

    Args:
        path: The file.
        place: Its path in the repository.
        text: What it says.
        blocks: In their order.
        stale: Lines of marks `<!-- not run: … -->` without a block after them.
        needs: What the page's folder shall contain, of `<!-- needs: photos/run, shop.index -->`.
    """

    path: Path
    place: str
    text: str
    blocks: tuple[Block, ...]
    stale: tuple[int, ...]
    needs: tuple[str, ...]


@cache
def read_page(name: str) -> Page:
    """Return a page of PAGES."""
    return parse_page(PAGES[name].read_text(encoding="utf-8"), PAGES[name])


def parse_page(text: str, path: Path) -> Page:
    """Return the page that a text in Markdown is."""
    needs = tuple(name.strip() for match in _NEEDS.findall(text) for name in match.split(","))
    place = path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else path.name
    page = Page(path, place, text, (), (), needs)
    mark: tuple[int, str] | None = None
    last = ""
    lines = iter(enumerate(text.splitlines(), 1))
    for number, line in lines:
        if match := _NOT_RUN.match(line):
            mark = (number, match[1].strip())
        elif match := _FENCE.match(line):
            _, fence, language, rest = match.groups()
            content = []
            for _, inner in lines:
                if re.fullmatch(rf" *{re.escape(fence)}+ *", inner):
                    break
                content.append(inner)
            language = _ALIASES.get(language, language)
            inner_text = textwrap.dedent("\n".join(content)) + "\n" if content else ""
            title = re.search(r'title="([^"]*)"', rest) or re.match(r"# ([\w./-]+\.(?:py|ya?ml))\n", inner_text)
            block = Block(f"{place}:{number}", language, title[1] if title else "", inner_text, mark and mark[1])
            page, mark = replace(page, blocks=(*page.blocks, block)), None
        elif _INDENTED.match(line) and not last.strip():
            page = replace(
                page, blocks=(*page.blocks, Block(f"{place}:{number - 1}", "indented", "", f"{line.strip()}\n", None))
            )
        elif line.strip() and mark:
            page, mark = replace(page, stale=(*page.stale, mark[0])), None
        last = line
    return replace(page, stale=(*page.stale, mark[0])) if mark else page
