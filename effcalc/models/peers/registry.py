"""Every counter that effcalc can be compared with: one module each in `tools`."""

from __future__ import annotations

import importlib
import pkgutil

from effcalc.base.errors import InputError, one_line, suggest
from effcalc.models.peers import tools
from effcalc.models.peers.record import Peer

PEERS: dict[str, Peer] = {}
"""Every counter by its name, in the order of the modules in `tools`."""


def register(*peers: Peer) -> None:
    """Add counters."""
    for peer in peers:
        if peer.name in PEERS:
            raise ValueError(f"two counters named {peer.name!r}")
        PEERS[peer.name] = peer


for _module in sorted(module.name for module in pkgutil.iter_modules(tools.__path__)):
    register(*importlib.import_module(f"{tools.__name__}.{_module}").PEERS)


def select(names: str) -> tuple[Peer, ...]:
    """Return the counters in a list such as `thop,ptflops`; `all` is every one.

    A package's name stands for each of its counters.
    """
    chosen: dict[str, Peer] = {}
    for name in filter(None, (part.strip() for part in names.split(","))):
        if name == "all":
            chosen |= PEERS
            continue
        matches = {p.name: p for p in PEERS.values() if name in (p.name, p.package)}
        if not matches:
            raise InputError(
                f"`against`: there is no counter {one_line(name, limit=60)!r}"
                f"{suggest(name, PEERS)}; known: {', '.join(PEERS)}, all"
            )
        chosen |= matches
    if not chosen:
        raise InputError(f"`against`: name a counter: {', '.join(PEERS)}, or all")
    return tuple(chosen.values())
