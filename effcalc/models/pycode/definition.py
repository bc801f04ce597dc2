"""From modules that are built alike to the one class or function that builds them all.

Instances of a block differ in numbers, which become parameters (equal ones become one), and in
parts that some lack (a shortcut, an expansion), which become flags.
"""

from __future__ import annotations

import keyword
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from effcalc.network.ops import TorchFunction, TorchModule
from effcalc.network.tree import ModuleNode

RATE = "rate"
"""Category of the rates of stochastic depth, which grow from block to block."""

_POSITIONAL = {
    *("in_channels", "out_channels", "num_features", "in_features", "out_features"),
    *("kernel_size", "output_size", "p"),
}
_DEFAULTS: dict[str, dict[str, Any]] = {
    "nn.Conv": {"stride": 1, "padding": 0, "dilation": 1, "groups": 1, "bias": True},
    "nn.Linear": {"bias": True},
    "nn.MaxPool": {"padding": 0, "ceil_mode": False},
    "nn.Flatten": {"start_dim": 1},
    "nn.ReLU": {"inplace": False},
    "nn.SiLU": {"inplace": False},
    "nn.Hardtanh": {"inplace": False},
}


class Signature(NamedTuple):
    """Of a definition: the parameters that may be left out, and those of stochastic depth."""

    defaults: Mapping[str, Any]
    rates: frozenset[str]


Known = Mapping[str, Signature]


class Absent:
    """The value of a parameter in an instance that lacks the part it is of."""


@dataclass(frozen=True, slots=True)
class Instance:
    """One module to build: its part of the plan, and how its children are built."""

    part: ModuleNode
    children: Mapping[str, TorchModule | TorchFunction]


@dataclass(slots=True)
class Parameter:
    """A parameter of a definition: its value in each instance, and the slots that it fills."""

    category: str
    values: list[Any]
    slots: list[tuple[str, str]] = field(default_factory=list)
    name: str = ""
    default: Any = Absent

    def fits(self, category: str, values: Sequence[Any]) -> bool:
        """Whether values can be this parameter's: never different, and somewhere the same."""
        pairs = [(a, b) for a, b in zip(self.values, values, strict=True) if Absent not in (a, b)]
        return category == self.category and bool(pairs) and all(a == b for a, b in pairs)


class Flag(NamedTuple):
    """Parts that instances have or lack together."""

    name: str
    children: tuple[str, ...]
    present: tuple[bool, ...]
    default: bool


@dataclass(frozen=True, slots=True)
class Definition:
    """What a class or function builds: `template` has every child that an instance has.

    `literals` holds what is the same everywhere, `parameters` the rest; `alias` is the slot whose
    value stands in for the result of a child where that is absent.
    """

    template: Instance
    instances: tuple[Instance, ...]
    parameters: tuple[Parameter, ...]
    literals: Mapping[tuple[str, str], Any]
    flags: tuple[Flag, ...]
    alias: Mapping[str, int]

    def arguments(self, number: int) -> dict[str, Any]:
        """Arguments that build instance `number`."""
        values = {p.name: p.values[number] for p in self.parameters}
        values |= {f.name: f.present[number] for f in self.flags}
        return {name: value for name, value in values.items() if value is not Absent}

    def signature(self) -> Signature:
        """Return what a caller must know."""
        defaults = {p.name: p.default for p in self.parameters if p.default is not Absent}
        defaults |= {f.name: f.default for f in self.flags}
        return Signature(defaults, frozenset(p.name for p in self.parameters if p.category == RATE))


def is_chain(instance: Instance) -> bool:
    """Whether each child takes what the one before it made: an `nn.Sequential`."""
    part = instance.part
    value = 0
    for step in part.steps:
        if step.reads != (value,) or not isinstance(instance.children[step.child], TorchModule):
            return False
        (value,) = step.makes
    return part.inputs == 1 and part.results == (value,)


def define(instances: Sequence[Instance], known: Known) -> Iterator[Definition]:
    """Yield one definition of all instances where that can be, else as few as will do.

    `known` holds what is defined already, by name.
    """
    rest = list(instances)
    while rest:
        template = max(rest, key=lambda i: len(i.children))
        alike: list[Instance] = []
        alias: Mapping[str, int] = {}
        for instance in rest:
            merged = _merged(template, [template, *alike, instance])
            if merged is not None:
                alike.append(instance)
                alias = merged
        rest = [i for i in rest if not any(i is other for other in alike)]
        yield _parametrised(template, alike, alias, known)


