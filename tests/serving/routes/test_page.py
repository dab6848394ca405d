"""The pages load from the server alone, and put in what they are given as text."""

import asyncio
import json
import re
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from eml.serving.keys import add_key
from eml.serving.limits import ServingLimits
from tests.indexing.shop import network, photo
from tests.reports.chromium import PROGRAM, Chromium
from tests.serving.shop_server import build_shop

pytest.importorskip("fastapi")
from eml.serving.app import make_app
from eml.serving.engine import ServingEngine
from eml.serving.routes import page
from eml.serving.running import served

FILES = sorted(path for path in page.FOLDER.iterdir() if path.is_file())
PALETTE = re.compile(r":root \{.*?\}", re.DOTALL)


def responses(*requests: tuple[str, dict[str, str]]) -> list[Any]:
    from fastapi import FastAPI
    from httpx import ASGITransport, AsyncClient

    app = FastAPI(docs_url=None, redoc_url=None)
    app.include_router(page.page_routes(lambda: {"needs_key": True}))

    async def ask() -> list[Any]:
        async with AsyncClient(transport=ASGITransport(app), base_url="http://eml") as client:
            return [await client.get(address, headers=headers) for address, headers in requests]

    return asyncio.run(ask())


def test_the_pages_and_their_files_are_served_and_nothing_else() -> None:
    names = [path.name for path in FILES if path.suffix != ".html"]
    index, docs, facts, *files = responses(
        ("/", {}), ("/docs", {}), ("/page/facts", {}), *((f"/page/{n}", {}) for n in names)
    )
    assert index.text == (page.FOLDER / "index.html").read_text(encoding="utf-8")
    assert index.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "docs.js" in docs.text
    assert facts.json() == {"needs_key": True}
    assert [file.content for file in files] == [(page.FOLDER / name).read_bytes() for name in names]
    again, *strays = responses(
        ("/", {"If-None-Match": index.headers["ETag"]}),
        *((f"/page/{name}", {}) for name in ("index.html", "__init__.py", "..%2Froutes%2Fpage.py", "nothing.js")),
    )
    assert (again.status_code, again.content) == (304, b"")
    assert [stray.status_code for stray in strays] == [404] * 4


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_file_loads_nothing_from_elsewhere_and_fits_the_policy(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"https?://|//\w+\.\w+/", text)
    if path.suffix == ".html":
        assert not re.search(r"\sstyle=|\son\w+=|<style|javascript:", text)
        assert all("src=" in tag for tag in re.findall(r"<script[^>]*>", text))
    if path.suffix == ".js":
        assert not re.search(
            r"\.(inner|outer)HTML|insertAdjacentHTML|document\.write|\beval\b|Function\(|srcdoc|cssText", text
        )
        assert not re.search(r"localStorage|document\.cookie", text), "a key stays in its tab"
    for name in re.findall(r'(?:src|href)="page/([\w.]+)"|from "\./([\w.]+)"', text):
        assert (page.FOLDER / "".join(name)).is_file()


def test_what_needs_no_answer_of_the_server_is_shown_at_once() -> None:
    html = (page.FOLDER / "index.html").read_text(encoding="utf-8")
    hidden = set(re.findall(r'<(?:section|form|details|div)[^>]*\sid="([\w-]+)"[^>]*\shidden[ >]', html))
    assert hidden == {"key-form", "text-form", "options", "answers"}


def test_every_input_has_a_name_and_every_id_of_the_scripts_exists() -> None:
    html = (page.FOLDER / "index.html").read_text(encoding="utf-8") + (page.FOLDER / "docs.html").read_text(
        encoding="utf-8"
    )
    ids = set(re.findall(r'\sid="([\w-]+)"', html))
    labelled = set(re.findall(r'<label for="([\w-]+)"', html)) | set(re.findall(r'<label>.*?id="([\w-]+)"', html))
    for tag in re.findall(r"<(?:input|select)[^>]*>", html):
        (name,) = re.findall(r'\sid="([\w-]+)"', tag)
        assert name in labelled or "aria-label=" in tag, tag
    for reference in re.findall(r'aria-(?:labelledby|describedby)="([^"]+)"', html):
        assert set(reference.split()) <= ids
    for script in page.FOLDER.glob("*.js"):
        used = set(re.findall(r'(?:byId|say)\("([\w-]+)"', script.read_text(encoding="utf-8")))
        assert used <= ids, script.name


