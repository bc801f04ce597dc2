"""Cold start of the command line, as ratios to importing what it is built on.

Runs each command in fresh processes, interleaved so that a busy machine slows all alike, and
prints medians. Bounds: `effcalc scale --phi 3` at most 1.6 times, `effcalc --help` at most 1.1
times `python -c "import typer, rich.table"`.

All run from byte code, as after an installation, wherever this environment writes none.

    python benchmarks/cold_start.py [--runs 40]
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

EFFCALC = str(Path(sysconfig.get_path("scripts")) / "effcalc")
COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "import typer, rich.table": [sys.executable, "-c", "import typer, rich.table"],
    "effcalc --help": [EFFCALC, "--help"],
    "effcalc scale --phi 3": [EFFCALC, "scale", "--phi", "3"],
    "effcalc scale --phi 0:7": [EFFCALC, "scale", "--phi", "0:7"],
    "effcalc scale --phi 3 --format json": [EFFCALC, "scale", "--phi", "3", "--format", "json"],
}
FLOOR = "import typer, rich.table"


def seconds(command: list[str], environment: dict[str, str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=40)
    runs = parser.parse_args().runs
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    with tempfile.TemporaryDirectory() as cache:
        environment = os.environ | {"PYTHONPYCACHEPREFIX": cache}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        for command in COMMANDS.values():
            seconds(command, environment)  # writes the byte code
        for _ in range(runs):
            for name, command in COMMANDS.items():
                times[name].append(seconds(command, environment))
    floor = statistics.median(times[FLOOR])
    print(f"{'command':38} {'median':>8} {'min':>8} {'ratio':>6}")
    for name, values in times.items():
        median = statistics.median(values)
        print(f"{name:38} {median * 1e3:5.0f} ms {min(values) * 1e3:5.0f} ms {median / floor:6.2f}")


if __name__ == "__main__":
    main()
