"""Writes a network as a Python module that imports torch alone."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from effcalc.base.errors import InputError, one_line
from effcalc.base.version import __version__
from effcalc.models.pycode.definition import Instance, Signature, default_of, define, is_chain
from effcalc.models.pycode.text import class_text, function_text, row_text
from effcalc.network.blocks import BLOCKS
from effcalc.network.network import Network, OperatorCall
from effcalc.network.ops import OPS, TorchFunction, TorchModule
from effcalc.network.tree import ModuleNode, plan
from effcalc.scaling.scale import Scaled

_TORCH = Path(__file__).parents[1]
_OWN = "effcalc.models.modules:"


@dataclass(slots=True)
class _Written:
    """What is written so far: texts of definitions, their defaults, and how parts are made."""

    texts: list[str] = field(default_factory=list)
    known: dict[str, Signature] = field(default_factory=dict)
    how: dict[str, TorchModule | TorchFunction] = field(default_factory=dict)
    copied: dict[str, None] = field(default_factory=dict)  # names in effcalc.models.modules


def write(at: Scaled, title: str) -> str:
    """Return the source of a module whose class `Model` is a scaled network.

    It has a class or a function for each kind of block, a table of the stages, and the names that
    `effcalc.models.build` gives; `title` is for its docstring. No torch is needed here.
    """
    height, width = at.scaling.image_size
    facts = (
        f"d = {at.scaling.depth:g}, w = {at.scaling.width:g}, {height} x {width} pixels: "
        f"{at.params:,} parameters, {at.macs:,} MACs an image.",
        f"Written by effcalc {__version__}.",
    )
    kinds = {stage.name: stage.block for stage in at.arch.stages}
    return source_of(at.network, kinds, title, facts)


def source_of(network: Network, kinds: Mapping[str, str], title: str, facts: Sequence[str]) -> str:
    """Return the source of a network that is not unrolled.

    `kinds` says of which kind the blocks of a stage are. Raises `InputError` for a network that no
    block described.
    """
    root = plan(network)
    written = _Written()
    blocks: list[tuple[ModuleNode, str, int]] = []
    for path, (stage, count) in {
        call.block: (call.stage, call.count) for call in network.calls
    }.items():
        part = root.children[stage]
        if path != stage:
            part = part.children[path.rpartition(".")[2]]
        blocks.append((part, stage, 0 if path == stage else count))
    inside: dict[int, list[ModuleNode]] = {}
    for block, *_ in blocks:
        for part in _below(block):
            inside.setdefault(_height(part), []).append(part)
    for block, *_ in blocks:
        if _height(block) <= 1:  # it may be made as a part of another block is
            inside.setdefault(_height(block), []).append(block)
    label = {part.path: kinds.get(stage, "block") for part, stage, _ in blocks}
    for _, parts in sorted(inside.items()):
        _add(written, [(p, label.get(p.path, p.path.rpartition(".")[2])) for p in parts])
    _add(written, [(p, label[p.path]) for p, *_ in blocks if p.path not in written.how])
    return _assemble(network, written, blocks, title, facts)


def _height(part: ModuleNode) -> int:
    return 0 if part.call is not None else 1 + max(map(_height, part.children.values()))


def _below(part: ModuleNode) -> Iterator[ModuleNode]:
    for child in part.children.values():
        yield child
        yield from _below(child)


def _add(written: _Written, parts: Sequence[tuple[ModuleNode, str]]) -> None:
    """Define what makes these parts, each called by its text; their own parts are defined."""
    alike: dict[tuple[str, ...], list[Instance]] = {}
    for part, label in parts:
        if part.call is not None:
            written.how[part.path] = _layer(part.call, written)
            continue
        instance = Instance(part, {n: written.how[c.path] for n, c in part.children.items()})
        if is_chain(instance) and all(c.call is not None for c in part.children.values()):
            makers = [how.path for how in instance.children.values()]
            key = ("_".join(part.children), *makers)
        else:
            key = (label,)
        alike.setdefault(key, []).append(instance)
    for (label, *_), instances in alike.items():
        for definition in define(instances, written.known):
            sequence = not definition.flags and is_chain(definition.template)
            name = label if sequence else _camel(label)
            count = sum(re.fullmatch(rf"{name}\d*", other) is not None for other in written.known)
            name += str(count + 1) * (count > 0)
            about = BLOCKS[label].__doc__ if label in BLOCKS else None
            parts_named = ", ".join(definition.template.children)
            doc = (
                about.partition("\n")[0] if about else f"{parts_named[0].upper()}{parts_named[1:]}."
            )
            text = function_text if sequence else class_text
            written.texts.append(text(definition, name, doc, written.known))
            written.known[name] = definition.signature()
            for number, instance in enumerate(definition.instances):
                written.how[instance.part.path] = TorchModule(name, definition.arguments(number))


def _layer(call: OperatorCall, written: _Written) -> TorchModule | TorchFunction:
    op = OPS.get(call.op)
    if op is None or op.build is None:
        raise InputError(f"{call.name}: operator {call.op!r} cannot be written as Python")
    how = op.build(call)
    if isinstance(how, TorchFunction):
        return how
    if how.path.startswith(_OWN):
        written.copied[how.path.removeprefix(_OWN)] = None
    plain = {
        k: v[0] if isinstance(v, tuple) and len({*v}) == 1 else v for k, v in how.arguments.items()
    }
    return TorchModule(how.path.removeprefix(_OWN).replace("torch.nn:", "nn."), plain)


def _camel(label: str) -> str:
    known = {"mbconv": "MBConv", "se": "SqueezeExcitation"}
    return known.get(label) or "".join(word[:1].upper() + word[1:] for word in label.split("_"))


def _doc(text: str) -> str:
    """Make a file's own words safe inside a docstring."""
    return one_line(text).replace("\\", "/").replace('"', "'")