def test_the_colours_are_those_of_the_reports() -> None:
    import eml.reports.rendering

    reports = (eml.reports.rendering.SHARED / "style.css").read_text(encoding="utf-8")
    own = (page.FOLDER / "page.css").read_text(encoding="utf-8")
    assert PALETTE.findall(own)[:2] == PALETTE.findall(reports)[:2]


ASKS = "document.getElementById('main')?.ariaBusy === 'false' && !document.getElementById('ask').hidden"
TOO_WIDE = "document.documentElement.scrollWidth > innerWidth"
ANSWERED = "!document.querySelector('.waits') && document.querySelectorAll('.answer').length === {count}"
SHOWN = "[...document.querySelectorAll('.near .frame')].every(frame => !frame.disabled || frame.querySelector('span'))"


@contextmanager
def serving(*words: str) -> Iterator[str]:
    """Start `eml serve` and yield its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "eml", "serve", *words, "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as server:
        try:
            for _ in range(3000):
                with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/page/facts"):
                    break
                assert server.poll() is None, server.stderr.read() if server.stderr else ""
                time.sleep(0.1)
            yield f"http://127.0.0.1:{port}/"
        finally:
            server.terminate()
            server.wait(60)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_shop(tmp_path_factory.mktemp("page"))


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A photo of a class, one of none, one that is lying on its side by EXIF, and a broken and a too large file."""
    folder = tmp_path_factory.mktemp("photos")
    files = {name: folder / f"{name}.png" for name in ("mug", "stranger", "broken", "large")}
    photo("mug", 50).save(files["mug"])
    Image.effect_noise((64, 64), 90).convert("RGB").save(files["stranger"])
    files["broken"].write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    files["large"].write_bytes(bytes(ServingLimits().image_bytes + 1))
    return files


def words_of(browser: Chromium, number: int) -> str:
    text = browser.evaluate(f"document.querySelectorAll('.answer')[{number}].querySelector('.text').innerText")
    return " ".join(text.split())


@pytest.mark.wide
@pytest.mark.skipif(not PROGRAM, reason="no Chromium is installed")
def test_a_browser_asks_with_photos_and_shows_what_the_server_answers(shop: Path, photos: dict[str, Path]) -> None:
    with serving(str(shop)) as address, Chromium() as browser:
        for width, dark in ((1200, False), (1200, True), (390, False), (390, True)):
            browser.open(address, width=width, dark=dark)
            browser.wait_for(ASKS)
            browser.choose_files("#files", photos["mug"], photos["stranger"], photos["broken"], photos["large"])
            browser.wait_for(ANSWERED.format(count=4))
            browser.wait_for(SHOWN)
            assert not browser.evaluate(TOO_WIDE)
            background = browser.evaluate("getComputedStyle(document.body).backgroundColor")
            assert background == ("rgb(22, 24, 26)" if dark else "rgb(252, 252, 250)")
            assert browser.complaints == []
            strangers = [url for url in browser.asked if not url.startswith((address, f"blob:{address}"))]
            assert strangers == []
        assert words_of(browser, 0).startswith("mug Right with a probability of ")
        assert words_of(browser, 1).startswith("Unknown Of none of the classes")
        assert words_of(browser, 2).startswith("No answer ")
        assert "16.8 MB" in words_of(browser, 3)
        assert browser.evaluate("document.querySelectorAll('.answer')[0].querySelectorAll('.near img').length") == 9
        assert "<b>jam" in browser.evaluate("document.querySelector('.near').innerText")
        assert browser.evaluate("document.querySelector('.near').querySelectorAll('b b').length") == 0
        assert re.search(
            r"the index after [0-9]+ change", browser.evaluate("document.querySelector('.facts').innerText")
        )
        assert browser.evaluate("document.getElementById('status').textContent")
        browser.evaluate("document.querySelector('.near .frame').focus()")
        browser.press("Enter", "\r")
        browser.wait_for("document.getElementById('zoom').open")
        browser.evaluate("document.getElementById('clear').click()")
        assert browser.evaluate("document.getElementById('answers').hidden")
        browser.open(f"{address}docs", width=390)
        browser.wait_for("document.querySelectorAll('.operation').length > 5")
        assert not browser.evaluate(TOO_WIDE)
        assert browser.complaints == []
        assert "9223372" not in browser.evaluate("document.body.innerText"), "a bound that nobody reaches"
        assert browser.evaluate("document.querySelector('.command pre').textContent").startswith("curl ")
        errors = "[...document.querySelectorAll('.operation summary code')].filter(code => code.textContent >= '400')"
        assert browser.evaluate(f"{errors}.map(code => code.textContent)") == [], "errors are said once"
        assert browser.evaluate("document.querySelectorAll('#errors > .schema').length") == 1


