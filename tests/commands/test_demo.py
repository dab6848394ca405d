from pathlib import Path

import pytest

import eml
from eml.errors import OutputError


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_with_files_of_the_users_is_refused(overwrite: bool, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(OutputError) as caught:
        eml.demo(tmp_path, overwrite=overwrite)
    assert (caught.value.code, caught.value.parameter) == ("folder-not-empty", "folder")
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
