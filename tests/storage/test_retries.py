import pytest

from eml.errors import DataError
from eml.storage import RemotePath, read_bytes, retries
from eml.storage.failures import as_os_error, is_passing, plain_text
from tests.storage.stores import RefusedError, faulty_store, refuse, vanish

PHOTO = RemotePath("memory://photos/a.jpg")


def test_a_request_that_is_refused_in_passing_is_made_again() -> None:
    with faulty_store() as store:
        store.pipe("/photos/a.jpg", b"0123456789")
        store.faults["a.jpg"] = refuse(3)
        assert read_bytes(PHOTO) == b"0123456789"
        assert store.requests["a.jpg"] == 4


def test_a_request_that_fails_for_good_is_not_repeated_and_names_the_object() -> None:
    with faulty_store() as store:
        store.pipe("/photos/a.jpg", b"0123456789")
        store.faults["a.jpg"] = refuse(9, 403, "no, see https://host/a?X-Amz-Signature=SECRET")
        with pytest.raises(
            PermissionError, match=r"access denied \(no, see https://host/a\?\*\*\*\): 'memory://photos/a.jpg'"
        ):
            read_bytes(PHOTO)
        assert store.requests["a.jpg"] == 1


def test_an_object_that_vanishes_is_missing_at_once() -> None:
    with faulty_store() as store:
        store.pipe("/photos/a.jpg", b"0123456789")
        store.faults["a.jpg"] = vanish
        with pytest.raises(FileNotFoundError):
            read_bytes(PHOTO)
        assert store.requests["a.jpg"] == 1


def test_a_request_ends_after_its_attempts_and_a_process_after_its_budget() -> None:
    with faulty_store(attempts=4) as store:
        store.pipe("/photos/a.jpg", b"0123456789")
        store.faults["a.jpg"] = refuse(99)
        with pytest.raises(OSError, match=r"Slow Down \(status 503\)"):
            read_bytes(PHOTO)
        assert store.requests["a.jpg"] == 4
    with faulty_store(budget=1e-6) as store:
        store.pipe("/photos/a.jpg", b"0123456789")
        store.faults["a.jpg"] = refuse(99)
        with pytest.raises(DataError, match=r"fail too often, .*: Slow Down.*waited 0 seconds") as error:
            read_bytes(PHOTO)
        assert error.value.code == "remote-failing"


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (RefusedError(500), True),
        (RefusedError(429), True),
        (RefusedError(404), False),
        (RefusedError(400), False),
        (TimeoutError(), True),
        (ConnectionResetError(), True),
        (FileNotFoundError(), False),
        (PermissionError(), False),
        (ValueError("a bug"), False),
    ],
)
def test_what_passes_is_repeated_and_what_does_not_is_not(error: Exception, passes: bool) -> None:
    assert is_passing(error) is passes


def test_the_text_of_another_package_holds_no_signature_and_no_password() -> None:
    text = plain_text(OSError("GET https://me:SECRET@host/a?Signature=SECRET&x=1 failed\nSECOND line"))
    assert "SECRET" not in text
    assert text == "GET https://***@host/a?*** failed SECOND line"
    assert isinstance(as_os_error(RefusedError(404), PHOTO), FileNotFoundError)
    assert "status 500" in str(as_os_error(RefusedError(500), PHOTO))


class ClientConnectorError(Exception):
    """As aiohttp's."""


def test_a_place_that_has_answered_is_asked_for_longer_when_it_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    errors: list[Exception] = [ClientConnectorError(f"{number}") for number in range(9)]
    monkeypatch.setattr("eml.storage.failures._MODULES", (__name__.partition(".")[0],))

    def request() -> str:
        if errors:
            raise errors.pop()
        return "answer"

    with faulty_store(attempts=3, object_seconds=60.0):
        retries._answered.clear()
        with pytest.raises(DataError, match=r"nothing answers at this address .*It was asked 3 times in 0 seconds"):
            retries.with_retries(request, PHOTO)
        assert len(errors) == 6
        retries.with_retries(lambda: "answer", PHOTO)
        assert retries.with_retries(request, PHOTO) == "answer"


def test_seconds_in_which_several_threads_wait_count_once(monkeypatch: pytest.MonkeyPatch) -> None:
    budget, clock = retries.RetryBudget(), [0.0]
    nested = [True]

    def sleep(seconds: float) -> None:
        if nested.pop() if nested else False:
            assert budget.wait(seconds)  # another thread, which begins to wait just then
            return
        clock[0] += seconds

    monkeypatch.setattr(retries.time, "sleep", sleep)
    monkeypatch.setattr(retries.time, "monotonic", lambda: clock[0])
    assert budget.wait(400.0)
    assert budget.spent == 400.0
    assert not budget.wait(201.0)
    assert budget.wait(200.0)
