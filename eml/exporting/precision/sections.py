"""Which steps of a graph stay in float32: the normalisation of pixels, and all from unit length on."""

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

HEAVY = frozenset({"Conv", "ConvTranspose", "MatMul", "Gemm", "Einsum"})
"""Steps that take the time, and that hold the weights."""
_LENGTH = "ReduceL2"
_MOST_AFTER = 1
"""Products after the unit length of embeddings: the projection of a compression. Inside a network there are more."""


@dataclass(frozen=True)
class Sections:
    """Names of steps.

    Attributes:
        before: From the pixels to the first product.
        pooled: After the last product of the network: pooling and what follows it.
        length: From the unit length of embeddings on, with the projection of a compression.
    """

    before: frozenset[str]
    pooled: frozenset[str]
    length: frozenset[str]


def name_nodes(proto: Any) -> None:
    """Give each step of an ONNX model a name of its own."""
    names = [node.name for node in proto.graph.node]
    for number, node in enumerate(proto.graph.node):
        if not node.name or names.count(node.name) > 1:
            node.name = f"{node.op_type}_{number}"


def find_sections(proto: Any) -> Sections:
    """Return the sections of an ONNX model of one network, whose steps have names."""
    nodes = {node.name: node for node in proto.graph.node}
    takers: dict[str, list[str]] = defaultdict(list)
    makers: dict[str, str] = {}
    for name, node in nodes.items():
        for value in node.input:
            takers[value].append(name)
        makers |= dict.fromkeys(node.output, name)

    def after(name: str) -> Iterator[str]:
        return (taker for value in nodes[name].output for taker in takers[value])

    def ahead(name: str) -> Iterator[str]:
        return (makers[value] for value in nodes[name].input if value in makers)

    def is_light(name: str) -> bool:
        return nodes[name].op_type not in HEAVY | {"Shape"}

    def is_pooling(name: str) -> bool:
        """Return whether a step is light and does not join two branches, as the residual stream of a network does."""
        return is_light(name) and not (nodes[name].op_type == "Add" and len(list(ahead(name))) > 1)

    first = [name for value in proto.graph.input for name in takers[value.name]]
    last = [makers[value.name] for value in proto.graph.output if value.name in makers]
    before = _walk(filter(is_light, first), lambda name: filter(is_light, after(name)))
    length: set[str] = set()
    for name in (name for name, node in nodes.items() if node.op_type == _LENGTH):
        behind = _walk([name], after)
        if sum(nodes[step].op_type in HEAVY for step in behind) <= _MOST_AFTER:
            length |= behind
    own = [name for name in length if nodes[name].op_type == _LENGTH]
    start = [step for name in own for step in ahead(name)] or last
    pooled = _walk(filter(is_pooling, start), lambda name: filter(is_pooling, ahead(name)))
    return Sections(frozenset(before - length), frozenset(pooled - before - length), frozenset(length))


def _walk(start: Iterable[str], further: Any) -> set[str]:
    seen, waiting = set(start), deque[str]()
    waiting.extend(seen)
    while waiting:
        for name in further(waiting.popleft()):
            if name not in seen:
                seen.add(name)
                waiting.append(name)
    return seen
