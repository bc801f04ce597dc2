"""The one description of a network that every figure is computed from.

A `Network` holds its operator calls in order. One that effcalc scales from an architecture file
and one that it traces from a torch model are the same value, so nothing downstream asks where a
network came from. Shapes are in torch's order (N, C, H, W).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, NamedTuple

from effcalc.base.display import figures_of, shown
from effcalc.base.units import format_count

Shape = tuple[int, ...]


class Tensor(NamedTuple):
    """A value that an operator reads or makes.

    `storage` names the memory behind it: a view and an in-place result share their source's.
    `param` is the key of the parameter or buffer whose memory it is, "" for an activation.
    """

    id: int
    shape: Shape
    dtype: str = "float32"
    storage: int = -1
    param: str = ""

    @property
    def numel(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


class Param(NamedTuple):
    """A parameter, or a buffer, by identity: `key` is equal where the memory is shared."""

    key: str
    shape: Shape
    dtype: str = "float32"
    trainable: bool = True
    buffer: bool = False

    @property
    def numel(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class OperatorCall:
    """One operator call, or `count` calls alike in consecutive identical blocks.

    `operands` are the tensors in the operator's own order, weights among them; `params` are the
    parameters and buffers of its module, read by the operator or not (a batch norm's step
    counter is not). Names are dotted paths; `block` is the path of the block that repeats, whose
    last part is the number of the first of the `count` blocks.
    """

    name: str
    op: str
    operands: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    params: tuple[Param, ...] = ()
    attrs: Mapping[str, Any] = field(default_factory=dict)
    memory: Literal["new", "inplace", "view"] = "new"
    stage: str = ""
    block: str = ""
    count: int = 1

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """The operands that are activations."""
        return tuple(t for t in self.operands if not t.param)


@dataclass(frozen=True, repr=False)
class Network:
    """Operator calls in execution order, from inputs to outputs.

    `deaths` maps a storage to the index of the last layer during which it is alive, and
    `storage_bytes` to its size, where a trace observed them; without them a storage dies after
    its last use and is as large as the first tensor in it.
    `uncounted` lists operators without a formula, with the number of calls: never zero in silence.
    `uncalled` lists modules that a trace never entered.
    """

    name: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    calls: tuple[OperatorCall, ...]
    deaths: Mapping[int, int] = field(default_factory=dict)
    storage_bytes: Mapping[int, int] = field(default_factory=dict)
    uncounted: Mapping[str, int] = field(default_factory=dict)
    uncalled: tuple[str, ...] = ()
    training: bool = False
    notes: tuple[str, ...] = ()

    @cached_property
    def figures(self) -> Any:
        """Totals, for one pass over its batch: `weights`, `cost` and activations."""
        return figures_of(self)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of convolutions, linear layers and matrix products."""
        return int(self.figures.cost.macs)

    @property
    def flops(self) -> int:
        """2 x MACs, plus arithmetic that is neither multiply-accumulate nor element-wise."""
        return int(self.figures.cost.flops)

    @property
    def params(self) -> int:
        """Parameters, a shared one once."""
        return int(self.figures.weights.params)

    @property
    def weight_bytes(self) -> int:
        """Bytes of the parameters, each in its own dtype."""
        return int(self.figures.weights.weight_bytes)

    @property
    def activation_bytes(self) -> int:
        """Bytes that all operators together allocate for results, in-place ones once."""
        return int(self.figures.activation_bytes)

    @property
    def peak_activation_bytes(self) -> int:
        """The most activation bytes alive at once in evaluation, the input included."""
        return int(self.figures.peak_activation_bytes)

    def __repr__(self) -> str:
        calls = sum(call.count for call in self.calls)
        figures = f"{format_count(self.params)} parameters, {format_count(self.macs)} MACs"
        return f"<Network {self.name!r}: {figures}, {calls:,} operator calls>"

    def __str__(self) -> str:
        return str(shown(self).render())

    def _repr_html_(self) -> str | None:
        html: str | None = shown(self)._repr_html_()
        return html

    def _repr_markdown_(self) -> str | None:
        markdown: str | None = shown(self)._repr_markdown_()
        return markdown


def repeated_name(call: OperatorCall) -> str:
    """Name of a layer for people: `stage3.1-4.expand.conv` stands for blocks 1 to 4."""
    if call.count == 1 or not call.block:
        return call.name
    head, _, first = call.block.rpartition(".")
    return f"{head}.{first}-{int(first) + call.count - 1}{call.name[len(call.block) :]}"


def unroll(network: Network) -> Network:
    """Write out repeated blocks: every layer of the result has `count` 1.

    Each copy has tensors of its own and reads what the copy before it wrote, so the result is the
    graph that really runs.
    """
    return _write_out(network, lambda count: [(i, 1) for i in range(count)])


def spread(network: Network) -> Network:
    """Write out the first and the last of repeated blocks; those between remain one with a count.

    So what depends on a block's neighbours is seen once in each way that it occurs, whatever the
    depth.
    """
    return _write_out(
        network,
        lambda count: (
            [(i, 1) for i in range(count)]
            if count <= 3
            else [(0, 1), (1, count - 2), (count - 1, 1)]
        ),
    )


def _write_out(network: Network, copies: Callable[[int], list[tuple[int, int]]]) -> Network:
    """Write out repeated blocks as copies, each (number of the first repeat, count)."""
    calls: list[OperatorCall] = []
    used = [max(t.id, t.storage) for call in network.calls for t in call.outputs]
    numbers = itertools.count(max(used, default=0) + 1)
    for block, run in itertools.groupby(network.calls, lambda call: (call.block, call.count)):
        body = tuple(run)
        if block[1] == 1:
            calls += body
            continue
        written = {t.id for call in body for t in call.outputs}
        entry = next(t for call in body for t in call.inputs if t.id not in written)
        x = entry
        for first, count in copies(block[1]):
            # The last copy keeps the ids that later layers refer to.
            is_last = first + count == block[1]
            copy = _copy_block(body, entry, x, first, count, None if is_last else numbers)
            calls += copy
            x = copy[-1].outputs[0]
    return replace(network, calls=tuple(calls))


def _copy_block(
    body: tuple[OperatorCall, ...],
    entry: Tensor,
    x: Tensor,
    offset: int,
    count: int,
    numbers: Iterator[int] | None,
) -> list[OperatorCall]:
    """Copy a block's layers for `count` repeats from number `offset`; `x` replaces `entry`."""
    old = body[0].block
    head, _, number = old.rpartition(".")
    new = f"{head}.{int(number) + offset}"
    values = {entry.id: x}
    storages = {entry.storage: x.storage}

    def renamed(key: str) -> str:
        return new + key[len(old) :]

    copies = []
    for call in body:
        operands = tuple(
            t._replace(param=renamed(t.param)) if t.param else values[t.id] for t in call.operands
        )
        for t in call.outputs:
            storage = storages.setdefault(t.storage, next(numbers) if numbers else t.storage)
            values[t.id] = t._replace(id=next(numbers) if numbers else t.id, storage=storage)
        copies.append(
            replace(
                call,
                name=renamed(call.name),
                operands=operands,
                outputs=tuple(values[t.id] for t in call.outputs),
                params=tuple(p._replace(key=renamed(p.key)) for p in call.params),
                block=new,
                count=count,
            )
        )
    return copies
