"""Vectors that were computed before, by encoder and text, beside the data."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from eml.errors import OutputError
from eml.files import whole_file
from eml.images.cache.store import CACHE_FOLDER
from eml.progress import Report

KEY_BYTES = 16
Vectors = dict[bytes, NDArray[np.float32]]
"""Digest of a class's texts → its vector (T,)."""


class VectorCache:
    """A file of vectors that one encoder has computed, which several processes may use at once.

    Args:
        folder: The folder of caches.
        encoder_digest: Of the encoder; another one has another file.
        report: Receives lines for the user.
    """

    def __init__(self, folder: Path, encoder_digest: str, report: Report = lambda line: None) -> None:
        self.path = folder / f"texts-{encoder_digest[: 2 * KEY_BYTES]}.safetensors"
        self._report = report

    def get(self, keys: Sequence[bytes], compute: Callable[[list[int]], NDArray[np.float32]]) -> NDArray[np.float32]:
        """Return the vectors of keys, (N, T).

        Args:
            keys: Digests of texts.
            compute: Called with the indices of the keys that are not stored; returns their vectors. Other processes
                wait meanwhile, and find them stored.
        """
        stored = self._read()
        if all(key in stored for key in keys):
            return np.stack([stored[key] for key in keys])
        with self._locked() as is_kept:
            stored = self._read()
            missing = [index for index, key in enumerate(keys) if key not in stored]
            if missing:
                vectors = compute(missing)
                if any(len(vector) != vectors.shape[1] for vector in stored.values()):  # a file that was changed
                    missing, stored = list(range(len(keys))), {}
                    vectors = compute(missing)
                stored |= {keys[index]: vector for index, vector in zip(missing, vectors, strict=True)}
                if is_kept:
                    self._write(stored)
        return np.stack([stored[key] for key in keys])

    def _read(self) -> Vectors:
        """Return what is stored; nothing of a file that cannot be read, which is written again."""
        try:
            arrays = load_file(self.path)
            keys, vectors = arrays["keys"], arrays["vectors"]
        except (OSError, ValueError, KeyError, TypeError, SafetensorError):  # TypeError: bfloat16
            return {}
        is_whole = keys.dtype == np.uint8 and keys.shape == (len(vectors), KEY_BYTES) and vectors.ndim == 2
        if not is_whole or vectors.dtype != np.float32 or not np.isfinite(vectors).all():
            return {}
        return {bytes(key): vector for key, vector in zip(keys, vectors, strict=True)}

    def _write(self, stored: Vectors) -> None:
        keys = sorted(stored)
        arrays: dict[str, NDArray[Any]] = {
            "keys": np.frombuffer(b"".join(keys), np.uint8).reshape(-1, KEY_BYTES),
            "vectors": np.stack([stored[key] for key in keys]),
        }
        try:
            with whole_file(self.path) as temporary:
                temporary.write_bytes(save(arrays))
        except OutputError as error:
            self._report(f"text vectors are not cached: {error}")

    @contextmanager
    def _locked(self) -> Iterator[bool]:
        """Hold the file's lock; yield False where there can be none, such as in a folder that is only readable."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.path.with_suffix(".lock"))
            try:
                lock.acquire(timeout=0)
            except Timeout:
                self._report(f"waiting for another process, which embeds texts into {self.path}")
                lock.acquire()
        except OSError as error:
            self._report(f"text vectors are not cached: {self.path}: {error.strerror or error}")
            yield False
            return
        try:
            yield True
        finally:
            lock.release()


def remove_vector_caches(folder: Path) -> dict[Path, int]:
    """Remove the caches of text vectors in a folder of caches, and return them with their bytes.

    Raises:
        OutputError: One cannot be removed.
    """
    removed = {}
    for path in sorted(folder.glob("texts-*.safetensors")) if folder.is_dir() else []:
        try:
            size = path.stat().st_size
            path.unlink()
            path.with_suffix(".lock").unlink(missing_ok=True)
            if folder.name == CACHE_FOLDER and not any(folder.iterdir()):
                folder.rmdir()
        except OSError as error:
            raise OutputError(f"{path}: cannot be removed: {error.strerror}", code="not-writable") from error
        removed[path] = size
    return removed
