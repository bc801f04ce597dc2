"""Points a second of a sweep of EfficientNet-B0, beside counters that build each configuration.

Parameters and MACs of random points and of a full grid; all figures; and rows written to a csv
file. Beside them, in the same run and on some of the same points: thop and FlopCounterMode, each
with the time to build torchvision's network on the meta device, and effcalc one point at a time.
What they count is compared. Bounds: 2 million random points a second, 200 million on grids.

    python -m benchmarks.sweep [--runs 3] [--skip-peers]
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial

from effcalc.cli.main import main as effcalc
from effcalc.network.archfile import load
from effcalc.scaling.request import ScalingRequest
from effcalc.scaling.scale import by_ratios, scaled
from effcalc.scaling.sweep.chunks import Sweep
from effcalc.scaling.sweep.points import space
from effcalc.scaling.sweep.tables import FIGURES

PAIR = ("params", "macs")
RANDOM = ScalingRequest("0.8:2.4", "0.8:2.2", "0.6:2.7")
GRID = ScalingRequest("0.8:2.4:0.002", "0.8:2.2:0.004", None, "128:600")
PEER_POINTS = 12


def points_a_second(request: ScalingRequest, random: int | None, wanted: tuple[str, ...]) -> float:
    arch, _ = load("efficientnet-b0")
    sweep = Sweep(space(request, random, 1), (arch,), wanted=wanted)
    start = time.perf_counter()
    points = 0
    for chunk in sweep.chunks():
        for key in wanted:
            assert len(chunk[key]) == len(chunk)
        points += len(chunk)
    return points / (time.perf_counter() - start)


def rows_a_second(count: int, *more: str) -> float:
    with tempfile.TemporaryDirectory() as folder:
        out = os.path.join(folder, "points.csv")
        axes = ["--depth", RANDOM.depth, "--width", RANDOM.width, "--resolution", RANDOM.resolution]
        start = time.perf_counter()
        assert effcalc(["sweep", *axes, "--random", str(count), "-o", out, *more]) == 0
        return count / (time.perf_counter() - start)


def one_by_one() -> list[tuple[int, int]]:
    """Count some random points alone, as `effcalc scale` does."""
    arch, _ = load("efficientnet-b0")
    chunk = next(Sweep(space(RANDOM, 1000, 1), (arch,), wanted=PAIR).chunks())
    found = []
    for d, w, r in zip(*(chunk[k][:PEER_POINTS].tolist() for k in ("depth", "width", "resolution")),
                       strict=True):  # fmt: skip
        at = scaled(arch, by_ratios(arch, d, w, r))
        found.append((at.params, at.macs))
    assert found == list(zip(*(chunk[key][:PEER_POINTS].tolist() for key in PAIR), strict=True)), (
        "a sweep's rows are those of scale"
    )
    return found


def peer(count: Callable[[object, object], tuple[int, int]]) -> list[tuple[int, int]]:
    """Build each point's network on the meta device, and count it."""
    import torch
    from torchvision.models import efficientnet

    from effcalc.base.num import round_channels

    arch, _ = load("efficientnet-b0")
    points = next(Sweep(space(RANDOM, 1000, 1), (arch,), wanted=PAIR).chunks()).points
    found = []
    for i in range(PEER_POINTS):
        width = float(points.width[i])
        blocks, _ = efficientnet._efficientnet_conf(
            "efficientnet_b0", width_mult=width, depth_mult=float(points.depth[i])
        )
        with torch.device("meta"):
            last = int(round_channels(1280 * width, 8))
            model = efficientnet.EfficientNet(blocks, 0.2, last_channel=last).eval()
            x = torch.empty(1, 3, int(points.height[i]), int(points.wide[i]))
        found.append(count(model, x))
    return found


def flop_counter(model, x) -> tuple[int, int]:  # type: ignore[no-untyped-def]
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(x)
    return sum(p.numel() for p in model.parameters()), counter.get_total_flops() // 2


def thop(model, x) -> tuple[int, int]:  # type: ignore[no-untyped-def]
    import thop

    with contextlib.redirect_stdout(io.StringIO()):
        macs, params = thop.profile(model, (x,), verbose=False)
    return int(params), int(macs)


def best(measure: Callable[[], float], runs: int) -> str:
    found = sorted(measure() for _ in range(runs))
    return f"{found[-1] / 1e6:12.2f} {statistics.median(found) / 1e6:12.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--skip-peers", action="store_true")
    args = parser.parse_args()
    grid = space(GRID, ()).length
    cases: dict[str, Callable[[], float]] = {
        "params and MACs, 10,000,000 random": partial(points_a_second, RANDOM, 10_000_000, PAIR),
        "params and MACs, 1,000,000 random": partial(points_a_second, RANDOM, 1_000_000, PAIR),
        "params and MACs, 100,000 random": partial(points_a_second, RANDOM, 100_000, PAIR),
        f"params and MACs, grid of {grid:,}": partial(points_a_second, GRID, None, PAIR),
        "all figures, 10,000,000 random": partial(points_a_second, RANDOM, 10_000_000, FIGURES),
        f"all figures, grid of {grid:,}": partial(points_a_second, GRID, None, FIGURES),
        "csv, all columns, 300,000 random": partial(rows_a_second, 300_000),
        "csv, params and MACs, 300,000 random": partial(
            rows_a_second, 300_000, "--columns", "params,macs"
        ),
    }
    print(f"{'million points a second':45} {'fastest':>12} {'median':>12}")
    for name, measure in cases.items():
        print(f"{name:45} {best(measure, args.runs)}", flush=True)
    ways: dict[str, Callable[[], list[tuple[int, int]]]] = {"effcalc, one at a time": one_by_one}
    if not args.skip_peers:
        ways["FlopCounterMode"] = partial(peer, flop_counter)
        ways["thop"] = partial(peer, thop)
    counts = {}
    print(f"\n{'milliseconds a configuration':45} {'fastest':>12} {'median':>12}")
    for name, way in ways.items():
        times = []
        for _ in range(args.runs):
            start = time.perf_counter()
            counts[name] = way()
            times.append((time.perf_counter() - start) / PEER_POINTS * 1e3)
        print(f"{name:45} {min(times):12.2f} {statistics.median(times):12.2f}", flush=True)
    ours = counts["effcalc, one at a time"]
    for name, found in counts.items():
        same = [sum(a[i] == b[i] for a, b in zip(ours, found, strict=True)) for i in (0, 1)]
        print(f"{name}: params equal at {same[0]}, MACs at {same[1]} of {PEER_POINTS} points")


if __name__ == "__main__":
    main()
