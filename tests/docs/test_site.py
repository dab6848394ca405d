"""The pages of docs/: each stands in the nav of mkdocs.yml, and their links hold on the site and in a repository."""

import re
import unicodedata
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.glob("*.md"))
TOP_PAGES = [ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")]

# Pages of the nav that are made while the site is built (docs/tools/site_hooks.py).
GENERATED = re.compile(r"reference/.*|changelog\.md|contributing\.md")

FENCE = re.compile(r"^( *)(```+|~~~+).*?^\1\2[`~]*\s*$", re.MULTILINE | re.DOTALL)
CODE_SPAN = re.compile(r"(`+)(?!`).+?(?<!`)\1(?!`)", re.DOTALL)
LINK = re.compile(r"(!?)\[((?:[^\]\[]|\[[^\]]*\])*)\]\(\s*<?([^()\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)")
HEADING = re.compile(r"^#{1,6} +(.+?) *#*$", re.MULTILINE)
ELEMENT_ID = re.compile(r"<\w+[^>]*\s(?:id|name)=\"([^\"]+)\"")


def test_every_page_stands_in_the_nav_exactly_once() -> None:
    nav = pages_of_nav(yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"])
    assert sorted(set(nav)) == sorted(nav), "a page stands twice in the nav of mkdocs.yml"
    written = sorted(page for page in nav if not GENERATED.fullmatch(page))
    assert written == [page.name for page in PAGES], (
        "the nav of mkdocs.yml and docs/*.md differ: a new page needs a line there, `- Title: page.md`, "
        "and a removed page none"
    )


def test_page_has_no_other_depth_than_docs() -> None:
    deeper = [str(page.relative_to(ROOT)) for page in DOCS.rglob("*.md") if page.parent != DOCS]
    assert not deeper, f"pages lie in docs/ itself: {deeper}"


@pytest.mark.parametrize("page", [*PAGES, *TOP_PAGES], ids=lambda page: page.name)
def test_links_of_page_lead_to_files_and_headings_that_exist(page: Path) -> None:
    for image, text, target in LINK.findall(prose(page)):
        if target.startswith(("http://", "https://", "mailto:")):
            continue
        path, _, anchor = target.partition("#")
        if GENERATED.fullmatch(path):
            continue  # tests/docs/test_built_site.py follows it
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{page.name}: link to {target}, and {file.relative_to(ROOT)} does not exist"
        if image:
            assert text, f"{page.name}: image {target} has no alt text"
        if anchor:
            assert anchor in anchors(file), (
                f"{page.name}: link to {target}, and {file.name} has no heading for it: {sorted(anchors(file))}"
            )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_lists_and_tables_of_page_are_read_alike_everywhere(page: Path) -> None:
    before = ""
    for line in prose(page, keep_code=True).splitlines():
        item = re.match(r"( *)(?:[-*+]|\d+\.) ", line)
        begins = (item and line[0] in "-*+1" and not re.match(r" *(?:[-*+]|\d+\.) |  ", before)) or (
            line.startswith("|") and not before.startswith("|")
        )
        assert not (begins and before.strip()), f"{page.name}: needs an empty line before {line[:60]!r}"
        if item:
            assert len(item[1]) % 4 == 0, f"{page.name}: a list within a list is indented by 4 spaces: {line[:60]!r}"
        before = line


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_headings_of_page_have_the_same_anchor_everywhere(page: Path) -> None:
    headings = HEADING.findall(prose(page, keep_code=True))
    assert prose(page).lstrip().startswith("# "), f"{page.name} begins with its title, `# Title`"
    for heading in headings:
        assert github_slug(heading) == site_slug(heading), (
            f"{page.name}: the heading {heading!r} is #{github_slug(heading)} in a repository and "
            f"#{site_slug(heading)} on the site. Write it without signs between spaces or at the ends."
        )
    slugs = [site_slug(heading) for heading in headings]
    twice = sorted({slug for slug in slugs if slugs.count(slug) > 1})
    assert not twice, f"{page.name}: several headings are #{', #'.join(twice)}"


def test_slugs_of_headings_follow_the_rules_of_both_makers() -> None:
    assert site_slug("Answering `--help`") == "answering-help"
    assert github_slug("Answering `--help`") == "answering---help"
    assert github_slug("The network (`shard_network`)") == site_slug("The network (`shard_network`)")
    assert site_slug("Where is …") == "where-is"


def pages_of_nav(nav: list[object] | str | dict[str, object]) -> list[str]:
    """Return the pages that a nav of MkDocs names, in order."""
    if isinstance(nav, str):
        return [nav]
    items = nav.values() if isinstance(nav, dict) else nav
    return [page for item in items for page in pages_of_nav(item)]  # type: ignore[arg-type]


def prose(page: Path, keep_code: bool = False) -> str:
    """Return a page's text without its fenced blocks, and without its code spans unless they are kept."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    return text if keep_code else CODE_SPAN.sub(lambda span: "`" + "·" * (len(span[0]) - 2) + "`", text)


def anchors(page: Path) -> set[str]:
    """Return what may follow `#` in a link to a page: the slugs that both makers give, and the ids of elements."""
    if page.suffix != ".md":
        return set()
    text = prose(page, keep_code=True)
    slugs = {site_slug(heading) for heading in HEADING.findall(text) if site_slug(heading) == github_slug(heading)}
    return slugs | set(ELEMENT_ID.findall(text))


def plain(heading: str) -> str:
    """Return a heading's text without the marks of Markdown."""
    return re.sub(r"[`*]", "", LINK.sub(r"\2", heading))


def site_slug(heading: str) -> str:
    """Return a heading's anchor by the rule of Python-Markdown's extension toc."""
    ascii_text = unicodedata.normalize("NFKD", plain(heading)).encode("ascii", "ignore").decode()
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", ascii_text).strip().lower())


def github_slug(heading: str) -> str:
    """Return a heading's anchor by the rule of GitHub's pages."""
    return re.sub(r"[^\w\- ]", "", plain(heading).lower()).replace(" ", "-")
