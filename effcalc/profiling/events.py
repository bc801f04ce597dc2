"""From the events that a profiler recorded to time by layer and kernel: plain functions over data.

Host threads. Ranges (steps, modules, phases) and operators nest, so each moment of a step belongs
to the innermost one that is open: times are self times, and they sum to the step exactly. What an
operator spends around others that it only calls (aten::conv2d around aten::mkldnn_convolution) is
dispatch, and counts as time between operators.

What a module that only calls others does after one of them, such as freeing its input, is counted
separately (`Owner.after`): where the module runs nothing itself, it belongs to the layer that ran
last.

Backward passes. A node of autograd carries the sequence number that it got when the forward pass
created it. `marks` say which module was running from which number on, so a node belongs to the
module that created it. Nodes that accumulate a gradient have no number; they run right after the
node whose gradient they take and belong to the same module.

Devices. A kernel belongs to the module whose operator launched it. Where several kernels run at
once, the moment belongs to the one that started first, computation before communication. A moment
in which none runs is a launch gap while the next kernel has not been launched yet (the host is
late), and idle from then on.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median
from typing import NamedTuple

from effcalc.profiling.records import (
    BACKWARD,
    COMMUNICATION,
    LAYER,
    LOSS,
    OPTIMIZER,
    OUTSIDE,
    STEP,
    Event,
    Mark,
    Owner,
    Phase,
    ProfiledRun,
    TimeKey,
)

WRAPPER = 0.9  # an operator that spends this share in others is a mere wrapper around them

_COMPILED = ("## Call", "Torch-Compiled Region", "TorchDynamo", "Pregraph", "AOTDispatcher")
"""What torch.compile's own bookkeeping is named; the kernels that it makes stand inside."""

_RANGES = {LOSS: Owner("loss"), BACKWARD: Owner("autograd"), OPTIMIZER: Owner("optimizer")}
"""Whose time passes in the ranges that are not layers."""

_NODE = "autograd::engine::evaluate_function: "
_ACCUMULATE = "AccumulateGrad"


class _Place(NamedTuple):
    """An open event on the stack of a thread, and whose time passes in it."""

    event: Event
    owner: Owner
    phase: Phase
    kernel: str


@dataclass
class _Tally:
    """What is being summed up for one step."""

    start: int
    end: int
    parts: dict[TimeKey, int] = field(default_factory=lambda: defaultdict(int))
    calls: dict[TimeKey, int] = field(default_factory=lambda: defaultdict(int))
    waits: list[tuple[int, int, _Place]] = field(default_factory=list)


def attribute(events: Iterable[Event], marks: Sequence[Mark] = ()) -> list[ProfiledRun]:
    """Return the steps that were recorded, in order, with their time by part.

    On a device the time is that of its kernels, else the host's.
    """
    threads: dict[int, list[Event]] = defaultdict(list)
    device: list[Event] = []
    for event in events:
        (device if event.kind == "device" else threads[event.thread]).append(event)
    steps = sorted(
        (e for t in threads.values() for e in t if e.kind == "range" and e.name == STEP),
        key=lambda e: e.start,
    )
    tallies = [_Tally(e.start, e.end) for e in steps]
    main = steps[0].thread if steps else 0
    places: dict[int, _Place] = {}
    launches: dict[int, tuple[Event, _Place | None]] = {}
    elsewhere: list[tuple[int, int]] = []  # communication on other threads
    for thread, recorded in threads.items():
        on_main = thread == main
        for event, place in _Walk(recorded, marks, tallies if on_main else ()).places():
            if event.kind == "launch":
                launches[event.id] = (event, place)
            elif place is not None:
                if event.kind == "op":
                    places[event.id] = place
                if not on_main and place.owner == COMMUNICATION:
                    elsewhere.append((event.start, event.end))
    if device:
        return _device_steps(device, tallies, places, launches)
    for tally in tallies:
        _expose_communication(tally, elsewhere)
    return [ProfiledRun(t.end - t.start, t.end - t.start, t.parts, t.calls) for t in tallies]


def is_communication(name: str) -> bool:
    """Whether an operator or kernel moves data between ranks."""
    return name.startswith(("c10d::", "gloo:", "nccl:", "ncclDevKernel", "ncclKernel"))


