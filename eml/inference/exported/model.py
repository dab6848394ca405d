"""An exported model: images in, embeddings out, by the package that runs its file and without torch."""

import os
from collections.abc import Iterator, Sequence
from functools import cached_property
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from eml.errors import CheckpointError, ConfigError, DataError
from eml.files import text_digest
from eml.images.preprocess import Pixels, Preprocess
from eml.inference.exported.facts import ExportFacts, ExportPrecision
from eml.inference.exported.runtimes import find_runtime
from eml.inference.exported.texts import ExportedTexts
from eml.inference.image_inputs import ImageLike, Images, load_pixels
from eml.inference.text_inputs import check_texts
from eml.models.calibration import Calibration
from eml.models.compatible import CompatibleModel
from eml.models.config import Tta
from eml.models.fingerprint import Fingerprint
from eml.models.trained_on import TrainedOn

if TYPE_CHECKING:
    import torch
    from torch import Tensor

PART = 16
"""Images that are computed at once: more take no less time each, and their activations much more memory."""


class ExportedModel:
    """A file of `eml export`, with the methods of `Model`.

    Args:
        path: The file.
        threads: Threads of a call; None: as the package that runs it likes.

    Attributes:
        path: The file.
        facts: What the file says of itself.
        folder: None: it has no checkpoint's folder.
        notes: Nothing.

    Raises:
        CheckpointError: The file is damaged, or is not of eml.
        ConfigError: The package that runs it is not installed.
    """

    def __init__(self, path: str | os.PathLike[str], threads: int | None = None) -> None:
        self.path = Path(path)
        self.runtime, self.threads = find_runtime(self.path)(self.path, threads), threads
        self.source = os.fspath(path)
        self.folder: Path | None = None
        self.notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        shape = "{}×{}".format(*self.preprocess.shape)
        words = f"{shape} pixels to {self.size} numbers, {self.facts.precision}, by {self.runtime.name}"
        return f"<ExportedModel {self.backbone}: {words}, from {self.source}>"

    @property
    def facts(self) -> ExportFacts:
        """What the file says of itself."""
        return self.runtime.facts

    @property
    def preprocess(self) -> Preprocess:
        """The preprocessing of its images."""
        return self.facts.preprocess

    @property
    def size(self) -> int:
        """The embedding size D."""
        return self.facts.embedding_size

    @property
    def backbone(self) -> str:
        """The backbone's name."""
        return self.facts.backbone

    @property
    def precision(self) -> ExportPrecision:
        """Of the weights and products in the file."""
        return self.facts.precision

    @property
    def tta(self) -> Tta:
        """Which views of an image the file averages."""
        return self.facts.source.tta

    @property
    def device(self) -> "torch.device":
        """The device, as torch names it: the CPU."""
        import torch

        return torch.device("cpu")

    @cached_property
    def trained_on(self) -> TrainedOn | None:
        """The classes and images that it was trained on; None if that is unknown, or too much to travel in the file."""
        return None if self.facts.trained_on is None else self.facts.trained_on.trained_on()

    @property
    def compatible_with(self) -> tuple[CompatibleModel, ...]:
        """The older models whose galleries its queries were measured on: none were with the exported file."""
        return ()

    @cached_property
    def fingerprint(self) -> Fingerprint:
        """What decides its embeddings: the graph with its weights, and the preprocessing.

        Raises:
            CheckpointError: The graph was changed after the export, so that what is said of it does not hold.
        """
        digest = self.runtime.graph_digest()
        if self.facts.graph and digest != self.facts.graph:
            text = f"{self.path}: its graph was changed after the export, so that neither its proof nor its "
            raise CheckpointError(text + "calibration holds; export the checkpoint again", code="damaged-file")
        source = self.facts.source
        text = f"{digest} {self.preprocess.model_dump_json()}"
        return source.model_copy(update={"digest": text_digest(text), "weights": digest})

    @property
    def calibration(self) -> Calibration | None:
        """The calibration that travels in the file; None without one."""
        return self.facts.calibration

    def keep_calibration(self, calibration: Calibration) -> None:
        """Write another calibration into the file.

        Raises:
            OSError: The file cannot be written.
        """
        self.runtime.keep_facts(self.facts.model_copy(update={"calibration": calibration}))

    @property
    def calibration_mismatch(self) -> str:
        """Why the calibration in the file is not that of this model: it is."""
        return ""

    @property
    def threshold(self) -> float:
        """The calibrated threshold, the lowest cosine that is accepted.

        Raises:
            CheckpointError: The model is not calibrated.
        """
        if self.calibration is None:
            text = f"{self.path}: is not calibrated; run: eml calibrate FILE"
            raise CheckpointError(text, code="not-calibrated")
        return self.calibration.threshold.value

    def matches(self, first: ImageLike, second: ImageLike, *, threshold: float | None = None) -> bool:
        """Return whether two images show the same class, that is, whether their cosine is at least the threshold.

        Args:
            first: A path, a PIL image, an array or another image, as for `embed`.
            second: The image to compare it with.
            threshold: The lowest cosine that is accepted; the calibrated one by default.

        Raises:
            CheckpointError: No threshold is given, and the model is not calibrated.
        """
        lowest = self.threshold if threshold is None else threshold
        embeddings = self.embed([first, second])
        if len(embeddings) != 2:
            text = f"two images are compared, and these are {len(embeddings):,}; a folder stands for all images in it"
            raise DataError(text, code="not-an-image", parameter="first")
        return float(embeddings[0] @ embeddings[1]) >= lowest

    def embed(self, images: Images, *, batch_size: int = 64) -> NDArray[np.float32]:
        """Return embeddings of unit length, (N, D) float32, in the order of the images.

        Args:
            images: An image or several, of the kinds that `Model.embed` takes.
            batch_size: The number of images computed at once.

        Raises:
            DataError: An image cannot be read. The message says which one.
            ConfigError: The batch size is below 1.
        """
        if batch_size < 1:
            raise ConfigError(f"`batch_size` must be at least 1, got {batch_size}", code="out-of-range")
        parts = [self.embed_arrays(pixels) for pixels in self._batches(images, batch_size)]
        return np.concatenate([np.zeros((0, self.size), np.float32), *parts])

    @property
    def takes_text(self) -> bool:
        """Whether `embed_text` embeds texts into the space of its images' embeddings: its text tower is beside it.

        Raises:
            CheckpointError: The file of the text tower is damaged.
        """
        return not self._why_no_text()

    def embed_text(self, texts: Sequence[str], *, batch_size: int = 256) -> NDArray[np.float32]:
        """Return embeddings of texts of unit length, (N, D) float32, to be compared with those of images.

        Args:
            texts: Any number of texts. What a text has beyond the length that the text tower takes is cut off.
            batch_size: The number of texts computed at once.

        Raises:
            ConfigError: No text tower goes with the file, or a package that reads texts is not installed; or these are
                no texts.
            CheckpointError: A file of the text tower is damaged.
        """
        if why := self._why_no_text():
            raise ConfigError(f"{self.source}: embeds images alone: {why}", code="no-text-tower")
        check_texts(texts, batch_size)
        return self.texts.embed(texts, batch_size)

    @cached_property
    def texts(self) -> ExportedTexts:
        """The text tower in the files beside it, which may not be there."""
        return ExportedTexts(self.path, self.threads)

    def _why_no_text(self) -> str:
        return self.facts.no_texts or self.texts.why_not(self.facts.graph)

    def index(self, images: Any, labels: str | Sequence[str] | None = None) -> Any:
        """Return an `eml.Index` of images for this process alone, as `Model.index` does; it needs torch.

        Args:
            images: A folder (one folder per class gives the labels), a table, files, or images as `embed` takes them.
            labels: One for each image, or one for all.

        Raises:
            DataError: No image can be read.
        """
        above = import_module("eml.indexing.index")  # a room above this one, as in Model.index
        return above.Index.of_model(self, images, labels)

    def embed_arrays(self, pixels: Pixels) -> NDArray[np.float32]:
        """Return embeddings of unit length, (B, D), of preprocessed images (B, H, W, 3) uint8.

        Raises:
            CheckpointError: The file gives embeddings of another size than it says.
        """
        parts = [self.runtime.run(pixels[first : first + PART]) for first in range(0, len(pixels), PART)]
        if sizes := {part.shape[1:] for part in parts} - {(self.size,)}:
            text = (
                f"{self.path}: gives embeddings of shape {sizes.pop()}, and says that they have {self.size:,} numbers"
            )
            raise CheckpointError(f"{text}; export the checkpoint again", code="damaged-file")
        return np.concatenate(parts) if parts else np.zeros((0, self.size), np.float32)

    def embed_pixels(self, pixels: "Tensor") -> "Tensor":
        """Return embeddings of unit length, (B, D), of preprocessed images (B, 3, H, W) uint8, as `Model` does."""
        import torch

        return torch.from_numpy(self.embed_arrays(pixels.permute(0, 2, 3, 1).contiguous().numpy()))

    def _batches(self, images: Any, batch_size: int) -> Iterator[Pixels]:
        loaded = load_pixels(images, self.preprocess)
        while pixels := list(islice(loaded, batch_size)):
            yield np.stack(pixels)
