"""Which operators account for the difference between another counter and effcalc.

A counter's rule says what it makes of one operator call. Where its rules over all calls add up
to exactly the figure that it gave, the calls on which it differs are the explanation; otherwise
there is none. A rule may leave a choice (`a @ b` and `torch.matmul(a, b)` are one operator, and
a counter that patches functions sees only the second): then calls of one operator in one class
of module are taken alike, and the likeliest choice that adds up is the explanation.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from effcalc.base.units import format_count
from effcalc.models.peers.calls import Call, HookedModule, calls
from effcalc.network.network import Network

Rule = Callable[[Call], int | tuple[int, ...]]
"""What a counter counts for a call, or what it may count, the likeliest first."""

UNEXPLAINED = "unexplained"
MOST_CHOICES = 1 << 16
MOST_ITEMS = 5


class _Sort(NamedTuple):
    """What an item of an explanation names."""

    op: str
    times: int  # places that the modules are registered at


@dataclass(frozen=True, slots=True)
class _Group:
    """Calls alike: how many, what is in them, and what a counter may have counted for them."""

    sort: _Sort
    number: int
    macs: int
    inputs: int
    results: int
    choices: tuple[int, ...]

    def __add__(self, other: _Group) -> _Group:
        return _Group(
            self.sort,
            self.number + other.number,
            self.macs + other.macs,
            self.inputs + other.inputs,
            self.results + other.results,
            tuple(a + b for a, b in zip(self.choices, other.choices, strict=True)),
        )

    @property
    def counted(self) -> int:
        """What the counter counted, once that is chosen."""
        return self.choices[0]

    @property
    def extra(self) -> int:
        """How much more that is than there is."""
        return self.counted - self.macs


def explain(
    rule: Rule | None,
    network: Network,
    modules: Mapping[str, HookedModule],
    counted: float,
    unassigned: Mapping[str, int] | None = None,
) -> str:
    """Return the calls on which a counter that says `counted` MACs differs, in one line.

    Of them `unassigned` is for what is no operator. "" where the counter does not differ, and
    `UNEXPLAINED` where its rule does not add up to its figure.
    """
    all_calls = list(calls(network, modules))
    if counted == sum(call.macs * call.layer.count for call in all_calls):
        return ""
    if rule is None:
        return UNEXPLAINED
    unassigned = unassigned or {}
    each = [_group(rule, call) for call in all_calls]
    for alike in (_same_class, _same_shape):
        keys = [_key(group, alike(call)) for call, group in zip(all_calls, each, strict=True)]
        groups = _sum_by(each, keys)
        chosen = _choose(groups, counted - sum(unassigned.values()))
        if chosen is not None:
            differ = [group for group in chosen if group.extra]
            merged = _sum_by(differ, [_key(group) for group in differ])
            return _text(merged, unassigned)
    return UNEXPLAINED


def _key(group: _Group, alike: tuple[Hashable, ...] = ()) -> tuple[Hashable, ...]:
    """Return what calls share that stand together: with a choice to make, what is `alike`."""
    if len(group.choices) > 1:
        return (group.sort, len(group.choices), *alike)
    return (group.sort, _verb(group) if group.extra else "")


def _same_class(call: Call) -> tuple[Hashable, ...]:
    return (call.kind,)


def _same_shape(call: Call) -> tuple[Hashable, ...]:
    return (call.kind, call.layer.operands[0].shape if call.layer.operands else ())


def _group(rule: Rule, call: Call) -> _Group:
    choices = rule(call)
    count = call.layer.count
    return _Group(
        _Sort(call.op, call.module.times),
        count,
        call.macs * count,
        call.inputs * count,
        call.outputs * count,
        tuple(n * count for n in ((choices,) if isinstance(choices, int) else choices)),
    )


def _sum_by(groups: Iterable[_Group], keys: Iterable[Hashable]) -> list[_Group]:
    """Add up groups with the same key, in the order of their first ones."""
    sums: dict[Hashable, _Group] = {}
    for group, key in zip(groups, keys, strict=True):
        sums[key] = sums[key] + group if key in sums else group
    return list(sums.values())


def _choose(groups: list[_Group], wanted: float) -> list[_Group] | None:
    """Give each group the one of its choices with which all add up to `wanted`, if they can."""
    options = [tuple(dict.fromkeys(group.choices)) for group in groups]
    if math.prod(map(len, options)) > MOST_CHOICES:
        return None
    best, least = None, math.inf
    for places in itertools.product(*(range(len(o)) for o in options)):
        if sum(places) < least:
            values = [o[i] for o, i in zip(options, places, strict=True)]
            if sum(values) == wanted:
                best, least = values, sum(places)
    if best is None:
        return None
    return [replace(group, choices=(n,)) for group, n in zip(groups, best, strict=True)]


def _verb(group: _Group) -> str:
    if group.macs == 0:
        return "adds"
    if group.counted == 0:
        return "misses"
    return "adds to" if group.extra > 0 else "counts"


def _text(groups: list[_Group], unassigned: Mapping[str, int]) -> str:
    """Write the differences, the largest first."""
    groups.sort(key=lambda group: -abs(group.extra))
    parts = [_item(group) for group in groups[:MOST_ITEMS]]
    rest = groups[MOST_ITEMS:]
    if rest:
        parts.append(f"{len(rest)} more ({_signed(sum(group.extra for group in rest))})")
    parts += [f"adds {what} ({_signed(amount)})" for what, amount in unassigned.items()]
    return "; ".join(parts)


def _item(group: _Group) -> str:
    extra, verb = group.extra, _verb(group)
    what = f"{group.sort.op} ×{group.number}"
    if group.sort.times > 1:
        what += f" registered {group.sort.times} times"
    if verb == "misses":
        return f"misses {what} ({_signed(extra)})"
    if verb == "counts":
        return f"counts {format_count(group.counted)} of {format_count(group.macs)} in {what}"
    if verb == "adds to":
        if group.counted % group.macs == 0:
            return f"counts {what} {group.counted // group.macs} times ({_signed(extra)})"
        if extra == group.results:
            return f"adds 1 per result to {what} ({_signed(extra)})"
        return f"adds {format_count(extra)} to {what}"
    for elements, name in ((group.results, "result"), (group.inputs, "input")):
        if elements and extra % elements == 0 and (extra <= 8 * elements or name == "input"):
            return f"adds {extra // elements} per {name} of {what} ({_signed(extra)})"
    return f"adds {format_count(extra)} for {what}"


def _signed(value: int) -> str:
    return f"{'+' if value > 0 else '−'}{format_count(abs(value))}"
