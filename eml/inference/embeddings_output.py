"""The files that `eml embed` writes: X, of one of three formats, and beside it the images that could not be read."""

import contextlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor

from eml.dataset.columns import BOX, whole_number
from eml.dataset.sidecar import Sidecar, read_sidecar, sidecar_path, written_by_eml
from eml.dataset.table import check_outputs, read_columns, write_described, write_rows
from eml.dataset.table_files import NO_PYARROW
from eml.errors import DataError, EmlError, OutputError
from eml.files import digest_of
from eml.inference.array_files import PREFIX, Array, read_arrays
from eml.inference.embed_images import CONTENT, EmbeddedImages
from eml.inference.embedding_store import EmbeddingStore, key_of
from eml.inference.embeddings_file import write_npz
from eml.inference.image_list import ImageList
from eml.models.fingerprint import Fingerprint
from eml.progress import Report
from eml.versions import eml_version

FORMATS = (".parquet", ".npz", ".npy")
FINGERPRINT = "fingerprint"  # the note of the sidecar, and the key of the facts in a Parquet file
METADATA = "eml"
"""The key of a Parquet file's metadata that holds eml's version and the model's fingerprint as JSON."""

_ROW_GROUP = 65_536  # rows that readers take at once, each group by another thread


@dataclass(frozen=True)
class EmbeddingsOutput:
    """X and the files beside it.

    Attributes:
        path: X, which ends in .parquet, .npz or .npy.
    """

    path: Path

    @property
    def table(self) -> Path | None:
        """The rows of an .npy, which are in a file of their own; None for the other formats, which have them inside."""
        return self.path.with_suffix(".csv") if self.path.suffix == ".npy" else None

    @property
    def errors(self) -> Path:
        """The list of the images that could not be read."""
        return self.path.with_name(f"{self.path.stem}_errors.csv")

    @property
    def partial(self) -> Path:
        """What is computed until X is written; hidden, so that no listing of the folder takes it for an image."""
        return self.path.with_name(f".{self.path.name}.eml-embed")

    @property
    def files(self) -> list[Path]:
        """All that may be written, but for `partial`."""
        return [self.path, *([self.table] if self.table else []), self.errors]

    def check(self, *, overwrite: bool, inputs: Mapping[Path, str] | None = None) -> None:
        """Raise an OutputError, before the work, for what cannot be written or is not eml's own to replace."""
        if self.path.suffix not in FORMATS:
            text = f"{self.path}: `out` ends in {', '.join(FORMATS[:-1])} or {FORMATS[-1]}"
            raise OutputError(text, code="wrong-suffix", parameter="out")
        if self.path.suffix == ".parquet":
            try:
                import pyarrow  # noqa: F401
            except ImportError as error:
                text = f"{self.path}: {NO_PYARROW}; or write .npz, which needs nothing"
                raise OutputError(text, code="missing-package", parameter="out") from error
        check_outputs(self.files, inputs=inputs or {}, overwrite=overwrite)

    def earlier(self, fingerprint: Fingerprint, report: Report = lambda line: None) -> EmbeddingStore:
        """Return the embeddings that X holds, where eml wrote it as it is and its model was the same.

        report: Receives a line where X is of another model, which replaces it.
        """
        store = EmbeddingStore(fingerprint.digest, fingerprint.size)
        sidecar = _sidecar_of(self.path)
        noted = sidecar.notes.get(FINGERPRINT) if sidecar is not None else None
        if sidecar is None or not isinstance(noted, dict):
            return store
        if noted.get("digest") != fingerprint.digest:
            report(f"{self.path} is of another model{_difference(fingerprint, noted)}; it will be replaced")
            return store
        if self.table and digest_of(self.table) != sidecar.siblings.get(self.table.name):
            return store
        with contextlib.suppress(EmlError, ValueError, OSError):
            self._add_rows(store)
        return store

    def _add_rows(self, store: EmbeddingStore) -> None:
        embeddings, columns = read_arrays(self.path)
        if self.table:
            names = [CONTENT, *BOX]
            present = pd.read_csv(self.table, nrows=0).columns
            frame = read_columns(self.table, [name for name in names if name in present])
            columns = {str(name): frame[name].to_numpy(object) for name in frame}
        if CONTENT not in columns or embeddings.shape != (len(columns[CONTENT]), store.size):
            return
        boxes = [[whole_number(value) for value in columns[name].tolist()] for name in BOX if name in columns]
        corners = list(zip(*boxes, strict=True)) if len(boxes) == len(BOX) else [()] * len(embeddings)
        keys = []
        for content, box in zip(columns[CONTENT].tolist(), corners, strict=True):
            whole = not box or None in box
            keys.append(key_of(bytes.fromhex(content), None if whole else box))
        store.add(keys, np.ascontiguousarray(embeddings, np.float32))

    def write(
        self,
        images: EmbeddedImages,
        listed: ImageList,
        *,
        command: str,
        overwrite: bool = False,
        warn: Report = lambda line: None,
    ) -> tuple[list[Path], list[Path], list[Path]]:
        """Write X and the list of errors as one deed, then delete what was kept meanwhile.

        Returns the files that were written, those of them that were replaced, and those that were removed: a list of
        errors of an earlier work, where there are none now.

        Raises:
            OutputError: A file cannot be written.
        """
        facts = {
            "eml_version": eml_version(),
            FINGERPRINT: images.fingerprint.model_dump(mode="json"),
        }
        frame, embeddings = _own_names(images.frame), images.embeddings
        writers: dict[Path, Callable[[Path], None]] = {}
        if self.path.suffix == ".parquet":
            writers[self.path] = partial(_write_parquet, frame=frame, embeddings=embeddings, facts=facts)
        elif self.path.suffix == ".npz":
            writers[self.path] = partial(_write_npz, frame=frame, embeddings=embeddings)
        else:
            assert self.table is not None
            writers[self.path] = partial(_write_npy, embeddings=embeddings)
            writers[self.table] = partial(write_rows, frame, path=self.table)
        if len(images.errors):
            writers[self.errors] = partial(write_rows, images.errors, path=self.errors)
        replaced = write_described(
            writers,
            command=command,
            root=listed.root,
            inputs=listed.table.inputs if listed.table else {},
            overwrite=overwrite,
            notes=facts,
            warn=warn,
        )
        removed = [] if len(images.errors) else _remove(self.errors)
        self.partial.unlink(missing_ok=True)
        return [*writers], replaced, removed


