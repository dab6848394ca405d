"""The bytes of an ONNX file by the fields of its model, as protobuf has them: without the package onnx."""

import hashlib
from collections.abc import Iterator
from mmap import ACCESS_READ, mmap
from pathlib import Path

from eml.errors import CheckpointError
from eml.files import refuse_pipe
from eml.inference.exported.facts import KEY

METADATA = 14
"""The number of `metadata_props` in ModelProto (onnx/onnx.proto)."""
_KEY, _VALUE = 1, 2  # of an entry, StringStringEntryProto
_LENGTHS = {1: 8, 5: 4}  # bytes of a value by wire type, where that says it


def graph_digest(path: Path) -> str:
    """Return blake2b-128 of all fields of an ONNX file but its metadata, 32 hex digits.

    Raises:
        CheckpointError: The file cannot be read, or is no protobuf message.
    """
    try:
        refuse_pipe(path)
        data = memoryview(path.read_bytes())
        hashed = hashlib.blake2b(digest_size=16)
        for number, first, _, last in _fields(data):
            if number != METADATA:
                hashed.update(data[first:last])
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror or error}", code="damaged-file") from error
    except (IndexError, ValueError) as error:
        raise CheckpointError(f"{path}: is cut off, or no ONNX file", code="damaged-file") from error
    return hashed.hexdigest()


def read_metadata(path: Path) -> dict[str, str]:
    """Return the metadata of an ONNX file, without reading its weights.

    Raises:
        CheckpointError: The file cannot be read, or is no protobuf message.
    """
    entries: dict[str, str] = {}
    try:
        refuse_pipe(path)
        with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as mapped, memoryview(mapped) as data:
            for number, _, start, last in _fields(data):
                if number == METADATA:
                    with data[start:last] as entry:
                        texts = {own: bytes(entry[first:end]).decode() for own, _, first, end in _fields(entry)}
                    entries[texts.get(_KEY, "")] = texts.get(_VALUE, "")
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror or error}", code="damaged-file") from error
    except (IndexError, ValueError) as error:
        raise CheckpointError(f"{path}: is cut off, or no ONNX file", code="damaged-file") from error
    return entries


def put_facts(path: Path, text: str) -> None:
    """Put the facts into the metadata of an ONNX file, or replace those that are there; the other bytes stay.

    Raises:
        CheckpointError: It is no protobuf message.
    """
    data = memoryview(path.read_bytes())
    key = _field(_KEY, KEY.encode())
    try:
        kept = [
            data[first:last]
            for number, first, start, last in _fields(data)
            if number != METADATA or data[start : start + len(key)] != key
        ]
    except (IndexError, ValueError) as error:
        raise CheckpointError(f"{path}: is cut off, or no ONNX file", code="damaged-file") from error
    with path.open("wb") as file:
        file.writelines(kept)
        file.write(_field(METADATA, key + _field(_VALUE, text.encode())))


def _field(number: int, value: bytes) -> bytes:
    """Return a field of bytes or text."""
    return _written(number << 3 | 2) + _written(len(value)) + value


def _written(value: int) -> bytes:
    """Return a number as a varint."""
    written = bytearray()
    while value > 127:
        written.append(value & 127 | 128)
        value >>= 7
    return bytes([*written, value])


def _fields(data: memoryview) -> Iterator[tuple[int, int, int, int]]:
    """Yield number, first byte, first byte of the value and last + 1 byte of each field of a message.

    Protocol Buffers encoding: a field is a varint of number · 8 + wire type, and a value.
    """
    place = 0
    while place < len(data):
        first = place
        key, place = _varint(data, place)
        kind, start = key & 7, place
        if kind == 0:
            _, place = _varint(data, place)
        elif kind == 2:
            length, start = _varint(data, place)
            place = start + length
        elif kind in _LENGTHS:
            place += _LENGTHS[kind]
        else:
            raise ValueError(f"wire type {kind}")
        if place > len(data):
            raise ValueError("cut off")
        yield key >> 3, first, start, place


def _varint(data: memoryview, place: int) -> tuple[int, int]:
    """Return a varint and the place after it."""
    value = shift = 0
    while True:
        byte = data[place]
        place += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, place
        shift += 7
        if shift > 63:
            raise ValueError("a number of more than 64 bits")
