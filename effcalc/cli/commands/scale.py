"""`effcalc scale`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from effcalc.cli.options import Network, OutputOptions, Per, Workers
from effcalc.cli.scaling import ScalingOptions

if TYPE_CHECKING:
    from effcalc.output.table import Table

MaxMacs = Annotated[
    str | None, typer.Option("--max-macs", metavar="N", help="Budget of MACs: 1.8G.")
]
MaxParams = Annotated[
    str | None, typer.Option("--max-params", metavar="N", help="Budget of parameters: 5M.")
]
MaxWeights = Annotated[
    str | None, typer.Option("--max-weights", metavar="BYTES", help="Budget of weights: 8.5MB.")
]
MaxActivations = Annotated[
    str | None,
    typer.Option(
        "--max-activations", metavar="BYTES", help="Budget of one image's activation peak: 6MiB."
    ),
]


def scale(
    network: Network,
    scaling: ScalingOptions,
    per: Per,
    workers: Workers,
    output: OutputOptions,
    max_macs: MaxMacs = None,
    max_params: MaxParams = None,
    max_weights: MaxWeights = None,
    max_activations: MaxActivations = None,
) -> None:
    """Say what a network costs at any scaling, or how far it scales within a budget.

    One scaling prints every figure, several a table with a row each. --per breaks the cost down.
    With a --max option the largest scalings that fit are found.

    Examples:
    effcalc scale --phi 3
    effcalc scale --phi 0:7 --format markdown
    effcalc scale --variant b3 --per stage
    effcalc scale resnet-50 --width 0.5,1,2 --image-size 320
    effcalc scale squeezenet-1.0 --set sr=0.75
    effcalc scale --max-macs 1.8G
    effcalc scale --phi 0:7:0.5 --output family.csv
    """
    from effcalc.cli.output import progress, write_table
    from effcalc.scaling.request import Many, one_network, scaled_networks
    from effcalc.scaling.tables.scaling import breakdown_table, scale_table

    limits = (max_macs, max_params, max_weights, max_activations)
    if any(limit is not None for limit in limits):
        write_table(_budget(network, scaling, per, workers, limits), output)
    elif per is not None:
        scaled = one_network(network, scaling, "--per", workers)
        write_table(breakdown_table(scaled.network, per, f"{scaled.title}, by {per}"), output)
    else:
        arch, networks = scaled_networks(network, scaling, workers)
        if len(networks) == 1:
            rows = list(networks)
            table = scale_table(arch, rows, rows[0].title, workers)
        else:
            count = len(networks)
            shown = Many(count, lambda: progress(networks, "scalings", count))
            table = scale_table(arch, shown, arch.title, workers)
        write_table(table, output)


def _budget(
    network: str,
    scaling: ScalingOptions,
    per: str | None,
    workers: int,
    limits: tuple[str | None, ...],
) -> Table:
    """Solve for the budget that the --max options give."""
    from effcalc.base.errors import InputError, one_line
    from effcalc.base.units import parse_bytes, parse_count
    from effcalc.scaling.request import load_unscaled, settings
    from effcalc.scaling.solve import solve
    from effcalc.scaling.tables.budget import budget_table

    keys = (
        ("macs", "--max-macs", parse_count),
        ("params", "--max-params", parse_count),
        ("weight_bytes", "--max-weights", parse_bytes),
        ("peak_activation_bytes", "--max-activations", parse_bytes),
    )
    budget = {}
    for text, (key, option, parse) in zip(limits, keys, strict=True):
        if text is not None:
            budget[key] = parse(text, option)
            if budget[key] < 1:
                raise InputError(f"{option} must be above zero, not {one_line(text)}")
    if scaling.scales or per is not None:
        raise InputError("a --max option finds the scaling itself; give no scaling and no --per")
    knobs, sizes = settings(scaling.knobs), (scaling.classes, scaling.in_channels)
    arch = load_unscaled(network, knobs, *sizes, "give {} with a --max option")
    return budget_table(
        arch, solve(arch, budget, scaling.bases, workers, not scaling.no_head), budget
    )
