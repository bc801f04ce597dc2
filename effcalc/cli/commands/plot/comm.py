"""`effcalc plot comm`."""

from __future__ import annotations

from effcalc.cli.options import Network
from effcalc.cli.pictures import PlotOptions
from effcalc.cli.scaling import ScalingOptions
from effcalc.cli.training import ComputeOptions, LinkOptions, StrategyOptions


def comm(
    network: Network,
    scaling: ScalingOptions,
    training: StrategyOptions,
    wires: LinkOptions,
    spent: ComputeOptions,
    plot: PlotOptions,
) -> None:
    """Draw scaling efficiency against the number of workers.

    A line stands for each strategy, algorithm and dtype. The compute time must be known:
    --compute, or --device and --mfu.

    Examples:
    effcalc plot comm squeezenet-1.1 --compute 40ms -o comm.svg
    effcalc plot comm resnet-50 --strategy ddp,zero-3 --compute 300ms -o x.png
    effcalc plot comm --algorithm ring,tree --compute 100ms -o efficiency.html
    """
    from effcalc.base.units import format_seconds
    from effcalc.cli.output import write_plot
    from effcalc.cli.training import predicted
    from effcalc.communication.model import training_model
    from effcalc.communication.plot import comm as comm_plot
    from effcalc.communication.tables import comm_table
    from effcalc.scaling.request import one_network

    scaled = one_network(network, scaling, "plot comm")
    asked = predicted(training_model(scaled.network), training, wires, spent)
    rows = list(asked.predictions)
    cluster, compute = rows[0].cluster, rows[0].compute
    links = " and ".join(dict.fromkeys((cluster.inner.title, cluster.outer.title)))
    compute_text = "" if compute is None else f", {format_seconds(compute)} of compute a step"
    write_plot(
        comm_plot(comm_table(scaled.title, rows, asked.shown), f"{links}{compute_text}"), plot
    )
