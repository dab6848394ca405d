import pytest

import eml
from eml.cli.app import main


def test_doctor_lists_versions_devices_and_extras(capsys: pytest.CaptureFixture[str]) -> None:
    result = eml.doctor(hub=False)
    assert {"eml", "torch", "devices", "cores", "memory", "free disk here", "extras found"} <= set(result.facts)
    assert "model hub" not in result.facts
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert [line for line in out.splitlines() if line.startswith("model hub ")] == [
        f"{'model hub':<{max(map(len, result.facts))}}  off (HF_HUB_OFFLINE)"
    ]


def test_no_line_about_the_hub_or_memory_is_wider_than_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*address: object, **options: object) -> None:
        raise OSError(-3, "Temporary failure in name resolution")

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("socket.create_connection", refuse)
    assert main(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    [hub] = [line for line in lines if line.startswith("model hub")]
    assert hub.endswith("not reached: temporary failure in name resolution")
    [memory] = [line for line in lines if line.startswith("freed memory")]
    assert max(len(hub), len(memory)) <= 80
