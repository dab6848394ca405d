"""The data set and config of tests/training."""

from tests.training.conftest import config, table

__all__ = ["config", "table"]
