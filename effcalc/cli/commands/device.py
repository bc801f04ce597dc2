"""`effcalc device`."""

from __future__ import annotations

from typing import Annotated

import typer

from effcalc.cli.options import OutputOptions

Device = Annotated[
    str | None,
    typer.Option(
        "--device", metavar="DEVICE", help="cpu, cuda or cuda:1; cuda where there is one."
    ),
]
Threads = Annotated[
    int | None,
    typer.Option("--threads", metavar="N", min=1, help="Threads of one operator, on a CPU."),
]


def device(output: OutputOptions, device: Device = None, threads: Threads = None) -> None:
    """Measure what this machine does at most: FLOP/s by format, bandwidth by working set.

    The peak of each format is the best of a sweep of matrix products and convolutions, the
    bandwidth the best of copying and adding at each size, from the first cache to memory, beside
    the vendor's dense figures where a hardware file has them. effcalc profile holds layers against
    these roofs; they are kept for this device, driver, torch and number of threads.

    Examples:
    effcalc device
    effcalc device --threads 1
    effcalc device --device cuda --output roofs.json
    """
    import sys
    from contextlib import redirect_stdout

    from effcalc.base.errors import need
    from effcalc.cli.output import status, write_table
    from effcalc.profiling.devices import device_table
    from effcalc.profiling.noise import load, read_counters

    need("torch", "measuring a device", "torch")
    from effcalc.profiling.live.environment import cache_levels
    from effcalc.profiling.live.roofs import formats, identity, keep, measure
    from effcalc.profiling.live.run import prepared
    from effcalc.profiling.settings import ProfileSettings

    settings = ProfileSettings(device=device, threads=threads)
    with redirect_stdout(sys.stderr), status() as tell, prepared(settings) as (place, where):
        points = []
        before, used = read_counters(), int(where["threads"])
        for point in measure(place, formats(place)):
            tell(f"{point.what} {point.dtype or ''} {point.shape or point.working_set}")
            points.append(point)
        noise = load(before, read_counters(), used)
        table = device_table(points, cache_levels(place), identity(place), noise)
        keep(table, place)
    write_table(table, output)
