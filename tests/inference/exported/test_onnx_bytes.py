from pathlib import Path

import pytest

from eml.errors import CheckpointError
from eml.inference.exported.onnx_bytes import graph_digest, put_facts, read_metadata

GRAPH = b"\x3a\x03abc"  # field 7, of 3 bytes
METADATA = b"\x72\x02xy"  # field 14


def test_metadata_does_not_change_the_digest_and_the_graph_does(tmp_path: Path) -> None:
    digests = []
    for data in (GRAPH, GRAPH + METADATA, METADATA + GRAPH, b"\x3a\x03abd" + METADATA, b"\x08\x0a" + GRAPH):
        file = tmp_path / "a.onnx"
        file.write_bytes(data)
        digests.append(graph_digest(file))
    assert digests[0] == digests[1] == digests[2]
    assert len(set(digests)) == 3


def test_metadata_are_read_without_the_package_onnx(tmp_path: Path) -> None:
    file = tmp_path / "a.onnx"
    file.write_bytes(b"\x72\x08\x0a\x01a\x12\x03\xc3\xa4b" + GRAPH + b"\x72\x03\x0a\x01e")  # entries of a and e
    assert read_metadata(file) == {"a": "äb", "e": ""}


@pytest.mark.parametrize("data", [GRAPH[:-1], b"\x3a\xff\xff\xff", b"\x3b", b"\xff" * 12])
def test_a_cut_file_is_told(data: bytes, tmp_path: Path) -> None:
    file = tmp_path / "a.onnx"
    file.write_bytes(data)
    with pytest.raises(CheckpointError):
        graph_digest(file)
    with pytest.raises(CheckpointError):
        graph_digest(tmp_path / "none.onnx")
    for path in (file, tmp_path / "none.onnx"):
        with pytest.raises(CheckpointError):
            read_metadata(path)


def test_facts_are_put_in_and_replaced_and_all_other_bytes_stay(tmp_path: Path) -> None:
    file = tmp_path / "a.onnx"
    file.write_bytes(METADATA + GRAPH)
    put_facts(file, "x" * 300)
    assert file.read_bytes() == METADATA + GRAPH + b"\x72\xb4\x02\x0a\x03eml\x12\xac\x02" + b"x" * 300
    put_facts(file, "")
    assert file.read_bytes() == METADATA + GRAPH + b"\x72\x07\x0a\x03eml\x12\x00"
    file.write_bytes(GRAPH[:-1])
    with pytest.raises(CheckpointError):
        put_facts(file, "x")
