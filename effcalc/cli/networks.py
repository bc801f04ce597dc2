"""From the options of a command to the networks that it is about."""

from __future__ import annotations

from typing import TYPE_CHECKING

from effcalc.base.errors import InputError
from effcalc.network.arch import Arch
from effcalc.network.archfile import load
from effcalc.scaling.request import Many, ScalingText, scalings, settings
from effcalc.scaling.scale import WORKERS, Scaled, scaled

if TYPE_CHECKING:
    from effcalc.cli.options import ScalingOptions


def scaled_networks(
    network: str, options: ScalingOptions, workers: int = WORKERS
) -> tuple[Arch, Many[Scaled]]:
    """Return the architecture, and one network for each scaling that the options ask for."""
    arch, named = load(network, settings(options.settings), options.classes, options.in_channels)
    text = ScalingText(**{name: getattr(options, name) for name in ScalingText._fields})
    wanted = scalings(arch, named, text)
    head = not options.no_head
    return arch, Many(len(wanted), lambda: (scaled(arch, s, workers, head) for s in wanted))


def one_network(network: str, options: ScalingOptions, what: str, workers: int = WORKERS) -> Scaled:
    """Return the one network that the options ask for; `what` needs it to be one."""
    _, networks = scaled_networks(network, options, workers)
    if len(networks) != 1:
        raise InputError(f"{what} is for one scaling, and this asks for {len(networks):,}")
    return next(iter(networks))
