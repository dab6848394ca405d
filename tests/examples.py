"""Let hypothesis draw a part of the examples in the default tests, all in the wide ones."""

import os

ALL = "EML_ALL_EXAMPLES"
"""A variable of the environment that tests/conftest.py sets where wide tests are run too."""

SHARE, FEWEST = 0.3, 12


def examples(count: int) -> int:
    """Return `count` where wide tests are run, or else three of ten, and at least 12."""
    return count if ALL in os.environ else min(count, max(FEWEST, int(count * SHARE)))
