"""Run a sweep: compute each chunk, and keep the points of a condition and a selection."""

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
"""Passes chunks on, such as to show progress; takes how many points were done before."""

Text = Callable[[Chunk, Any, bool], Iterable[str]]
"""Formats the points of a chunk at some places; True: with the head of the file before them."""


@dataclass
class Work:
    """A sweep and its condition; `failed` counts the points that cannot be built."""

    sweep: Sweep
    condition: Condition | None
    watch: Watch
    failed: int = 0

    def matching(self, state: State | None = None) -> Iterator[tuple[Chunk, Any]]:
        """Yield each chunk that is not done, and the places of its points that match."""
        state = state or State({})
        self.failed = state.failed
        self.sweep.reasons.add(state.reason)
        for chunk in self.watch(self.sweep.chunks(state.chunks), state.points):
            built = np.flatnonzero(chunk.built)
            self.failed += len(chunk) - len(built)
            yield chunk, built if self.condition is None else self._where(chunk, built)

    def _where(self, chunk: Chunk, places: Any) -> Any:
        """Return the places at which the condition holds."""
        if self.condition is None or len(places) == 0:
            return places
        values = {name: chunk[name][places] for name in self.condition.names}
        with np.errstate(divide="raise", over="raise", invalid="ignore"):
            holds = np.broadcast_to(self.condition.holds(values), len(places))
        return places[holds.astype(bool)]

    def kept(self, selection: Selection, journal: Journal | None) -> Chunk:
        """Compute every point, and return those that the selection keeps, with all figures."""
        state = journal.state if journal is not None else State({})
        if state.kept:
            kept = self.sweep.chunk_at(state.kept)
            selection.add(kept, np.arange(len(kept)))
        for chunk, places in self.matching(state):
            selection.add(chunk, places)
            if journal is not None:
                self._record(journal, chunk, selection.index)
        return replace(self.sweep, wanted=FIGURES).chunk_at(selection.index)

    def write(self, journal: Journal, text: Text) -> None:
        """Write the rows of every matching point, and give the file its name."""
        for chunk, places in self.matching(journal.state):
            for piece in text(chunk, places, journal.state.chunks == 0):
                journal.write(piece)
            self._record(journal, chunk)
        journal.finish()

    def _record(self, journal: Journal, chunk: Chunk, kept: Iterable[Any] = ()) -> None:
        journal.chunk_done(len(chunk), self.failed, self.sweep.reasons.first, kept)


def fingerprint(sweep: Sweep) -> str:
    """Hash of what must be the same to resume a sweep: stages, and chunks."""
    parts = repr([(arch.name, arch.stages, arch.image_size, arch.keep) for arch in sweep.archs])
    return sha256(f"{parts} {CHUNK} {SLAB}".encode()).hexdigest()