def _maker(how: TorchModule | TorchFunction) -> tuple[str, ...]:
    return (how.path,) if isinstance(how, TorchModule) else (how.path, str(sorted(how.arguments)))


def _merged(template: Instance, instances: Sequence[Instance]) -> dict[str, int] | None:
    """Return what stands in for each child that an instance lacks; None where they do not merge.

    The template's steps are followed in each instance; where a value that is not there would be
    read, what the instance reads instead must be the same for all.
    """
    alias = {step.child: step.reads[0] for step in template.part.steps}
    order = list(template.children)
    for instance in instances:
        names = list(instance.children)
        if names != [name for name in order if name in instance.children] or any(
            _maker(instance.children[name]) != _maker(template.children[name]) for name in names
        ):
            return None
        if instance.part.inputs != template.part.inputs:
            return None
        alias |= _needed_aliases(template, instance, alias)
    if -1 in alias.values() or "" in alias:
        return None
    if any(_needed_aliases(template, instance, alias) for instance in instances):
        return None
    lacking = {n for i in instances for n in order if n not in i.children}
    if any(len(s.makes) > 1 for s in template.part.steps if s.child in lacking):
        return None
    return {child: slot for child, slot in alias.items() if child in lacking}


def _needed_aliases(
    template: Instance, instance: Instance, alias: Mapping[str, int]
) -> dict[str, int]:
    """Children whose stand-in must be another for `instance` to follow, with the slot of it.

    "" for a child that is there, and -1 for a slot, say that none can be.
    """
    steps = {step.child: step for step in instance.part.steps}
    value = {slot: slot for slot in range(template.part.inputs)}  # template's slot -> instance's
    absent: dict[int, str] = {}
    needed: dict[str, int] = {}

    def read(slots: tuple[int, ...], wanted: tuple[int, ...]) -> None:
        for slot, want in zip(slots, wanted, strict=True):
            if value[slot] != want:
                earlier = [s for s, v in value.items() if v == want and s < slot]
                needed[absent.get(slot, "")] = earlier[-1] if earlier else -1
                value[slot] = want

    for step in template.part.steps:
        mine = steps.get(step.child)
        if mine is None:
            absent[step.makes[0]] = step.child
            value[step.makes[0]] = value[alias[step.child]]
        else:
            read(step.reads, mine.reads)
            value.update(zip(step.makes, mine.makes, strict=True))
    read(template.part.results, instance.part.results)
    return needed


def _parametrised(
    template: Instance, instances: Sequence[Instance], alias: Mapping[str, int], known: Known
) -> Definition:
    parameters: list[Parameter] = []
    literals: dict[tuple[str, str], Any] = {}
    children: dict[str, TorchModule | TorchFunction] = {}
    for child, how in template.children.items():
        uses = [i.children[child].arguments if child in i.children else None for i in instances]
        every = {key: value for use in uses if use is not None for key, value in use.items()}
        children[child] = how._replace(arguments={**how.arguments, **every})
        for key in every:
            values = [Absent if use is None else _plain(use.get(key, Absent)) for use in uses]
            category = _category(how, key, known)
            different = {repr(v) for v in values if v is not Absent}
            if key == "padding" and len(different) > 1 and _keeps_size(uses):
                literals[child, key] = KERNEL_HALF
                continue
            p = next((p for p in parameters if p.fits(category, values)), None)
            if len(different) == 1 and (
                category not in ("channels", RATE)
                or (key == "groups" and (p is None or different == {"1"}))
            ):
                literals[child, key] = next(v for v in values if v is not Absent)
                continue
            if p is None:
                p = Parameter(category, [Absent] * len(instances))
                parameters.append(p)
            p.values = [b if a is Absent else a for a, b in zip(p.values, values, strict=True)]
            p.slots.append((child, key))
    template = replace(template, children=children)
    flags = tuple(_flags(template, instances))
    _name(template, parameters, {*(f.name for f in flags), *known, *keyword.kwlist})
    for p in parameters:
        if p.name == "in_channels" and Absent in p.values:
            p.values = [_entering(i.part) for i in instances]
        default = default_of(template.children[p.slots[0][0]], p.slots[0][1], known)
        if Absent in p.values:
            p.default = type(next(v for v in p.values if v is not Absent))()
        elif default is not Absent and default in p.values:
            p.default = default
    parameters.sort(key=lambda p: (p.default is not Absent, _rank(p.name)))
    return Definition(template, tuple(instances), tuple(parameters), literals, flags, alias)


