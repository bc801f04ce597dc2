"""The module tree of a network: which parts there are, and how values pass between them.

A built torch module and the Python code written for a network both follow it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import NamedTuple

from effcalc.base.errors import InputError
from effcalc.network.network import Network, OperatorCall

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


class ChildCall(NamedTuple):
    """One call in a part: the child's name, and the slots of the values it reads and makes.

    `last` are those of the reads that no later layer of the network reads.
    """

    child: str
    reads: tuple[int, ...]
    last: frozenset[int]
    makes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ModuleNode:
    """A layer, or the layers under one dotted prefix, called in order.

    A part with children takes `inputs` values, those that its layers read from outside in order
    of first use, in its first slots; it returns the slots `results`, which later layers read.
    """

    path: str
    call: OperatorCall | None = None
    steps: tuple[ChildCall, ...] = ()
    children: Mapping[str, ModuleNode] = field(default_factory=dict)
    inputs: int = 0
    slots: int = 0
    results: tuple[int, ...] = ()


def plan(network: Network) -> ModuleNode:
    """Return the tree of a network's layers (each run once, so `unroll` the network to run it).

    Raises `InputError` for a name that a torch module cannot give to a part, and `ValueError`
    where the layers of one prefix are not consecutive.
    """
    last = {t.id: i for i, call in enumerate(network.calls) for t in call.inputs}
    last.update((t.id, len(network.calls)) for t in network.outputs)
    return _part("", network.calls, 0, 0, last)


def scheduled(network: Network) -> Network:
    """Set the rate of stochastic depth for each block of an unrolled network.

    A file's rate is that of a block after the last: block i of n, from 0, has rate·i/n. Blocks
    are those of stages that repeat.
    """
    blocks = list(dict.fromkeys(call.block for call in network.calls if call.block != call.stage))
    share = {block: i / len(blocks) for i, block in enumerate(blocks)}
    calls = tuple(
        replace(call, attrs={**call.attrs, "rate": call.attrs["rate"] * share.get(call.block, 1.0)})
        if call.op == "stochastic_depth"
        else call
        for call in network.calls
    )
    return replace(network, calls=calls)


def _part(
    path: str, calls: tuple[OperatorCall, ...], start: int, depth: int, last: dict[int, int]
) -> ModuleNode:
    """Return the part of consecutive layers, numbered from `start`, alike in `depth` name parts.

    `last` is the number of the last layer that reads a value.
    """
    entries = _read(calls)
    slots = {value: slot for slot, value in enumerate(entries)}
    children: dict[str, ModuleNode] = {}
    steps = []
    end = start
    for name, run in groupby(calls, lambda call: call.name.split(".")[depth]):
        part = tuple(run)
        first, end = end, end + len(part)
        leaf = any(call.name.count(".") == depth for call in part)
        if name in children or (leaf and len(part) > 1):
            raise ValueError(f"{part[0].name}: two modules have this name or a part of it")
        if name in RESERVED or name.startswith("_"):
            raise InputError(f"a torch module cannot have a part named {name!r}; rename the stage")
        below = f"{path}.{name}" if path else name
        if leaf:
            reads, makes = [t.id for t in part[0].inputs], [part[0].outputs[0].id]
            children[name] = ModuleNode(below, part[0])
        else:
            reads, makes = _read(part), _results(part, end, last)
            children[name] = _part(below, part, first, depth + 1, last)
        for value in makes:
            slots[value] = len(slots)
        steps.append(
            ChildCall(
                name,
                tuple(slots[v] for v in reads),
                frozenset(slots[v] for v in reads if last[v] < end),
                tuple(slots[v] for v in makes),
            )
        )
    results = tuple(slots[v] for v in _results(calls, end, last))
    return ModuleNode(path, None, tuple(steps), children, len(entries), len(slots), results)


def _read(calls: Iterable[OperatorCall]) -> list[int]:
    """Values that calls read from outside, in order of first use."""
    written: set[int] = set()
    read: dict[int, None] = {}
    for call in calls:
        read.update((t.id, None) for t in call.inputs if t.id not in written)
        written.update(t.id for t in call.outputs)
    return list(read)


def _results(calls: Iterable[OperatorCall], end: int, last: dict[int, int]) -> list[int]:
    """Values that calls write and that call number `end` or a later one reads."""
    return [t.id for call in calls for t in call.outputs if last.get(t.id, -1) >= end]
