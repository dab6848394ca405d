"""Text encoders of sentence-transformers: a folder, or a name on the Hugging Face hub."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from eml.config.text import shown
from eml.errors import CheckpointError, ConfigError
from eml.files import digest, is_path, text_digest
from eml.json_files import read_json
from eml.models.hub import why_unreachable
from eml.models.text_tower import MARKS
from eml.texts.encoders.base import TextEncoder

PACKAGE = "sentence_transformers"
OWNER = "sentence-transformers"  # of names without one
OTHER_FORMATS = ("onnx", "openvino")  # folders with the same weights once more
OTHER_WEIGHTS = (*(f"{name}/*" for name in OTHER_FORMATS), "*.h5", "*.ot", "*.msgpack", "*.onnx")
"""Files that are not downloaded."""
MOST_FILES = 1000
DESCRIPTIONS = ("modules.json", "config.json")
"""Files of which a model's folder has one, or both."""


class SentenceTransformers(TextEncoder):
    """A model of sentence-transformers, loaded by that package; code that comes with a model is never run."""

    prefix: ClassVar[str] = "st:"

    @classmethod
    def check(cls, name: str, where: str) -> None:
        """Raise a ConfigError when the package is not installed, or for a path of no folder."""
        super().check(name, where)
        target = name.removeprefix(cls.prefix)
        if find_spec(PACKAGE) is None:
            text = f"`{where}`: st: needs sentence-transformers: pip install 'easy-metric-learning[text]'"
            raise ConfigError(text, code="missing-package", parameter=where)
        is_folder = is_path(target) and Path(target).is_dir()
        if is_folder and not any((Path(target) / name).is_file() for name in DESCRIPTIONS):
            text = f"`{where}`: {target}: has neither {' nor '.join(DESCRIPTIONS)}, so it is no folder of "
            raise ConfigError(f"{text}sentence-transformers", code="missing-file", parameter=where)
        looks_like_path = target.startswith((".", "/", "~", "\\")) or target.count("/") > 1
        if not is_folder and looks_like_path:
            text = (
                f"`{where}`: {target}: no such folder; st: takes a folder of sentence-transformers, or a name on the "
            )
            text += f"Hugging Face hub, such as st:{OWNER}/all-MiniLM-L6-v2"
            raise ConfigError(text, code="missing-folder", parameter=where)

    @cached_property
    def folder(self) -> Path:
        """The folder of the model: as it was named, or in the cache of the hub, where it is downloaded to once.

        Raises:
            CheckpointError: It is not in the cache and cannot be downloaded, or its modules are no ones of the package.
        """
        path = Path(self.target)
        folder = path if is_path(self.target) and path.is_dir() else self._cached() or self._downloaded()
        _refuse_other_modules(folder)
        return folder

    @cached_property
    def digest(self) -> str:
        """The digest of the files that the model is loaded from."""
        files = sorted(path for path in self.folder.rglob("*") if _counts(path.relative_to(self.folder), path))
        if len(files) > MOST_FILES:
            text = f"{self.folder}: has more than {MOST_FILES:,} files, so it is no folder of sentence-transformers"
            raise CheckpointError(text, code="weights-do-not-fit", parameter=self.where)
        return text_digest("\n".join(f"{path.relative_to(self.folder).as_posix()} {digest(path)}" for path in files))

    def too_long(self, texts: Sequence[str]) -> list[str]:
        """Return the texts of which the model cuts off what is beyond its length."""
        most, tokenizer = getattr(self._model, "max_seq_length", None), getattr(self._model, "tokenizer", None)
        if not isinstance(most, int) or tokenizer is None:
            return []
        candidates = [text for text in texts if len(text.encode()) + MARKS > most]
        try:
            return [text for text in candidates if len(tokenizer(text, verbose=False)["input_ids"]) > most]
        except (TypeError, ValueError, KeyError):  # a tokenizer of another kind, such as of words
            return []

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the package's vectors of a batch, (N, T)."""
        vectors = self._model.encode(list(texts), batch_size=len(texts), show_progress_bar=False)
        return np.asarray(vectors, np.float32)

    @cached_property
    def _model(self) -> Any:
        folder = self.folder
        with _quietly():
            from sentence_transformers import SentenceTransformer

            try:
                return SentenceTransformer(
                    str(folder), device=self.device, local_files_only=True, trust_remote_code=False
                )
            except Exception as error:  # a damaged or foreign folder raises errors of many types
                reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
                text = f"`{self.where}`: {folder} cannot be loaded by sentence-transformers: {reason}"
                raise CheckpointError(text, code="weights-do-not-fit", parameter=self.where) from error

    @property
    def _repository(self) -> str:
        return self.target if "/" in self.target else f"{OWNER}/{self.target}"

    def _cached(self) -> Path | None:
        """Return the folder in the cache of the hub; None where it is not there."""
        from huggingface_hub import snapshot_download

        try:
            folder = Path(snapshot_download(self._repository, local_files_only=True))
        except Exception:  # one of several types; the download gives the reason
            return None
        return folder if any((folder / name).is_file() for name in DESCRIPTIONS) else None

    def _downloaded(self) -> Path:
        """Return the folder in the cache of the hub after a download."""
        from huggingface_hub import constants, list_repo_files, snapshot_download

        problem = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else why_unreachable()
        if problem is None:
            try:
                has_safetensors = any(name.endswith(".safetensors") for name in list_repo_files(self._repository))
                skipped = [*OTHER_WEIGHTS, *(["*.bin"] if has_safetensors else [])]
                return Path(snapshot_download(self._repository, ignore_patterns=skipped))
            except Exception as error:  # network, no such repository, no permission: errors of many types
                problem = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        text = f"`{self.where}`: {shown(self.target)} is no folder and not in the cache, {constants.HF_HUB_CACHE}, and "
        text += f"{problem}. Give a folder (st:PATH), or copy the cache of a machine that has it (HF_HOME says where)"
        raise CheckpointError(text, code="weights-unavailable", parameter=self.where)


def _counts(name: Path, path: Path) -> bool:
    """Return whether a file of the folder has a part in the vectors."""
    is_hidden = any(part.startswith(".") for part in name.parts)
    return path.is_file() and not is_hidden and name.suffix.lower() != ".md" and name.parts[0] not in OTHER_FORMATS


def _refuse_other_modules(folder: Path) -> None:
    """Raise a CheckpointError for a model whose modules are classes from elsewhere: its code would be run."""
    file = folder / "modules.json"
    if not file.is_file():
        return
    try:
        modules = read_json(file, list[dict[str, Any]])
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{file}: cannot be read: {error}", code="damaged-file") from error
    others = [str(module.get("type")) for module in modules if not str(module.get("type")).startswith(f"{PACKAGE}.")]
    if others:
        text = (
            f"{file}: has a module {shown(others[0])} that is not one of sentence-transformers; code that comes with "
        )
        raise CheckpointError(f"{text}a model is not run. Give another encoder", code="weights-do-not-fit")


@contextmanager
def _quietly() -> Iterator[None]:
    """Keep the packages' own lines and bars away while a model is loaded."""
    loggers = [logging.getLogger(name) for name in (PACKAGE, "transformers")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    from transformers.utils import logging as transformers_logging

    had_bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if had_bars:
            transformers_logging.enable_progress_bar()
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
