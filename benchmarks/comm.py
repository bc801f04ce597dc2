"""Predicted bytes against those of real gloo ranks, and the time of a table of 1,000 rows.

    python benchmarks/comm.py [--ranks 2,3,4,8] [--rows]

Needs Linux and torch. Every network trains at 64 pixels, which changes no byte of the gradients.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from dataclasses import asdict

from effcalc.cli.comm_verify import start
from effcalc.communication.core import Collective, Phase
from effcalc.communication.model import training_model
from effcalc.communication.strategies import STRATEGIES, Setup
from effcalc.communication.verify import Compared, compare, phases
from effcalc.scaling.request import ScalingRequest, one_network

NETWORKS = ("squeezenet-1.1", "efficientnet-b0", "resnet-50")
RUNS = (
    ("DDP", "ddp", Setup()),
    ("DDP, fp16 hook", "ddp", Setup("float16")),
    ("DDP, 2 batches a step", "ddp", Setup(accumulate=2)),
    ("fully_shard", "fully-shard", Setup()),
    ("fully_shard, no resharding", "fully-shard", Setup(reshard=False)),
)
SCALING = ScalingRequest(image_size="64")
SIZES = (0, 4, 4_004, 1_000_012, 20_000_012)  # bytes a rank, or of the whole vector


def alone(n: int) -> list[tuple[str, int, int, int]]:
    """Every collective at every size, from or to the first and the last rank."""
    made = [("barrier", 0, 1, 0)]
    for size in SIZES:
        made.append(("all_reduce", size, 4, 0))
        made += [(op, size, 4, root) for op in ("broadcast", "reduce") for root in (0, n - 1)]
        whole = n * (size // 4 if size > 10**7 else size) // 4 * 4
        whole -= whole % (4 * n)
        made += [(op, whole, 4, 0) for op in ("all_gather", "reduce_scatter", "all_to_all")]
        made += [(op, whole, 4, root) for op in ("gather", "scatter") for root in (0, n - 1)]
    return made


def line(what: str, n: int, rows: list[Compared]) -> None:
    exact = sum(not row.off for row in rows)
    steady = [row for row in rows if row.phase == "steady step"]
    mean = sum(row.sent for row in steady) / n if steady else None
    told = "" if mean is None else f"{mean:,.0f}"
    worst = max((row.share for row in rows), default=0.0)
    lists = sum(not row.differs for row in rows)
    cells = (what, n, told, f"{exact} of {len(rows)}", f"{worst:.4%}", f"{lists} of {len(rows)}")
    print(f"| {' | '.join(map(str, cells))} |", flush=True)


def bytes_(ranks: list[int]) -> None:
    print("| | ranks | steady step, mean sent | to the byte | worst | lists agree |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for n in ranks:
        cases = [(name, *run) for name in NETWORKS for run in RUNS]
        runs: list[dict] = [
            {
                "network": name,
                "scaling": asdict(SCALING),
                "strategy": strategy,
                "setup": asdict(setup),
            }
            for name, _, strategy, setup in cases
        ]
        single = alone(n)
        answers = start([*runs, {"collectives": single}], n, 1800)
        for i, (name, said, strategy, setup) in enumerate(cases):
            model = training_model(one_network(name, SCALING, "benchmark").network)
            plan = STRATEGIES[strategy].plan(model, setup, n)
            line(f"{name}, {said}", n, compare(phases(plan, answers[0], i), answers, i))
        expected = [
            Phase(op, (Collective(op, size, "", element, root=root),))
            for op, size, element, root in single
        ]
        line("each collective alone", n, compare(expected, answers, len(cases)))


def rows() -> None:
    """The table of 1,000 rows beside a start of Python that imports what the command line does."""
    base = [sys.executable, "-m", "effcalc", "comm", "resnet-50", "--workers", "1:1000"]
    commands = {
        "import typer, rich.table": [sys.executable, "-c", "import typer, rich.table"],
        "ddp, csv": [*base, "--compute", "300ms", "--format", "csv"],
        "ddp, table": [*base, "--compute", "300ms"],
        "fully-shard, csv": [*base, "--strategy", "fully-shard", "--format", "csv"],
    }
    times: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(9):
        for name, command in commands.items():
            start_ = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            times[name].append(time.perf_counter() - start_)
    print("| 1,000 rows of ResNet-50 | median | least |\n| --- | ---: | ---: |")
    for name, spent in times.items():
        print(f"| {name} | {statistics.median(spent):.2f} s | {min(spent):.2f} s |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ranks", default="2,3,4,8")
    parser.add_argument("--rows", action="store_true", help="time the table alone")
    given = parser.parse_args()
    if given.rows:
        rows()
    else:
        bytes_([int(n) for n in given.ranks.split(",")])


if __name__ == "__main__":
    main()
