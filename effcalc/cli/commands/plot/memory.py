"""`effcalc plot memory`."""

from __future__ import annotations

from effcalc.cli.options import Network
from effcalc.cli.pictures import PlotOptions
from effcalc.cli.scaling import ScalingOptions
from effcalc.cli.steps import StepOptions


def memory(network: Network, scaling: ScalingOptions, step: StepOptions, plot: PlotOptions) -> None:
    """Draw what is alive while a step runs, by category, operator after operator.

    It is a training step unless --mode is infer.

    Examples:
    effcalc plot memory --batch 32 --output memory.svg
    effcalc plot memory resnet-50 --batch 32 --checkpoint block -o again.svg
    effcalc plot memory --batch 32 --dtype amp --optimizer adam -o amp.png
    """
    from dataclasses import replace

    from effcalc.base.errors import InputError
    from effcalc.cli.memory import request
    from effcalc.cli.output import write_plot
    from effcalc.footprint.plot import memory as memory_plot
    from effcalc.footprint.tables import described, timeline

    asked = request(network, scaling, replace(step, mode=step.mode or "train"))
    runs = list(asked.runs())
    if len(runs) != 1:
        raise InputError(f"a plot is of one step, and this asks for {len(runs)}")
    p = runs[0].prediction
    title = f"{asked.title}, batch {p.batch}: {described(p.step)}"
    write_plot(memory_plot(timeline(p, title)), plot)
