"""The options of `effcalc comm`, and what they say.

Annotations stay objects in this module: app.py reads them without evaluating any text.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, NamedTuple

import typer

from effcalc.base.errors import InputError, one_line
from effcalc.base.units import (
    Values,
    int_text,
    parse_count,
    parse_dtype,
    parse_seconds,
    parse_share,
    parse_values,
)
from effcalc.cli.options import option

if TYPE_CHECKING:
    from effcalc.communication.collectives import Algorithm
    from effcalc.communication.model import Model
    from effcalc.communication.predict import CommPrediction
    from effcalc.communication.strategies import Setup, Strategy
    from effcalc.hardware.files import Link
    from effcalc.scaling.request import Many

GRADIENT_DTYPES = ("float32", "float16", "bfloat16")


def _complete_strategy(incomplete: str) -> list[tuple[str, str]]:
    from effcalc.communication.strategies import STRATEGIES

    return [(s.name, s.help) for s in STRATEGIES.values() if s.name.startswith(incomplete)]


def _complete_algorithm(incomplete: str) -> list[tuple[str, str]]:
    from effcalc.communication.collectives import ALGORITHMS

    return [(a.name, a.help) for a in ALGORITHMS.values() if a.name.startswith(incomplete)]


def _complete_link(incomplete: str) -> list[str]:
    from effcalc.hardware.files import link_names

    return [name for name in link_names() if name.startswith(incomplete)]


def _complete_device(incomplete: str) -> list[str]:
    from effcalc.hardware.files import device_names

    return [name for name in device_names() if name.startswith(incomplete)]


@dataclass(frozen=True, slots=True)
class StrategyOptions:
    """How the workers train together."""

    panel: ClassVar[str] = "Strategy (NAMES, DTYPES and NUMBERS may be lists: a,b)"

    workers: Annotated[
        str, option("--workers", "NUMBERS", "Workers: 8, a list 1,8,64 or a range 1:64.")
    ] = "1,8,64,512"
    strategy: Annotated[
        str,
        option(
            "--strategy",
            "NAMES",
            "ddp, parameter-server, zero-1, zero-2, zero-3, fully-shard or pipeline.",
            _complete_strategy,
        ),
    ] = "ddp"
    algorithm: Annotated[
        str,
        option(
            "--algorithm",
            "NAMES",
            "ring, tree, halving-doubling, hierarchical or gloo.",
            _complete_algorithm,
        ),
    ] = "ring"
    dtype: Annotated[
        str,
        option(
            "--dtype", "DTYPES", "What gradients and gathered weights go as: fp32, fp16 or bf16."
        ),
    ] = "fp32"
    batch: Annotated[str, option("--batch", "N", "Images that a worker computes at once.")] = "32"
    accumulate: Annotated[
        str, option("--accumulate", "N", "Batches whose gradients make a step.")
    ] = "1"
    unit: Annotated[
        str, option("--unit", "PART", "What is sharded as one: stage, block or all.")
    ] = "block"
    no_reshard: Annotated[
        bool,
        typer.Option(
            "--no-reshard",
            help="Keep gathered weights for the backward pass.",
            show_default=False,
        ),
    ] = False
    micro_batches: Annotated[
        str | None,
        option("--micro-batches", "N", "Of a pipeline; by default four for each stage."),
    ] = None

    def counts(self) -> Values:
        """Return the numbers of workers; `predictions` checks each."""
        return parse_values(self.workers, "--workers")

    def strategies(self) -> "list[Strategy]":
        """Return the strategies named."""
        from effcalc.communication.strategies import find_strategy

        return [find_strategy(name) for name in _names(self.strategy)]

    def algorithms(self) -> "list[Algorithm]":
        """Return the algorithms named."""
        from effcalc.communication.collectives import find_algorithm

        return [find_algorithm(name) for name in _names(self.algorithm)]

    def setups(self) -> "list[Setup]":
        """Return how strategies are run, once for each dtype."""
        from effcalc.communication.strategies import Setup

        pieces = None
        if self.micro_batches is not None:
            pieces = count(self.micro_batches, "--micro-batches")
        times = count(self.accumulate, "--accumulate", 1000)
        images = count(self.batch, "--batch")
        reshard = not self.no_reshard
        return [
            Setup(_dtype(name), times, self.unit, reshard, images, pieces)
            for name in _names(self.dtype)
        ]


@dataclass(frozen=True, slots=True)
class LinkOptions:
    """What joins the workers."""

    panel: ClassVar[str] = "Links"

    link: Annotated[
        str,
        option(
            "--link",
            "LINK",
            "A built-in link, a file.toml, or 100Gbps:5us; INNER,OUTER with --per-node.",
            _complete_link,
        ),
    ] = "ethernet-100g"
    per_node: Annotated[
        str | None, option("--per-node", "N", "Workers in a node, which the inner link joins.")
    ] = None

    def links(self) -> "tuple[tuple[Link, Link], int | None]":
        """Return the links within and between nodes, and the workers of a node."""
        from effcalc.hardware.files import load_link

        named = [load_link(name) for name in _names(self.link)]
        if len(named) > 2:
            raise InputError(f"--link: {len(named)} links; give one, or INNER,OUTER")
        if len(named) == 2 and self.per_node is None:
            raise InputError("--link INNER,OUTER needs the workers of a node: --per-node 8")
        group = None if self.per_node is None else count(self.per_node, "--per-node")
        return (named[0], named[-1]), group


@dataclass(frozen=True, slots=True)
class ComputeOptions:
    """How long a worker computes without communication."""

    panel: ClassVar[str] = "Compute (for exposed time and efficiency)"

    compute: Annotated[
        str | None,
        option(
            "--compute",
            "TIME",
            "Forward and backward of a batch: 120ms, or the JSON of a profile.",
        ),
    ] = None
    device: Annotated[
        str | None,
        option("--device", "NAME", "Take it from FLOPs and this device's peak.", _complete_device),
    ] = None
    mfu: Annotated[
        str | None, option("--mfu", "SHARE", "Share of that peak that is reached, such as 40%.")
    ] = None
    precision: Annotated[
        str | None,
        option("--precision", "FORMAT", "Which peak: fp32, tf32, fp16, bf16; without it --dtype."),
    ] = None

    def seconds(self, model: "Model", setup: "Setup") -> float | None:
        """Return the time of one batch, or None where nothing is given."""
        if self.device is None and (self.mfu is not None or self.precision is not None):
            raise InputError("--mfu and --precision are for --device NAME")
        if self.compute is not None:
            if self.device is not None:
                raise InputError("--compute and --device both say the compute time; give one")
            return _time(self.compute, setup.batch)
        if self.device is None:
            return None
        if self.mfu is None:
            raise InputError("--device needs the share of its peak that is reached: --mfu 40%")
        from effcalc.communication.predict import compute_seconds
        from effcalc.hardware.files import load_device

        share = parse_share(self.mfu, "--mfu")
        device = load_device(self.device)
        return compute_seconds(model, device, share, self.precision or setup.dtype, setup.batch)


class Asked(NamedTuple):
    """What is to be predicted, and the axes of which there are several."""

    predictions: "Many[CommPrediction]"
    shown: list[str]


def predicted(
    model: "Model", training: StrategyOptions, wires: LinkOptions, spent: ComputeOptions
) -> Asked:
    """Read the options, and return every combination's prediction, each computed as it is read."""
    from effcalc.communication.predict import Cases, predictions
    from effcalc.scaling.request import Many

    counts, setups = training.counts(), training.setups()
    strategies, algorithms = training.strategies(), training.algorithms()
    links, group = wires.links()
    compute = [spent.seconds(model, setup) for setup in setups]
    cases = Cases(counts, strategies, algorithms, setups, compute, links, group)
    axes = (("strategy", strategies), ("algorithm", algorithms), ("dtype", setups))
    results = Many(
        len(counts) * len(strategies) * len(algorithms) * len(setups),
        lambda: predictions(model, cases),
    )
    return Asked(results, [axis for axis, values in axes if len(values) > 1])


