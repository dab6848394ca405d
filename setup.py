"""The description that a package index shows: README.md, with links that lead somewhere. The rest is pyproject.toml."""

import re
import tomllib
from pathlib import Path

_LINK = re.compile(
    r"(?P<code>```.*?```|`[^`\n]*`)|(?P<image>!?)\[(?P<text>[^][]*)\]\((?P<target>[^()\s]+)\)", re.DOTALL
)


def description(readme: str, source: str | None = None) -> str:
    """Return README.md for a reader who has no files beside it.

    Args:
        readme: Its text.
        source: Where the files of this version can be read, such as a repository's address with its tag. Relative
            links lead there; without it, they become their text, and images their caption.
    """

    def link(match: re.Match[str]) -> str:
        target = match["target"]
        if match["code"] or re.match(r"[a-z]+:", target):
            return match[0]
        if source is None or target.startswith("#"):
            return match["text"]
        return f"{match['image']}[{match['text']}]({source.rstrip('/')}/{target})"

    text = _LINK.sub(link, readme)
    return text if source else f"{text.rstrip()}\n\nThe pages under `docs/` are in the source archive.\n"


if __name__ == "__main__":
    from setuptools import setup

    here = Path(__file__).parent
    project = tomllib.loads((here / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    setup(
        long_description=description(
            (here / "README.md").read_text(encoding="utf-8"), project.get("urls", {}).get("Source")
        ),
        long_description_content_type="text/markdown",
    )
