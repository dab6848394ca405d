"""iNaturalist 2018 as retrieval: species of animals, plants and fungi."""

from pathlib import Path
from typing import Any, ClassVar, Literal

from eml.dataset.protocols._lists import frame_of, located, read_text, refuse
from eml.dataset.protocols._presets import image_of, resnet50
from eml.dataset.protocols.base import Protocol, ProtocolTables, TestSet, Work
from eml.errors import Problem

IMAGES = "train_val2018/"
SPLITS = "Inat_dataset_splits/"


class INaturalist2018(Protocol):
    """5,690 species train, 2,452 others are the test. Brown 2020, arXiv:2007.12163 (Smooth-AP), section 5.

    The layout is that of train_val2018.tar.gz (train_val2018/SUPER CATEGORY/CATEGORY/IMAGE.jpg, as the competition's
    README says) beside the lists of Smooth-AP's authors, Inaturalist_train_set1.txt and Inaturalist_test_set1.txt, one
    image a line, in the folder or in Inat_dataset_splits/, as pytorch-metric-learning's reader has them.
    """

    type: Literal["inaturalist2018"] = "inaturalist2018"
    title = "iNaturalist 2018"
    paper = "Van Horn 2018, arXiv:1707.06642; split: Brown 2020, arXiv:2007.12163"
    licence = "non-commercial research and education; the images must not be distributed; iNaturalist's terms hold"
    layout = (
        (f"{SPLITS}Inaturalist_train_set1.txt", "Inaturalist_train_set1.txt"),
        (f"{SPLITS}Inaturalist_test_set1.txt", "Inaturalist_test_set1.txt"),
        (IMAGES,),
    )
    official: ClassVar[dict[str, int]] = {
        "train classes": 5_690,
        "train images": 325_846,
        "test classes": 2_452,
        "test images": 136_093,
    }
    recall_at = (1, 4, 16, 32)
    preset: ClassVar[dict[str, Any]] = {
        **image_of(224, fit="crop"),
        "augment": {"type": "standard", "crop": 0.84, "aspect": 1.33, "flip": 0.5, "brightness": 0, "saturation": 0},
        "model": resnet50("train"),
        "margin": {"type": "normface"},
        "head": {"scale": 18},
        "optimizer": {
            "name": "adamw",
            "lr": {"backbone": 1e-4, "neck": 1e-3, "class_weights": 1e-2},
            "weight_decay": 4e-4,
        },
        "schedule": {"shape": "steps", "warmup_epochs": 1, "step_at": [0.444444, 0.777778], "step_factor": 0.3},
        "epochs": 90,
        "batch_size": 224,
    }
    preset_lines = (
        "ResNet-50, 512 dimensions, 224 px, 90 epochs whose rate falls to .3 after 40 and 70, weight decay 4e-4:",
        "as the released code of Brown 2020 (Smooth-AP, arXiv:2007.12163; the paper reports R@1 .672). The loss is the",
        "nearest relative of ProxyNCA++ (Teh 2020, arXiv:2004.01113), with which that paper compares: softmax",
        "over cosines times 2·9. The rates are eml's.",
    )

    def tables(self, root: Path, work: Work) -> ProtocolTables:
        """Read both lists; the class is the folder of the image."""
        train, test, _ = located(INaturalist2018, root)
        frames = [frame_of(_rows(source), source) for source in (train, test)]
        return ProtocolTables(root, frames[0], (TestSet("test", frames[1]),), (train, test))


def _rows(source: Path) -> list[dict[str, Any]]:
    rows, problems = [], []
    for number, line in enumerate(read_text(source).splitlines(), 1):
        if not (line := line.strip()):
            continue
        name = line[line.find(IMAGES) :] if IMAGES in line else f"{IMAGES}{line}"
        folders = name.split("/")
        if len(folders) != 4:
            text = f"{source}:{number}: must be {IMAGES}SUPER CATEGORY/CATEGORY/IMAGE, got {line[:80]!r}"
            problems.append(Problem(text, "not-a-table", "dataset"))
            continue
        rows.append({"label": "/".join(folders[1:3]), "file_name": name, "category": folders[1]})
    refuse(source, problems)
    return rows
