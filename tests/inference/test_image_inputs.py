"""Images of all the kinds that Python has embed alike, one batch at a time, and errors say which one is wrong."""

import io
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import eml
from eml.errors import EmlError
from eml.images.preprocess import Preprocess
from eml.inference.image_inputs import load_pixels
from eml.inference.image_list import list_images
from eml.inference.model import Model

RANDOM = np.random.default_rng(0)
PIXELS = RANDOM.integers(0, 256, (40, 50, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def model() -> Model:
    return eml.load("timm:test_resnet", weights="none", image_size=32, device="cpu")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of images in folders, with a table of boxes in them."""
    root = tmp_path_factory.mktemp("inputs") / "photos"
    names = ["b/1.png", "a/2.png", "a/10.png", "top.png"]
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(RANDOM.integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(root / name)
    boxes = {"x_1": [5, 0], "y_1": [3, 0], "x_2": [45, 20], "y_2": [33, 40]}
    frame = pd.DataFrame({"file_name": ["b/1.png", "top.png"], "label": ["b", "t"]} | boxes)
    frame.to_csv(root.parent / "boxes.csv", index=False)
    return root


def test_one_image_in_every_form_has_one_embedding(model: Model, tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    Image.fromarray(PIXELS).save(path)
    data, tensor = path.read_bytes(), torch.from_numpy(PIXELS).permute(2, 0, 1)
    expected = model.embed(path)
    assert expected.shape == (1, model.size)
    with path.open("rb") as file:
        forms = [str(path), Image.open(path), PIXELS, data, bytearray(data), memoryview(data), io.BytesIO(data), file]
        forms += [tensor, tensor / 255, (tensor / 255).double(), np.dstack([PIXELS, np.full_like(PIXELS[..., 0], 255)])]
        forms += [PIXELS[None], tensor[None]]
        mixture = model.embed(form for form in forms)
    np.testing.assert_allclose(mixture, np.repeat(expected, len(forms), 0), atol=1e-6)
    for form in (PIXELS, data, io.BytesIO(data), tensor, pd.Series([path]), pd.Series([str(path)]).to_numpy(), (path,)):
        np.testing.assert_array_equal(model.embed(form), expected)


def test_grey_arrays_and_tensors_are_grey_images(model: Model) -> None:
    grey = PIXELS[..., 0]
    forms = [grey, grey[..., None], torch.from_numpy(grey), torch.from_numpy(grey)[None], Image.fromarray(grey)]
    expected = model.embed(np.dstack([grey, grey, grey]))
    np.testing.assert_allclose(model.embed(forms), np.repeat(expected, len(forms), 0), atol=1e-6)


def test_transparency_of_an_array_is_put_on_the_background_as_that_of_a_file(model: Model, tmp_path: Path) -> None:
    image = np.dstack([PIXELS, RANDOM.integers(0, 256, (40, 50), dtype=np.uint8)])
    Image.fromarray(image).save(tmp_path / "image.png")
    np.testing.assert_allclose(model.embed(image), model.embed(tmp_path / "image.png"), atol=1e-6)


def test_a_folder_stands_for_its_images_in_the_order_of_their_paths(model: Model, photos: Path) -> None:
    names = list_images(photos).frame["file_name"].tolist()
    assert sorted(names) == names == ["a/10.png", "a/2.png", "b/1.png", "top.png"]
    expected = model.embed([photos / name for name in names])
    np.testing.assert_array_equal(model.embed(photos), expected)
    np.testing.assert_allclose(model.embed([photos, PIXELS])[:-1], expected, atol=1e-6)


def test_a_table_stands_for_its_rows_cropped_to_their_boxes(model: Model, photos: Path) -> None:
    crops = [Image.open(photos / "b/1.png").crop((5, 3, 45, 33)), Image.open(photos / "top.png").crop((0, 0, 20, 40))]
    eml.scan(photos)
    table = photos / "boxes.csv"
    table.write_bytes((photos.parent / "boxes.csv").read_bytes())
    np.testing.assert_array_equal(model.embed(table), model.embed(crops))
    for made in (*photos.glob("*.csv"), *photos.glob("*.json")):
        made.unlink()


class Recorded(Model):
    """A model that counts what it has embedded."""

    embedded = 0

    def embed_pixels(self, pixels: torch.Tensor) -> torch.Tensor:
        self.embedded += len(pixels)
        return super().embed_pixels(pixels)


def test_a_generator_is_read_one_batch_at_a_time(model: Model) -> None:
    recorded = Recorded(model.embedder, model.preprocess, model.device)

    def images() -> Iterator[Any]:
        for number in range(10):
            assert number - recorded.embedded < 4
            yield PIXELS

    assert recorded.embed(images(), batch_size=4).shape == (10, model.size)
    assert recorded.embedded == 10
    assert model.embed(iter([])).shape == (0, model.size)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (
            [PIXELS, None],
            "images[1]: is of type NoneType; an image is a path of an image, a folder or a table; a PIL image",
        ),
        ([PIXELS, [PIXELS]], "images[1]: is of type list; an image is"),
        (3, "the image: is of type int; an image is"),
        (np.zeros((4, 4)), "the image: an array must be (H, W, 3), (H, W, 4) or (H, W) of uint8, got (4, 4) float64"),
        ([PIXELS / 255], "got (40, 50, 3) float64; of values in [0, 1] make (255 * image).round().astype('uint8')"),
        ([PIXELS.transpose(2, 0, 1)], "got (3, 40, 50) uint8; its channels come first: image.transpose(1, 2, 0)"),
        ([np.zeros((0, 4, 3), np.uint8)], "images[0]: has no pixels, (0, 4, 3)"),
        ([torch.zeros(40, 50, 3)], "got (40, 50, 3) torch.float32; its channels come last: image.permute(2, 0, 1)"),
        ([torch.zeros(40, 50)], "a tensor must be (C, H, W) of uint8, or of floats in [0, 1], got (40, 50)"),
        ([torch.full((3, 4, 4), 1.5)], "a tensor of floats must be in [0, 1], got 1.5 to 1.5; give it before it is"),
        ([torch.full((3, 4, 4), float("nan"))], "must be in [0, 1], got nan to nan"),
        ([PIXELS, b""], "images[1]: 0 bytes (empty)"),
        (io.BytesIO(), "the image: 0 bytes; read from its beginning: seek(0) (empty)"),
        ([b"no image"], "images[0]: its bytes are of no known image format"),
        (io.StringIO("text"), "the image: its read() returns str, not bytes; open the file as 'rb'"),
        (["gone.jpg"], "images[0]: gone.jpg: no such file (missing)"),
        ("gone.jpg", "gone.jpg: no such file (missing)"),
        ("https://example.org/a.jpg", "https://example.org/a.jpg is an address; download it, and give its bytes"),
        ({"a": PIXELS}, "images: a dict is not read, since it is no sequence of images; give a list"),
        (pd.DataFrame({"file_name": ["a.jpg"]}), "give the column with the paths, frame['file_name']"),
        (PIXELS[None] / 255, "images[0]: an array must be (H, W, 3)"),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else type(value).__name__,
)
def test_what_is_no_image_is_named_with_its_place_and_what_is_allowed(model: Model, images: Any, message: str) -> None:
    with pytest.raises(EmlError, match=re.escape(message)) as caught:
        model.embed(images)
    assert caught.value.code in ("not-an-image", "empty-image", "missing-image")


def test_a_file_of_a_folder_that_is_no_image_is_named(model: Model, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    Image.fromarray(PIXELS).save(tmp_path / "photos/0.png")
    (tmp_path / "photos/notes.txt").write_text("no image")
    with pytest.raises(EmlError, match=r"images\[1\]: .*photos/notes\.txt: its bytes are of no known image format"):
        model.embed([PIXELS, tmp_path / "photos"])
    (tmp_path / "photos/notes.txt").unlink()
    (tmp_path / "photos/link.png").symlink_to(photos / "top.png")
    with pytest.raises(EmlError, match=r"link\.png \(outside_dataset\): .* Give a list of the images to embed"):
        model.embed(tmp_path / "photos")


def test_a_folder_is_no_single_image_to_compare(model: Model, photos: Path) -> None:
    with pytest.raises(EmlError, match="two images are compared, and these are 5") as caught:
        model.matches(photos, PIXELS, threshold=0.5)
    assert caught.value.parameter == "first"


def test_a_batch_has_at_least_one_image(model: Model) -> None:
    with pytest.raises(EmlError, match="`batch_size` must be at least 1, got 0"):
        model.embed([PIXELS], batch_size=0)


WITHOUT_TORCH = """
import sys
for name in ("torch", "timm", "pandas", "scipy", "sklearn"):
    sys.modules[name] = None
from pathlib import Path
import numpy as np
from eml.errors import DataError
from eml.images.preprocess import Preprocess
from eml.inference.image_inputs import load_pixels
from eml.models.calibration import Calibration
from eml.models.fingerprint import Fingerprint
folder, preprocess = Path(sys.argv[1]), Preprocess(size=24, fit="pad")
images = load_pixels([folder / "image.png", np.load(folder / "array.npy")], preprocess)
np.save(folder / "pixels.npy", np.stack(list(images)))
try:
    list(load_pixels(folder, preprocess))
except DataError as error:
    print(error.code, error)
"""


def test_images_are_read_to_the_same_pixels_without_torch_and_pandas(tmp_path: Path) -> None:
    Image.fromarray(PIXELS).save(tmp_path / "image.png")
    np.save(tmp_path / "array.npy", PIXELS[:31, :37])
    run = subprocess.run([sys.executable, "-c", WITHOUT_TORCH, str(tmp_path)], capture_output=True, text=True)
    assert not run.returncode, run.stderr
    expected = list(load_pixels([tmp_path / "image.png", PIXELS[:31, :37]], Preprocess(size=24, fit="pad")))
    np.testing.assert_array_equal(np.load(tmp_path / "pixels.npy"), np.stack(expected))
    assert run.stdout.startswith("missing-package")
    assert "pip install pandas" in run.stdout
