"""Run a sweep: look at each chunk, keep what a condition and a selection keep."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

import numpy as np

from effcalc.base.condition import Condition
from effcalc.scaling.sweep.chunks import CHUNK, SLAB, Chunk, Sweep
from effcalc.scaling.sweep.resume import Journal, State
from effcalc.scaling.sweep.select import Selection
from effcalc.scaling.sweep.tables import FIGURES

Watch = Callable[[Iterable[Chunk], int], Iterable[Chunk]]
"""Sees chunks as they pass, and how many points were done before them."""

Text = Callable[[Chunk, Any, bool], Iterable[str]]
"""Writes the points of a chunk at some places; True: with the head of the file before them."""


@dataclass
class Work:
    """A sweep with what is to be kept of it; `failed` counts the points that cannot be built."""

    sweep: Sweep
    condition: Condition | None
    watch: Watch
    failed: int = 0

    def matching(self, state: State | None = None) -> Iterator[tuple[Chunk, Any]]:
        """Yield each chunk that is not done, and the places of its points that count."""
        state = state or State({})
        self.failed = state.failed
        self.sweep.reasons.add(state.reason)
        for chunk in self.watch(self.sweep.chunks(state.chunks), state.points):
            built = np.flatnonzero(chunk.built)
            self.failed += len(chunk) - len(built)
            yield chunk, built if self.condition is None else self._holding(chunk, built)

    def _holding(self, chunk: Chunk, at: Any) -> Any:
        """Return the places of those at which the condition holds."""
        if self.condition is None or len(at) == 0:
            return at
        values = {name: chunk[name][at] for name in self.condition.names}
        with np.errstate(divide="raise", over="raise", invalid="ignore"):
            holds = np.broadcast_to(self.condition.holds(values), len(at))
        return at[holds.astype(bool)]

    def kept(self, selection: Selection, journal: Journal | None) -> Chunk:
        """See every point, and return those that the selection keeps, with all figures."""
        state = journal.state if journal is not None else State({})
        if state.kept:
            kept = self.sweep.chunk_at(state.kept)
            selection.add(kept, np.arange(len(kept)))
        for chunk, at in self.matching(state):
            selection.add(chunk, at)
            if journal is not None:
                self._done(journal, chunk, selection.index)
        return replace(self.sweep, wanted=FIGURES).chunk_at(selection.index)

    def write(self, journal: Journal, text: Text) -> None:
        """Write the rows of every point that counts, and give the file its name."""
        for chunk, at in self.matching(journal.state):
            for piece in text(chunk, at, journal.state.chunks == 0):
                journal.write(piece)
            self._done(journal, chunk)
        journal.finish()

    def _done(self, journal: Journal, chunk: Chunk, kept: Iterable[Any] = ()) -> None:
        journal.chunk_done(len(chunk), self.failed, self.sweep.reasons.first, kept)


def fingerprint(sweep: Sweep) -> str:
    """What an unfinished sweep must share with the one that goes on: stages, and chunks."""
    parts = repr([(arch.name, arch.stages, arch.image_size, arch.keep) for arch in sweep.archs])
    return sha256(f"{parts} {CHUNK} {SLAB}".encode()).hexdigest()
