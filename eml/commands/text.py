"""`eml text`: text vectors of the classes of a dataset."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from eml.commands.base import (
    Caller,
    Cell,
    CommandConfig,
    CommandResult,
    PathField,
    SummaryTable,
    command,
)
from eml.commands.next_steps import text_training_commands
from eml.commands.options import (
    Column,
    Dataset,
    Device,
    Encoder,
    FileColumn,
    LabelColumn,
    MatchNames,
    NamesFile,
    Overwrite,
    PathPrefix,
    PathSuffix,
    Plugins,
    Root,
    StripPrefix,
    Template,
    UnknownLabel,
    read_source,
)

if TYPE_CHECKING:
    from eml.dataset.table import Table
    from eml.texts.meaning import TextSimilarities
    from eml.texts.vectors import TextVectors

FILE_NAME = "text_vectors.safetensors"
PAIRS = 10  # of nearest classes in the result


class TextConfig(CommandConfig):
    """Embed the texts of the classes: a vector for each class, from its name or a description.

    Reads the table that filter or scan left in the folder, or the given one. The text of a class is its label, or comes
    from a column or a file of names; templates make sentences of it. Writes text_vectors.safetensors, which a training
    config reads as class_texts.vectors. Vectors that the encoder has computed before are taken from .eml_cache beside
    the images.
    """

    dataset: Dataset
    encoder: Encoder
    column: Column = None
    template: Template = ()
    names: NamesFile = None
    unknown_label: UnknownLabel = None
    root: Root = None
    file_column: FileColumn = None
    label_column: LabelColumn = None
    strip_prefix: StripPrefix = None
    path_prefix: PathPrefix = None
    path_suffix: PathSuffix = None
    match_names: MatchNames = False
    device: Device = "auto"
    out: Annotated[
        PathField | None,
        Field(description="File of the vectors, .safetensors. Default: text_vectors.safetensors where `dataset` is."),
    ] = None
    overwrite: Overwrite = False
    plugins: Plugins = ()


@dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class TextResult(CommandResult):
    """Text vectors of classes.

    Attributes:
        table: The table that was read.
        vectors: The vectors, with the texts of each class.
        similarities: How similar they are; None for a single class.
        own_texts: Whether the texts are others than the labels.
        out: The file.
    """

    table: Table
    vectors: TextVectors
    similarities: TextSimilarities | None
    own_texts: bool
    out: Path

    @property
    def texts(self) -> int:
        """The number of different texts."""
        return len({text for own in self.vectors.texts for text in own})

    def summary(self) -> str:
        """Return the counts in a line."""
        return f"{self.out}: {len(self.vectors.labels):,} classes, {self.texts:,} texts, {self.vectors.size:,} numbers"

    def summary_table(self) -> SummaryTable:
        """Return one row of counts."""
        row: list[Cell] = [len(self.vectors.labels), self.texts, self.vectors.size]
        columns = ["classes", "texts", "numbers each"]
        if self.similarities is not None:
            columns += ["mean cosine", "to the nearest"]
            row += [f"{self.similarities.mean:.2f}", f"{self.similarities.mean_nearest:.2f}"]
        return columns, [row]

    def to_dict(self) -> dict[str, Any]:
        """Return the counts, the encoder, and which classes are nearest."""
        similar = self.similarities
        return {
            "table": str(self.table.source),
            "out": str(self.out),
            "classes": len(self.vectors.labels),
            "texts": self.texts,
            "size": self.vectors.size,
            "encoder": self.vectors.encoder.model_dump(mode="json"),
            "template": list(self.vectors.template),
            "digest": self.vectors.digest,
            "mean_cosine": None if similar is None else round(similar.mean, 4),
            "mean_nearest_cosine": None if similar is None else round(similar.mean_nearest, 4),
            "nearest": [
                {"cosine": round(pair.cosine, 4), "first": pair.first, "second": pair.second}
                for pair in (similar.nearest if similar else ())
            ],
            "equal_texts": [list(group) for group in (similar.equal if similar else ())],
        }


@command(TextConfig, arguments=("dataset",))
def text(config: TextConfig, caller: Caller) -> TextResult:
    """Embed the texts of the classes, and write the file."""
    from eml.dataset.table import check_outputs, write_described
    from eml.inference.images import cache_folder
    from eml.models.device import find_device
    from eml.texts.class_texts import TextSource, texts_of
    from eml.texts.embed_texts import text_vectors
    from eml.texts.encoders import find_encoder
    from eml.texts.meaning import meaning_warning, similarities_of
    from eml.texts.vectors import vectors_bytes

    out = _out(config)
    check_outputs([out], overwrite=config.overwrite)
    encoder = find_encoder(config.encoder, device=str(find_device(config.device)))
    source = TextSource(column=config.column, names=config.names, **_template(config))
    table = read_source(config, "split", None, caller)
    check_outputs([out], inputs=table.inputs, overwrite=config.overwrite)
    labels = sorted(table.known.frame["label"].unique())
    texts = texts_of(table.frame, labels, source, table.name)
    warning = meaning_warning(labels) if source.column is None and source.names is None else None
    if warning is not None:
        caller.warn(f"{warning}. Give each class a text by `names`, a file, or by `column` of the table")
    vectors = text_vectors(
        labels,
        texts,
        encoder,
        template=source.template,
        cache=cache_folder(table),
        report=caller.warn,
        progress=caller.progress,
    )
    replaced = write_described(
        {out: lambda path: _write_bytes(path, vectors_bytes(vectors))},
        command=caller.command or "eml text",
        root=table.root,
        inputs=table.inputs,
        overwrite=config.overwrite,
        warn=caller.warn,
    )
    commands = () if warning is not None else text_training_commands(config.dataset, out)
    return TextResult(
        table=table,
        vectors=vectors,
        similarities=similarities_of(vectors, PAIRS),
        own_texts=source.column is not None or source.names is not None,
        out=out,
        written=(out,),
        replaced=tuple(replaced),
        next_command=commands[0] if commands else None,
        later_commands=commands[1:],
    )


def _out(config: TextConfig) -> Path:
    """Return the file to write. Raises OutputError for a name that is not one of safetensors."""
    from eml.errors import OutputError

    if config.out is None:
        return (config.dataset if config.dataset.is_dir() else config.dataset.parent) / FILE_NAME
    if config.out.suffix != ".safetensors":
        text = f"{config.out}: `out` is a file whose name ends in .safetensors"
        raise OutputError(text, code="wrong-suffix", parameter="out")
    return config.out


def _template(config: TextConfig) -> dict[str, Any]:
    """Return the templates as a keyword, where there are any."""
    return {"template": config.template} if config.template else {}


def _write_bytes(path: Path, data: bytes) -> None:
    path.write_bytes(data)
