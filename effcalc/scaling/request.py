"""What a user asks for in text, as networks and scalings: `phi` 0:7, `efficientnet-b0@phi=3`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any, Generic, TypeVar

from effcalc.base.errors import InputError, one_line, suggest
from effcalc.base.units import (
    Values,
    format_count,
    parse_count,
    parse_image_size,
    parse_number,
    parse_values,
)
from effcalc.network.arch import Arch, Variant
from effcalc.network.archfile import load
from effcalc.scaling.scale import (
    ALPHA,
    BETA,
    GAMMA,
    WORKERS,
    Scaled,
    Scaling,
    by_phi,
    by_ratios,
    released,
    scaled,
)

T = TypeVar("T", covariant=True)


@dataclass(frozen=True, slots=True)
class Many(Generic[T]):
    """A known number of values, each created as it is read: a request of any size."""

    length: int
    make: Callable[[], Iterator[T]]

    def __len__(self) -> int:
        """Number of values."""
        return self.length

    def __iter__(self) -> Iterator[T]:
        """Create the values."""
        return self.make()


def _grid(axes: Sequence[Iterable[Any]], make: Callable[..., Scaling]) -> Many[Scaling]:
    """Return the product of some axes, none of which is held in memory."""
    length = prod(map(len, axes))  # type: ignore[arg-type]
    if length > sys.maxsize:
        raise InputError(f"the values given have {format_count(length)} combinations; give fewer")
    return Many(length, lambda: (make(*point) for point in _points(axes)))


@dataclass(frozen=True, slots=True)
class ScalingRequest:
    """How a network is to be scaled, as text: a value may be a list 0,1,2 or a range 0:7:0.5."""

    depth: str | None = None
    width: str | None = None
    resolution: str | None = None
    image_size: str | None = None
    phi: str | None = None
    alpha: str | None = None
    beta: str | None = None
    gamma: str | None = None
    variant: str | None = None
    knobs: list[str] = field(default_factory=list)
    classes: int | None = None
    in_channels: int | None = None
    no_head: bool = False

    @property
    def plain(self) -> bool:
        """Whether nothing is given: the network is as its name says."""
        return self == ScalingRequest()

    @property
    def ratios(self) -> tuple[str | None, ...]:
        """What is given for each dimension alone."""
        return self.depth, self.width, self.resolution, self.image_size

    @property
    def scales(self) -> bool:
        """Whether a scaling is given, by φ, by ratios or by a variant's name."""
        return any(value is not None for value in (self.phi, *self.ratios, self.variant))

    @property
    def bases(self) -> tuple[float, float, float]:
        """The bases α, β, γ of φ, one number each."""
        return (
            _number(self.alpha, ALPHA, "`alpha`"),
            _number(self.beta, BETA, "`beta`"),
            _number(self.gamma, GAMMA, "`gamma`"),
        )


def _number(text: str | None, default: float, what: str) -> float:
    return default if text is None else parse_number(text, what)


def load_unscaled(
    network: str,
    knobs: Mapping[str, str],
    classes: int | None,
    in_channels: int | None,
    instead: str,
) -> Arch:
    """Load a network whose scaling is still to be chosen.

    Raises `InputError` for a released scaling; `instead` says what to give, "sweep {} instead".
    """
    arch, named = load(network, knobs, classes, in_channels)
    if named is not None:
        raise InputError(f"{network} is a released scaling; {instead.format(arch.name)}")
    return arch


def scaled_networks(
    network: str, request: ScalingRequest, workers: int = WORKERS
) -> tuple[Arch, Many[Scaled]]:
    """Return the architecture, and one network for each scaling that is requested."""
    arch, named = load(network, settings(request.knobs), request.classes, request.in_channels)
    wanted = scalings(arch, named, request)
    head = not request.no_head
    return arch, Many(len(wanted), lambda: (scaled(arch, s, workers, head) for s in wanted))


def one_network(network: str, request: ScalingRequest, what: str, workers: int = WORKERS) -> Scaled:
    """Return the one network that is requested; `what` needs it to be one."""
    _, networks = scaled_networks(network, request, workers)
    if len(networks) != 1:
        raise InputError(f"{what} is for one scaling, and this asks for {len(networks):,}")
    return next(iter(networks))


