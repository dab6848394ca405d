"""docs/augmentation.md: its table is what the presets are, its list what can be used, and its images are there."""

import re

from eml.images.augment import Augment
from eml.images.augment._presets import PhotographicPreset
from eml.images.augment._transform_list import usable
from tests.docs.blocks import PAGES

PAGE = PAGES["augmentation.md"].read_text(encoding="utf-8")


def test_the_table_of_presets_has_their_defaults() -> None:
    header, _, *rows = [
        [cell.strip(" `") for cell in line.strip("|").split("|")] for line in PAGE.splitlines() if line.startswith("|")
    ]
    presets = {name for name, each in Augment.members().items() if issubclass(each, PhotographicPreset)}
    assert set(header[1:]) == presets
    assert [row[0] for row in rows] == list(PhotographicPreset.model_fields)
    for key, *cells in rows:
        for name, cell in zip(header[1:], cells, strict=True):
            shown = float(cell) if cell else (1 if key == "aspect" else 0)
            assert getattr(Augment.members()[name].model_validate({"type": name}), key) == shown, (name, key)


def test_the_list_of_transforms_is_what_can_be_used() -> None:
    (listed,) = re.findall(r"^Usable: (.*?)\.$", PAGE, flags=re.MULTILINE | re.DOTALL)
    assert re.findall(r"`(\w+)`", listed) == list(usable())


def test_the_images_are_there_and_small() -> None:
    names = re.findall(r"\((augment_\w+\.jpg)\)", PAGE)
    assert len(names) > 3
    for name in names:
        assert PAGES["augmentation.md"].with_name(name).stat().st_size < 400_000
