from pathlib import Path

import pytest

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from eml.exporting.precision.sections import find_sections, name_nodes  # noqa: E402
from tests.exporting.precision.graphs import write_network  # noqa: E402


def test_normalisation_and_unit_length_are_told_from_the_network(tmp_path: Path) -> None:
    for projection in (False, True):
        sections = find_sections(onnx.load(write_network(tmp_path / "a.onnx", projection=projection)))
        assert sections.before == {"transpose", "cast", "sub", "div"}
        assert sections.pooled == {"bias"}
        assert sections.length == {"norm", "unit"} | ({"projection"} if projection else set())


def test_pooling_ends_where_two_branches_meet(tmp_path: Path) -> None:
    proto = onnx.load(write_network(tmp_path / "a.onnx"))
    nodes = {node.name: node for node in proto.graph.node}
    nodes["norm"].input[0] = nodes["unit"].input[0] = "joined"
    proto.graph.node.insert(11, onnx.helper.make_node("Add", ["features", "product"], ["joined"], "join"))
    assert not find_sections(proto).pooled


def test_every_step_has_a_name_of_its_own(tmp_path: Path) -> None:
    proto = onnx.load(write_network(tmp_path / "a.onnx"))
    proto.graph.node[0].name = ""
    proto.graph.node[1].name = proto.graph.node[2].name
    name_nodes(proto)
    names = [node.name for node in proto.graph.node]
    assert len(set(names)) == len(names)
    assert "" not in names