def scalings(arch: Arch, named: Variant | None, request: ScalingRequest) -> Many[Scaling]:
    """Read which scalings are asked for: every combination of the values given.

    `named` is the variant that the network's own name means. Without any option the network is
    taken as it is. Raises `InputError`.
    """
    given = [
        option
        for option, is_given in (
            ("`phi`", request.phi is not None),
            (
                "`depth`, `width`, `resolution` or `image_size`",
                any(r is not None for r in request.ratios),
            ),
            ("`variant`", request.variant is not None),
        )
        if is_given
    ]
    if len(given) > 1:
        raise InputError(f"{' and '.join(given)} exclude each other; give one of them")
    if given and named is not None:
        raise InputError(
            f"{arch.name.rpartition('-')[0]}-{named.name} is a released scaling of {arch.name}; "
            f"give {arch.name} with {given[0]}"
        )
    if request.phi is not None:
        bases = request.bases
        phis = parse_values(request.phi, "`phi`")
        return Many(len(phis), lambda: (by_phi(arch, phi, *bases) for phi in phis))
    if request.bases != (ALPHA, BETA, GAMMA):
        raise InputError("`alpha`, `beta` and `gamma` are the bases of `phi`; give `phi` too")
    if named is not None:
        return Many(1, lambda: iter([released(arch, named)]))
    if request.variant is not None:
        variants = [arch.variant(name.strip()) for name in request.variant.split(",")]
        return Many(len(variants), lambda: (released(arch, v) for v in variants))
    if request.resolution is not None and request.image_size is not None:
        raise InputError("`resolution` and `image_size` say the same thing; give one of them")
    depths = _values(request.depth, "`depth`")
    widths = _values(request.width, "`width`")
    if request.image_size is not None:
        sizes = [parse_image_size(size, "`image_size`") for size in request.image_size.split(",")]
        return _grid(
            (depths, widths, sizes), lambda d, w, size: by_ratios(arch, d, w, image_size=size)
        )
    rs = _values(request.resolution, "`resolution`")
    return _grid((depths, widths, rs), lambda d, w, r: by_ratios(arch, d, w, r))


def _values(text: str | None, option: str) -> Sequence[float] | Values:
    return [1.0] if text is None else parse_values(text, option)


def _points(axes: Sequence[Iterable[Any]]) -> Iterator[tuple[Any, ...]]:
    if not axes:
        yield ()
        return
    for value in axes[0]:
        for rest in _points(axes[1:]):
            yield (value, *rest)


def settings(pairs: Iterable[str]) -> dict[str, str]:
    """Read knobs given as `key=value`."""
    knobs = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key.strip():
            raise InputError(f"`knobs`: {one_line(repr(pair))} is not KEY=VALUE, such as sr=0.75")
        knobs[key.strip()] = value.strip()
    return knobs


_KEYS = (
    *("phi", "depth", "width", "resolution", "image_size", "variant"),
    *("alpha", "beta", "gamma"),
)
"""What `NETWORK@key=value` takes beside `classes` and the knobs."""


def network_at(spec: str, workers: int) -> Scaled:
    """Read `NETWORK@key=value,key=value`: one network at one scaling.

    Keys are those of a `ScalingRequest` and `classes`; any other is a knob of the
    network.
    """
    name, _, options = spec.partition("@")
    given: dict[str, str] = {}
    for pair in options.split(",") if options else ():
        key, equals, value = pair.partition("=")
        if not equals:
            raise InputError(
                f"{one_line(spec)}: {one_line(repr(pair))} is not key=value; "
                "write for example efficientnet-b0@phi=3"
            )
        given[key.strip().replace("-", "_")] = value.strip()
    classes = given.pop("classes", None)
    texts = {key: given.pop(key) for key in _KEYS if key in given}
    arch, named = _load(spec, name, given, classes)
    wanted = scalings(arch, named, ScalingRequest(**texts))  # type: ignore[arg-type]
    if len(wanted) != 1:
        raise InputError(f"{one_line(spec)}: give one scaling for each network, not {len(wanted)}")
    return scaled(arch, next(iter(wanted)), workers)


def _load(
    spec: str, name: str, knobs: Mapping[str, str], classes: str | None
) -> tuple[Arch, Variant | None]:
    arch, named = load(name, classes=None if classes is None else parse_count(classes, "classes"))
    known = [knob.name for knob in arch.knobs]
    for key in knobs:
        if key not in known:
            keys = [*_KEYS, "classes", *known]
            raise InputError(
                f"{one_line(spec)}: there is no key {one_line(repr(key))}{suggest(key, keys)}; "
                f"known: {', '.join(keys)}"
            )
    return load(name, knobs, arch.classes) if knobs else (arch, named)
