"""The process in which one counter counts one model: `python -m effcalc.models.peers.child`."""

from __future__ import annotations

import importlib
import math
import time
from dataclasses import asdict, dataclass
from typing import Any

from effcalc.base import process
from effcalc.models.peers.record import Peer


@dataclass(frozen=True, slots=True)
class Target:
    """What names a model: the arguments of `effcalc.models.targets.load`."""

    target: str
    settings: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    batch: int = 1
    real: bool = False


def request(peer: Peer, target: Target) -> dict[str, Any]:
    """Return what to ask of the process."""
    return {"module": peer.count.__module__, "peer": peer.name, "target": asdict(target)}


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Build the model, count it, and return MACs, parameters and the count's seconds.

    A counter is imported before its seconds begin.
    """
    from effcalc.models.targets import load

    module = importlib.import_module(request["module"])
    peer = next(p for p in module.PEERS if p.name == request["peer"])
    importlib.import_module(peer.package)
    target = request["target"]
    loaded = load(**target | {"real": target["real"] or peer.real})
    model = loaded.module.eval()
    started = time.perf_counter()
    figures = peer.count(model, loaded.args, loaded.kwargs)
    seconds = time.perf_counter() - started
    return {
        "macs": _whole(figures.macs),
        "params": _whole(figures.params),
        "unassigned": {what: int(n) for what, n in figures.unassigned.items()},
        "seconds": seconds,
    }


def _whole(value: float | None) -> int | float | None:
    """Return a whole number as an int, of whatever type it came."""
    if value is None:
        return None
    number = float(value)
    return int(value) if math.isfinite(number) and int(value) == value else number


if __name__ == "__main__":
    process.serve(answer)
