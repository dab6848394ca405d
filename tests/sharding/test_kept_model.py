"""A process that makes shards alone loads a model once, and any other process keeps none."""

import pytest

from eml.sharding import kept_model


def test_the_last_model_is_kept_where_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_model, "_kept", {})
    monkeypatch.setattr(kept_model, "_is_kept", False)
    loads = list[str]()

    def model(key: str) -> str:
        return kept_model.kept_model(key, lambda: loads.append(key) or f"model {key}")  # type: ignore[func-returns-value]

    assert [model("a"), model("a")] == ["model a", "model a"]
    assert loads == ["a", "a"]
    kept_model.keep_model()
    assert [model("a"), model("a"), model("b"), model("b"), model("a")][-2:] == ["model b", "model a"]
    assert loads == ["a", "a", "a", "b", "a"], "one at a time"
