import pickle

import pytest

from eml.errors import CheckpointError, ConfigError, DataError, EmlError, Interrupted, OutputError, Problem
from eml.images.decode import ImageError


def test_error_of_one_text_has_one_problem_with_code_and_parameter() -> None:
    error = DataError("a.csv: no such file", code="missing-file", parameter="dataset")
    assert error.problems == ["a.csv: no such file"]
    assert str(error) == "a.csv: no such file"
    assert (error.code, error.parameter) == ("missing-file", "dataset")
    assert (error.problems[0].code, error.problems[0].parameter) == ("missing-file", "dataset")


def test_problems_keep_their_own_codes_and_plain_lines_get_those_of_the_error() -> None:
    lines = ["first", Problem("second", "out-of-range", "epochs")]
    error = ConfigError((line for line in lines), code="unknown-key", parameter="epoch")
    assert str(error) == "first\nsecond"
    assert [(problem.code, problem.parameter) for problem in error.problems] == [
        ("unknown-key", "epoch"),
        ("out-of-range", "epochs"),
    ]
    assert (error.code, error.parameter) == ("unknown-key", "epoch")


def test_error_made_of_the_problems_of_others_keeps_their_codes() -> None:
    first, second = DataError("a", code="missing-file"), OutputError("b", code="not-writable", parameter="out")
    joined = EmlError([*first.problems, *second.problems], code="several")
    assert [(problem.code, problem.parameter) for problem in joined.problems] == [
        ("missing-file", None),
        ("not-writable", "out"),
    ]


def test_without_a_code_a_problem_is_invalid_and_names_no_parameter() -> None:
    error = EmlError("a")
    assert (error.code, error.parameter) == ("invalid", None)
    assert (EmlError([]).code, EmlError([]).parameter) == ("invalid", None)


def test_problem_is_a_text() -> None:
    problem = Problem("set `overwrite` to replace it", "file-exists", "overwrite")
    assert problem == "set `overwrite` to replace it"
    assert f"{problem}." == "set `overwrite` to replace it."
    assert problem.replace("`overwrite`", "--overwrite") == "set --overwrite to replace it"


@pytest.mark.parametrize("kind", [EmlError, ConfigError, DataError, CheckpointError, OutputError])
def test_error_keeps_its_problems_on_the_way_between_processes(kind: type[EmlError]) -> None:
    error = pickle.loads(pickle.dumps(kind([Problem("a", "missing-file", "root"), "b"], code="not-writable")))
    assert type(error) is kind
    assert [(problem, problem.code, problem.parameter) for problem in error.problems] == [
        ("a", "missing-file", "root"),
        ("b", "not-writable", None),
    ]


def test_errors_of_images_have_a_code_for_each_reason() -> None:
    assert ImageError("a.jpg", "not_an_image", "text").code == "not-an-image"
    assert ImageError("a.jpg", "missing", "text").code == "missing-image"
    assert pickle.loads(pickle.dumps(ImageError("a.jpg", "empty", "0 bytes"))).code == "empty-image"


def test_an_interruption_is_no_problem_of_the_user() -> None:
    assert not issubclass(Interrupted, EmlError)


def test_a_notebook_shows_the_users_own_lines_and_the_message_alone() -> None:
    import eml

    def own_code() -> None:
        eml.scan("nowhere")

    with pytest.raises(DataError) as caught:
        own_code()
    text = "\n".join(caught.value._render_traceback_())
    assert 'eml.scan("nowhere")' in text
    assert "\nDataError: nowhere: no such folder. " in text
    assert "commands/base.py" not in text.replace("\\", "/")
    assert Interrupted("stopped")._render_traceback_() == ["Interrupted: stopped"]
