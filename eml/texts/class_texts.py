"""The texts of classes: from labels, a column, a file of names, and templates."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Self

import pandas as pd
from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from eml.config import ConfigPath, Strict
from eml.config.text import shown
from eml.dataset.merge import MARK
from eml.dataset.problems import SHOWN, column_names
from eml.errors import DataError, Problem
from eml.texts.names_file import read_names
from eml.texts.templates import LABEL, check_template, fields_of, one_line, with_absolute_path


def _as_list(value: object) -> object:
    return (value,) if isinstance(value, str) else value


Template = Annotated[str, AfterValidator(check_template)]
Templates = Annotated[tuple[Template, ...], BeforeValidator(_as_list)]
EncoderName = Annotated[str, BeforeValidator(with_absolute_path), Field(min_length=1)]
"""`st:NAME_OR_PATH`, `open_clip:ARCH/PRETRAINED`, a checkpoint; paths are absolute once read."""


class TextSource(Strict):
    """The source of the texts of classes."""

    column: str | None = Field(
        None,
        description="column of the table with the class's text; null: the label, with spaces in place of underscores",
    )
    template: Templates = Field(
        ("{label}",),
        min_length=1,
        description="text with {label} for the class's text, or {COLUMN} for another column; of several the mean is "
        "taken",
    )
    names: ConfigPath | None = Field(
        None,
        description="file with a text for each label, for tables without such a column: CSV with the columns label "
        "and text, JSON or YAML of label: text, or lines of LABEL<TAB>TEXT",
    )


class ClassTexts(TextSource):
    """The texts of the classes, and what embeds them."""

    encoder: EncoderName | None = Field(
        None,
        description="what embeds the texts: st:NAME_OR_PATH of sentence-transformers, open_clip:ARCH/PRETRAINED, or a "
        "checkpoint of eml with a text tower; null: the network's own text tower",
    )
    vectors: ConfigPath | None = Field(
        None, description="text vectors that eml text wrote, in place of an encoder; they have the texts in them"
    )

    @model_validator(mode="after")
    def _vectors_alone(self) -> Self:
        fields = type(self).model_fields  # a config that a run has written says the defaults too
        names = [name for name in ("encoder", "column", "template", "names") if name in self.model_fields_set]
        set_too = [name for name in names if getattr(self, name) != fields[name].default]
        if self.vectors is not None and set_too:
            raise ValueError(f"{set_too[0]} has no effect beside vectors, which have the texts in them")
        return self


def texts_of(
    frame: pd.DataFrame | None, labels: Sequence[str], source: TextSource, table: str = "the table"
) -> list[tuple[str, ...]]:
    """Return the texts of each class, in the order of the labels; a class may have several, whose mean is taken.

    Each template is filled with each of the class's texts. They are sorted, so that the order of rows has no influence.

    Args:
        frame: The rows of a table with the column `label`; None: there is no table, so labels and names alone count.
        labels: The classes.
        source: The columns, templates and file of names.
        table: The name of the table, for messages.

    Raises:
        DataError: A column is missing, or classes have no text: 20 at most are named.
    """
    if source.column is not None and source.names is not None:
        text = "`column` and `names` both give the texts of the classes; leave one of them out"
        raise DataError(text, code="conflicting-settings", parameter="names")
    columns = _columns(frame, source, table)
    names = None if source.names is None else read_names(source.names)
    rows = _rows_of_classes(frame, labels, columns)
    templates = [(template, fields_of(template)) for template in source.template]
    texts, problems = [], []
    datasets = set() if frame is None or "dataset" not in frame else set(frame["dataset"].unique())
    for label in labels:
        own = _own_texts(label, datasets, names)
        options: list[Mapping[str, str]] = _values(own, rows.get(label, []), source)
        filled = {_filled(template, fields, values) for template, fields in templates for values in options}
        complete = sorted(text for text in filled if text)
        if not complete:
            problems.append(_missing(label, source, columns, table, named=bool(own) or names is None))
        texts.append(tuple(complete))
    if problems:
        more = [f"and {len(problems) - SHOWN:,} more classes"] if len(problems) > SHOWN else []
        raise DataError([*problems[:SHOWN], *more], code="missing-text")
    return texts


def plain_label(label: str) -> str:
    """Return a label as a text: folder names have underscores where a text has spaces."""
    return one_line(label.replace("_", " "))


def _columns(frame: pd.DataFrame | None, source: TextSource, table: str) -> list[str]:
    """Return the columns that the texts need. Raises DataError for those that the table does not have."""
    used = [source.column] if source.column else []
    used += [name for template in source.template for name in fields_of(template) if name != LABEL]
    columns = list(dict.fromkeys(used))
    present = [] if frame is None else list(frame.columns)
    missing = [name for name in columns if name not in present]
    if missing:
        parameter = "column" if source.column in missing else "template"
        present_columns = (
            f"{table} has the columns {column_names(present)}" if present else "there is no table with columns"
        )
        text = f"`{parameter}`: no column {' or '.join(map(shown, missing))}; {present_columns}"
        raise DataError(text, code="missing-column", parameter=parameter)
    return columns


def _rows_of_classes(
    frame: pd.DataFrame | None, labels: Sequence[str], columns: Sequence[str]
) -> dict[str, list[dict[str, str]]]:
    """Return the distinct values of the columns in each class's rows; rows without a value are left out."""
    if frame is None or not columns:
        return {}
    part = frame.loc[frame["label"].isin(set(labels)), ["label", *[name for name in columns if name != "label"]]]
    rows: dict[str, list[dict[str, str]]] = {}
    for record in part.drop_duplicates().itertuples(index=False, name=None):
        values: dict[str, str] = {
            str(name): "" if pd.isna(value) else one_line(str(value)) for name, value in zip(part, record, strict=True)
        }
        if all(values[name] for name in columns):
            rows.setdefault(str(record[0]), []).append(values)
    return rows


def _own_texts(label: str, datasets: set[str], names: Mapping[str, tuple[str, ...]] | None) -> Sequence[str]:
    """Return the texts of a class without the table: those of the file, else its label.

    A label of several datasets that are kept apart begins with the name of its own, which is no part of the text.
    """
    name, mark, rest = label.partition(MARK)
    short = rest if mark and name in datasets else label
    return [plain_label(short)] if names is None else names.get(label) or names.get(short, ())


def _values(own: Sequence[str], rows: Sequence[Mapping[str, str]], source: TextSource) -> list[Mapping[str, str]]:
    """Return what the fields of templates stand for, once for each text of the class."""
    needs_rows = bool(rows) or source.column is not None
    filled: list[Mapping[str, str]] = []
    for row in rows if needs_rows else [{}]:
        for text in [row[source.column]] if source.column else own:
            filled.append({**row, LABEL: text})
    return filled


def _filled(template: str, fields: Sequence[str], values: Mapping[str, Any]) -> str:
    """Return the template with its fields filled; empty where one of them has no value."""
    return one_line(template.format_map(values)) if all(values.get(name) for name in fields) else ""


def _missing(label: str, source: TextSource, columns: Sequence[str], table: str, *, named: bool) -> Problem:
    if not named:
        text, parameter = f"{source.names}: no text for class {label!r}", "names"
    elif columns:
        text = f"{table}: class {label!r} has no image with a text in {' and '.join(map(repr, columns))}"
        parameter = "column" if source.column else "template"
    else:
        text, parameter = f"{table}: class {label!r} has no text", "names"
    return Problem(f"{text}. Give it one, or leave the class out", "missing-text", parameter)
