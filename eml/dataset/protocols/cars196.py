"""Cars-196: cars by make, model and year."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Literal

from eml.dataset.protocols._boxes import inclusive_box
from eml.dataset.protocols._lists import frame_of
from eml.dataset.protocols._presets import PROXY_ANCHOR_LINES, proxy_anchor
from eml.dataset.protocols.base import Protocol, ProtocolTables, TestSet, Work, place
from eml.errors import DataError

BOX_FIELDS = ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2")


class Cars196(Protocol):
    """The first 98 classes train, the last 98 are the test, whole images. Song 2016, arXiv:1511.06452, section 5.

    Two layouts are known. That of car_ims.tgz: car_ims/ beside cars_annos.mat, with a struct array `annotations`
    (relative_im_path, bbox_x1, bbox_y1, bbox_x2, bbox_y2, class, test) and the cell array `class_names`. That of the
    devkit (its README.txt): cars_train/ and cars_test/ with devkit/cars_train_annos.mat, cars_meta.mat and
    cars_test_annos_withlabels.mat (in devkit/ or beside it), where `fname` names the image. Both have the same images.
    """

    type: Literal["cars196"] = "cars196"
    title = "Cars-196 (Stanford Cars)"
    paper = "Krause 2013, 3DRR workshop of ICCV"
    licence = "its page states no licence; the images are from web searches, use it for research"
    layout = (("cars_annos.mat", "devkit/cars_train_annos.mat"), ("car_ims/", "cars_train/"))
    official: ClassVar[dict[str, int]] = {
        "train classes": 98,
        "train images": 8_054,
        "test classes": 98,
        "test images": 8_131,
    }
    recall_at = (1, 2, 4, 8)
    has_boxes = True
    preset: ClassVar[dict[str, Any]] = proxy_anchor(
        epochs=60, decay_every=10, factor=0.5, batch_norm="frozen", batch_size=120
    )
    preset_lines = (*PROXY_ANCHOR_LINES, "The authors report R@1 .877, R@2 .927, R@4 .955, R@8 .973 for theirs.")

    def tables(self, root: Path, work: Work) -> ProtocolTables:
        """Read cars_annos.mat, or the three files of the devkit."""
        whole = root / "cars_annos.mat"
        inputs = [whole] if whole.is_file() and (root / "car_ims").is_dir() else self._devkit(root)
        source = inputs[0]
        names = _class_names(inputs[-1])
        sides: dict[bool, list[dict[str, Any]]] = {True: [], False: []}
        for file_name, number, box in _annotations(root, inputs):
            if not 1 <= number <= len(names):
                text = f"{source}: {file_name} has class {number}; there are {len(names)} classes"
                raise DataError(text, code="not-a-table", parameter="dataset")
            row: dict[str, Any] = {"label": names[number - 1], "file_name": file_name}
            sides[number <= 98].append(row | (inclusive_box(*box) if work.boxes else {}))
        train, test = (frame_of(rows, source) for rows in (sides[True], sides[False]))
        return ProtocolTables(root, train, (TestSet("test", test),), tuple(inputs))

    def _devkit(self, root: Path) -> list[Path]:
        """Return the devkit's files: of train and test images, and of the names."""
        with_labels = ("cars_test_annos_withlabels.mat", "devkit/cars_test_annos_withlabels.mat")
        needed = (("devkit/cars_train_annos.mat",), with_labels, ("devkit/cars_meta.mat",))
        files = [place(root, alternatives) for alternatives in needed]
        missing = [" or ".join(names) for names, file in zip(needed, files, strict=True) if file is None]
        if missing or not (root / "cars_test").is_dir():
            missing += [] if (root / "cars_test").is_dir() else ["cars_test/"]
            text = f"{root}: of the devkit's layout, {', '.join(missing)} is not there; the protocol needs the classes "
            raise DataError(f"{text}of all images", code="not-this-layout", parameter="dataset")
        return [file for file in files if file is not None]


def _annotations(root: Path, inputs: list[Path]) -> Iterator[tuple[str, int, tuple[int, int, int, int]]]:
    """Yield the image, class and box of each annotation."""
    folders = ("",) if len(inputs) == 1 else ("cars_train/", "cars_test/")
    field = "relative_im_path" if len(inputs) == 1 else "fname"
    for source, folder in zip(inputs, folders, strict=False):
        rows = _variable(source, "annotations")
        if missing := [name for name in (field, "class", *BOX_FIELDS) if name not in (rows.dtype.names or ())]:
            text = f"{source}: its annotations have no field {', '.join(missing)}; they have {rows.dtype.names}"
            raise DataError(text, code="not-a-table", parameter="dataset")
        for row in rows:
            x_1, y_1, x_2, y_2 = (int(row[name]) for name in BOX_FIELDS)
            yield f"{folder}{row[field]}", int(row["class"]), (x_1, y_1, x_2, y_2)


def _class_names(source: Path) -> list[str]:
    return [str(name) for name in _variable(source, "class_names")]


def _variable(source: Path, name: str) -> Any:
    """Return a variable of a MATLAB file, (N,). Raises DataError where the file cannot be read or lacks it."""
    import numpy as np
    from scipy import io

    try:
        variables = io.loadmat(source, squeeze_me=True, variable_names=[name])
    except Exception as error:  # scipy raises whatever the bytes lead to
        text = f"{source}: cannot be read as a MATLAB file ({type(error).__name__}: {error}); fetch it again"
        raise DataError(text, code="damaged-file", parameter="dataset") from error
    if name not in variables:
        text = f"{source}: has no variable {name}"
        raise DataError(text, code="not-a-table", parameter="dataset")
    return np.atleast_1d(variables[name])