def _time(text: str, batch: int) -> float:
    if text.endswith(".json"):
        return _saved_time(text, batch)
    spent = parse_seconds(text, "--compute")
    if spent <= 0:
        raise InputError("--compute must be above zero")
    return spent


def _saved_time(path: str, batch: int) -> float:
    """The latency of a saved profile of training on `batch` images."""
    from effcalc.output.saved import read_latency

    spent, row = read_latency(path)
    where = f"--compute {one_line(path)}"
    if row.get("mode", "train") != "train":
        raise InputError(
            f"{where}: is not of training; save one with `effcalc profile NETWORK "
            f"--mode train --batch {batch} -o FILE.json`"
        )
    if row.get("batch", batch) != batch:
        raise InputError(f"{where}: is of another batch; give --batch {row['batch']}")
    return spent


def _names(text: str) -> Iterable[str]:
    return [name.strip() for name in text.split(",")]


def _dtype(text: str) -> str:
    name = parse_dtype(text, "--dtype")
    if name not in GRADIENT_DTYPES:
        raise InputError(f"--dtype: gradients are sent as fp32, fp16 or bf16, not {name}")
    return name


def count(text: str, what: str, most: int = 10**9) -> int:
    """Read a whole number from 1 to `most`."""
    value = parse_count(text, what)
    if not 1 <= value <= most:
        raise InputError(f"{what}: {int_text(value)} is not a whole number from 1 to {most:,}")
    return value
