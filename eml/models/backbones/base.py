"""The base class of backbone families, and finding the family of a name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from eml.config.registries import MemberError, enter, new_registry

if TYPE_CHECKING:
    from torch import Tensor, nn

    from eml.images.image_size import Size
    from eml.images.preprocess import Preprocess
    from eml.models.config import ModelConfig
    from eml.models.text_tower import TextTower
ABORTS_IN_CHANNELS_LAST = ("fastvit", "mobileone", "repvgg")
"""Models of timm that corrupt the heap where they are trained in channels_last on a CPU (torch 2.14), which ends the
process without an error."""

_families: dict[str, type[BackboneFamily]] = new_registry("backbone family")


@dataclass(frozen=True)
class Built:
    """A backbone that was built, with its weights.

    Attributes:
        module: Images (B, 3, H, W) → pooled features (B, F).
        name: The backbone's name in checkpoints, from which the same network can be built without any file elsewhere.
        preprocess: The preprocessing that its weights were trained with.
        notes: What to tell of how the weights were loaded, a line each.
        text: The text tower that its features share a space with; None without one.
        channels_last: Whether it can be trained in that memory format, which is faster.
        definition: What it is built from where its name alone does not say it, as JSON; a checkpoint keeps it.
    """

    module: nn.Module
    name: str
    preprocess: Preprocess
    notes: tuple[str, ...] = field(default=())
    text: TextTower | None = None
    channels_last: bool = True
    definition: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class ListedBackbone:
    """A backbone that a family has, as `eml backbones` finds it.

    Attributes:
        name: Its name, with the prefix, and with the tag of its weights.
        licence: That of its weights, as the package states it; None: not stated.
        words: What else it may be searched by, such as its place in the hub.
        has_weights: Whether the package knows pretrained weights of it.
    """

    name: str
    licence: str | None = None
    words: str = ""
    has_weights: bool = True


class BackboneFamily:
    """Backbones whose names begin with one prefix. A subclass is found by its prefix as soon as it is defined.

    Attributes:
        prefix: What the names begin with, such as `open_clip:`; that of timm's is empty.
        is_listed_slowly: Whether `listed` takes seconds, so that it is called where the prefix is named alone.
    """

    prefix: ClassVar[str]
    is_listed_slowly: ClassVar[bool] = False

    def __init_subclass__(cls) -> None:
        """Enter the family under its prefix. The same class defined again (a notebook's cell) replaces itself."""
        super().__init_subclass__()
        if not isinstance(getattr(cls, "prefix", None), str):
            raise MemberError(f"{cls.__qualname__} needs a prefix, for example prefix: ClassVar[str] = 'mine:'")
        enter(_families, cls.prefix, cls, BackboneFamily, "prefix")

    def listed(self) -> Sequence[ListedBackbone]:
        """Return the backbones that there are, for `eml backbones`; none where their names are not known."""
        return ()

    def defined_in(self, name: str) -> str:
        """Return the module that defines a backbone; a checkpoint names the plugin that it belongs to."""
        return type(self).__module__

    def check(self, name: str, where: str = "model.backbone") -> None:
        """Raise a ConfigError with suggestions if there is no such backbone.

        Args:
            name: The backbone's name, with the prefix.
            where: The config key or the argument that names it, for the message.
        """
        raise NotImplementedError

    def preprocess(self, name: str, definition: Mapping[str, Any] | None = None, **overrides: Any) -> Preprocess:
        """Return the preprocessing that a backbone's weights were trained with, without building it.

        Args:
            name: The backbone's name.
            definition: What a checkpoint says that it is built from; None: its name says it. A family whose `Built` has
                no definition never gets one.
            overrides: Settings of the preprocessing; those of None are ignored.

        Raises:
            ConfigError: The backbone is unknown.
        """
        raise NotImplementedError

    def build(self, config: ModelConfig, image_size: Size | None) -> Built:
        """Build the backbone of a config with its weights, unless those are of an eml checkpoint, which come later.

        Args:
            config: Its backbone begins with the prefix. A StoredModel's `definition`, if any, says what to build.
            image_size: Side of the images (pixels) or (height, width), for networks whose weights depend on it; None:
                their own.

        Raises:
            ConfigError: The backbone is unknown or does not support a setting.
            CheckpointError: The weights cannot be read or do not fit.
        """
        raise NotImplementedError

    def create(self, name: str, image_size: Size | None, definition: Mapping[str, Any] | None = None) -> nn.Module:
        """Return the backbone with random weights; under torch's meta device it takes no memory.

        Raises errors of any type for a size that it does not take. The arguments are those of `build` and `preprocess`.
        """
        raise NotImplementedError

    def resample(self, tensors: dict[str, Tensor], module: nn.Module) -> dict[str, Tensor] | None:
        """Return weights resampled for the size of images that a backbone was built for; None: it cannot be done.

        Args:
            tensors: Name in the backbone → tensor, of another size of images.
            module: The backbone.
        """
        return None


def find_family(name: str) -> BackboneFamily:
    """Return the family of a backbone's name: that with the longest prefix that it begins with."""
    prefix = max((prefix for prefix in _families if name.startswith(prefix)), key=len)
    return _families[prefix]()


def families() -> list[BackboneFamily]:
    """Return all families by their prefixes, timm's first."""
    return [_families[prefix]() for prefix in sorted(_families)]


def prefixes() -> list[str]:
    """Return the prefixes of all families but that of timm's names, which have none."""
    return sorted(filter(None, _families))
