"""What a fuzzer allows: success, or an error of eml that docs/errors.md lists; and less than 1 GB of memory."""

import os
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from hypothesis import HealthCheck, settings

from eml.errors import EmlError

PAGE = Path(__file__).parents[2] / "docs" / "errors.md"
DOCUMENTED = frozenset(re.findall(r"^\| `([a-z0-9-]+)` \|", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE))

SUCCESS = "success"
MOST_MEMORY = 2**30  # bytes, beyond what the process had
LONGEST_MESSAGE = 100_000  # characters of all problems of an error

EXAMPLES = int(os.environ.get("EML_FUZZ_EXAMPLES", "300"))
"""Examples of a wide test; `EML_FUZZ_EXAMPLES=20000 pytest -m wide tests/fuzz` for a long run."""

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def fuzz_settings(share: float = 1.0) -> settings:
    """Return hypothesis' settings for a share of the examples."""
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
    checks += [HealthCheck.function_scoped_fixture, HealthCheck.large_base_example]
    return settings(max_examples=max(20, int(EXAMPLES * share)), deadline=None, suppress_health_check=checks)


def outcome(call: Callable[[], object]) -> str:
    """Return `success`, or the code of the documented EmlError that the call raises; anything else fails."""
    refusal = None
    with memory_below(MOST_MEMORY), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            call()
        except EmlError as error:
            refusal = error
    if refusal is None:
        return SUCCESS
    assert refusal.problems, "an error without a problem"
    assert not (unknown := {problem.code for problem in refusal.problems} - DOCUMENTED), unknown
    assert all(problem.strip() for problem in refusal.problems)
    assert len(str(refusal)) < LONGEST_MESSAGE
    return refusal.code


@contextmanager
def memory_below(limit: int) -> Iterator[None]:
    """Fail where the block needs `limit` bytes more than the process had, by the peak that Linux keeps."""
    before = _memory("VmRSS") if _reset_peak() else None
    yield
    if before is not None:
        used = _memory("VmHWM") - before
        assert used < limit, f"{used / 2**20:,.0f} MiB"


def _reset_peak() -> bool:
    try:
        _RESET.write_text("5")
    except OSError:  # not Linux, or not allowed
        return False
    return True


def _memory(name: str) -> int:
    match = re.search(rf"^{name}:\s+(\d+) kB", _STATUS.read_text(), flags=re.MULTILINE)
    assert match
    return int(match[1]) * 1024
