"""The kind of a table's file, by its name."""

from pathlib import Path

CSV_SUFFIXES = (".csv", ".tsv")
PARQUET = ".parquet"


def is_csv(source: Path) -> bool:
    """Return whether a file is CSV, by its name."""
    return source.suffix.lower() in CSV_SUFFIXES


def is_parquet(source: Path) -> bool:
    """Return whether a file is Parquet, by its name."""
    return source.suffix.lower() == PARQUET
