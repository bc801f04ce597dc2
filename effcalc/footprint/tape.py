"""The account of what is alive while a step runs: memory comes, is held, and goes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

CATEGORIES = ("params", "buffers", "optimizer", "inputs", "gradients", "saved", "temporary")
"""What memory is for. `saved` is what autograd keeps for the backward pass; `temporary` is the
other results, the gradients of results, and an operator's or an optimizer's own tensors."""

_PLACE = {name: i for i, name in enumerate(CATEGORIES)}


class Moment(NamedTuple):
    """Bytes alive, by category, at the end of one operator (the `repeat`-th of a repeated one)."""

    layer: str
    op: str
    phase: str
    alive: tuple[int, ...]
    repeat: int = 0

    @property
    def total(self) -> int:
        """Bytes alive."""
        return sum(self.alive)


class Memory:
    """One storage: its bytes, what it is for, how many hold it, how many of them for backward."""

    __slots__ = ("category", "holders", "keepers", "size")

    def __init__(self, size: int, category: str) -> None:
        """Allocated, and held by one."""
        self.size = size
        self.category = category
        self.holders = 1
        self.keepers = 0


class Tape:
    """Collects a `Moment` for each operator of a step."""

    def __init__(self) -> None:
        """Start with nothing alive."""
        self.moments: list[Moment] = []
        self._alive = [0] * len(CATEGORIES)

    def new(self, size: int, category: str = "temporary") -> Memory:
        """Allocate memory, which the caller holds."""
        self._alive[_PLACE[category]] += size
        return Memory(size, category)

    def hold(self, memory: Memory) -> Memory:
        """Hold memory once more."""
        memory.holders += 1
        return memory

    def drop(self, memory: Memory) -> None:
        """Let go of memory, which is freed when nothing holds it."""
        memory.holders -= 1
        if not memory.holders:
            self._alive[_PLACE[memory.category]] -= memory.size

    def keep(self, memory: Memory) -> Memory:
        """Hold memory for the backward pass."""
        if memory.category == "temporary":
            self.move(memory, "saved")
        memory.keepers += 1
        return self.hold(memory)

    def release(self, memory: Memory) -> None:
        """End what `keep` began."""
        memory.keepers -= 1
        self.drop(memory)
        if memory.holders and not memory.keepers and memory.category == "saved":
            self.move(memory, "temporary")

    def move(self, memory: Memory, category: str) -> None:
        """Say what memory is for from now on."""
        self._alive[_PLACE[memory.category]] -= memory.size
        self._alive[_PLACE[category]] += memory.size
        memory.category = category

    def moment(self, call: str, op: str, phase: str) -> None:
        """Note what is alive now."""
        self.moments.append(Moment(call, op, phase, tuple(self._alive)))

    @contextmanager
    def repeated(self, times: int) -> Iterator[None]:
        """Within the block, all happens `times` times in a row, each adding what the first does.

        The first and the last time are noted; those between lie on a line between them.
        """
        start, first = list(self._alive), len(self.moments)
        yield
        if times > 1:
            more = [(b - a) * (times - 1) for a, b in zip(start, self._alive, strict=True)]
            self.moments += [
                m._replace(
                    alive=tuple(a + d for a, d in zip(m.alive, more, strict=True)),
                    repeat=times - 1,
                )
                for m in self.moments[first:]
            ]
            self._alive = [a + d for a, d in zip(self._alive, more, strict=True)]
