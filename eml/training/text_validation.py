"""Retrieval by texts during a run: held-out images classified and found by the texts of their classes."""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from eml.dataset.table import Table
from eml.evaluation.retrieval_set import RetrievalSet
from eml.evaluation.texts.embedded import class_vectors
from eml.inference.model import Model
from eml.retrieval.metrics import TEXT_TO_IMAGE, ZERO_SHOT, Summary, metrics_at, summarise
from eml.retrieval.ranking import rank_listed
from eml.retrieval.zero_shot import classify_by_vectors
from eml.texts.class_texts import ClassTexts, texts_of
from eml.training.config import RunConfig
from eml.training.data import TrainingData


@dataclass(frozen=True)
class TextValidation:
    """The classes that the held-out images are told apart by, with their texts.

    Attributes:
        labels: The classes.
        texts: Of each class, whose mean its vector is.
    """

    labels: tuple[str, ...]
    texts: tuple[tuple[str, ...], ...]

    def add(self, summary: Summary, embeddings: Tensor, images: RetrievalSet, model: Model) -> Summary:
        """Return the summary of a set with the metrics by texts, of its query images.

        Args:
            summary: Of the same images.
            embeddings: (N, D) of the set's images.
            images: The set, or a part of it.
            model: Embeds the texts, once.
        """
        vectors = class_vectors(self.texts, model.embed_text)
        classes = np.where(images.known, pd.Index(self.labels).get_indexer(pd.Index(images.frame["label"])), -1)
        own = classes[images.queries]
        named = np.flatnonzero(own >= 0)
        right = np.full(len(own), np.nan)
        rows = torch.from_numpy(images.queries[named])
        right[named] = classify_by_vectors(embeddings[rows], own[named], vectors).per_query()["top_1"]

        asking, of_gallery = np.unique(own[named]), classes[images.gallery]
        positives = np.flatnonzero(np.isin(of_gallery, asking))
        texts, gallery = vectors[torch.from_numpy(asking)], embeddings[torch.from_numpy(images.gallery)]
        ranking = rank_listed(texts, gallery, np.searchsorted(asking, of_gallery[positives]), positives)
        recall = summarise(ranking, metrics_at([1])).values["recall_at_1"]
        values = {ZERO_SHOT: float(np.nanmean(right)), TEXT_TO_IMAGE: recall}
        return replace(summary, values={**summary.values, **values}, per_query={**summary.per_query, ZERO_SHOT: right})


def text_source(config: RunConfig) -> ClassTexts | None:
    """Return what the texts of held-out classes are made of; None for a run that does not train a text tower."""
    return (config.class_texts or ClassTexts()) if config.loss.compares_texts else None


def text_validation(source: ClassTexts | None, table: Table, data: TrainingData) -> TextValidation | None:
    """Return the texts that the held-out images are measured by; None where there are none.

    The classes are the held-out ones, and those of training too where images of known classes are held out.

    Raises:
        DataError: A held-out class has no text.
    """
    if source is None or data.validation is None:
        return None
    held_out = data.validation
    labels = set(held_out.frame["label"][held_out.known])
    if labels & set(data.classes):
        labels |= set(data.classes)
    classes = sorted(labels)
    return TextValidation(tuple(classes), tuple(texts_of(table.frame, classes, source, table.name)))
