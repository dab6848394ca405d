import os
import pickle
from pathlib import Path

import pytest

from eml.errors import DataError
from eml.storage import RemotePath, as_place, is_remote, is_url


def test_a_url_is_a_path_whose_parts_keep_the_scheme_and_the_bucket() -> None:
    path = as_place("s3://bucket/a/b.csv")
    assert isinstance(path, Path)
    assert str(path) == path.as_posix() == f"{path}" == "s3://bucket/a/b.csv"
    assert (path.name, path.stem, path.suffix) == ("b.csv", "b", ".csv")
    assert str(path.parent / "x" / "y.jpg") == "s3://bucket/a/x/y.jpg"
    assert [str(folder) for folder in path.parents] == ["s3://bucket/a", "s3://bucket"]
    assert str(path.parent.parent.parent) == "s3://bucket"
    assert str(path.with_name("c.txt")) == "s3://bucket/a/c.txt"
    assert str(path.with_suffix(".parquet")) == "s3://bucket/a/b.parquet"
    assert str(path.with_stem("z")) == "s3://bucket/a/z.csv"
    assert path.relative_to(as_place("s3://bucket")) == Path("a/b.csv")
    assert path.is_relative_to(path.parent)
    assert not path.is_relative_to(Path("s3:/bucket"))
    assert path.absolute() == path.resolve() == path.expanduser() == path
    assert path.is_absolute()


def test_it_is_equal_to_the_same_url_alone_and_survives_pickling() -> None:
    path = as_place("S3://bucket/a/")
    assert path == as_place("s3://bucket/a") == pickle.loads(pickle.dumps(path))
    assert {path: 1}[as_place("s3://bucket/a")] == 1
    assert path != Path("s3:/bucket/a")
    assert Path("s3:/bucket/a") != path
    assert is_remote(path)
    assert not is_remote(Path("s3:/bucket/a"))


def test_it_is_absolute_behind_a_local_folder_and_never_read_from_the_local_disk(tmp_path: Path) -> None:
    path = as_place("s3://bucket/a")
    assert tmp_path / path == path
    with pytest.raises(DataError, match="s3://bucket/a: is a remote place, and a local file or folder is needed here"):
        os.stat(path)  # noqa: PTH116
    with pytest.raises(DataError, match="is a remote place"):
        open(path)  # noqa: PTH123, SIM115
    with pytest.raises(OSError, match="nothing is written"):
        path.open("wb")


def test_a_text_without_a_scheme_or_with_that_of_files_is_a_local_path() -> None:
    assert as_place("photos/a") == Path("photos/a")
    assert as_place("file:///data/photos") == as_place("file://localhost/data/pho%74os") == Path("/data/photos")
    assert not is_url("C:/photos")
    assert not is_url("s3:/photos")
    assert is_url("s3://photos")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("s3://KEY:SECRET@bucket/a", "must not hold credentials"),
        ("https://user:SECRET@host/a", "must not hold credentials"),
        ("abfs://container:SECRET@account/a", "must not hold credentials"),
        ("https://host/a.csv?X-Amz-Signature=SECRET", "must not have a query"),
        ("s3://bucket/a.csv?versionId=SECRET", "must not have a query"),
        ("https://host/a#SECRET", "must not have a query"),
        ("s3:///a", "must name a bucket"),
        ("s3://bucket/../SECRET", r"must not have '\.\.'"),
        ("ftp://host/a", "must be a path or a URL of s3, gs, az"),
        ("s3:/bucket", "one slash after s3:"),
        ("file://", "must have a path after file://"),
        ("file://localhost", "must have a path after file://"),
        ("file://host/a", "must be a file of this machine, got file://host/"),
        ("http://host:99999/a.csv", "must have a port from 0 to 65535, got http://host:99999"),
        (
            "http://me:SECRET@[::1/x",
            r"must be an address such as http://host/folder, got http://\*\*\*@\[::1 \(Invalid",
        ),
    ],
)
def test_a_url_that_holds_a_secret_or_no_place_is_refused_without_the_secret(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem) as error:
        as_place(text)
    assert "SECRET" not in str(error.value) or ".." in text


def test_a_path_of_azure_names_its_account() -> None:
    assert str(RemotePath("abfs://container@account.dfs.core.windows.net/a").parent) == (
        "abfs://container@account.dfs.core.windows.net"
    )
    assert is_remote(as_place("abfs://container@account.dfs.core.windows.net/a"))
