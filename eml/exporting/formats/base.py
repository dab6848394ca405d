"""The base class of export formats."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from eml.errors import ConfigError
from eml.files import refuse_file_name
from eml.inference.exported.facts import ExportFacts, ExportPrecision, InputKind
from eml.inference.model import Model
from eml.progress import Report

if TYPE_CHECKING:
    from eml.exporting.precision.images import QuantizationImages
    from eml.exporting.proof.record import ProofLimits

DEFAULT_OPSET = 20
_formats: dict[str, type[ExportFormat]] = {}


@dataclass(frozen=True)
class FormatSettings:
    """The settings of a file to write.

    Attributes:
        input: What its graph takes.
        precision: Of its weights and products.
        opset: Of ONNX.
        report: Takes a line on what was chosen.
        licence: The user's own, for a model card; None: not stated.
        quantization_images: Reads the images for int8.
        limits: Of the proof, which a way to int8 should keep to; None: the usual ones.
    """

    input: InputKind = "uint8"
    precision: ExportPrecision = "float32"
    opset: int = DEFAULT_OPSET
    report: Report = lambda line: None
    licence: str | None = None
    quantization_images: Callable[[], QuantizationImages] | None = None
    limits: ProofLimits | None = None


class ExportFormat(ABC):
    """A format. A subclass is found by its name as soon as it is defined.

    Attributes:
        name: As `format` names it.
        suffix: Of its file; empty: it is a folder.
        packages: Optional packages that it needs, by the names that they are imported by.
        extra: The extra of easy-metric-learning that installs them.
        precisions: Those that it can be written in.
        has_texts_beside: Whether the text tower of a model of images and texts is written beside its file.
    """

    name: ClassVar[str]
    suffix: ClassVar[str]
    packages: ClassVar[tuple[str, ...]] = ()
    extra: ClassVar[str] = ""
    precisions: ClassVar[tuple[ExportPrecision, ...]] = ("float32",)
    has_texts_beside: ClassVar[bool] = False

    def __init_subclass__(cls) -> None:
        """Enter the format under its name."""
        super().__init_subclass__()
        _formats[cls.name] = cls

    def companions(self, path: Path) -> list[Path]:
        """Return the other files that belong to a file at this path."""
        return []

    def check(self, path: Path, settings: FormatSettings) -> None:
        """Raise a ConfigError where the file cannot be written so."""
        missing = [package for package in self.packages if find_spec(package) is None]
        if missing:
            text = f"`format` {self.name} needs {', '.join(missing)}: pip install 'easy-metric-learning[{self.extra}]'"
            raise ConfigError(text, code="missing-package", parameter="format")
        if settings.precision not in self.precisions:
            allowed = ", ".join(self.precisions)
            text = f"`precision` {settings.precision}: `format` {self.name} is written in {allowed}"
            raise ConfigError(text, code="conflicting-settings", parameter="precision")
        if settings.licence is not None and self.name != "hub":
            text = f"`licence` is for the model card of `format` hub; `format` {self.name} has none"
            raise ConfigError(text, code="conflicting-settings", parameter="licence")
        if not self.suffix:
            refuse_file_name(path, "a folder")
        elif path.suffix.lower() != self.suffix:
            text = f"`out` {path}: `format` {self.name} writes a file that ends in {self.suffix}"
            raise ConfigError(text, code="wrong-suffix", parameter="out")

    @abstractmethod
    def write(self, model: Model, path: Path, settings: FormatSettings) -> str:
        """Write the model to a new path, without facts.

        Returns:
            How its precision was made, in words; empty for float32.

        Raises:
            ConfigError: The model cannot be written in this format; the text says why.
        """

    @abstractmethod
    def write_facts(self, path: Path, facts: ExportFacts) -> None:
        """Put the facts into the file, or replace those that are there."""

    def opened(self, path: Path) -> Any:
        """Return what was written as a model with `embed_pixels`, to be proven; by default as `eml.load` gives it."""
        from eml.inference.any_model import load

        return load(path, device="cpu")

    def reference(self, model: Model) -> Model:
        """Return the model that what was written is compared with: that which was exported, unless it holds less."""
        return model

    @abstractmethod
    def graph_digest(self, path: Path) -> str:
        """Return blake2b-128 of the graph and its weights, which facts do not change."""


def format_names() -> tuple[str, ...]:
    """Return the names of all formats."""
    return tuple(sorted(_formats))


def find_format(name: str | None, path: Path) -> ExportFormat:
    """Return a format by its name, or by the suffix of the file to write.

    Raises:
        ConfigError: There is none.
    """
    if name is None:
        suffix = path.suffix.lower()
        by_suffix = [own for own in _formats.values() if own.suffix == suffix and suffix]
        if by_suffix:
            return by_suffix[0]()
        suffixes = sorted(f"{own.suffix} ({own.name})" for own in _formats.values() if own.suffix)
        text = f"`out` {path}: its ending names no format; use {', '.join(suffixes)}, or give `format`"
        raise ConfigError(text, code="missing-key", parameter="format")
    if name not in _formats:
        text = f"`format` {name!r} is unknown; allowed: {', '.join(format_names())}"
        raise ConfigError(text, code="unknown-choice", parameter="format")
    return _formats[name]()
