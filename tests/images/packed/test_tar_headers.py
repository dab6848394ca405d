"""Headers of tar files: what every writer writes is read as Python's tarfile reads it, and no header is believed."""

import io
import tarfile
from pathlib import Path

import pytest

from eml.images.packed.random_access import LocalFile
from eml.images.packed.tar_headers import MOST_EXTENDED, TarEndsError, TarMember, members
from tests.packed_files import write_tar


def read(path: Path) -> list[TarMember]:
    return list(members(LocalFile(str(path), path.stat().st_size)))


def read_to_the_end(path: Path) -> tuple[list[str], TarEndsError]:
    names = []
    try:
        for member in members(LocalFile(str(path), path.stat().st_size)):
            names.append(member.name)
    except TarEndsError as error:
        return names, error
    raise AssertionError("it is whole")


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_names_places_and_sizes_are_those_of_tarfile(tmp_path: Path, form: int) -> None:
    long = "/".join(["folder" * 10] * 2) + "/ü.jpg" if form == tarfile.USTAR_FORMAT else "x" * 240 + "/" + "ü" * 60
    folder = tarfile.TarInfo("folder")
    folder.type = tarfile.DIRTYPE
    path = write_tar(tmp_path / "a.tar", [("a/1.jpg", b"12345"), (folder, b""), (long, b"6" * 600)], format=form)
    with tarfile.open(path) as file:
        expected = [(own.name, own.offset_data, own.size) for own in file]
    assert [(own.name, own.offset, own.size) for own in read(path)] == expected
    assert [own.kind for own in read(path)] == ["file", "folder", "file"]


def test_links_devices_and_sparse_files_are_of_their_kind(tmp_path: Path) -> None:
    kinds = (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.GNUTYPE_SPARSE)
    odd = []
    for number, kind in enumerate(kinds):
        member = tarfile.TarInfo(f"{number}")
        member.type, member.linkname = kind, "/etc/passwd"
        odd.append((member, b""))
    hidden = tarfile.TarInfo("map")
    hidden.pax_headers = {"GNU.sparse.major": "1"}
    path = write_tar(tmp_path / "a.tar", [*odd, (hidden, b"")], format=tarfile.PAX_FORMAT)
    assert [own.kind for own in read(path)] == ["link", "link", "device", "device", "sparse", "sparse"]


def test_a_link_that_says_a_size_has_no_data(tmp_path: Path) -> None:
    link = tarfile.TarInfo("link")
    link.type, link.size, link.linkname = tarfile.LNKTYPE, 4_000, "a"
    data = link.tobuf(tarfile.USTAR_FORMAT) + tarfile.TarInfo("b").tobuf() + bytes(1024)
    (tmp_path / "a.tar").write_bytes(data)
    assert [own.name for own in read(tmp_path / "a.tar")] == ["link", "b"]


def test_a_file_that_is_cut_anywhere_gives_what_is_before(tmp_path: Path) -> None:
    whole = write_tar(tmp_path / "a.tar", [(f"{number}.jpg", bytes(700)) for number in range(3)]).read_bytes()
    for size, names, where in ((512 + 100, 1, "within a member"), (1536 + 5, 1, "within a header"), (4608, 3, "end")):
        (tmp_path / "cut.tar").write_bytes(whole[:size])
        found, error = read_to_the_end(tmp_path / "cut.tar")
        assert (len(found), error.reason) == (names, "truncated")
        assert where in error.detail


@pytest.mark.parametrize(
    "records",
    [
        b"99 path=x\n",  # longer than all of them
        b"5 path=x\n",
        b"x path=y\n",
        b"0 path=y\n",
        b"9 path\nyy",
        b"9 size=-1\n"[:10],
        b"30 size=99999999999999999999\n\n\n"[:30],
    ],
)
def test_records_that_lie_end_the_reading(tmp_path: Path, records: bytes) -> None:
    header = tarfile.TarInfo("records")
    header.type, header.size = tarfile.XHDTYPE, len(records)
    data = header.tobuf() + records + bytes(-len(records) % 512) + tarfile.TarInfo("a").tobuf() + bytes(1024)
    (tmp_path / "a.tar").write_bytes(data)
    assert read_to_the_end(tmp_path / "a.tar")[1].reason == "unreadable"


def test_a_name_of_a_gigabyte_is_not_read(tmp_path: Path) -> None:
    header = tarfile.TarInfo("long")
    header.type, header.size = tarfile.GNUTYPE_LONGNAME, MOST_EXTENDED + 1
    (tmp_path / "a.tar").write_bytes(header.tobuf() + bytes(1024))
    with (tmp_path / "a.tar").open("r+b") as file:
        file.truncate(2**31)  # with holes
    assert "records of 1,048,577 bytes" in read_to_the_end(tmp_path / "a.tar")[1].detail


def test_a_row_of_extending_headers_ends(tmp_path: Path) -> None:
    header = tarfile.TarInfo("long")
    header.type, header.size = tarfile.GNUTYPE_LONGNAME, 1
    (tmp_path / "a.tar").write_bytes((header.tobuf() + b"x" + bytes(511)) * 100)
    assert read_to_the_end(tmp_path / "a.tar")[0] == []


def test_a_size_beyond_the_file_or_below_zero_is_no_size(tmp_path: Path) -> None:
    member = tarfile.TarInfo("a")
    member.size = 2**40
    (tmp_path / "a.tar").write_bytes(member.tobuf(tarfile.GNU_FORMAT) + bytes(1024))
    names, error = read_to_the_end(tmp_path / "a.tar")
    assert (names, error.reason) == (["a"], "truncated")
    member.size = -5
    (tmp_path / "a.tar").write_bytes(member.tobuf(tarfile.GNU_FORMAT) + bytes(1024))
    assert read_to_the_end(tmp_path / "a.tar")[1].reason == "unreadable"


def test_what_is_no_tar_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(b"\x1f\x8b" + bytes(range(256)) * 8)
    assert read_to_the_end(tmp_path / "a.tar")[1].detail == "is no tar file"
    data = io.BytesIO(write_tar(tmp_path / "b.tar", [("a", b"1"), ("b", b"2")]).read_bytes())
    data.getbuffer()[1024 + 20] ^= 1
    (tmp_path / "b.tar").write_bytes(data.getvalue())
    names, error = read_to_the_end(tmp_path / "b.tar")
    assert (names, error.detail) == (["a"], "is damaged at byte 1,024; what is before is used")
