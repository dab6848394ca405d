"""Tar files: shards of webdataset (`KEY.jpg` with `KEY.cls`, `.json` or `.txt`), and plain ones of CLASS/name.jpg.

An image is one read at its place. The places are found by one look at all headers, and kept in 24 bytes a member.
"""

import io
import json
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from eml.images.name_search import SUFFIXES
from eml.images.packed.contents import Contents, PackedProblem
from eml.images.packed.keys import KeyIndex, is_hidden, key_digests, key_problem, normal_key, shown_key
from eml.images.packed.random_access import RandomFile, Section
from eml.images.packed.tar_headers import TarEndsError, TarMember, members

_KEPT_AS = "places of tar members, 1"
_MOST_OF_LABEL = 2**20  # bytes of a file beside an image that are read for its label
_LONGEST_LABEL = 1_000  # characters; a longer .txt is a caption
MOST_COLUMNS = 1_000
"""Columns that the .json files of a tar file's images make; the others are left out."""
_LABEL_KEYS = ("label", "cls", "class")
_NO_IMAGES = {
    "link": ("not_an_image", "a link within a tar file, which is not followed"),
    "device": ("not_an_image", "a pipe, socket or device, not a file"),
    "sparse": ("unsupported", "stored with holes, as sparse files are; pack it without"),
}


class TarFile:
    """A tar file with images, in which a member is found by the digest of its name.

    The headers are read when the first member is asked for, or with the contents; what they say is kept where the file
    keeps things (`RandomFile.keep`), so that the next process need not read them.

    Args:
        file: The tar file.
    """

    def __init__(self, file: RandomFile) -> None:
        self._file, self._lock = file, threading.Lock()
        self._places: _Places | None = None

    def has(self, key: str) -> bool:
        """Implement PackedFile."""
        try:
            self._place(key)
        except KeyError:
            return False
        return True

    def size(self, key: str) -> int | None:
        """Implement PackedFile."""
        return self._place(key)[1]

    def read(self, key: str) -> bytes:
        """Implement PackedFile."""
        offset, size = self._place(key)
        if offset + size > self._file.size:
            raise EOFError("the tar file ends within it")
        return self._file.read(offset, size)

    def open(self, key: str) -> IO[bytes]:
        """Implement PackedFile."""
        offset, size = self._place(key)
        return io.BufferedReader(Section(self._file, offset, size))

    def contents(self) -> Contents:
        """Implement PackedFile."""
        listed = _Listed(self._file)
        with self._lock:
            if self._places is None:
                self._places = _Places.of(listed.places)
                self._file.keep(_KEPT_AS, self._places.to_bytes())
        return listed.contents()

    def _place(self, key: str) -> tuple[int, int]:
        """Return offset and size of the last member of a name, which is what unpacking leaves."""
        if self._places is None:
            with self._lock:
                if self._places is None:
                    self._places = _found_places(self._file)
        return self._places.find(key)


class _Places:
    """The places of the members of a tar file.

    Args:
        digests: (N,) of their names.
        offsets: (N,) in the file.
        sizes: (N,) in bytes.
    """

    def __init__(self, digests: NDArray[np.uint64], offsets: NDArray[np.int64], sizes: NDArray[np.int64]) -> None:
        self._digests, self._offsets, self._sizes = digests, offsets, sizes
        self._keys = KeyIndex.of_digests(digests)

    @classmethod
    def of(cls, pairs: Sequence[tuple[str, tuple[int, int]]]) -> "_Places":
        """Return the places of members by their names: offset and size."""
        places = np.array([place for _, place in pairs], np.int64).reshape(-1, 2).T.copy()
        return cls(key_digests([name for name, _ in pairs]), *places)

    @classmethod
    def of_bytes(cls, data: bytes) -> "_Places":
        """Return what gave these bytes."""
        values = np.frombuffer(data, "<i8").reshape(3, -1)
        return cls(values[0].view("<u8"), values[1], values[2])

    def to_bytes(self) -> bytes:
        """Return digests, offsets and sizes, one after the other."""
        return self._digests.tobytes() + self._offsets.tobytes() + self._sizes.tobytes()

    def find(self, key: str) -> tuple[int, int]:
        """Return offset and size of the last member of a name. Raises KeyError."""
        place = self._keys.find(key)
        return self._offsets.item(place), self._sizes.item(place)


def _found_places(file: RandomFile) -> _Places:
    """Return where the members lie, as it was kept, else as the headers say."""
    if (kept := file.recall(_KEPT_AS)) is not None:
        return _Places.of_bytes(kept)
    pairs: list[tuple[str, tuple[int, int]]] = []
    with suppress(TarEndsError):  # `contents` says so
        for member in members(file):
            if member.kind == "file":
                pairs.append((normal_key(member.name), (member.offset, member.size)))
    places = _Places.of(pairs)
    file.keep(_KEPT_AS, places.to_bytes())
    return places


