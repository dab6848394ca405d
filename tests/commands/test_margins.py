from collections.abc import Callable
from typing import Any

import pytest

import eml
from eml.commands.margins import MarginsResult
from eml.errors import ConfigError
from eml.margins import Margin


def test_list_margins_returns_the_registry_and_what_json_prints(printed_json: Callable[..., dict[str, Any]]) -> None:
    result = eml.list_margins()
    assert isinstance(result, MarginsResult)
    assert set(result.margins) == set(Margin.members())
    assert "<td>arcface</td>" in result._repr_html_()
    assert printed_json("margins") == result.to_dict()


def test_one_margin_is_shown_alone_and_an_unknown_one_names_the_nearest() -> None:
    assert list(eml.list_margins("arcface").margins) == ["arcface"]
    with pytest.raises(ConfigError, match="unknown margin 'arcfce' \\(did you mean 'arcface'") as caught:
        eml.list_margins("arcfce")
    assert "One of your own needs the plugin that defines it: `plugins`" in str(caught.value)
    assert (caught.value.code, caught.value.parameter) == ("unknown-choice", "name")
