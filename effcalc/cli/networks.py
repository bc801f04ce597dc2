"""NETWORK on the command line: a described one at its scalings, or any target, by the same code."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout
from typing import NamedTuple

from effcalc.base.errors import InputError, one_line
from effcalc.models.names import file_kind, is_code
from effcalc.network.network import Network
from effcalc.scaling.request import ScalingRequest, scaled_networks
from effcalc.scaling.scale import build
from effcalc.scaling.tables.scaling import label_of


class Named(NamedTuple):
    """A network, its title, and what tells it from the other scalings of it ("" for one alone)."""

    network: Network
    title: str
    label: str = ""


class Networks(NamedTuple):
    """What is asked about: each network is built, or traced, as it is read."""

    title: str
    length: int
    each: Iterator[Named]

    def one(self, what: str) -> Named:
        """Return the only one; several are an `InputError` that `what` starts."""
        if self.length != 1:
            raise InputError(f"{what} is for one scaling, and this asks for {self.length:,}")
        return next(self.each)


def is_target(network: str) -> bool:
    """Whether NETWORK is a model in code or a file of one, which is taken as it is."""
    return is_code(network) or bool(file_kind(network))


def check_options(
    network: str, scaling: ScalingRequest, arg: Sequence[str], input: Sequence[str]
) -> None:
    """Refuse a scaling of a target, and a factory's arguments and inputs of any other network."""
    if is_target(network) and not scaling.plain:
        raise InputError(f"{one_line(network)}: a target is taken as it is, and not scaled")
    if not is_target(network) and (arg or input):
        raise InputError("--arg and --input are for a target, such as torchvision:resnet50")


def read_networks(
    network: str, scaling: ScalingRequest, arg: Sequence[str] = (), input: Sequence[str] = ()
) -> Networks:
    """Read NETWORK and its options; the batch is 1, or that of `input`. Raises `InputError`."""
    check_options(network, scaling, arg, input)
    if is_target(network):
        return Networks(one_line(network), 1, _traced(network, arg, input))
    arch, networks = scaled_networks(network, scaling)
    several = len(networks) > 1

    def each() -> Iterator[Named]:
        for scaled in networks:
            built = build(scaled.arch, scaled.scaling, 1, scaled.head)
            yield Named(built, scaled.title, label_of(scaled) if several else "")

    title = arch.title if several else next(iter(networks)).title
    return Networks(title, len(networks), each())


def _traced(target: str, arg: Sequence[str], input: Sequence[str]) -> Iterator[Named]:
    from effcalc.models.target import target_network

    with redirect_stdout(sys.stderr):  # what the user's code prints is not the result
        traced = target_network(target, settings=arg, inputs=input)
    yield Named(traced, one_line(target))