class _Walk:
    """Follows the events of one thread in time, and sums self times up where there are tallies."""

    def __init__(
        self, events: Iterable[Event], marks: Sequence[Mark], tallies: Sequence[_Tally]
    ) -> None:
        self._events = sorted(events, key=lambda e: (e.start, -e.end))
        self._wrappers = _wrappers(self._events)
        self._marks, self._numbers = marks, [mark.sequence for mark in marks]
        self._tallies = tallies
        self._step = -1
        self._open: list[_Place] = []
        self._ran: list[str] = []  # of each open event, the layer that ran an operator last in it
        self._node = OUTSIDE  # whose the last node of the backward pass was
        self._cursor = 0

    def places(self) -> Iterator[tuple[Event, _Place | None]]:
        """Yield each event with its place; of a launch that around it."""
        for number, event in enumerate(self._events):
            self._pass_until(event.start)
            if event.kind == "launch":
                yield event, self._innermost()
            else:
                place = self._enter(event, number in self._wrappers)
                yield place.event, place
        if self._open:
            self._pass_until(max(place.event.end for place in self._open))

    def _innermost(self) -> _Place | None:
        return self._open[-1] if self._open else None

    def _pass_until(self, moment: int) -> None:
        """Give the time up to `moment` to whatever is open, closing what ends before it."""
        while self._open and self._open[-1].event.end <= moment:
            self._spend(self._open[-1], self._ran[-1], self._open[-1].event.end)
            self._open.pop()
            self._ran.pop()
        if self._open:
            self._spend(self._open[-1], self._ran[-1], moment)
        self._cursor = max(self._cursor, moment)

    def _spend(self, place: _Place, last: str, moment: int) -> None:
        """Give the time up to `moment` to a place, in which the layer `last` ran before."""
        start, self._cursor = self._cursor, max(self._cursor, moment)
        if self._step < 0:
            return
        tally = self._tallies[self._step]
        start, end = max(start, tally.start), min(moment, tally.end)
        if end <= start:
            return
        owner = place.owner
        if place.event.kind == "range" and owner.kind == "layer" and last != owner.path:
            owner = owner._replace(after=last)
        tally.parts[TimeKey(owner, place.phase, place.kernel)] += end - start
        if not place.kernel and place.owner.kind in ("outside", "autograd"):
            tally.waits.append((start, end, place))

    def _enter(self, event: Event, wrapper: bool) -> _Place:
        """Open an event, and return whose time passes in it."""
        above = self._innermost()
        if above is not None and event.end > above.event.end:
            event = event._replace(end=above.event.end)  # clocks are read one after the other
        if event.kind == "range" and event.name == STEP and self._tallies:
            self._step += 1
            self._cursor = max(self._cursor, event.start)
        place = self._place(event, above)
        if wrapper:
            place = place._replace(kernel="")
        if event.name.startswith(_NODE):
            self._node = place.owner
        if event.kind == "op" and above is not None and place.owner.kind == "layer":
            self._ran[:] = [place.owner.path] * len(self._ran)
        self._open.append(place)
        self._ran.append("")
        if place.kernel and self._step >= 0:
            calls = self._tallies[self._step].calls
            calls[TimeKey(place.owner, place.phase, place.kernel)] += 1
        return place

    def _place(self, event: Event, above: _Place | None) -> _Place:
        """Return whose time passes in an event, given the one around it."""
        owner = above.owner if above is not None else OUTSIDE
        phase: Phase = above.phase if above is not None else ""
        if event.kind == "range":
            return _range_place(event, phase)
        if event.name.startswith(_NODE):
            # The engine's own bookkeeping around the node is time between operators.
            return _Place(event, self._maker(event, owner), "backward", "")
        if event.name.startswith(_COMPILED):
            return _Place(event, owner, phase, "")
        if is_communication(event.name):
            owner = COMMUNICATION
        return _Place(event, owner, phase, event.name)

    def _maker(self, node: Event, owner: Owner) -> Owner:
        """Return whose forward pass created a node; `owner` where that is not known."""
        if _ACCUMULATE in node.name:
            return self._node
        if node.sequence < 0 or not self._marks:
            return owner
        return self._marks[max(bisect_right(self._numbers, node.sequence) - 1, 0)].owner


def _range_place(event: Event, phase: Phase) -> _Place:
    """Return whose time passes in one of the ranges that a profiled run opens."""
    if event.name.startswith(f"{LAYER}::"):
        path = event.name.removeprefix(f"{LAYER}::")
        return _Place(event, Owner("layer", path), phase or "forward", "")
    owner = _RANGES.get(event.name, OUTSIDE)
    return _Place(event, owner, "backward" if event.name == BACKWARD else "", "")


