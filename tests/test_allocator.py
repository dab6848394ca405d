"""Memory that is kept in the process."""

import sys

import pytest

from eml.allocator import SWITCH, keep_freed_memory


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc alone")
def test_memory_is_kept_unless_the_environment_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    keep_freed_memory.cache_clear()
    monkeypatch.setenv(SWITCH, "default")
    assert not keep_freed_memory()
    keep_freed_memory.cache_clear()
    monkeypatch.delenv(SWITCH)
    assert keep_freed_memory()