class _Listed:
    """The members of a tar file by their names: images, what lies beside them, and what cannot be used."""

    def __init__(self, file: RandomFile) -> None:
        self._file = file
        self.files: dict[str, TarMember] = {}
        self.places: list[tuple[str, tuple[int, int]]] = []
        self.problems: list[PackedProblem] = []
        try:
            for member in members(file):
                self._add(member)
        except TarEndsError as error:
            self.problems.append(PackedProblem("", error.reason, f"it {error.detail}"))

    def _add(self, member: TarMember) -> None:
        if member.kind == "folder":
            return
        key = normal_key(member.name)
        if member.kind == "file":
            self.places.append((key, (member.offset, member.size)))
        problem = key_problem(key)
        if problem is None and member.kind in _NO_IMAGES:
            problem = PackedProblem(key, *_NO_IMAGES[member.kind])
        if problem is not None:
            self.problems.append(problem)
            return
        if key in self.files:
            text = "the tar file has this name more than once; the last one is used, as unpacking would leave it"
            self.problems.append(PackedProblem(shown_key(key), "unusable_name", text))
        self.files.pop(key, None)
        self.files[key] = member

    def contents(self) -> Contents:
        """Return the images with what lies beside them."""
        named = {key: _sample(key) for key in self.files if _has_image_suffix(key)}
        samples = set(named.values())
        beside: dict[str, dict[str, TarMember]] = {}
        images: dict[str, str] = {}
        for key, member in self.files.items():
            sample = named.get(key) or _sample(key)
            if key not in named and sample in samples:
                beside.setdefault(sample, {})[key[len(sample) + 1 :].lower()] = member
            elif member.size or key not in named or is_hidden(key):
                images[key] = sample  # of what is no image, its bytes decide, as in a folder
            else:  # known without a look at each, which a file of a million of them would make long
                self.problems.append(PackedProblem(key, "empty", "0 bytes"))
        contents = Contents(list(images), problems=self.problems)
        facts = [self._facts(beside.get(sample, {})) for sample in images.values()]
        contents.labels = [_label(own) for own in facts]
        contents.columns, left_out = _columns([own.get("json") for own in facts])
        if left_out:
            text = f"its .json files name {MOST_COLUMNS + len(left_out):,} columns; {MOST_COLUMNS:,} are read, and not "
            shown = ", ".join(repr(name[:50]) for name in left_out[:3])
            contents.problems.append(PackedProblem("", "too_large", f"{text}{shown}{' …' * (len(left_out) > 3)}"))
        return contents

    def _facts(self, beside: dict[str, TarMember]) -> dict[str, Any]:
        """Return what the files beside an image say."""
        facts: dict[str, Any] = {}
        for kind in ("json", "cls", "txt"):
            member = beside.get(kind)
            if member is None or member.size > _MOST_OF_LABEL or member.offset + member.size > self._file.size:
                continue
            try:
                text = self._file.read(member.offset, member.size).decode()
                facts[kind] = json.loads(text) if kind == "json" else text.strip()
            except (ValueError, RecursionError):
                continue
        return facts


def _label(facts: dict[str, Any]) -> str | None:
    """Return the label of an image: of its .json, else its .cls, else its .txt."""
    own = facts.get("json")
    named = own if isinstance(own, dict) else {}
    for name in _LABEL_KEYS:
        value = named.get(name)
        if isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool)):
            return str(value)
    for kind in ("cls", "txt"):
        text = facts.get(kind)
        if text is not None and "\n" not in text and len(text) <= _LONGEST_LABEL:
            return str(text)
    return None


def _columns(facts: list[Any]) -> tuple[dict[str, list[Any]], list[str]]:
    """Return the plain values that the .json files of images hold beside the label, and the columns left out."""
    own = [fact if isinstance(fact, dict) else {} for fact in facts]
    names = dict.fromkeys(name for fact in own for name, value in fact.items() if _is_plain(value))
    kept = [name for name in names if name and name not in _LABEL_KEYS]
    columns = {
        name: [fact.get(name) if _is_plain(fact.get(name)) else None for fact in own] for name in kept[:MOST_COLUMNS]
    }
    return columns, kept[MOST_COLUMNS:]


def _is_plain(value: object) -> bool:
    return isinstance(value, str | int | float | bool)


def _sample(key: str) -> str:
    """Return the name of the sample that a member belongs to, as webdataset has it: up to the first dot of its name."""
    folder, slash, name = key.rpartition("/")
    stem, dot, _ = name.partition(".")
    return folder + slash + stem if stem and dot else key


def _has_image_suffix(key: str) -> bool:
    dot = key.rfind(".")
    return dot > 0 and key[dot:].lower() in SUFFIXES
