"""Embedded images of classes that are partly alike."""

import numpy as np
import torch

from eml.retrieval.verification import OpenSet


def classes(count: int, each: int, spread: float = 0.6, seed: int = 0) -> OpenSet:
    """Classes around centers that lie around a few centers of their own, so that some are much alike."""
    random = np.random.default_rng(seed)
    families = random.normal(size=(8, 16))
    centers = families[random.integers(8, size=count)] + random.normal(0, 0.7, (count, 16))
    labels = np.repeat(np.arange(count), each)
    embeddings = centers[labels] + random.normal(0, spread, (len(labels), 16))
    return OpenSet.leave_one_out(torch.from_numpy(embeddings).float(), labels)


def similarities(data: OpenSet) -> np.ndarray:
    unit = torch.nn.functional.normalize(data.embeddings).numpy()
    return unit @ unit.T
