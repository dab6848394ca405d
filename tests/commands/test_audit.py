from collections.abc import Callable
from pathlib import Path
from typing import Any

import eml
from eml.commands.audit import AuditResult


def test_audit_returns_the_findings_and_what_json_prints(
    photos: Path, printed_json: Callable[..., dict[str, Any]]
) -> None:
    tables = (photos / "dataset_train.csv", photos / "dataset_test.csv")
    result = eml.audit(*tables, threshold=0)
    assert isinstance(result, AuditResult)
    assert result.clean
    assert repr(result) == "AuditResult(clean, 0 pairs look alike)"
    assert printed_json("audit", *tables, "--threshold", 0) == result.to_dict()
