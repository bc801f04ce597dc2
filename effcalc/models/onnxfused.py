"""Which nodes of an ONNX file are in each node of the graph that onnxruntime made of it.

onnxruntime fuses, splits and folds nodes and changes layouts. What remains keeps the names of the
file: a node that computes a value of the file has the value's name as an output, or as its own
name with a suffix (`relu_nchwc`, `node_MatMul_29/MatMulAddFusion`). From there the file's graph is
followed backwards, up to values that another node computes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

_OF_SHAPES = ("Shape", "Size")
_SUFFIXES = ("_nchwc", "_nhwc", "/")
_SUMMAND = 3
"""The input of a fused convolution that is added to its result."""


def fused_nodes(graph: Any, optimized: Any) -> list[tuple[int, ...]]:
    """Return for each node of an optimized graph the numbers of the file's nodes that it runs.

    Each node of the file is in one node at most. A node that onnxruntime inserted (a change of
    layout) has those of the node that reads its result, else of the one that makes its input; it
    has none where there is neither.
    """
    follower = _Follower(graph, optimized.node)
    nodes = [follower.follow(i) for i in range(len(optimized.node))]
    by_output = {n: i for i, node in enumerate(optimized.node) for n in node.output if n}
    readers: dict[str, int] = {}
    for i, node in enumerate(optimized.node):
        for name in node.input:
            readers.setdefault(name, i)
    for i in reversed(range(len(nodes))):
        outputs = optimized.node[i].output
        reader = next((readers[n] for n in outputs if n in readers), None)
        nodes[i] = nodes[i] or (nodes[reader] if reader is not None else ())
    for i, node in enumerate(optimized.node):
        maker = next((by_output[n] for n in node.input if n in by_output), None)
        nodes[i] = nodes[i] or (nodes[maker] if maker is not None else ())
    return nodes


@dataclass
class _Follower:
    """Follows the file's graph backwards from what each node of the optimized one computes."""

    graph: Any
    optimized: Sequence[Any]
    makers: dict[str, int] = field(default_factory=dict)
    by_name: dict[str, int] = field(default_factory=dict)
    owners: dict[int, int] = field(default_factory=dict)
    fused: dict[int, tuple[int, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        weights = {t.name for t in self.graph.initializer}
        data = {v.name for v in self.graph.input} - weights
        self._on_data: set[int] = set()  # the others follow from shapes and constants
        for i, node in enumerate(self.graph.node):
            self.makers |= {n: i for n in node.output if n}
            if node.name:
                self.by_name[node.name] = i
            if node.op_type not in _OF_SHAPES and data.intersection(node.input):
                self._on_data.add(i)
                data.update(node.output)
        self._starts = [self._computes(node) for node in self.optimized]
        self._computed = {i for starts in self._starts for i in starts}

    def _computes(self, node: Any) -> list[int]:
        """Return the file's nodes whose results a node computes, by the names that it keeps."""
        by_output = [self.makers[n] for n in node.output if n in self.makers]
        if by_output:
            return by_output
        starts = list(self._by_own_name(node.name))
        return [*starts, *self._joined_later(node, starts[0])] if starts else []

    def _by_own_name(self, name: str) -> Iterator[int]:
        if name in self.by_name:
            yield self.by_name[name]
            return
        for suffix in _SUFFIXES:
            value = name[: name.rfind(suffix)] if suffix in name else ""
            if value in self.makers or value in self.by_name:
                yield self.makers.get(value, self.by_name.get(value, -1))
                return

    def _joined_later(self, node: Any, start: int) -> Iterator[int]:
        """Yield what was fused into a convolution after it got its name: a sum, an activation."""
        fused = [a.s.decode(errors="replace") for a in node.attribute if a.name == "activation"]
        if len(node.input) > _SUMMAND and node.input[_SUMMAND]:
            fused.insert(0, "Add")
        for op in fused:
            outputs = set(self.graph.node[start].output)
            readers = [i for i in self._on_data if outputs.intersection(self.graph.node[i].input)]
            readers = [i for i in readers if self.graph.node[i].op_type == op]
            if len(readers) != 1:
                return
            start = readers[0]
            yield start

    def follow(self, number: int) -> tuple[int, ...]:
        """Claim the file's nodes for a node of the optimized graph."""
        starts = self._starts[number]
        claimed: list[int] = []
        pending = [i for i in starts if i not in self.owners]
        while pending:
            i = pending.pop()
            if i in self.owners:
                continue
            self.owners[i] = number
            claimed.append(i)
            for name in self.graph.node[i].input:
                maker = self.makers.get(name)
                if maker in self._on_data and maker not in self._computed:
                    pending.append(maker)
        if not claimed and starts:  # it writes again what another node computed: a layout
            return self.fused[self.owners[starts[0]]]
        self.fused[number] = tuple(sorted(claimed))
        return self.fused[number]


def joined_name(names: Sequence[str]) -> str:
    """Return one name for several layers: `layer1.0.conv1+bn1+relu`.

    What they have in front in common is written once. A module that holds another one of them
    is left out.
    """
    unique = list(dict.fromkeys(names))
    unique = [n for n in unique if not any(o.startswith(f"{n}.") or (o and not n) for o in unique)]
    paths = [name.split(".") for name in unique]
    shared = 0
    while all(len(path) > shared + 1 and path[shared] == paths[0][shared] for path in paths):
        shared += 1
    rests = [".".join(path[shared:]) for path in paths]
    return ".".join([*paths[0][:shared], "+".join(rests)])
