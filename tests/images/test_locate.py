"""Images are looked for under their root only."""

from pathlib import Path

import pandas as pd
import pytest
import torch
from PIL import Image

from eml.dataset.table import read_table
from eml.errors import DataError
from eml.images.decode import ImageError
from eml.images.locate import image_path
from eml.images.source import FileSource
from eml.images.thumbnails import thumbnail
from eml.inference.embeddings_file import read_embeddings, write_embeddings


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a dataset with links within it and out of it."""
    root = tmp_path / "dataset"
    (root / "cat").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    for file in (root / "cat" / "1.png", tmp_path / "elsewhere" / "secret.png"):
        Image.new("RGB", (8, 8), "red").save(file)
    (root / "dog").symlink_to("cat")
    (root / "cat" / "2.png").symlink_to("1.png")
    (root / "cat" / "out.png").symlink_to(tmp_path / "elsewhere" / "secret.png")
    (root / "out").symlink_to(tmp_path / "elsewhere")
    return root


@pytest.mark.parametrize("name", ["cat/1.png", "cat/2.png", "dog/1.png", "dog/2.png"])
def test_links_that_stay_within_the_root_are_followed(root: Path, name: str) -> None:
    """Also when the root itself is a link."""
    linked = root.parent / "linked"
    linked.symlink_to(root)
    assert thumbnail(root, name).source
    assert thumbnail(linked, name).source


@pytest.mark.parametrize(
    "name",
    ["cat/out.png", "out/secret.png", "../elsewhere/secret.png", "cat/../../elsewhere/secret.png", "/etc/passwd"],
)
def test_no_image_is_read_outside_the_root(root: Path, name: str) -> None:
    """Neither by its name nor through a link to the file or to its folder."""
    assert thumbnail(root, name).problem == "outside_dataset"
    with pytest.raises(ImageError, match="outside_dataset") as error:
        FileSource(root, [name]).whole(0, (8, 8))
    assert error.value.code == "outside-dataset"


@pytest.mark.parametrize("name", ["a\0b.png", "x" * 256, "y/" * 2100, "\udc80.png"])
def test_a_name_that_no_file_can_have_is_a_missing_image(root: Path, name: str) -> None:
    """The system would raise other errors than that a file is missing."""
    with pytest.raises(ImageError, match="no path of a file"):
        image_path(root, name)


def test_a_table_is_refused_where_a_link_leads_out_of_its_root(root: Path) -> None:
    """As scan refuses the link; the line says which."""
    table = root / "t.csv"
    table.write_text("label,file_name\ncat,cat/1.png\ncat,dog/2.png\ncat,cat/out.png\ncat,out/secret.png\n")
    with pytest.raises(DataError) as error:
        read_table(table, check_files=True)
    assert error.value.problems == [
        f"{table}:{line}: {name!r} is a link that leads out of the dataset; put a copy here to use it"
        for line, name in ((4, "cat/out.png"), (5, "out/secret.png"))
    ]
    assert error.value.code == "outside-dataset"


@pytest.mark.parametrize("name", ["/etc/passwd", "../elsewhere/secret.png", "cat/a\0b.png"])
def test_embeddings_name_no_image_outside_their_folder(root: Path, name: str) -> None:
    """As a table does not."""
    write_embeddings(root / "e.npz", torch.eye(2), pd.DataFrame({"file_name": ["cat/1.png", name], "label": "cat"}))
    with pytest.raises(DataError, match=r"e\.npz: row 1: file_name (must stay under the root|is no path)"):
        read_embeddings(root / "e.npz")
