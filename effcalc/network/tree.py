"""The module tree of a network: which parts there are, and how values pass between them.

A built torch module and the Python code written for a network both follow it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import NamedTuple

from effcalc.base.errors import InputError
from effcalc.network.network import Layer, Network

# What `torch.nn.Module`, and a built network, call their own.
_TAKEN = """
    T_destination add_module apply bfloat16 blocks buffers call_super_init children compile cpu
    cuda double dump_patches eval extra_repr float forward get_buffer get_extra_state
    get_parameter get_submodule half ipu load_state_dict modules mtia named_buffers
    named_children named_modules named_parameters network_name parameters recompute
    register_backward_hook register_buffer register_forward_hook register_forward_pre_hook
    register_full_backward_hook register_full_backward_pre_hook
    register_load_state_dict_post_hook register_load_state_dict_pre_hook register_module
    register_parameter register_state_dict_post_hook register_state_dict_pre_hook requires_grad_
    set_extra_state set_submodule share_memory stages state_dict to to_empty train training type
    xpu zero_grad
"""
RESERVED = frozenset(_TAKEN.split())
"""Names that no part may have."""


class Step(NamedTuple):
    """One call in a part: the child's name, and the slots of the values it reads and makes.

    `last` are those of the reads that no later layer of the network reads.
    """

    child: str
    reads: tuple[int, ...]
    last: frozenset[int]
    makes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Part:
    """A layer, or the layers under one dotted prefix, called in order.

    A part with children takes `inputs` values, those that its layers read from outside in order
    of first use, in its first slots; it returns the slots `results`, which later layers read.
    """

    path: str
    layer: Layer | None = None
    steps: tuple[Step, ...] = ()
    children: Mapping[str, Part] = field(default_factory=dict)
    inputs: int = 0
    slots: int = 0
    results: tuple[int, ...] = ()


def plan(network: Network) -> Part:
    """Return the tree of a network's layers (each run once, so `unroll` the network to run it).

    Raises `InputError` for a name that a torch module cannot give to a part, and `ValueError`
    where the layers of one prefix are not consecutive.
    """
    last = {t.id: i for i, la in enumerate(network.layers) for t in la.inputs}
    last.update((t.id, len(network.layers)) for t in network.outputs)
    return _part("", network.layers, 0, 0, last)


def scheduled(network: Network) -> Network:
    """Set the rate of stochastic depth for each block of an unrolled network.

    A file's rate is that of a block after the last: block i of n, from 0, has rate·i/n. Blocks
    are those of stages that repeat.
    """
    blocks = list(dict.fromkeys(la.block for la in network.layers if la.block != la.stage))
    share = {block: i / len(blocks) for i, block in enumerate(blocks)}
    layers = tuple(
        replace(la, attrs={**la.attrs, "rate": la.attrs["rate"] * share.get(la.block, 1.0)})
        if la.op == "stochastic_depth"
        else la
        for la in network.layers
    )
    return replace(network, layers=layers)


def _part(
    path: str, layers: tuple[Layer, ...], start: int, depth: int, last: dict[int, int]
) -> Part:
    """Return the part of consecutive layers, numbered from `start`, alike in `depth` name parts.

    `last` is the number of the last layer that reads a value.
    """
    entries = _read(layers)
    slots = {value: slot for slot, value in enumerate(entries)}
    children: dict[str, Part] = {}
    steps = []
    end = start
    for name, run in groupby(layers, lambda la: la.name.split(".")[depth]):
        part = tuple(run)
        first, end = end, end + len(part)
        leaf = any(la.name.count(".") == depth for la in part)
        if name in children or (leaf and len(part) > 1):
            raise ValueError(f"{part[0].name}: two modules have this name or a part of it")
        if name in RESERVED or name.startswith("_"):
            raise InputError(f"a torch module cannot have a part named {name!r}; rename the stage")
        below = f"{path}.{name}" if path else name
        if leaf:
            reads, makes = [t.id for t in part[0].inputs], [part[0].outputs[0].id]
            children[name] = Part(below, part[0])
        else:
            reads, makes = _read(part), _made(part, end, last)
            children[name] = _part(below, part, first, depth + 1, last)
        for value in makes:
            slots[value] = len(slots)
        steps.append(
            Step(
                name,
                tuple(slots[v] for v in reads),
                frozenset(slots[v] for v in reads if last[v] < end),
                tuple(slots[v] for v in makes),
            )
        )
    results = tuple(slots[v] for v in _made(layers, end, last))
    return Part(path, None, tuple(steps), children, len(entries), len(slots), results)


def _read(layers: Iterable[Layer]) -> list[int]:
    """Values that layers read from outside, in order of first use."""
    made: set[int] = set()
    read: dict[int, None] = {}
    for layer in layers:
        read.update((t.id, None) for t in layer.inputs if t.id not in made)
        made.update(t.id for t in layer.outputs)
    return list(read)


def _made(layers: Iterable[Layer], end: int, last: dict[int, int]) -> list[int]:
    """Values that layers make and that are read by layer number `end` or later."""
    return [t.id for la in layers for t in la.outputs if last.get(t.id, -1) >= end]
