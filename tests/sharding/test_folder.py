"""The folder of shards beside what a command writes, however that is spelled."""

from pathlib import Path

import pytest

from eml.errors import DataError, OutputError
from eml.sharding.folder import ENDING, ShardFolder, shard_folders


@pytest.mark.parametrize("spelling", [".", "./", "../here"])
def test_a_folder_without_a_name_of_its_own_is_the_one_that_it_means(
    spelling: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    assert ShardFolder.of(Path(spelling)).path.resolve() == tmp_path / f".here{ENDING}"
    assert shard_folders(Path(spelling)) == []
    (here / f".t.csv{ENDING}").mkdir()
    assert [folder.path.name for folder in shard_folders(Path(spelling))] == [f".t.csv{ENDING}"]
    (tmp_path / f".here{ENDING}").mkdir()
    assert [folder.path.name for folder in shard_folders(Path(spelling))] == [f".here{ENDING}"]


def test_beside_the_whole_disk_there_are_no_shards() -> None:
    import eml

    with pytest.raises(OutputError, match="is a whole disk"):
        ShardFolder.of(Path("/"))
    with pytest.raises(DataError, match="/: there are no shards of it"):
        eml.merge_shards("/")
