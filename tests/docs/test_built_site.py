"""The built site: without network and warnings, no page an orphan, no link dead, nothing fetched from elsewhere."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

import pytest

from tests.reports.chromium import PROGRAM, Chromium

ROOT = Path(__file__).parents[2]
NOWHERE = "http://127.0.0.1:9"
FETCHED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "video": "src", "audio": "src"}

pytestmark = [pytest.mark.wide, pytest.mark.xdist_group("site")]


@dataclass
class Page(HTMLParser):
    """Collect the links of a page, the resources that it fetches, and its anchors."""

    links: list[str] = field(default_factory=list)
    fetched: list[str] = field(default_factory=list)
    ids: set[str] = field(default_factory=set)
    images_without_text: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.ids.update(value for name, value in values.items() if name == "id" or (name == "name" and tag == "a"))
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        if tag == "link" and set(values["rel"].split()) & {"stylesheet", "icon", "preload", "preconnect"}:
            self.fetched.append(values["href"])
        if source := values.get(FETCHED.get(tag, "")):
            self.fetched.append(source)
        if tag == "img" and not values.get("alt"):
            self.images_without_text.append(values.get("src", ""))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    for package in ("mkdocs", "material", "mkdocstrings"):
        pytest.importorskip(package)
    folder = tmp_path_factory.mktemp("site") / "built"
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    proxies = {f"{kind}_proxy": NOWHERE for kind in ("http", "https", "all")}
    environment = os.environ | proxies | {"NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(ROOT)}
    built = subprocess.run(
        [*without_network(), *command], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert built.returncode == 0, built.stdout + built.stderr
    assert "WARNING" not in built.stderr, built.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    found = {}
    for path in set(site.rglob("*.html")) - {site / "404.html"}:  # whose links begin at a server's root
        found[path] = Page()
        found[path].feed(path.read_text(encoding="utf-8"))
    return found


def without_network() -> list[str]:
    """Return what begins a command that has no network, where the system lets it."""
    command = ["unshare", "--net", "--map-root-user"]
    has_it = (
        shutil.which("unshare") and subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0
    )
    return command if has_it else []


def test_make_docs_changes_no_committed_text(tmp_path: Path) -> None:
    lines = (ROOT / "Makefile").read_text(encoding="utf-8").partition("\ndocs:")[2].partition("\n\n")[0].splitlines()
    scripts = [line.split()[1:] for line in lines if "docs/tools/" in line]
    assert ["docs/tools/margins_page.py", "docs"] in scripts
    for folder in ("docs", "eml"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    for script in scripts:
        subprocess.run([sys.executable, *script], cwd=tmp_path, env=environment, check=True)
    texts = [path for path in tmp_path.rglob("*.*") if path.suffix in {".md", ".pyi", ".json"}]
    assert len(texts) > 50
    changed = [path for path in texts if path.read_bytes() != (ROOT / path.relative_to(tmp_path)).read_bytes()]
    assert not changed, "commit what `make docs` writes"


def test_every_page_of_docs_is_in_the_site(site: Path) -> None:
    for page in (ROOT / "docs").glob("*.md"):
        assert (site / f"{page.stem}.html").is_file(), page.name
    assert not (site / "tools").exists()


def test_nothing_is_fetched_from_elsewhere(site: Path, pages: dict[Path, Page]) -> None:
    for path, page in pages.items():
        for address in page.fetched:
            assert not urlsplit(address).scheme or address.startswith("data:"), f"{path.name} fetches {address}"
            assert not address.startswith("//"), f"{path.name} fetches {address}"
    for style in site.rglob("*.css"):
        text = style.read_text(encoding="utf-8")
        assert not re.search(r"(?:@import|url\()\s*[\"']?(?:https?:)?//", text), f"{style.name} fetches something"


def test_every_link_leads_to_a_file_and_an_anchor_of_the_site(site: Path, pages: dict[Path, Page]) -> None:
    for path, page in pages.items():
        for target, anchor in inside_links(path, page):
            file = target / "index.html" if target.is_dir() else target
            assert file.is_relative_to(site), f"{path.name} links outside of the site: {file}"
            assert file.is_file(), f"{path.relative_to(site)} links to {file.relative_to(site)}, which is not there"
            if anchor and file in pages and not anchor.startswith("__"):
                assert anchor in pages[file].ids, f"{path.relative_to(site)} links to {file.name}#{anchor}"


def test_no_page_is_an_orphan(site: Path, pages: dict[Path, Page]) -> None:
    reached, waiting = set(), [site / "index.html"]
    while waiting:
        path = waiting.pop()
        if path not in reached:
            reached.add(path)
            waiting += [target for target, _ in inside_links(path, pages[path]) if target in pages]
    assert not set(pages) - reached


def test_every_image_has_a_text(pages: dict[Path, Page]) -> None:
    without = {path.name: page.images_without_text for path, page in pages.items() if page.images_without_text}
    assert not without


def test_the_search_has_every_page_and_every_config_key(site: Path) -> None:
    index = (site / "search" / "search_index.json").read_text(encoding="utf-8")
    for address in ("training.html", "reference/commands/train.html", "reference/config.html#head.scale"):
        assert f'"{address}"' in index


@pytest.mark.skipif(not PROGRAM, reason="no Chromium is installed")
def test_no_page_is_wider_than_the_window_of_a_phone_or_a_laptop(site: Path, pages: dict[Path, Page]) -> None:
    with Chromium() as browser:
        for path in pages:
            for width in (390, 1200) if path.name in ("index.html", "config.html", "train.html") else (390,):
                browser.open(path, width=width, dark=width == 1200)
                assert browser.evaluate("document.documentElement.scrollWidth") == width, path.name
                assert [address for address in browser.asked if not address.startswith("file:")] == [], path.name
                assert browser.complaints == [], path.name


@pytest.mark.skipif(not PROGRAM, reason="no Chromium is installed")
def test_the_search_answers_in_pages_that_are_opened_from_a_disk(site: Path) -> None:
    script = """new Promise(done => {
        document.querySelector("[data-md-toggle=search]").click()
        const field = document.querySelector("input.md-search__input")
        field.value = "head.scale"
        field.dispatchEvent(new Event("keyup", {bubbles: true}))
        const links = () => [...document.querySelectorAll("a.md-search-result__link")].map(link => link.href)
        const timer = setInterval(() => links().length && (clearInterval(timer), done(links())), 100)
        setTimeout(() => done(links()), 60000)
    })"""
    with Chromium() as browser:
        browser.open(site / "index.html", width=1200)
        assert any(link.endswith("#head.scale") for link in browser.evaluate(script))


def inside_links(path: Path, page: Page) -> Iterator[tuple[Path, str]]:
    """Yield file and anchor of each link of a page that stays on the site."""
    for link in page.links:
        parts = urlsplit(urljoin(path.as_uri(), link))
        if parts.scheme == "file":
            yield Path(unquote(parts.path)), unquote(parts.fragment)
