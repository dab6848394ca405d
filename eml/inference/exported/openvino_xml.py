"""OpenVINO's two files, read and written as XML and bytes: facts and digest, without the package openvino."""

import hashlib
from pathlib import Path
from xml.etree import ElementTree

from eml.errors import CheckpointError
from eml.files import refuse_pipe
from eml.inference.exported.facts import KEY

_INFO = "rt_info"


def weights_path(path: Path) -> Path:
    """Return the file of the weights of a model."""
    return path.with_suffix(".bin")


def facts_text(path: Path) -> str | None:
    """Return the facts in a model as JSON; None without any.

    Raises:
        CheckpointError: The file cannot be read, or is no XML.
    """
    entry = _read(path).find(f"{_INFO}/{KEY}")
    return None if entry is None else entry.get("value")


def put_facts(path: Path, text: str) -> None:
    """Put the facts into a model, or replace those that are there."""
    root = _read(path)
    info = root.find(_INFO)
    if info is None:
        info = ElementTree.SubElement(root, _INFO)
    for entry in info.findall(KEY):
        info.remove(entry)
    ElementTree.SubElement(info, KEY, {"value": text})
    ElementTree.ElementTree(root).write(path, encoding="utf-8", xml_declaration=True)


def model_digest(path: Path) -> str:
    """Return blake2b-128 of the graph and the weights, 32 hex digits; not of what is noted of them.

    Raises:
        CheckpointError: One of the two files cannot be read.
    """
    root = _read(path)
    for info in root.findall(_INFO):
        root.remove(info)
    hashed = hashlib.blake2b(ElementTree.tostring(root), digest_size=16)
    weights = weights_path(path)
    try:
        refuse_pipe(weights)
        hashed.update(weights.read_bytes())
    except OSError as error:
        raise CheckpointError(f"{weights}: cannot be read: {error.strerror or error}", code="damaged-file") from error
    return hashed.hexdigest()


def _read(path: Path) -> ElementTree.Element:
    try:
        refuse_pipe(path)
        return ElementTree.parse(path).getroot()
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror or error}", code="damaged-file") from error
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise CheckpointError(f"{path}: is cut off, or no XML", code="damaged-file") from error
