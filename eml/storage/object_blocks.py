"""One version of a large object, read at any place: in blocks, which are kept on the local disk and for a while here.

The blocks lie in the cache of whole objects, under its limit, with its digests, and named by the object's version. The
blocks that were read last are in memory too, so that what reads a few bytes after the other, as headers of a tar file
are read, asks neither the place nor the disk each time. Where blocks are read in a row, one request brings several.
"""

import errno
import os
import threading
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import Future
from weakref import WeakSet

from eml.storage.failures import REPLACED, ReplacedObjectError
from eml.storage.object_cache import object_cache
from eml.storage.object_ranges import read_range
from eml.storage.objects import ObjectInfo
from eml.storage.remote_path import RemotePath
from eml.units import MIB

BLOCK = MIB
"""Bytes of a block."""
MOST_AT_ONCE = 8
"""Blocks of a request, where they are read in a row; of a single read of more bytes up to four times as many."""
IN_MEMORY = 64
"""Blocks that a process keeps in memory, over all objects."""


class ObjectBlocks:
    """A version of an object as a file that is read at any place, by several threads at once.

    Its facts are those it is made with; no request asks for them again. When an answer is of another version, this and
    every later read that needs the place is refused; what was kept of this version is still read.

    Args:
        path: The object.
        info: Its version.

    Raises:
        OSError: The place tells no version, or one by a weak ETag alone, or no length, so that parts of two versions
            could not be told apart.
    """

    def __init__(self, path: RemotePath, info: ObjectInfo) -> None:
        if not info.is_exact or info.bytes < 0:
            is_weak = info.bytes >= 0 and info.token
            fact = "its version only by a weak ETag" if is_weak else "no version or no length of it"
            text = f"its place tells {fact}, so it cannot be read in parts; copy it here"
            raise OSError(errno.ENOTSUP, text, str(path))
        self.path, self.info, self.size = path, info, info.bytes
        self.is_replaced = False
        self._reset()
        _opened.add(self)
        self._latest = -1  # block that was read from
        self._next, self._in_row = 0, 1  # block after the last request, and blocks of the next one if it begins there

    def _reset(self) -> None:
        """Forget the requests that are under way."""
        self._lock = threading.Lock()
        self._loading: dict[int, Future[dict[int, bytes]]] = {}

    def read(self, offset: int, count: int) -> bytes:
        """Return the bytes from a place on, fewer only where the object ends. Raises OSError."""
        end = min(offset + count, self.size)
        if end <= offset:
            return b""
        parts, last = list[bytes](), (end - 1) // BLOCK
        for number in range(offset // BLOCK, last + 1):
            start = max(offset - number * BLOCK, 0)
            parts.append(self._part(number, start, min(end - number * BLOCK, BLOCK), last - number + 1))
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def recall(self, name: str) -> bytes | None:
        """Return what `keep` kept of this version under a name, None where there is nothing."""
        cache = object_cache()
        return None if cache is None else cache.get(self.path, self.info, name)

    def keep(self, name: str, data: bytes) -> None:
        """Keep in the cache what was found out about this version."""
        if (cache := object_cache()) is not None:
            cache.put(self.path, self.info, data, name)

    def _part(self, number: int, start: int, end: int, needed: int) -> bytes:
        """Return bytes of a block; `needed`: so many blocks from it on are read by the same caller."""
        is_again, self._latest = number == self._latest, number
        if (block := _memory.get((self, number))) is not None:
            return block[start:end]
        if (cache := object_cache()) is not None:
            if is_again:  # another small read will follow
                block = cache.get(self.path, self.info, _name(number))
                if block is not None:
                    _memory.put((self, number), block)
                    return block[start:end]
            elif (data := cache.get_some(self.path, self.info, _name(number), start, end)) is not None:
                return data
        return self._load(number, needed)[start:end]

    def _load(self, number: int, needed: int) -> bytes:
        """Return a block from the object's place, by a request of this thread or of one that is under way."""
        with self._lock:
            future = self._loading.get(number)
            if future is None:
                if (block := _memory.get((self, number))) is not None:  # another thread has just read it
                    return block
                numbers = self._span(number, needed)
                own: Future[dict[int, bytes]] = Future()
                self._loading |= dict.fromkeys(numbers, own)
        if future is not None:
            return future.result()[number]
        try:
            blocks = self._request(numbers)
        except BaseException as error:
            is_plain = isinstance(error, Exception)
            own.set_exception(error if is_plain else OSError(errno.EINTR, "interrupted", str(self.path)))
            raise
        else:
            own.set_result(blocks)
            return blocks[number]
        finally:
            with self._lock:
                for loaded in numbers:
                    self._loading.pop(loaded, None)

    def _span(self, first: int, needed: int) -> range:
        """Return the blocks to ask for from one on, none of which is here or asked for already."""
        self._in_row = min(2 * self._in_row, MOST_AT_ONCE) if first == self._next and first else 1
        count, cache = min(max(self._in_row, needed), 4 * MOST_AT_ONCE), object_cache()
        last = min(first + count, -(-self.size // BLOCK))
        end = first + 1
        while end < last and end not in self._loading and _memory.get((self, end)) is None:
            if cache is not None and cache.holds(self.path, self.info, _name(end)):
                break
            end += 1
        self._next = end
        return range(first, end)

    def _request(self, numbers: Sequence[int]) -> dict[int, bytes]:
        if self.is_replaced:
            raise ReplacedObjectError(errno.EIO, REPLACED, str(self.path))
        first = numbers[0] * BLOCK
        try:
            data = read_range(self.path, self.info, first, min((numbers[-1] + 1) * BLOCK, self.size))
        except ReplacedObjectError:
            self.is_replaced = True
            raise
        cache, blocks = object_cache(), dict[int, bytes]()
        for place, number in enumerate(numbers):
            blocks[number] = block = data[place * BLOCK : (place + 1) * BLOCK]
            _memory.put((self, number), block)
            if cache is not None:
                cache.put(self.path, self.info, block, _name(number))
        return blocks


_opened: WeakSet[ObjectBlocks] = WeakSet()


def _reset_all() -> None:
    """Let a forked process wait for no request of its parent, whose threads it does not have."""
    for blocks in _opened:
        blocks._reset()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_all)


def _name(number: int) -> str:
    """Return the name of a block in the cache."""
    return f"block {number} of {BLOCK}"


class _Memory:
    """The blocks that were read last."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._reset()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._reset)

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._blocks: OrderedDict[tuple[ObjectBlocks, int], bytes] = OrderedDict()

    def get(self, key: tuple[ObjectBlocks, int]) -> bytes | None:
        with self._lock:
            if (block := self._blocks.get(key)) is not None:
                self._blocks.move_to_end(key)
            return block

    def put(self, key: tuple[ObjectBlocks, int], block: bytes) -> None:
        with self._lock:
            self._blocks[key] = block
            self._blocks.move_to_end(key)
            while len(self._blocks) > self._most:
                self._blocks.popitem(last=False)


_memory = _Memory(IN_MEMORY)
