"""Memory that is kept in the process."""

import os
import subprocess
import sys

import pytest

from eml.allocator import SWITCH

PRINT = "from eml.allocator import keep_freed_memory; print(keep_freed_memory())"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc alone")
@pytest.mark.parametrize(("value", "kept"), [("", "True"), ("default", "False")])
def test_memory_is_kept_unless_the_environment_says_otherwise(value: str, kept: str) -> None:
    environment = os.environ | {SWITCH: value}
    output = subprocess.run([sys.executable, "-c", PRINT], env=environment, capture_output=True, text=True, check=True)
    assert output.stdout.strip() == kept
