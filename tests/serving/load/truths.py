"""What the right answers are, by the same network and index in this process; and where an answer differs from them."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eml.indexing.answers import ClassifiedImage, NearImage
from eml.indexing.index import Index

NEAR = 1e-5
"""Cosines that differ by less may change places, and a cosine may differ by so much."""


@dataclass(frozen=True)
class Truth:
    """The right answers about one query.

    Attributes:
        embedding: (D,) of unit length.
        near: All images of the index, best first.
        classified: Its class.
    """

    embedding: NDArray[np.float32]
    near: tuple[NearImage, ...]
    classified: ClassifiedImage

    def embedding_problem(self, values: Sequence[float] | str | None, dimensions: int | None = None) -> str:
        """Return how an embedding differs, as numbers or as base64 of float32; empty: it does not."""
        if values is None:
            return "has no embedding"
        got = numbers(values)
        own = self.embedding[:dimensions]
        own = own / np.linalg.norm(own)
        if got.shape != own.shape:
            return f"has {got.shape} numbers, not {own.shape}"
        cosine = float(got.astype(np.float64) @ own.astype(np.float64) / np.linalg.norm(got))
        if abs(np.linalg.norm(got) - 1) > NEAR:
            return f"has length {np.linalg.norm(got)}"
        return "" if cosine > 1 - NEAR else f"has cosine {cosine} to the right one"

    def search_problem(
        self, neighbours: Sequence[dict[str, Any]], k: int, labels: Sequence[str] = (), *, per_class: bool = False
    ) -> str:
        """Return how neighbours differ from the right ones; empty: they do not.

        Args:
            neighbours: Those of the answer.
            k: How many were asked for.
            labels: Of which alone they are; none: of all.
            per_class: Whether only the nearest of each class counts.
        """
        known = [image for image in self.near if not labels or image.label in labels]
        right = _first_of_classes(known) if per_class else known
        by_id = {image.id: image for image in known}
        if len(neighbours) != min(k, len(right)):
            return f"has {len(neighbours)} neighbours, not {min(k, len(right))}"
        if len({image["id"] for image in neighbours}) != len(neighbours):
            return "names an image twice"
        for rank, (got, expected) in enumerate(zip(neighbours, right, strict=False), 1):
            own = by_id.get(got["id"])
            if own is None or got["rank"] != rank:
                return f"has id {got['id']} at rank {got['rank']}, place {rank}"
            if (got["label"], got["file_name"]) != (own.label, own.file_name):
                return f"calls {own.file_name} {got['file_name']} of {got['label']}"
            if abs(got["cosine"] - own.cosine) > NEAR:
                return f"has cosine {got['cosine']} for {own.cosine}"
            if abs(own.cosine - expected.cosine) > NEAR:
                return f"has {own.file_name} ({own.cosine}) at rank {rank} before {expected.file_name}"
        return ""

    def class_problem(self, answer: dict[str, Any]) -> str:
        """Return how a class differs from the right one; empty: it does not."""
        own = self.classified
        if answer["label"] != own.label:
            return f"is of {answer['label']}, not {own.label}"
        assert own.cosine is not None
        if abs(answer["cosine"] - own.cosine) > NEAR:
            return f"has cosine {answer['cosine']} for {own.cosine}"
        if (answer["probability"] is None) != (own.probability is None):
            return f"has probability {answer['probability']} for {own.probability}"
        if answer["unknown"] != own.unknown:
            return f"has unknown {answer['unknown']} for {own.unknown}"
        return ""


def numbers(values: Sequence[float] | str) -> NDArray[np.float32]:
    """Return the numbers of an embedding, given as such or as base64 of little-endian float32."""
    return np.frombuffer(base64.b64decode(values), "<f4") if isinstance(values, str) else np.array(values, np.float32)


def _first_of_classes(images: Sequence[NearImage]) -> list[NearImage]:
    first: dict[str, NearImage] = {}
    for image in images:
        first.setdefault(image.label, image)
    return list(first.values())


def truths_of(index: Index, queries: dict[str, bytes]) -> dict[str, Truth]:
    """Return the right answers about each query, one image at a time."""
    truths = {}
    for name, data in queries.items():
        (answer,), (classified,) = index.search(data, len(index)), index.classify(data)
        truths[name] = Truth(index.model.embed(data)[0], answer.neighbours, classified)
    return truths
