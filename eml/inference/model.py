"""A loaded model: images in, embeddings out. `eml.load` returns it."""

from collections.abc import Iterator, Sequence
from functools import cached_property
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize as unit_length

from eml.devices import to_device
from eml.errors import CheckpointError, ConfigError, DataError
from eml.images.loading import normalise
from eml.images.preprocess import Preprocess
from eml.inference.image_inputs import ImageLike, Images, load_pixels
from eml.inference.text_inputs import check_texts
from eml.models.calibration import Calibration, read_calibration
from eml.models.checkpoint import read_compatible, read_trained_on
from eml.models.compatible import CompatibleModel
from eml.models.compression import Compression
from eml.models.config import EmbeddingPrecision, Tta
from eml.models.embedder import Embedder
from eml.models.fingerprint import Fingerprint, ways_of
from eml.models.trained_on import TrainedOn
from eml.models.views import views_of
from eml.models.weights_digest import fingerprint_of

CPU_PART = 16
"""Images for each thread that go through the network together on a CPU (docs/benchmarks_speed.md)."""


class Model:
    """An embedder with its preprocessing, in eval mode on one device.

    Args:
        embedder: The network.
        preprocess: The preprocessing of its images.
        device: The device to compute on.
        folder: The checkpoint folder that it was loaded from, if any.
        source: What it was loaded from, as it was named: a run, a checkpoint or timm:NAME.
        backbone: The backbone's name in timm, if known.
        trained_on: What it was trained on; None: what its folder says.
        precision: Of the network's products: float32 or bfloat16. The embeddings are float32 in any case.
        tta: Test-time augmentation. flip: the embedding is the mean of those of the image and of its mirror, both of
            unit length, brought to unit length; it takes twice the time. crops: that of five crops, in five times the
            time.
        compression: What is done to the embeddings after the network and the augmentation, as `eml compress` keeps it.
        splits_batches: Whether a CPU takes a batch in small parts; not with a network that is sharded, which all
            processes must call equally often.
    """

    def __init__(
        self,
        embedder: Embedder,
        preprocess: Preprocess,
        device: torch.device,
        folder: Path | None = None,
        *,
        source: str = "",
        backbone: str = "",
        trained_on: TrainedOn | None = None,
        precision: EmbeddingPrecision = "float32",
        tta: Tta = "none",
        compression: Compression | None = None,
        splits_batches: bool = True,
    ) -> None:
        self.embedder, self.preprocess, self.device = embedder.to(device).eval(), preprocess, device
        self.folder, self.source = folder, source
        self.backbone = backbone or type(embedder.backbone).__name__
        self._trained_on = trained_on
        self.precision, self.tta, self.compression = precision, tta, compression
        self.splits_batches = splits_batches

    def __repr__(self) -> str:
        source = f", from {self.source}" if self.source else ""
        shape = "{}×{}".format(*self.preprocess.shape)
        words = [*ways_of(self.precision, self.tta), *([self.compression.facts.name] if self.compression else [])]
        ways = "".join(f", {word}" for word in words)
        return f"<Model {self.backbone}: {shape} pixels to {self.size} numbers, on {self.device}{ways}{source}>"

    def with_network(self, embedder: Embedder) -> "Model":
        """Return a model with another network, which embeds in the same way, of no folder."""
        return Model(embedder, self.preprocess, self.device, precision=self.precision, tta=self.tta)

    @property
    def size(self) -> int:
        """The embedding size D."""
        return self.embedder.size if self.compression is None else self.compression.size

    @property
    def notes(self) -> tuple[str, ...]:
        """What to tell of how its weights were loaded, a line each."""
        return self.embedder.notes

    @cached_property
    def fingerprint(self) -> Fingerprint:
        """What decides its embeddings. It is computed once, from the weights as they are then."""
        return fingerprint_of(
            self.embedder,
            self.embedder.architecture,
            self.preprocess,
            backbone=self.backbone,
            size=self.size,
            precision=self.precision,
            tta=self.tta,
            after="" if self.compression is None else self.compression.after,
        )

    @cached_property
    def trained_on(self) -> TrainedOn | None:
        """The classes and images that it was trained on; None if that is unknown.

        Raises:
            CheckpointError: The record in the checkpoint cannot be read.
        """
        return read_trained_on(self.folder) if self._trained_on is None and self.folder else self._trained_on

    @cached_property
    def compatible_with(self) -> tuple[CompatibleModel, ...]:
        """The older models whose galleries its queries were measured on, and found no worse.

        Raises:
            CheckpointError: The checkpoint cannot be read.
        """
        return () if self.folder is None else read_compatible(self.folder)

    @cached_property
    def _stored_calibration(self) -> Calibration | None:
        return None if self.folder is None else read_calibration(self.folder)

    @cached_property
    def calibration_mismatch(self) -> str:
        """Why the calibration in the checkpoint is not that of this model, such as `tta none, not flip`; else empty.

        Raises:
            CheckpointError: It cannot be read or belongs to other weights.
        """
        stored = self._stored_calibration
        if stored is None:
            return ""
        if stored.fingerprint is not None:
            return stored.fingerprint.difference_from(self.fingerprint)
        usual = {"precision": "float32", "tta": "none"}  # of eml 0.1.0, which knew no other and recorded none
        own = {name: getattr(self, name) for name in usual}
        return "; ".join(f"{name} {usual[name]}, not {own[name]}" for name in usual if own[name] != usual[name])

    @cached_property
    def calibration(self) -> Calibration | None:
        """The calibration of the checkpoint, or None if it was not calibrated as it is loaded: see the mismatch.

        Raises:
            CheckpointError: It cannot be read or belongs to other weights.
        """
        return None if self.calibration_mismatch else self._stored_calibration

    @property
    def threshold(self) -> float:
        """The calibrated threshold, the lowest cosine that is accepted.

        Raises:
            CheckpointError: The model is not calibrated, or not as it is loaded.
        """
        if self.calibration is None:
            name = self.folder or self.source or "the model"
            text = f"{name}: is not calibrated; run: eml calibrate CHECKPOINT"
            if self.calibration_mismatch:
                text = f"{name}: its calibration is of {self.calibration_mismatch}. Load it so, or calibrate it again"
            raise CheckpointError(text, code="not-calibrated")
        return self.calibration.threshold.value

    def matches(self, first: ImageLike, second: ImageLike, *, threshold: float | None = None) -> bool:
        """Return whether two images show the same class, that is, whether their cosine is at least the threshold.

        Args:
            first: A path, a PIL image, an array or another image, as for `embed`.
            second: The image to compare it with.
            threshold: The lowest cosine that is accepted; the calibrated one by default. A threshold calibrated for
                `pair_far` is meant for pairs. One for `far`, about the nearest image of a whole gallery, is stricter.

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

        Only one batch of images is in memory at a time, so a generator may be of any length.

        Args:
            images: An image, or an iterable of images of any of these kinds, also mixed: paths; PIL images of any
                mode; arrays (H, W, 3) RGB, (H, W, 4) RGBA or (H, W) grey of uint8; tensors (C, H, W) of uint8, or of
                floats in [0, 1]; the bytes of an image file; open files. A folder stands for all images in it and
                below it, in the order of their paths, a table (CSV, Parquet) for its rows, cropped to their boxes:
                both in the order of `eml.inference.image_list.list_images(path).frame`. An array or tensor of four
                dimensions stands for the images along its first one.
            batch_size: The number of images computed at once.

        Raises:
            DataError: An image cannot be read. The message says which one.
            ConfigError: The batch size is below 1.
        """
        if batch_size < 1:
            raise ConfigError(f"`batch_size` must be at least 1, got {batch_size}", code="out-of-range")
        parts = [self.embed_pixels(pixels) for pixels in self._batches(images, batch_size)]
        return torch.cat(parts).numpy() if parts else np.zeros((0, self.size), np.float32)

    @property
    def takes_text(self) -> bool:
        """Whether `embed_text` embeds texts into the space of its images' embeddings."""
        return not self._why_no_text()

    def embed_text(self, texts: Sequence[str], *, batch_size: int = 256) -> NDArray[np.float32]:
        """Return embeddings of texts of unit length, (N, D) float32, to be compared with those of images.

        Args:
            texts: Any number of texts. What a text has beyond the length that the text tower takes is cut off.
            batch_size: The number of texts computed at once.

        Raises:
            ConfigError: The model has no text tower, or its embeddings of images are in another space; or these are no
                texts.
        """
        if why := self._why_no_text():
            raise ConfigError(why, code="no-text-tower")
        check_texts(texts, batch_size)
        tower = self.embedder.text
        assert tower is not None, "it has one, else it would say why not"
        if self.embedder.training:
            self.embedder.eval()
        parts = [np.zeros((0, self.size), np.float32)]
        for start in range(0, len(texts), batch_size):
            tokens = to_device(tower.tokenize(texts[start : start + batch_size]), self.device)
            with (
                torch.no_grad(),
                torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bfloat16"),
            ):
                outputs = tower(tokens)
            parts.append(unit_length(outputs.float()).cpu().numpy())
        return np.concatenate(parts)

    def _why_no_text(self) -> str:
        """Return why texts cannot be embedded; empty: they can be."""
        name = self.source or (str(self.folder) if self.folder else self.backbone)
        if self.embedder.text is None:
            return (
                f"{name}: has no text tower, so it embeds images alone; one with a backbone open_clip:ARCH/PRETRAINED "
                "embeds texts too"
            )
        changed = [] if isinstance(self.embedder.neck, torch.nn.Identity) else ["its neck"]
        changed += [] if self.compression is None else [f"its compression {self.compression.facts.name}"]
        if not changed:
            return ""
        return (
            f"{name}: {' and '.join(changed)} moved the embeddings of images out of the space that its text tower "
            "embeds texts into; train with neck: identity, and load it without a compression"
        )

    def index(self, images: Any, labels: str | Sequence[str] | None = None) -> Any:
        """Return an `eml.Index` of images for this process alone; it ends with the object, or its `with` block.

        `eml.Index.build` makes one on the disk.

        Args:
            images: A folder (one folder per class gives the labels), a table, files, or images as `embed` takes them.
            labels: One for each image, or one for all.

        Raises:
            DataError: No image can be read.
        """
        above = import_module("eml.indexing.index")  # a room above this one: a door for users, as `eml.load` is
        return above.Index.of_model(self, images, labels)

    def embed_pixels(self, pixels: Tensor) -> Tensor:
        """Return embeddings of unit length, (B, D) on the CPU, of preprocessed images (B, 3, H, W) uint8."""
        if self.embedder.training:
            self.embedder.eval()
        with torch.no_grad():  # weights that are gathered in inference mode could not be trained afterwards
            images = normalise(to_device(pixels, self.device), self.preprocess)
            first, *views = views_of(images, self.tta)
            embeddings = self._embed_view(first)
            for view in views:
                embeddings = embeddings + self._embed_view(view)
            embeddings = unit_length(embeddings) if views else embeddings
            return (embeddings if self.compression is None else self.compression.apply(embeddings)).cpu()

    def outputs(self, images: Tensor) -> Tensor:
        """Return the network's outputs, (B, D) float32 on the device, of normalised images (B, 3, H, W).

        On a CPU the images go through the network in small parts, whose activations stay in the processor's cache.
        """
        is_split = self.splits_batches and self.device.type == "cpu"
        part = CPU_PART * torch.get_num_threads() if is_split else len(images)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bfloat16"):
            outputs = [self.embedder(images) for images in images.split(max(part, 1))]
        return torch.cat([part.float() for part in outputs])

    def _embed_view(self, images: Tensor) -> Tensor:
        """Return embeddings of unit length, (B, D) float32 on the device, of normalised images (B, 3, H, W)."""
        return unit_length(self.outputs(images))

    def _batches(self, images: Images, batch_size: int) -> Iterator[Tensor]:
        loaded = load_pixels(images, self.preprocess)
        while pixels := list(islice(loaded, batch_size)):
            yield torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2)