def _sidecar_of(path: Path) -> Sidecar | None:
    """Return the sidecar of a file that is as eml wrote it last, None for any other."""
    try:
        sidecar = read_sidecar(path)
    except DataError:
        return None
    return sidecar if sidecar is not None and digest_of(path) == sidecar.digest else None


def _difference(fingerprint: Fingerprint, noted: dict[str, Any]) -> str:
    try:
        return f" ({Fingerprint.model_validate(noted).difference_from(fingerprint)})"
    except ValueError:  # of another version of eml
        return ""


def _remove(path: Path) -> list[Path]:
    """Remove a table that eml wrote, with its sidecar, if it is there."""
    if not written_by_eml(path):
        return []
    path.unlink()
    sidecar_path(path).unlink(missing_ok=True)
    return [path]


def _own_names(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the frame with columns of the user's that are named as those of embeddings under another name."""
    renamed = {name: f"own_{name}" for name in frame.columns if name.startswith(PREFIX) or name in _TAKEN}
    return frame.rename(columns=renamed)


_TAKEN = ("embedding", "embeddings")


def _write_parquet(path: Path, frame: pd.DataFrame, embeddings: Tensor, facts: dict[str, Any]) -> None:
    """Write a column of fixed-size lists of float32 beside the columns of the frame, which are plain."""
    import pyarrow
    import pyarrow.parquet

    table = pyarrow.Table.from_pandas(_plain(frame), preserve_index=False)
    for place, name in enumerate(table.column_names):
        if pyarrow.types.is_null(table.schema.field(name).type):  # which some readers do not know
            table = table.set_column(place, name, table[name].cast(pyarrow.string()))
    lists = pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(embeddings.numpy().reshape(-1)), embeddings.shape[1])
    plain = [*table.column_names]
    table = table.append_column("embedding", lists).replace_schema_metadata({METADATA: json.dumps(facts)})
    pyarrow.parquet.write_table(table, path, row_group_size=_ROW_GROUP, use_dictionary=plain)


def _write_npz(path: Path, frame: pd.DataFrame, embeddings: Tensor) -> None:
    texts, arrays = {}, dict[str, Array]()
    for name in frame.columns:
        column = frame[name]
        if pd.api.types.is_bool_dtype(column) or pd.api.types.is_numeric_dtype(column):
            arrays[name] = _numbers(column)
        else:
            texts[name] = column.astype(str).where(column.notna(), "").tolist()
    write_npz(path, {"embeddings": embeddings.numpy(), **arrays}, texts)


def _numbers(column: "pd.Series[Any]") -> Array:
    """Return numbers or flags as plain ones, those with blanks as decimal numbers, NaN where one is."""
    if column.isna().any():
        return column.to_numpy(np.float64, na_value=np.nan)
    if pd.api.types.is_bool_dtype(column):
        return column.to_numpy(bool)
    return column.to_numpy(np.int64) if pd.api.types.is_integer_dtype(column) else column.to_numpy(np.float64)


def _write_npy(path: Path, embeddings: Tensor) -> None:
    with path.open("wb") as file:
        np.lib.format.write_array(file, embeddings.numpy(), allow_pickle=False)


def _plain(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the frame with columns of mixed values as text."""
    mixed = [
        name
        for name in frame.columns
        if frame[name].dtype == object and pd.api.types.infer_dtype(frame[name], skipna=True).startswith("mixed")
    ]
    return frame.assign(**{name: frame[name].astype(str).where(frame[name].notna(), None) for name in mixed})
