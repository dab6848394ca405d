"""Ways to embed an image that a run can give: its views, and the size that it is resized to."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from eml.devices import to_device
from eml.images.image_size import Size, height_width, pixel_count, scaled_to, size_text
from eml.images.loading import normalise
from eml.inference.embed import Batching, embed_table
from eml.inference.model import Model
from eml.models.config import VIEWS, Inference, Tta
from eml.models.embedder import Embedder
from eml.models.views import views_of
from eml.training.build import RunParts
from eml.training.config import RunConfig

TEXTS: dict[Tta, str] = {"none": "", "flip": "mean with the mirror image", "crops": "mean of five crops"}


@dataclass(frozen=True, order=True)
class View:
    """A way to embed an image.

    Attributes:
        size: That images are resized to (pixels), a side or (height, width); None: that of training.
        tta: The views whose embeddings are averaged.
    """

    size: Size | None = None
    tta: Tta = "none"

    @property
    def text(self) -> str:
        """The way in words; "" for the usual one."""
        return ", ".join(
            part for part in (TEXTS[self.tta], f"at {size_text(self.size)} px" if self.size else "") if part
        )

    @property
    def inference(self) -> Inference | None:
        """The entry of the checkpoint; None for the usual way."""
        return None if self == USUAL else Inference(tta=self.tta, size=self.size)

    def cost(self, size: Size) -> float:
        """Return how many times as long it takes as the usual way, by the pixels that the network sees."""
        return VIEWS[self.tta] * pixel_count(self.size or size) / pixel_count(size)


USUAL = View()


def views_to_try(config: RunConfig) -> list[View]:
    """Return the ways that a config tries besides the usual one, each at each size, the quickest first.

    A number is the longer side of an image with the aspect ratio of training.
    """
    usual = config.image.size
    names: list[Tta] = ["none", *(name for name in config.test_views if not isinstance(name, int))]
    sizes = [scaled_to(usual or 1, name) for name in config.test_views if isinstance(name, int)]
    views = [View(size, name) for size in [None, *(size for size in sizes if size != usual)] for name in names]
    return sorted(set(views) - {USUAL}, key=lambda view: (view.cost(usual or 1), view.text))


def takes_size(parts: RunParts, embedder: Embedder, size: Size | None) -> bool:
    """Return whether a network takes images of a size as it is."""
    if size is None:
        return True
    try:
        with torch.no_grad():
            embedder.eval()(torch.zeros(1, 3, *height_width(size), device=parts.device))
    except (AssertionError, RuntimeError, ValueError):  # of position embeddings, which only loading resamples
        return False
    return True


class RawModel(Model):
    """A model of a run that returns its network's outputs of each view of an image beside each other, as they are."""

    def __init__(self, parts: RunParts, embedder: Embedder, view: View = USUAL) -> None:
        preprocess = parts.preprocess
        if view.size is not None:
            preprocess = preprocess.model_copy(update={"size": view.size})
        super().__init__(embedder, preprocess, parts.device, precision=parts.model.precision, tta=view.tta)

    @property
    def size(self) -> int:
        """The numbers for an image."""
        return self.embedder.size * VIEWS[self.tta]

    def embed_pixels(self, pixels: Tensor) -> Tensor:
        """Return (B, size) on the CPU of preprocessed images (B, 3, H, W) uint8."""
        self.embedder.eval()
        with torch.no_grad():
            images = normalise(to_device(pixels, self.device), self.preprocess)
            return torch.cat([self.outputs(view) for view in views_of(images, self.tta)], 1).cpu()


def passes_of(views: Sequence[View]) -> list[View]:
    """Return the ways to embed that images are read for: an image comes with its mirror image."""
    return [view for view in views if view.tta != "none" or View(view.size, "flip") not in views]


def embed_views(
    parts: RunParts, embedder: Embedder, views: Sequence[View], progress: Callable[[int], None]
) -> dict[View, tuple[Tensor, ...]]:
    """Return way → (M, D) outputs of each view of the held-out images; all processes call this.

    Only the first process has the outputs.
    """
    table, images = parts.validation.sets[parts.validation.decides]
    batching = Batching(parts.config.validation.batch_size, parts.workers, parts.processes)
    outputs: dict[View, tuple[Tensor, ...]] = {}
    for view in passes_of(views):
        model = RawModel(parts, embedder, view)
        joined = embed_table(model, table, images.frame, batching=batching, progress=progress)
        if not parts.processes.first:
            continue
        outputs[view] = tuple(part.contiguous() for part in joined.split(embedder.size, 1))
        if view.tta == "flip":
            outputs[View(view.size)] = outputs[view][:1]
    return outputs
