"""An index is written only where its writers can see each other."""

import numpy as np
import pytest

from eml.errors import OutputError
from eml.indexing import file_systems
from eml.indexing.file_systems import file_system, locks_work, why_not_writable
from eml.indexing.store import IndexStore


def write_mounts(path, kind: str, place) -> None:
    spelt = str(place).replace(" ", "\\040")
    path.write_text(f"22 1 0:1 / / rw - ext4 /dev/a rw\n23 22 0:2 / {spelt} rw,noatime shared:1 - {kind} host:/x rw\n")


def test_an_index_is_refused_on_a_network_file_system(tmp_path, monkeypatch) -> None:
    shared = tmp_path / "shared disk"
    (shared / "inner").mkdir(parents=True)
    mounts = tmp_path / "mountinfo"
    write_mounts(mounts, "nfs4", shared)
    monkeypatch.setattr(file_systems, "MOUNTS", mounts)
    assert file_system(shared / "inner") == "nfs4"
    assert file_system(tmp_path) == "ext4"
    with pytest.raises(OutputError, match=r"network file system \(nfs4\)") as error:
        IndexStore.create(shared / "inner" / "index", size=2)
    assert error.value.code == "not-writable"
    assert list((shared / "inner").iterdir()) == []


def test_an_index_is_refused_where_locks_do_not_work(tmp_path, monkeypatch) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"")
    assert locks_work(path)
    assert why_not_writable(tmp_path) is None
    monkeypatch.setattr(file_systems, "locks_work", lambda path: False)
    with pytest.raises(OutputError, match="locks of files do not work on its file system"):
        IndexStore.create(tmp_path / "index", size=2)


def test_an_index_on_a_network_file_system_is_read(tmp_path, monkeypatch) -> None:
    with IndexStore.create(tmp_path / "index", size=2) as store:
        store.add(np.eye(2))
    write_mounts(tmp_path / "mountinfo", "cifs", tmp_path)
    monkeypatch.setattr(file_systems, "MOUNTS", tmp_path / "mountinfo")
    with IndexStore.open(tmp_path / "index") as store:
        assert store.search(np.eye(2), 1).ids.tolist() == [[1], [2]]
        with pytest.raises(OutputError, match=r"cannot be written: it is on a network file system \(cifs\)"):
            store.add(np.eye(2))
    assert sorted(path.name for path in (tmp_path / "index").iterdir()) == ["derived", "index.sqlite"]
