"""`eml completion`: the script, and where it is put."""

from pathlib import Path

import pytest

from eml.cli.app import main
from eml.cli.completing.install import install, place_of
from eml.errors import OutputError


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_script_is_printed_and_put_where_the_shell_looks_for_it(
    shell: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    environment = {"HOME": str(tmp_path)}
    place, rest = install(shell, environment)
    assert place.read_text(encoding="utf-8") == script
    assert "new shell" in rest
    assert install(shell, environment)[0] == place  # again, as after an update
    place.write_text("my own", encoding="utf-8")
    with pytest.raises(OutputError, match="eml did not write it"):
        install(shell, environment)
    assert place.read_text(encoding="utf-8") == "my own"


def test_the_users_folders_for_settings_count() -> None:
    data = {"HOME": "/h", "XDG_DATA_HOME": "/d", "XDG_CONFIG_HOME": "/c"}
    assert place_of("bash", data) == Path("/d/bash-completion/completions/eml")
    assert place_of("bash", data | {"BASH_COMPLETION_USER_DIR": "/b"}) == Path("/b/completions/eml")
    assert place_of("fish", data) == Path("/c/fish/completions/eml.fish")


def test_a_shell_that_cannot_complete_is_refused_with_those_that_can(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SHELL", "/bin/ksh")
    assert main(["completion"]) == 2
    assert capsys.readouterr().err == "$SHELL is ksh; name the shell: eml completion bash|zsh|fish\n"
