"""docs/augmentation.md: its table is what the presets are, its list what can be used, its configs load."""

import re
from pathlib import Path

from eml.config import Strict, load
from eml.images.augment import Augment
from eml.images.augment._presets import PhotographicPreset
from eml.images.augment._transform_list import usable

DOCS = Path(__file__).parent.parent / "docs"
PAGE = (DOCS / "augmentation.md").read_text(encoding="utf-8")


class Config(Strict):
    augment: Augment


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


def test_the_configs_load_and_the_images_are_there(tmp_path: Path) -> None:
    blocks = re.findall(r"^```yaml\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
    assert len(blocks) == 2
    for text in blocks:
        (tmp_path / "run.yaml").write_text(text)
        load(Config, tmp_path / "run.yaml")
    for name in re.findall(r"\((augment_\w+\.jpg)\)", PAGE):
        assert (DOCS / name).stat().st_size < 400_000
