"""Run the command line in this process or in one of its own, with commands made for the test."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import effcalc
from effcalc.cli.main import main

DEMO = '''
from __future__ import annotations

import itertools
from typing import Annotated

import typer

from effcalc.base import errors
from effcalc.cli.options import Batch, Dtype, Network, OutputOptions, Workers
from effcalc.cli.scaling import ScalingOptions
from effcalc.output.table import Column, Table
from effcalc.base.units import parse_values


def zz_demo(
    network: Network,
    scaling: ScalingOptions,
    output: OutputOptions,
    workers: Workers,
    batch: Batch,
    dtype: Dtype,
    fail: Annotated[str, typer.Option(help="An error to raise after the rows.")] = "",
) -> None:
    """Say what a network of the tests costs.

    Examples:
        effcalc zz-demo --phi 0:7
    """
    from effcalc.cli.output import write_table

    columns = (
        Column("phi", "φ", "number", "how far"),
        Column("macs", "MACs", "count", "for one image"),
        Column("told", "Options"),
    )
    told = f"{network} {scaling.bases[0]} {scaling.knobs} {scaling.no_head} "
    told += f"{workers} {batch} {dtype}"

    def rows():
        for phi in parse_values(scaling.phi or "0", "--phi"):
            yield {"phi": phi, "macs": int(1e6 * 2.0 ** min(phi, 60)), "told": told}
        if fail == "wait":
            print("waiting", file=__import__("sys").stderr, flush=True)
            __import__("time").sleep(60)
        if fail == "interrupt":
            raise KeyboardInterrupt
        if fail:
            raise getattr(errors, fail, None) or getattr(__import__("builtins"), fail)("it\\nfell")

    write_table(Table("demo", "Demo", columns, rows()), output)
'''


@dataclass
class Result:
    code: int
    out: str
    err: str

    def error(self) -> str:
        """Return the one line that an error is."""
        assert self.out == ""
        assert self.err.startswith("effcalc: error: ")
        assert self.err.endswith("\n")
        line = self.err[len("effcalc: error: ") : -1]
        assert line.isprintable()
        return line


def run(*args: str) -> Result:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(args)
    return Result(code, out.getvalue(), err.getvalue())


def make_command(folder: Path, name: str = "zz_demo", source: str = DEMO) -> None:
    folder.mkdir(exist_ok=True)
    folder.joinpath(f"{name}.py").write_text(source, encoding="utf-8")


def make_program(folder: Path) -> str:
    """Write a program `effcalc` that has the commands in `folder` too, and return its path."""
    make_command(folder)
    program = folder / "bin" / "effcalc"
    program.parent.mkdir(exist_ok=True)
    program.write_text(
        f"#!{sys.executable}\n"
        "import sys\n"
        f"sys.path.insert(0, {str(Path(effcalc.__file__).parents[1])!r})\n"
        "from effcalc.cli import commands\n"
        f"commands.__path__.append({str(folder)!r})\n"
        "from effcalc.cli.main import main\n"
        "sys.exit(main())\n"
    )
    program.chmod(0o755)
    return str(program)


def shell(program: str, script: str, **more) -> subprocess.CompletedProcess[str]:
    """Run a bash script with the program first in PATH."""
    folder = os.path.dirname(program)
    env = os.environ | {"PATH": f"{folder}:{os.environ['PATH']}"}
    return subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, env=env, timeout=60, **more
    )
