"""Texts and labelled images of a set: checked before anything is embedded, then embedded by each model."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
from safetensors import SafetensorError, safe_open

from eml.dataset.table import Table
from eml.errors import ConfigError, EmlError, Problem
from eml.evaluation.options import EvaluationOptions
from eml.evaluation.retrieval_set import RetrievalSet
from eml.evaluation.texts.adapting import choose_labelled, labelled_images, labelled_of_file
from eml.evaluation.texts.embedded import EmbeddedTexts, embed_texts
from eml.evaluation.texts.text_set import TextSet, captions_of, named_classes
from eml.inference.any_model import AnyModel
from eml.inference.embed import Batching, embed_table
from eml.inference.embeddings_file import is_embeddings_file
from eml.models.hub_folder import WEIGHTS
from eml.models.pointers import find_checkpoint
from eml.progress import Progress


@dataclass(frozen=True)
class PreparedTexts:
    """The texts of a set, and the labelled images for a cache beside them.

    Attributes:
        texts: The texts.
        adapt_on: The table of the labelled images; None without.
        labelled: Its rows whose classes the set has; None without.
    """

    texts: TextSet
    adapt_on: Table | None = None
    labelled: pd.DataFrame | None = None

    def embed(self, model: AnyModel, batching: Batching, progress: Progress) -> EmbeddedTexts | None:
        """Return texts and images embedded by a model; None in other processes than the first.

        Raises:
            DataError: An image cannot be read.
        """
        images = None
        if self.labelled is not None and self.adapt_on is not None:
            with progress(f"embedding {self.adapt_on.name}", len(self.labelled)) as advance:
                images = embed_table(model, self.adapt_on, self.labelled, batching=batching, progress=advance)
        if not batching.processes.first:
            return None
        embedded = embed_texts(self.texts, model, model.size)
        if images is None or self.labelled is None or self.adapt_on is None or self.texts.classes is None:
            return embedded
        labelled = labelled_images(images, self.labelled, self.adapt_on, self.texts.classes)
        return replace(embedded, labelled=labelled)


def prepare_texts(
    retrieval: RetrievalSet, table: Table, options: EvaluationOptions, adapt_on: Table | None = None
) -> PreparedTexts | None:
    """Return the texts of a set that the options ask for, and the labelled images; None without any.

    Raises:
        DataError: A column is missing, a class has no text or no labelled image, or such an image is measured too.
    """
    if not options.has_texts:
        return None
    texts = _text_set(retrieval, table, options)
    if adapt_on is None or texts.classes is None:
        return PreparedTexts(texts)
    measured = Table(retrieval.frame, table.root, table.path)
    return PreparedTexts(texts, adapt_on, choose_labelled(adapt_on, texts.classes, measured))


def texts_of_file(retrieval: RetrievalSet, table: Table, options: EvaluationOptions, size: int) -> EmbeddedTexts | None:
    """Return the text vectors of classes beside the embeddings of an embeddings file, and labelled images of one.

    Args:
        retrieval: The images of the file.
        table: Their table.
        options: `text_vectors` and `adapt_on` are read.
        size: The embedding size D.

    Raises:
        DataError: As `prepare_texts`, or the vectors are of another size.
    """
    if options.text_vectors is None:
        return None
    texts = _text_set(retrieval, table, options)
    embedded = embed_texts(texts, None, size)
    if options.adapt_on is None or texts.classes is None:
        return embedded
    measured = Table(retrieval.frame, table.root, table.path)
    return replace(embedded, labelled=labelled_of_file(options.adapt_on, texts.classes, measured))


def _text_set(retrieval: RetrievalSet, table: Table, options: EvaluationOptions) -> TextSet:
    source = options.class_texts
    return TextSet(
        captions_of(retrieval, options.text_column, table.name) if options.text_column else None,
        named_classes(retrieval, source, table.name) if source is not None else None,
    )


def refuse_without_tower(checkpoints: Sequence[str], options: EvaluationOptions) -> None:
    """Check that the checkpoints have a text tower where texts are to be embedded, without loading their networks.

    Raises:
        ConfigError: Some have none, with their names.
    """
    used = [name for name in ("text_column", "template", "names") if getattr(options, name)]
    if not used:
        return
    problems = [
        Problem(f"`{used[0]}`: {name} has no text tower, so it embeds images alone", "no-text-tower", used[0])
        for name in checkpoints
        if not is_embeddings_file(name) and not _may_have_tower(name)
    ]
    if problems:
        raise ConfigError(problems)


def _may_have_tower(checkpoint: str) -> bool:
    """Return whether weights of a text tower are among those of a checkpoint; True where that is unknown here."""
    try:
        folder = find_checkpoint(Path(checkpoint))
        with safe_open(folder / WEIGHTS, framework="numpy") as file:
            return any(name.startswith("text.") for name in file.keys())  # noqa: SIM118 - it is no mapping
    except (EmlError, OSError, SafetensorError):  # loading it says what is wrong
        return True
