"""The data set and config of tests/training."""

from tests.training.conftest import config, table
from tests.training.stages.conftest import open_table, staged

__all__ = ["config", "open_table", "staged", "table"]
