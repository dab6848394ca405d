"""The note in a table's sidecar that the table is of an official protocol, and by what the protocol measures."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from eml.dataset.sidecar import recorded_notes

NOTE = "protocol"
"""The note's key."""


@dataclass(frozen=True)
class ProtocolNote:
    """The protocol of a table, as `eml protocol` wrote it."""

    type: str
    recall_at: tuple[int, ...] = ()
    """The Ks of R@K."""
    leave_out_same: str | None = None
    """The column whose equal values are left out of a query's gallery."""
    pairs: Mapping[str, str] = field(default_factory=dict)
    """Name of a table → that of its list of pairs, which lies beside it."""
    official: Mapping[str, int] | None = None
    """The counts that the protocol publishes."""
    counted: Mapping[str, int] | None = None
    """The same counts, of the tables that were written."""

    @property
    def differences(self) -> list[str]:
        """The counts that differ, as `test images 5,900 (officially 5,924)`."""
        counted = self.counted or {}
        return [
            f"{name} {counted.get(name, 0):,} (officially {count:,})"
            for name, count in (self.official or {}).items()
            if counted.get(name, 0) != count
        ]

    def note(self) -> dict[str, Any]:
        """Return the note as the sidecar holds it."""
        return {NOTE: {key: value for key, value in asdict(self).items() if value not in (None, (), {})}}


def protocol_note(table: Path | None) -> ProtocolNote | None:
    """Return the note of a table; None without one, or where it is none that eml writes."""
    facts = None if table is None else recorded_notes(table).get(NOTE)
    if not isinstance(facts, Mapping) or not isinstance(facts.get("type"), str):
        return None
    ks = facts.get("recall_at", [])
    is_list = isinstance(ks, list) and all(isinstance(k, int) and not isinstance(k, bool) and k > 0 for k in ks)
    return ProtocolNote(
        facts["type"],
        tuple(ks) if is_list else (),
        _text(facts.get("leave_out_same")),
        _names(facts.get("pairs")),
        _counts(facts.get("official")),
        _counts(facts.get("counted")),
    )


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _names(value: object) -> dict[str, str]:
    """Return names of files beside the table, without anything that could lead elsewhere."""
    names = value.items() if isinstance(value, Mapping) else ()
    return {str(table): name for table, name in names if isinstance(name, str) and _is_name(name)}


def _is_name(text: str) -> bool:
    return Path(text).name == text and text not in ("", ".", "..")


def _counts(value: object) -> dict[str, int] | None:
    if not isinstance(value, Mapping) or not all(isinstance(count, int) for count in value.values()):
        return None
    return {str(name): int(count) for name, count in value.items()}
