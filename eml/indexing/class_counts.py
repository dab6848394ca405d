"""The classes of an index and their sizes."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from eml.indexing.store import IndexStore


def class_sizes(store: IndexStore) -> dict[str, int]:
    """Return class → its images, sorted by class; those without a label are under the empty text."""
    with store.database.read() as connection:
        rows = connection.execute("SELECT COALESCE(label, ''), COUNT(*) FROM images GROUP BY 1 ORDER BY 1").fetchall()
    return {str(label): int(count) for label, count in rows}


def classes_of(store: IndexStore) -> list[str]:
    """Return the classes, sorted."""
    return [label for label in class_sizes(store) if label]
