import os
from pathlib import Path

import pytest

from eml.config import load
from eml.errors import ConfigError
from eml.storage import as_place
from tests.config.config_house import House, Table


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """The current folder, and one beside it that holds the configs."""
    here, configs = tmp_path / "here", tmp_path / "configs"
    here.mkdir()
    configs.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return here, configs


def data(configs: Path, value: str, *overrides: str) -> object:
    (configs / "run.yaml").write_text(f"data: {value}")
    return load(House, Path("../configs/run.yaml"), overrides).data


def test_path_in_the_file_is_relative_to_the_file(folders: tuple[Path, Path]):
    assert data(folders[1], "x/folds.csv") == folders[1] / "x" / "folds.csv"
    assert data(folders[1], "../folds.csv") == folders[1].parent / "folds.csv"
    assert data(folders[1], "{table: t, root: .}") == Table(table=folders[1] / "t", root=folders[1])


def test_path_in_an_override_is_relative_to_the_current_folder(folders: tuple[Path, Path]):
    here, configs = folders
    assert data(configs, "a", "data=b.csv") == here / "b.csv"
    assert data(configs, "a", "data={table: t, root: ../r}") == Table(table=here / "t", root=here.parent / "r")
    assert data(configs, "{table: t, root: r}", "data.root=q") == Table(table=configs / "t", root=here / "q")


@pytest.mark.skipif(not Path("/dev/fd").exists(), reason="the system has no streams by name")
def test_path_in_a_stream_is_relative_to_the_current_folder(folders: tuple[Path, Path]):
    here, configs = folders
    reading, writing = os.pipe()
    os.write(writing, b"data: x/folds.csv")
    os.close(writing)
    with os.fdopen(reading):
        assert load(House, Path(f"/dev/fd/{reading}")).data == here / "x" / "folds.csv"
    (configs / "run.yaml").write_text("data: folds.csv")
    with (configs / "run.yaml").open() as file:  # as a shell's < gives it
        assert load(House, Path(f"/dev/fd/{file.fileno()}")).data == here / "folds.csv"


def test_home_and_absolute_paths(folders: tuple[Path, Path]):
    assert data(folders[1], "~/x") == folders[1].parent / "home" / "x"
    assert data(folders[1], "a", "data=~/x") == folders[1].parent / "home" / "x"
    assert data(folders[1], "/x/y") == Path("/x/y")


def test_parent_of_a_link_is_the_parent_of_what_it_leads_to(folders: tuple[Path, Path]):
    (folders[0] / "deep").mkdir()
    (folders[1] / "link").symlink_to(folders[0] / "deep")
    assert data(folders[1], "link/../x") == folders[0] / "x"
    assert data(folders[1], "link/x") == folders[1] / "link" / "x"


def test_path_in_python_is_relative_to_the_current_folder(folders: tuple[Path, Path]):
    assert House(data=Path("x")).data == folders[0] / "x"


def test_literal_beside_a_path_stays_a_literal(folders: tuple[Path, Path]):
    (folders[1] / "run.yaml").write_text("data: a\nweights: none")
    assert load(House, folders[1] / "run.yaml").weights == "none"
    assert load(House, folders[1] / "run.yaml", ["weights=pretrained"]).weights == "pretrained"
    assert load(House, folders[1] / "run.yaml", ["weights=w.pth"]).weights == folders[0] / "w.pth"


def test_an_address_is_a_place_of_its_own_and_one_that_holds_a_secret_is_refused(folders: tuple[Path, Path]):
    _, configs = folders
    assert str(data(configs, "s3://bucket/folds.csv")) == "s3://bucket/folds.csv"
    table = data(configs, "{table: t, root: 's3://bucket/photos/'}", "data.table=file:///data/t.csv")
    assert table == Table(table=Path("/data/t.csv"), root=as_place("s3://bucket/photos"))
    for address in ("s3://KEY:SECRET@bucket/folds.csv", "https://host/t.csv?Signature=SECRET"):
        with pytest.raises(ConfigError, match="data: must not h") as error:
            data(configs, f"'{address}'")
        assert "SECRET" not in str(error.value)
