"""Let hypothesis draw a part of the examples in the default tests, all in the wide ones."""

import os

ALL = "EML_ALL_EXAMPLES"
"""A variable of the environment that tests/conftest.py sets where wide tests are run too."""

SHARE, FEWEST = 0.2, 10


def examples(count: int) -> int:
    """Return `count` where wide tests are run, or else one of five, and at least 10."""
    return count if ALL in os.environ else min(count, max(FEWEST, int(count * SHARE)))