def source(file: str, name: str) -> str:
    """Return the source of a class or function of effcalc.models."""
    text = (_TORCH / file).read_text(encoding="utf-8")
    for node in ast.parse(text).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == name:
            return (ast.get_source_segment(text, node) or "") + "\n"
    raise LookupError(name)


def _assemble(
    network: Network,
    written: _Written,
    blocks: Sequence[tuple[ModuleNode, str, int]],
    title: str,
    facts: Sequence[str],
) -> str:
    rows = []
    rates: frozenset[str] = frozenset()
    for part, stage, repeats in blocks:
        how = written.how[part.path]
        shown = {
            key: value
            for key, value in how.arguments.items()
            if value != default_of(how, key, written.known)
        }
        rates |= written.known[how.path].rates if how.path in written.known else set()
        rows.append(row_text(stage, repeats, how.path, shown))
    body = [
        *(source("modules.py", name) for name in written.copied),
        *written.texts,
        _TABLE.format(rows="\n".join(rows)),
        _model_text(sorted(rates)),
        source("build.py", "initialise"),
    ]
    text = "\n\n".join(piece.strip("\n") + "\n" for piece in body)
    head = _HEAD.format(
        title=_doc(title), facts="\n".join(facts), shape=network.inputs[0].shape[1:]
    )
    for line, used in (
        ("from collections import OrderedDict\n", "OrderedDict("),
        ("import torch\n", "torch."),
    ):
        if used not in text:
            head = head.replace(line, "")
    return f"{head}\n\n{text}"


def _model_text(rates: Sequence[str]) -> str:
    """Return the class; rates of stochastic depth grow from 0 in the first block."""
    if not rates:
        return _MODEL.format(count="", change="", arguments="row.arguments")
    count = "blocks, number = sum(row.repeats for row in STAGES), 0"
    lines = ["arguments = dict(row.arguments)"]
    for name in rates:
        lines += [f'if "{name}" in arguments:  # stochastic depth grows from block to block']
        lines += [f'    arguments["{name}"] *= number / blocks']
    change = "".join(f"{line}\n{' ' * 16}" for line in [*lines, "number += 1"])
    return _MODEL.format(count=f"{count}\n{' ' * 8}", change=change, arguments="arguments")


_HEAD = '''"""{title}

{facts}

`Model()` is the network; its `state_dict` has the names of effcalc's layers.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

IMAGE = {shape}  # channels, height, width
'''

_TABLE = '''class Row(NamedTuple):
    """`repeats` equal blocks of a stage; 0: the stage is one module."""

    stage: str
    repeats: int
    block: Callable[..., nn.Module]
    arguments: dict[str, Any]


# fmt: off
STAGES = (
{rows}
)
# fmt: on
'''

_MODEL = '''class Model(nn.Module):
    """The network: images (N, *IMAGE) to its last layer's result."""

    def __init__(self) -> None:
        super().__init__()
        {count}for row in STAGES:
            if not row.repeats:
                self.add_module(row.stage, row.block(**row.arguments))
                continue
            if row.stage not in self._modules:
                self.add_module(row.stage, nn.Sequential())
            for _ in range(row.repeats):
                {change}self.get_submodule(row.stage).append(row.block(**{arguments}))
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        for stage in self.children():
            x = stage(x)
        return x
'''
