"""A table that comes from elsewhere cannot choose which folder of the disk its images are read from."""

import json
import os
import shutil
from pathlib import Path

import pytest

from eml.cli.app import main
from eml.dataset.sidecar import sidecar_path
from eml.dataset.table import read_table, write_table
from eml.errors import DataError
from tests.dataset.test_table import csv, images


def sidecar(table: Path, root: str, **more: str) -> Path:
    """Write what anybody can write beside a table."""
    facts = {"command": "x", "eml_version": "0.2.0", "created": "2026", "root": root, "inputs": [], "digest": "0"}
    sidecar_path(table).write_text(json.dumps(facts | more))
    return table


def refused(table: Path) -> str:
    with pytest.raises(DataError) as caught:
        read_table(table, check_files=True)
    assert [(problem.code, problem.parameter) for problem in caught.value.problems] == [("root-not-trusted", "root")]
    return str(caught.value)


def test_a_sidecar_cannot_name_another_folder_of_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    private, evil = tmp_path / "home" / "private", tmp_path / "home" / "evil"
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    images(private, "a/1.jpg", "b/1.jpg")
    evil.mkdir()
    table = csv(evil)
    assert str(private) in refused(sidecar(table, str(private)))
    refused(sidecar(table, str(private), folder="/of/another"))
    refused(sidecar(table, "../private"))
    refused(sidecar(table, "/x/private", folder="/x/evil"))  # as if both had been moved, to the user's home
    refused(sidecar(table, ".."))
    refused(sidecar(table, "/"))
    (evil / "link").symlink_to(private)
    refused(sidecar(table, "link"))
    monkeypatch.chdir(tmp_path)
    assert main(["kfold", str(table), "--k", "2"]) == 2
    assert read_table(table, private, check_files=True).root == private  # its user says so


def test_roots_within_the_folder_around_it_and_written_here_are_used(tmp_path: Path) -> None:
    root = tmp_path / "photos"
    images(root, "a/1.jpg", "b/1.jpg")
    frame = read_table(csv(root)).frame
    for folder, line in (
        (root, ()),
        (root / "tables", ()),
        (tmp_path, (f"images: those of {root}",)),
        (tmp_path / "out", (f"images: those of {root}",)),
    ):
        write_table(frame, folder / "x.csv", command="eml scan", root=root)
        table = read_table(folder / "x.csv", check_files=True)
        assert (os.path.normpath(table.root), table.notes) == (str(root), line)
    (tmp_path / "out" / "x.csv").write_text((root / "x.csv").read_text() + "c,a/1.jpg\n")  # edited by its user
    with pytest.raises(DataError, match=r"a/1\.jpg"):
        read_table(tmp_path / "out" / "x.csv", check_files=True)


def test_what_is_copied_together_is_read_from_the_copy_and_the_root_is_told(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    images(one / "photos", "a/1.jpg", "b/1.jpg")
    frame = read_table(csv(one / "photos")).frame
    for folder in (one / "out", one / "photos" / "tables"):
        write_table(frame, folder / "x.csv", command="eml scan", root=one / "photos")
    shutil.copytree(one, two)
    for folder in (two / "out", two / "photos" / "tables"):
        table = read_table(folder / "x.csv", check_files=True)
        assert os.path.normpath(table.root) == str(two / "photos")
        assert [line.split(" of ")[0] for line in table.notes] == ["images: those"]
    alone = tmp_path / "alone"
    alone.mkdir()
    for file in (one / "out").iterdir():
        shutil.copy(file, alone)
    assert f"says that the images are in {one / 'photos'}" in refused(alone / "x.csv")
