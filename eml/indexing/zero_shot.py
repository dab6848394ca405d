"""The class of each image by the texts of classes, without an index and without training."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from eml.indexing.answers import ClassifiedImage
from eml.indexing.queries import CHUNK, embed_in_parts
from eml.inference.any_model import text_scale
from eml.inference.exported.model import ExportedModel
from eml.models.weights_digest import weights_digest_of
from eml.progress import Report
from eml.retrieval.products import product
from eml.texts.embed_texts import text_vectors
from eml.texts.encoders.base import TextEncoder

if TYPE_CHECKING:
    from eml.indexing.queries import Queries
    from eml.inference.any_model import AnyModel
    from eml.inference.embed import Batching
    from eml.inference.image_list import ImageList


class ModelTexts(TextEncoder):
    """A loaded model as an encoder of texts into the space of its images.

    Args:
        model: The model.
    """

    def __init__(self, model: AnyModel) -> None:
        super().__init__(model.source or model.backbone)
        self.model = model

    @cached_property
    def digest(self) -> str:
        """The digest of the weights of the network, or of the graph of an exported text tower."""
        model = self.model
        return model.texts.facts.graph if isinstance(model, ExportedModel) else weights_digest_of(model.embedder)

    def too_long(self, texts: Sequence[str]) -> list[str]:
        """Return the texts of which the model cuts off what is beyond its length."""
        tower = None if isinstance(self.model, ExportedModel) else self.model.embedder.text
        return [] if tower is None else tower.too_long(texts)

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the model's vectors of a batch, (N, D)."""
        return self.model.embed_text(texts)


class ZeroShotClassifier:
    """Gives each image the class whose texts are nearest to it. Radford 2021, arXiv:2103.00020, section 3.1.

    The vector of a class is the mean of the unit vectors of its texts. The probability of a class is the softmax of
    the cosines over all classes, times the factor that the model was trained with; of a model that was trained with
    sigmoids (SigLIP, arXiv:2303.15343) it is the sigmoid of its own scaled and shifted cosine. It compares the classes
    with each other, and is not calibrated: an image of none of them has a class with a high probability too.

    Args:
        model: A model with a text tower.
        labels: The C classes.
        texts: The texts of each class.
        report: Receives lines for the user.

    Raises:
        ConfigError: The model takes no texts.
    """

    calibration = None
    """There is none, so no image counts as unknown."""

    def __init__(
        self,
        model: AnyModel,
        labels: Sequence[str],
        texts: Sequence[Sequence[str]],
        report: Report = lambda line: None,
    ) -> None:
        self.model, self.labels = model, list(labels)
        self._vectors = torch.from_numpy(text_vectors(labels, texts, ModelTexts(model), report=report).vectors)
        self.scale, self.bias = text_scale(model)

    def probabilities(self, cosines: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the probability of each class (N, C) of cosines (N, C) of images and classes."""
        logits = torch.from_numpy(self.scale * cosines)
        if self.bias is not None:
            return np.asarray(torch.sigmoid(logits + self.bias).numpy())
        return np.asarray(torch.softmax(logits, dim=1).numpy())

    def classify(self, queries: Queries) -> list[ClassifiedImage]:
        """Return the class of each image; one that could not be read has none, and says why."""
        cosines = product(queries.embeddings, self._vectors).double().numpy()
        row_of = {row: place for place, row in enumerate(queries.rows)}
        probabilities = self.probabilities(cosines)
        order = np.argsort(-cosines, axis=1, kind="stable")[:, :2]
        images = []
        for row, name in enumerate(queries.names):
            place = queries.places[row]
            if row not in row_of:
                images.append(ClassifiedImage(name, reason=queries.problems.get(row, ""), place=place))
                continue
            own = row_of[row]
            best, second = int(order[own, 0]), int(order[own, 1]) if order.shape[1] > 1 else None
            images.append(
                ClassifiedImage(
                    name,
                    label=self.labels[best],
                    probability=float(probabilities[own, best]),
                    runner_up=None if second is None else self.labels[second],
                    runner_up_probability=None if second is None else float(probabilities[own, second]),
                    margin=None if second is None else float(cosines[own, best] - cosines[own, second]),
                    cosine=float(cosines[own, best]),
                    place=place,
                )
            )
        return images

    def classify_list(
        self,
        images: ImageList,
        *,
        batching: Batching | None = None,
        unknown_share: float | None = None,
        advance: Callable[[int], None] = lambda done: None,
    ) -> Iterator[list[ClassifiedImage]]:
        """Yield the classes of the images of a list, some at a time, as `Index.classify_list` does."""
        for queries in embed_in_parts(self.model, images, CHUNK, batching, advance):
            yield self.classify(queries)
