"""The networks to rank: names of timm, names with a weights file, runs and checkpoints."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import timm
from huggingface_hub import constants

from eml.config.paths import FOLDER_PREFIX
from eml.errors import CheckpointError, ConfigError, EmlError, Problem
from eml.images.image_size import Size
from eml.inference.load import TIMM, is_backbone, load
from eml.inference.model import Model
from eml.models.backbones import check_backbone
from eml.models.config import ModelConfig
from eml.models.image_sizes import nearest_size
from eml.models.pointers import find_checkpoint

WeightsKind = Literal["hub", "file", "none", "run"]
USUAL = (
    *("mobilenetv2_100", "efficientnet_b0", "mobilenetv4_conv_medium"),
    *("resnet50", "convnext_tiny", "vit_small_patch14_dinov2"),
)
"""Networks of several families and sizes whose weights on the hub have licences that allow any use."""
_CACHED = "--".join(("models", "timm", ""))  # begins the names of folders in the hub's cache


@dataclass(frozen=True)
class Candidate:
    """A network to rank.

    Attributes:
        name: As it was named, and as tables show it.
        source: A run, a checkpoint or timm:NAME.
        weights: Of timm:NAME: pretrained, none or a weights file.
    """

    name: str
    source: str
    weights: str = "pretrained"

    @property
    def backbone(self) -> str | None:
        """The backbone's name; None of a run or checkpoint."""
        return self.source.removeprefix(TIMM) if is_backbone(self.source) else None

    @property
    def kind(self) -> WeightsKind:
        """Say where the weights are from: the hub, a file, a run or checkpoint; none are random."""
        if self.backbone is None:
            return "run"
        pretrained = "file" if FOLDER_PREFIX in self.backbone else "hub"
        return {"pretrained": pretrained, "none": "none"}.get(self.weights, "file")  # type: ignore[return-value]

    @property
    def licence(self) -> str | None:
        """The licence of timm's pretrained weights; None where it is not known, as of a run or a file."""
        settings = None
        if self.backbone and self.kind == "hub" and ":" not in self.backbone:
            settings = timm.get_pretrained_cfg(self.backbone)
        return settings.license if settings is not None else None

    def load(self, image_size: Size | None, device: str) -> Model:
        """Return the model. A network that does not take images of this size gets the nearest size that it takes.

        Args:
            image_size: Side of the images (pixels), or (height, width); None: its own. A run has its own in any case.
            device: The device.

        Raises:
            EmlError: It cannot be loaded or fetched.
        """
        if self.backbone is None:
            return load(self.source, device=device)
        if self.kind == "hub" and not _has_weights(self.backbone):
            text = f"timm has no weights of {self.backbone}; give a file, {self.backbone}=FILE, or {self.backbone}=none"
            raise CheckpointError(text, code="weights-unavailable", parameter="backbones")
        size = None if image_size is None else nearest_size(self.backbone, image_size)
        return load(self.source, weights=self.weights, image_size=size, device=device)


def candidates_of(names: Sequence[str]) -> list[Candidate]:
    """Return the networks that names mean; without names those whose weights are here and some usual ones.

    Args:
        names: Each a name of timm (its weights from the hub), NAME=FILE, NAME=none (random weights), the folder of a
            run or checkpoint, or several of these with commas between them.

    Raises:
        ConfigError: timm has no such model, or there is no such file or run; all problems at once.
    """
    if not names:
        return [Candidate(name, f"{TIMM}{name}") for name in dict.fromkeys([*USUAL, *cached_names()])]
    candidates: list[Candidate] = []
    problems: list[Problem] = []
    for name in (part for text in names for part in _parts(text)):
        try:
            candidate = _candidate(name)
        except EmlError as error:
            problems += error.problems
            continue
        if candidate in candidates:
            problems.append(Problem(f"`backbones`: {name} is named twice", "conflicting-settings", "backbones"))
        candidates.append(candidate)
    if problems:
        raise ConfigError(problems)
    names_used = Counter(candidate.name for candidate in candidates)
    return [
        candidate
        if names_used[candidate.name] == 1
        else replace(candidate, name=f"{candidate.name}={candidate.weights}")
        for candidate in candidates
    ]


def cached_names() -> list[str]:
    """Return the names in timm of the networks whose weights are in the hub's cache on this machine."""
    try:
        folders = sorted(path.name for path in Path(constants.HF_HUB_CACHE).iterdir())
    except OSError:
        return []
    names = [folder.removeprefix(_CACHED) for folder in folders if folder.startswith(_CACHED)]
    return [_shortest(name) for name in names if timm.is_model(name)]


def _shortest(name: str) -> str:
    """Return the name without its tag where that means the same weights."""
    short = name.partition(".")[0]
    own, usual = timm.get_pretrained_cfg(name), timm.get_pretrained_cfg(short)
    same = own is not None and usual is not None and own.hf_hub_id == usual.hf_hub_id
    return short if same else name


def _parts(text: str) -> Iterator[str]:
    """Yield the names in a text; a comma in the name of a file that exists divides nothing."""
    if Path(text.partition("=")[2] or text).exists():
        yield text
        return
    yield from filter(None, (part.strip() for part in text.split(",")))


def _candidate(text: str) -> Candidate:
    """Return the network that a name means. Raises EmlError where there is no such."""
    name, equals, weights = text.partition("=")
    if not equals and (os.sep in text or Path(text).is_dir()) and not is_backbone(text):
        find_checkpoint(Path(text))
        return Candidate(text, text)
    backbone = ModelConfig(backbone=name.removeprefix(TIMM)).backbone  # with the whole path of a folder
    check_backbone(backbone, "`backbones`")
    source = backbone if is_backbone(backbone) else f"{TIMM}{backbone}"
    if not equals or weights == "pretrained":
        return Candidate(backbone, source)
    if weights != "none" and not Path(weights).is_file():
        text = f"`backbones`: {name}: there is no file {weights or '(empty)'}; allowed: NAME, NAME=FILE, NAME=none"
        raise ConfigError(text, code="missing-file", parameter="backbones")
    shown = backbone if weights != "none" else f"{backbone}=none"
    return Candidate(shown, source, weights)


def _has_weights(backbone: str) -> bool:
    if ":" in backbone:
        return True  # a folder, a repository or another package's name, which is read when it is loaded
    settings = timm.get_pretrained_cfg(backbone)
    return settings is not None and bool(settings.hf_hub_id or settings.url or settings.file)
