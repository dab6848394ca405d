"""MS1M in insightface's form: faces in a record file, verification sets beside it."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import pandas as pd

from eml.dataset.protocols._lists import frame_of, located
from eml.dataset.protocols._presets import image_of
from eml.dataset.protocols._recordio import RecordFile, read_index
from eml.dataset.protocols._unpacking import ImageFolder
from eml.dataset.protocols._verification_bin import read_verification_bin
from eml.dataset.protocols.base import Protocol, ProtocolTables, TestSet, Work
from eml.errors import DataError
from eml.progress import Progress

SETS = {"lfw": 3_000, "cfp_fp": 3_500, "cfp_ff": 3_500, "agedb_30": 3_000, "calfw": 3_000, "cplfw": 3_000}
"""Name of a verification set → its pairs of each kind."""
FOLDS = 10
PUBLISHED = {"train classes": 85_742, "train images": 5_822_653}
PUBLISHED_V3 = {"train classes": 93_431, "train images": 5_179_510}


class Ms1m(Protocol):
    """Celebrities' faces train; pairs of LFW, CFP, AgeDB, CALFW, CPLFW are the tests. Deng 2019, arXiv:1801.07698.

    The layout is that of insightface's faces_emore (MS1MV2) and ms1m-retinaface-t1 (MS1MV3): train.rec and train.idx
    of aligned faces of 112 × 112, where record 0 holds the first key after the images, beside lfw.bin, cfp_fp.bin,
    agedb_30.bin and others, as its arcface_torch reads them (dataset.py, eval/verification.py). The image files are
    written as they are into a folder: training reads files. The folds are tenths of the pairs in their order.
    """

    type: Literal["ms1m"] = "ms1m"
    title = "MS1M (insightface)"
    paper = "Guo 2016, arXiv:1607.08221; cleaned: Deng 2019, arXiv:1801.07698"
    licence = "non-commercial research only (insightface); Microsoft has withdrawn the original: ask whether you may"
    layout = (("train.rec",), ("train.idx",))
    official: ClassVar[dict[str, int]] = PUBLISHED | {
        f"{name} {kind}": count
        for name, pairs in SETS.items()
        for kind, count in (("same pairs", pairs), ("different pairs", pairs), ("folds", FOLDS))
    }
    preset: ClassVar[dict[str, Any]] = {
        **image_of(112, fit="squash"),
        "augment": {"type": "standard", "crop": 0, "flip": 0.5, "brightness": 0, "saturation": 0},
        "model": {
            "backbone": "resnet50",
            "weights": "none",
            "neck": {"type": "linear", "size": 512, "batch_norm": True},
        },
        "margin": {"type": "arcface", "m": 0.5},
        "head": {"scale": 64},
        "optimizer": {
            "name": "momentum",
            "lr": {"backbone": 0.1, "neck": 0.1, "class_weights": 0.1},
            "weight_decay": 5e-4,
            "class_weight_decay": 5e-4,
            "clip": 5,
        },
        "schedule": {"shape": "linear", "warmup_epochs": 0},
        "epochs": 20,
        "batch_size": 512,
    }
    preset_lines = (
        "ArcFace with m .5, scale 64, 512 dimensions, 112 px, SGD with rate .1 for batches of 512, 20 epochs: as",
        "insightface's arcface_torch. Differences: a plain ResNet-50 that reduces 112 px to 4 × 4, where theirs",
        "(IR-50) keeps 7 × 7 and scores higher; the rate falls linearly, theirs",
        "quadratically. They measure with the mean of an image and its mirror: tta flip.",
    )

    def published(self, counted: Mapping[str, int]) -> Mapping[str, int]:
        """Return the counts of MS1MV3 where they are those, else of MS1MV2."""
        if all(counted.get(name) == count for name, count in PUBLISHED_V3.items()):
            return {**self.official, **PUBLISHED_V3}
        return self.official

    def tables(self, root: Path, work: Work) -> ProtocolTables:
        """Write the images out of train.rec and the verification sets; those that are there already stay."""
        record, index = located(Ms1m, root)
        folder = ImageFolder(work.images)
        offsets = read_index(index)
        sets = [root / f"{name}.bin" for name in SETS if (root / f"{name}.bin").is_file()]
        with RecordFile(record) as file:
            keys = _image_keys(file, offsets)
            train = frame_of(list(_train_rows(file, offsets, keys, folder, work.progress)), index)
        tests = tuple(_test_set(source, folder) for source in sets)
        notes = ["the images are written into " + str(work.images)]
        if tests:
            notes.append("labels of the verification sets join the images of same pairs: they are for the pairs alone")
        return ProtocolTables(work.images, train, tests, (index, *sets), tuple(notes))


def _image_keys(file: RecordFile, offsets: Mapping[int, int]) -> list[int]:
    """Return the keys of images: those below the number that record 0 holds, else all."""
    if 0 in offsets:
        labels = file.image(offsets[0]).labels
        if len(labels) > 1:
            keys = list(range(1, int(labels[0])))
            if missing := [key for key in keys if key not in offsets]:
                text = f"{file.source}: record 0 counts {len(keys):,} images, and the index lacks {len(missing):,}"
                text += f" of them, the first: {missing[0]}. Fetch train.idx again"
                raise DataError(text, code="damaged-file", parameter="dataset")
            return keys
    return sorted(offsets)


def _train_rows(
    file: RecordFile, offsets: Mapping[int, int], keys: list[int], folder: "ImageFolder", progress: Progress
) -> Iterator[dict[str, str]]:
    """Yield label and file_name of each image, and write it."""
    with progress("unpacking faces", len(keys)) as advance:
        for key in keys:
            image = file.image(offsets[key])
            label = f"{int(image.labels[0]):07d}"
            yield {"label": label, "file_name": folder.write(f"train/{label}/{key:08d}", image.data)}
            advance(1)


def _test_set(source: Path, folder: "ImageFolder") -> TestSet:
    """Return the images and pairs of a verification set, and write its images."""
    images, same = read_verification_bin(source)
    names = [folder.write(f"{source.stem}/{number:06d}", image) for number, image in enumerate(images)]
    known: dict[bytes, int] = {}
    places = [known.setdefault(image, len(known)) for image in images]
    people = _joined(places, [(2 * pair, 2 * pair + 1) for pair, flag in enumerate(same) if flag])
    folds = [pair * FOLDS // len(same) for pair in range(len(same))] if len(same) >= FOLDS else None
    pairs = pd.DataFrame({"file_name_1": names[::2], "file_name_2": names[1::2], "same": [int(flag) for flag in same]})
    frame = pd.DataFrame({"label": [f"{source.stem} {person:05d}" for person in people], "file_name": names})
    return TestSet(source.stem, frame, pairs if folds is None else pairs.assign(fold=folds))


def _joined(places: list[int], pairs: list[tuple[int, int]]) -> list[int]:
    """Return a number for each image, equal for equal files and for images that pairs join."""
    parent = list(range(max(places) + 1))

    def root(place: int) -> int:
        while parent[place] != place:
            parent[place] = parent[parent[place]]
            place = parent[place]
        return place

    for first, second in pairs:
        parent[root(places[first])] = root(places[second])
    return [root(place) for place in places]