def _wrappers(recorded: Sequence[Event]) -> set[int]:
    """Return the positions of operators that spend nearly all of their time in others.

    An operator is one by the median of its calls that have others inside: the system may stop a
    process in any of them.
    """
    inside: dict[int, int] = {}
    stack: list[int] = []
    for number, event in enumerate(recorded):
        if event.kind != "op":
            continue
        while stack and recorded[stack[-1]].end <= event.start:
            stack.pop()
        if stack:
            inside[stack[-1]] = inside.get(stack[-1], 0) + event.end - event.start
        stack.append(number)
    shares: dict[str, list[float]] = defaultdict(list)
    for number, time in inside.items():
        event = recorded[number]
        shares[event.name].append(time / max(event.end - event.start, 1))
    names = {name for name, values in shares.items() if median(values) >= WRAPPER}
    return {number for number in inside if recorded[number].name in names}


def _expose_communication(tally: _Tally, elsewhere: list[tuple[int, int]]) -> None:
    """Move time that the host waits while another thread communicates to communication."""
    if not elsewhere:
        return
    merged = _union(elsewhere)
    starts = [start for start, _ in merged]
    for start, end, place in tally.waits:
        first = max(bisect_right(starts, start) - 1, 0)
        for begin, finish in merged[first : bisect_left(starts, end)]:
            shared = min(end, finish) - max(start, begin)
            if shared > 0:
                tally.parts[TimeKey(place.owner, place.phase, place.kernel)] -= shared
                tally.parts[TimeKey(COMMUNICATION, "", "")] += shared


def _union(intervals: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for start, end in sorted(intervals):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


class _Kernel(NamedTuple):
    start: int
    end: int
    part: TimeKey
    launched: int  # when the host had launched it


def _device_steps(
    device: list[Event],
    tallies: list[_Tally],
    places: Mapping[int, _Place],
    launches: Mapping[int, tuple[Event, _Place | None]],
) -> list[ProfiledRun]:
    """Give each kernel to the step during which it was launched, and sum each step up."""
    starts = [tally.start for tally in tallies]
    kernels: list[list[_Kernel]] = [[] for _ in tallies]
    for event in sorted(device, key=lambda e: e.start):
        launch, around = launches.get(event.id, (None, None))
        place = places.get(event.op, around)
        launched = launch.end if launch is not None else event.start
        step = bisect_right(starts, launch.start if launch is not None else event.start) - 1
        if step < 0:
            continue
        owner = place.owner if place is not None else OUTSIDE
        if is_communication(event.name):
            owner = COMMUNICATION
        part = TimeKey(owner, place.phase if place is not None else "", event.name)
        kernels[step].append(_Kernel(event.start, event.end, part, launched))
    return [_device_step(tally, own) for tally, own in zip(tallies, kernels, strict=True) if own]


def _device_step(tally: _Tally, kernels: list[_Kernel]) -> ProfiledRun:
    parts: dict[TimeKey, int] = defaultdict(int)
    calls: dict[TimeKey, int] = defaultdict(int)
    for kernel in kernels:
        calls[kernel.part] += 1
    start, end = kernels[0].start, max(k.end for k in kernels)
    computing = _busy([k for k in kernels if k.part.owner != COMMUNICATION], parts)
    talking = [k for k in kernels if k.part.owner == COMMUNICATION]
    ends = [(start, start), (end, end)]  # also where a kernel of no length is
    busy = _union([*ends, *computing, *_without(talking, computing, parts)])
    starts = [kernel.start for kernel in kernels]
    for (_, idle_from), (until, _) in pairwise(busy):
        following = kernels[bisect_left(starts, until)]
        late = min(max(following.launched, idle_from), until)
        parts[TimeKey(Owner("launch"), "", "")] += late - idle_from
        parts[TimeKey(Owner("idle"), "", "")] += until - late
    return ProfiledRun(end - start, tally.end - tally.start, parts, calls)


def _busy(kernels: list[_Kernel], parts: dict[TimeKey, int]) -> list[tuple[int, int]]:
    """Add each kernel's time from where those that started before it end; return the union."""
    until = 0
    for kernel in kernels:
        begin = max(kernel.start, until)
        if kernel.end > begin:
            parts[kernel.part] += kernel.end - begin
            until = kernel.end
    return _union((k.start, k.end) for k in kernels)


def _without(
    kernels: list[_Kernel], taken: list[tuple[int, int]], parts: dict[TimeKey, int]
) -> list[tuple[int, int]]:
    """Add the time of kernels outside of `taken` intervals, and return that time."""
    free: list[tuple[int, int]] = []
    until = 0
    for kernel in kernels:
        begin = max(kernel.start, until)
        for start, end in taken:
            if end <= begin:
                continue
            if start >= kernel.end:
                break
            if start > begin:
                parts[kernel.part] += start - begin
                free.append((begin, start))
            begin = end
        if kernel.end > begin:
            parts[kernel.part] += kernel.end - begin
            free.append((begin, kernel.end))
        until = max(until, kernel.end)
    return free