@pytest.mark.wide
@pytest.mark.skipif(not PROGRAM, reason="no Chromium is installed")
def test_a_photo_that_is_chosen_before_the_server_says_what_it_is_is_asked_about_later(photos: dict[str, Path]) -> None:
    from fastapi import FastAPI

    engine, begin = ServingEngine(network(), name="shop"), threading.Event()
    app = make_app(engine)

    class Slow(FastAPI):
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            if scope.get("path") == "/page/facts":
                await asyncio.to_thread(begin.wait, 60)
            await app(scope, receive, send)

    with served(Slow(), engine) as address, Chromium() as browser:
        browser.open(address, width=1280)
        assert browser.evaluate("document.getElementById('drop').offsetHeight") > 100
        browser.choose_files("#files", photos["mug"])
        assert browser.evaluate("document.querySelectorAll('.answer').length") == 0
        begin.set()
        browser.wait_for(ANSWERED.format(count=1))
        assert "numbers" in words_of(browser, 0)
        assert browser.complaints == []
    asyncio.run(engine.close())


@pytest.mark.wide
@pytest.mark.skipif(not PROGRAM, reason="no Chromium is installed")
def test_the_page_asks_for_a_key_and_keeps_it_in_the_tab(shop: Path, photos: dict[str, Path], tmp_path: Path) -> None:
    key = add_key(tmp_path / "keys.json", "phone", ["read"])
    with serving(str(shop), "--keys", str(tmp_path / "keys.json")) as address, Chromium() as browser:
        browser.open(address, width=390)
        browser.wait_for("!document.getElementById('key-form').hidden")
        assert browser.evaluate("document.getElementById('ask').hidden")
        for text, problem in (("wröng", True), ("eml_wrong", True), (key, False)):
            browser.evaluate(f"document.getElementById('key').value = {json.dumps(text)}")
            browser.evaluate("document.querySelector('#key-form button').click()")
            browser.wait_for("!document.getElementById('key-problem').hidden" if problem else ASKS)
            if problem:
                assert "does not know this key" in browser.evaluate("document.getElementById('key-problem').innerText")
                browser.evaluate("document.getElementById('key-problem').hidden = true")
        browser.choose_files("#shot", photos["mug"])
        browser.wait_for(ANSWERED.format(count=1))
        browser.wait_for(SHOWN)
        assert words_of(browser, 0).startswith("mug ")
        assert browser.evaluate("document.querySelectorAll('.near img').length") == 9, "thumbnails carry the key"
        assert browser.evaluate("[localStorage.length, document.cookie]") == [0, ""]
        browser.evaluate("document.getElementById('forget').click()")
        browser.wait_for("document.getElementById('key-form')?.hidden === false")


@pytest.mark.wide
@pytest.mark.skipif(not PROGRAM, reason="no Chromium is installed")
def test_without_an_index_the_page_embeds_and_says_what_to_do(shop: Path, photos: dict[str, Path]) -> None:
    with serving(str(shop / "model")) as address, Chromium() as browser:
        browser.open(address, width=1200)
        browser.wait_for(ASKS)
        assert "eml index build" in browser.evaluate("document.getElementById('lead').innerText")
        browser.choose_files("#files", photos["mug"], photos["stranger"], photos["broken"])
        browser.wait_for(ANSWERED.format(count=3))
        assert "numbers" in words_of(browser, 0)
        assert words_of(browser, 2).startswith("No answer ")
        assert browser.complaints == []
