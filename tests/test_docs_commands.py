"""The reference pages of the commands: every command has one with all its options, and their links hold."""

import re
from pathlib import Path

import pytest
from command_pages import all_pages, command_pages, escaped

DOCS = Path(__file__).parents[1] / "docs"


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    return command_pages()


def test_every_command_has_a_page_with_all_its_options(pages: dict[str, str]) -> None:
    known = all_pages()
    assert {page.file for page in known} | {"index.md"} == set(pages)
    for page in known:
        text = pages[page.file]
        assert f"]({page.file})" in pages["index.md"], page.title
        for param in page.command.get_params(page.context()):
            if param.param_type_name == "argument":
                assert f"\n### `{param.metavar}" in text, (page.title, param.name)
            for name in (*param.opts, *param.secondary_opts) if param.param_type_name == "option" else ():
                assert re.search(rf"^### `.*{re.escape(name)}[ ,`]", text, re.MULTILINE), (page.title, name)


def test_a_page_says_type_default_bounds_result_and_related_pages(pages: dict[str, str]) -> None:
    text = pages["index_build.md"]
    assert "```text\neml index build [OPTIONS] INDEX CHECKPOINT IMAGES...\n```" in text
    assert "Images embedded at once.\n\nPython: `batch_size: int`; default `64`; at least 1.\n" in text
    assert ") -> BuildIndexResult: ..." in text
    assert "- 1: the answer" not in text
    assert "- 1: the answer" in pages["index_verify.md"]
    assert "[eml index add](index_add.md)" in text
    assert "`folds.csv`" in pages["kfold.md"]


def test_all_links_hold(pages: dict[str, str]) -> None:
    for name, text in pages.items():
        for target in re.findall(r"\]\(([^)]+)\)", text):
            assert target in pages or (DOCS / target.removeprefix("../../")).is_file(), (name, target)


def test_plain_text_stays_as_it_is_in_markdown() -> None:
    assert escaped("LABEL<TAB>TEXT of 'photos/*.jpg' and _this, not file_name") == (
        r"LABEL&lt;TAB>TEXT of 'photos/\*.jpg' and \_this, not file_name"
    )
