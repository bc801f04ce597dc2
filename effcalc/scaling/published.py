"""The networks that papers print figures of, and their published accuracy."""

from __future__ import annotations

import math

from effcalc.network.arch import Arch, Published
from effcalc.network.archfile import load
from effcalc.scaling.scale import Scaled, by_ratios, released, scaled


def at_scaling(arch: Arch, entry: Published) -> Scaled:
    """Return the network that a published entry is about."""
    knobs = {k: str(v) for k, v in entry.knobs.items()}
    name = entry.network
    if arch.name != name or knobs:
        own = arch.file if arch.file.find("/") >= 0 else ""
        arch, _ = load(f"{own}:{name}" if own else name, knobs)
    if entry.variant:
        return scaled(arch, released(arch, arch.variant(entry.variant)))
    return scaled(arch, by_ratios(arch, entry.depth, entry.width, entry.resolution))


def accuracy(network: Scaled) -> Published | None:
    """Return the published entry with an accuracy for exactly this network, if there is one."""
    for entry in network.arch.published:
        if (entry.top1 is None and entry.top5 is None) or entry.storage:
            continue
        if entry.network == network.arch.name and _same(network, entry):
            return entry
    return None


def _same(network: Scaled, entry: Published) -> bool:
    """Whether an entry is about this very network."""
    wanted = {k.name: k.default for k in network.arch.knobs}
    wanted |= network.arch.preset
    wanted |= entry.knobs
    if dict(network.arch.settings) != wanted or not network.head:
        return False
    if entry.variant:
        target = released(network.arch, network.arch.variant(entry.variant))
    else:
        target = by_ratios(network.arch, entry.depth, entry.width, entry.resolution)
    mine = (network.scaling.depth, network.scaling.width)
    theirs = (target.depth, target.width)
    same = all(math.isclose(a, b) for a, b in zip(mine, theirs, strict=True))
    return same and network.scaling.image_size == target.image_size
