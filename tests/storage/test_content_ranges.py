import pytest

from eml.storage.content_ranges import check_range
from eml.storage.failures import RefusedAnswerError


@pytest.mark.parametrize(
    "told, end, size",
    [
        ("bytes 5-8/20", 9, 20),
        ("Bytes 5-8/*", 9, 20),
        ("bytes 5-8/20", 9, None),
        ("bytes 5-19/20", 99, 20),
        ("bytes 5-19/20", None, None),
    ],
)
def test_the_range_that_was_asked_for_is_taken(told: str, end: int | None, size: int | None) -> None:
    check_range(told, 5, end, size)


@pytest.mark.parametrize("told", ["", "bytes */20", "bytes 4-8/20", "bytes 5-9/20", "bytes 5-8/21", "bytes ٥-8/20"])
def test_another_range_is_refused_with_both_named(told: str) -> None:
    with pytest.raises(RefusedAnswerError, match="though bytes 5-8/20 was asked for"):
        check_range(told, 5, 9, 20)
