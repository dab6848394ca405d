from collections.abc import Callable
from pathlib import Path
from typing import Any

import eml
from eml.commands.filter import FilterResult


def test_filter_returns_what_stays_and_what_json_prints(
    photos: Path, printed_json: Callable[..., dict[str, Any]]
) -> None:
    result = eml.filter(photos, dedup=True, min_size=2)
    assert isinstance(result, FilterResult)
    assert (len(result.filtered.kept), result.filtered.counts.removed) == (32, {})
    assert result.next_command == f"eml split {photos} --by ratio"
    assert printed_json("filter", photos, "--dedup", "--min-size", 2) == result.to_dict()


def test_one_table_to_exclude_may_stand_alone(photos: Path) -> None:
    (photos / "bad.csv").write_text("file_name\nclass 0/0.jpg\n")
    assert eml.filter(photos, exclude=photos / "bad.csv").filtered.counts.removed == {"excluded": 1}
    assert eml.filter(photos, exclude=[photos / "bad.csv"]).filtered.counts.removed == {"excluded": 1}
