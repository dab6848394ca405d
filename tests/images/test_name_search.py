"""The files that a name may mean are found under the root, and nowhere else."""

from pathlib import Path

from eml.images.name_search import ImageFinder


def files(root: Path, *names: str) -> ImageFinder:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return ImageFinder(root)


def test_a_name_means_itself_else_another_case_else_another_suffix(tmp_path: Path) -> None:
    finder = files(tmp_path, "a/x.JPG", "a/x.jpg", "a/y.PNG", "a/z.v2.jpg", "a/z.txt", "A/n.jpg", "u/Mu\u0308ller.jpg")
    assert finder.similar("a/x.jpg") == ["a/x.jpg"]
    assert finder.similar("a/X.jpg") == ["a/x.JPG", "a/x.jpg"]
    assert finder.similar("a/y.png") == ["a/y.PNG"]
    assert finder.similar("a/y") == finder.similar("./a\\y.jpeg") == ["a/y.PNG"]
    assert finder.similar("a/z.v2") == ["a/z.v2.jpg"]
    assert finder.similar("a/z") == []  # z.v2 is another name
    assert finder.similar("a/n.jpg") == []  # the folder a is there as it is written
    assert finder.similar("U/m\u00fcller") == ["u/Mu\u0308ller.jpg"]


def test_nothing_outside_the_root_is_meant(tmp_path: Path) -> None:
    finder = files(tmp_path / "root", "a/x.jpg")
    files(tmp_path / "outside", "x.jpg")
    (tmp_path / "root" / "link").symlink_to(tmp_path / "outside")
    for name in (
        "../outside/x.jpg",
        "link/x.jpg",
        "LINK/x",
        "a/../../outside/x.jpg",
        "/etc/passwd",
        "",
        ".",
        "a\0/b",
        "\\",
    ):
        assert finder.exact(name) == finder.similar(name) == []


def test_folders_are_listed_nearest_first(tmp_path: Path) -> None:
    finder = files(tmp_path, "a/b/c/1.jpg", "d/1.jpg", ".eml_cache/1.jpg")
    assert finder.folders(3) == ["a", "d", "a/b"]
