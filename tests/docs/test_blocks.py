"""The checks of the pages' blocks fail where a block is wrong, and say where and what to do."""

from pathlib import Path

import pytest

from tests.docs.blocks import parse_page
from tests.docs.checks import problems
from tests.docs.prepared import Workshop
from tests.docs.running import SnippetError, run_page
from tests.docs.shell import commands, small_words

pytestmark = pytest.mark.usefixtures("plugins_forgotten")


def fenced(language: str, *lines: str, mark: str = "") -> str:
    return "\n".join(["# Page", "", *([mark] if mark else []), f"```{language}", *lines, "```", ""])


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (fenced("sh", "eml splt photos"), "page.md:4: `eml splt photos` is refused: unknown command 'splt'"),
        (fenced("sh", "# first", "eml split photos --ratio 2"), "page.md:5: `eml split photos --ratio 2` is refused"),
        (fenced("sh", "eml split photos \\", "    --test-ratio 2"), "page.md:4: `eml split photos --test-ratio 2` is"),
        (fenced("sh", "eml scan photos --json | eml spilt -"), "page.md:4: `eml spilt -` is refused"),
        (fenced("sh", "eml train c.yaml --set margin.q=1"), "unknown key 'margin.q'"),
        (fenced("sh", "pip install 'easy-metric-learning[onx]'"), "page.md:4: pyproject.toml has no extra 'onx'"),
        (fenced("sh", "make tset"), "page.md:4: the Makefile has no target 'tset'"),
        (fenced("sh", "python tests/benchmarks/loader.py --picturs x"), "loader.py has no option --picturs"),
        (fenced("yaml", "margin: {type: arcface, q: 1}"), "page.md:4: unknown key 'margin.q'"),
        (fenced("yaml", "tune: norm", "tune: bitfitt"), "page.md:"),
        (
            fenced("python", "from eml.margins.arcface import ArcFaces"),
            "page.md:4: there is no eml.margins.arcface.Arc",
        ),
        (fenced("python", "eml.split('photos', ratio=2)"), "page.md:4: eml.split has no parameter 'ratio'"),
        (fenced("python", "eml.spilt('photos')"), "page.md:4: there is no eml.spilt"),
        (fenced("python", "model ="), "page.md:3: line 4: invalid syntax"),
        (fenced("json", "{,}"), "page.md:3: is no JSON"),
        (fenced("sql", "price <"), "page.md:3: `price <`"),
        (
            fenced("", "every picture looks purple today"),
            "page.md:4: eml nowhere says 'every picture looks purple",
        ),
        (fenced("", "eml scan photos"), "page.md:3: these are commands: mark the block as ```sh"),
        ("# Page\n\n    eml scan photos\n", "page.md:2: these are commands: put them between ```sh and ```"),
        (fenced("ruby", "puts"), "page.md:3: 'ruby' is no language of the pages' blocks; known: "),
        (fenced("sh", "nvidia-smi", mark="<!-- not run: -->"), "page.md:4: say why this block is not run"),
        ("<!-- not run: it is long -->\n\nText.\n", "page.md:1: this mark `not run` has no block after it"),
        ("Take `eml split --ratoi 2`.\n", "page.md:1: `eml split --ratoi 2`: there is no option '--ratoi'"),
        ("Take\n`eml\nspilt`.\n", "page.md:2: `eml spilt`: there is no command 'spilt'"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(
    text: str, problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    lines = list(problems(parse_page(text, Path("page.md")), tmp_path))
    assert any(problem in line for line in lines), lines


def test_what_is_right_is_not_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = "".join(
        [
            fenced(
                "bash", "eml split photos --by ratio  # half", "eml scan photos --json > scan.json && cat scan.json"
            ),
            fenced('yaml title="split.yaml"', "by: ratio") + fenced("sh", "eml split photos --config split.yaml"),
            fenced("yaml", "tune: norm", "tune: {type: lora, rank: 8}"),
            fenced("python", "import eml", "eml.train('c.yaml', epochs=2)"),
            fenced("sh", "srun train", mark="<!-- not run: needs a cluster -->"),
            "Take `eml train c.yaml --epochs 2` or `eml index build …`.\n",
        ]
    )
    assert not list(problems(parse_page(text, Path("page.md")), tmp_path))


def test_lines_are_joined_and_made_small() -> None:
    lines = list(commands("docs/a.md:10", "# all\n\neml scan photos \\\n  --json\neml report photos  # a page\n"))
    assert [(line.place, line.words) for line in lines] == [
        ("docs/a.md:13", ["eml", "scan", "photos", "--json"]),
        ("docs/a.md:15", ["eml", "report", "photos"]),
    ]
    assert small_words(["eml", "calibrate", "run"]) == ["eml", "calibrate", "run", "--far", "0.4"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (fenced("sh", "eml scan nowhere"), r"page\.md:4: `eml scan nowhere` ends with exit code 2"),
        (fenced("python", "a = 1", "assert a == 2"), r"page\.md:5: AssertionError"),
        (fenced("python", "print(1)") + fenced('text title="output"', "2"), r"page\.md:9: the block before does not"),
        (fenced("python", "1") + fenced('text title="error"', "no"), r"page\.md:3: does not fail, and an error stands"),
        (fenced("sh", "false | true"), r"page\.md:3: this block ends with exit code 1"),
    ],
)
def test_what_fails_is_told_with_its_line_and_what_a_page_may_use(
    text: str,
    problem: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "page").mkdir()
    monkeypatch.chdir(tmp_path / "page")
    with pytest.raises(SnippetError, match=problem) as raised:
        run_page(parse_page(text, Path("page.md")), tmp_path, capfd.readouterr)
    assert "<!-- needs: NAME, NAME -->" in str(raised.value)


def test_a_page_that_needs_what_is_not_offered_is_told_what_is(workshop: Workshop, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"<!-- needs: gold -->: the tests offer photos/dataset_info\.csv, "):
        workshop.prepare(parse_page("<!-- needs: gold -->\n", Path("page.md")), tmp_path / "page")
