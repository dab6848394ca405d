"""The text vectors of a run's classes, as `class_texts` of its config says."""

from collections.abc import Sequence

from eml.dataset.table import Table
from eml.errors import ConfigError
from eml.inference.images import cache_folder
from eml.models.embedder import Embedder
from eml.progress import Progress, Report
from eml.texts.class_texts import ClassTexts, texts_of
from eml.texts.embed_texts import text_vectors
from eml.texts.encoders import TextEncoder, check_encoder, find_encoder
from eml.texts.meaning import meaning_warning
from eml.texts.own_tower import OwnTower
from eml.texts.vectors import TextVectors, read_text_vectors
from eml.training.config import RunConfig

WHERE = "class_texts.encoder"


def check_class_texts(config: RunConfig, *, resume: bool = False) -> None:
    """Raise an EmlError for an encoder that is not there, as far as that is known before anything is loaded.

    A run that goes on needs none: its state has what it makes of the text vectors.
    """
    if not resume and config.class_texts is not None and config.class_texts.encoder is not None:
        check_encoder(config.class_texts.encoder, WHERE)


def training_texts(
    config: RunConfig,
    table: Table,
    classes: Sequence[str],
    *,
    embedder: Embedder | None = None,
    report: Report = lambda line: None,
    progress: Progress | None = None,
) -> TextVectors:
    """Return the text vectors of the classes that a run trains on, in their order.

    Vectors that an encoder has computed before come from the cache beside the images, which several processes share.

    Args:
        config: Of the run; without `class_texts` the texts are the labels.
        table: Of the run's images.
        classes: The classes.
        embedder: The network, whose text tower embeds the texts where the config names no encoder.
        report: Receives lines for the user.
        progress: Shows how many texts are embedded.

    Raises:
        EmlError: A class has no text, or there is nothing that embeds them.
    """
    source = config.class_texts or ClassTexts()
    if source.vectors is not None:
        return read_text_vectors(source.vectors).of(classes, str(source.vectors))
    texts = texts_of(table.frame, classes, source, table.name)
    cache = config.data.cache.folder if config.data.cache is not None else None
    return text_vectors(
        classes,
        texts,
        _encoder(source, config, embedder),
        template=source.template,
        cache=cache or cache_folder(table),
        report=report,
        progress=progress,
    )


def labels_note(config: RunConfig, classes: Sequence[str]) -> str | None:
    """Return what to tell where a run's texts are labels that say nothing; None where they say something or are unused.

    Args:
        config: Of the run.
        classes: The classes that it trains on.
    """
    source = config.class_texts or ClassTexts()
    uses_labels = source.vectors is None and source.column is None and source.names is None
    if not uses_labels or not (config.text_keys or config.loss.compares_texts):
        return None
    warning = meaning_warning(classes)
    return (
        warning
        and f"class_texts: {warning}. Give each class a text by class_texts.names, a file, or class_texts.column"
    )


def _encoder(source: ClassTexts, config: RunConfig, embedder: Embedder | None) -> TextEncoder:
    if source.encoder is not None:
        return find_encoder(source.encoder, where=WHERE)
    tower = None if embedder is None else embedder.text
    if tower is None:
        text = (
            f"{WHERE}: {config.model.backbone} has no text tower, so name what embeds the texts of the classes, such "
        )
        text += "as st:all-MiniLM-L6-v2, or give class_texts.vectors, a file that eml text wrote"
        raise ConfigError(text, code="no-text-tower", parameter=WHERE)
    return OwnTower(tower, config.model.backbone)
