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


def test_a_demo_that_was_killed_is_replaced_by_the_next_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(images: Path, progress: object) -> None:
        (images.parent / ".eml-tmp-0-images").mkdir()
        raise KeyboardInterrupt

    monkeypatch.setattr("eml.demo_data.demo.draw_images", stop)
    for overwrite in (False, True, True):
        with pytest.raises(KeyboardInterrupt):
            eml.demo(tmp_path / "demo", overwrite=overwrite)
        with pytest.raises(OutputError, match="is not empty"):
            eml.demo(tmp_path / "demo")