KERNEL_HALF = "kernel_size // 2"
"""The literal of a padding that keeps the image's size, whatever the kernel."""


def default_of(how: TorchModule | TorchFunction, key: str, known: Known) -> Any:
    """Return the default of an argument of a definition or of torch's module, or `Absent`."""
    if how.path in known:
        return known[how.path].defaults.get(key, Absent)
    for prefix, defaults in _DEFAULTS.items():
        if how.path.startswith(prefix):
            return defaults.get(key, Absent)
    return Absent


def positional(key: str) -> bool:
    """Whether an argument reads well without its name."""
    return key in _POSITIONAL or key.endswith("channels")


def _entering(part: ModuleNode) -> int:
    """Channels of what a part's first layer reads."""
    while part.call is None:
        part = next(iter(part.children.values()))
    return part.call.inputs[0].shape[1]


def _plain(value: Any) -> Any:
    """Write a pair of equal numbers as one, as torch takes it."""
    if isinstance(value, tuple) and len(value) > 1 and len(set(value)) == 1:
        return value[0]
    return value


def _category(how: TorchModule | TorchFunction, key: str, known: Known) -> str:
    """Say what a parameter is of; equal values of one category may be one parameter."""
    if (how.path, key) == ("StochasticDepth", "p"):
        return RATE
    if how.path in known and key in known[how.path].rates:
        return RATE
    if key in ("num_features", "groups") or key.endswith(
        ("channels", "in_features", "out_features")
    ):
        return "channels"
    return "kernel" if key == "kernel_size" else key


def _keeps_size(uses: Sequence[Mapping[str, Any] | None]) -> bool:
    """Whether the padding is half the kernel in every use."""
    return all(
        use is None
        or (
            isinstance(kernel := _plain(use.get("kernel_size")), int)
            and _plain(use["padding"]) == kernel // 2
        )
        for use in uses
    )


def _rank(name: str) -> int:
    known = ("channels", "in_channels", "in_features", "out_channels", "out_features")
    return known.index(name) - len(known) if name in known else 0


def _flags(template: Instance, instances: Sequence[Instance]) -> Iterator[Flag]:
    together: dict[tuple[bool, ...], list[str]] = {}
    for child in template.children:
        present = tuple(child in i.children for i in instances)
        if not all(present):
            together.setdefault(present, []).append(child)
    for present, children in together.items():
        name = "residual" if "add" in children else children[0]
        yield Flag(name, tuple(children), present, 2 * sum(present) >= len(present))


def _name(template: Instance, parameters: Sequence[Parameter], taken: set[str]) -> None:
    """Give each parameter a name that says what it is."""
    slots = [(child, k) for child, how in template.children.items() for k in how.arguments]
    enter = [s for s in slots if s[1] in ("in_channels", "in_features", "channels")][:1]
    leave = [
        s
        for s in slots
        if s[1] in ("out_channels", "out_features", "channels") and s[0] != "shortcut"
    ][-1:]
    for p in parameters:
        child, key = p.slots[0]
        enters, leaves = bool({*enter} & {*p.slots}), bool({*leave} & {*p.slots})
        if enters:
            wanted = [enter[0][1].removeprefix("in_" if leaves else "")]
        elif leaves:
            wanted = [leave[0][1]]
        elif p.category == "channels" and key in _POSITIONAL:
            wanted = ["channels" if not enter else f"{child}_channels"]
        elif (p.category == RATE and key == "p") or isinstance(
            template.children[child], TorchFunction
        ):
            wanted = [child]
        else:
            wanted = ["kernel" if p.category == "kernel" else key]
        wanted += [f"{child}_{wanted[0]}", *(f"{child}_{wanted[0]}{i}" for i in range(2, 99))]
        p.name = next(name for name in wanted if name not in taken)
        taken.add(p.name)
