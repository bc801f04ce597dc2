"""Run the commands that stand in documents, which may be a stranger's.

A region names one of the commands in `PURE`, with options from `SAFE` or the command's own entry
there and no others: an option that is new is refused until it is entered. Commands run in this
process, without a shell, one at a time and for a limited time; files are read under the
repository's root alone; a guard refuses whatever would write a file or start a process. A command
that imports code (`TARGETS`) runs only for who passes --allow-targets.
"""

from __future__ import annotations

import io
import os
import shlex
import time
from collections.abc import Callable
from contextlib import ExitStack, nullcontext, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from effcalc.base.errors import InputError, RunError, one_line, suggest
from effcalc.base.guard import guarded
from effcalc.base.limits import memory_limited, time_limited
from effcalc.base.paths import confined, place
from effcalc.cli.app import run
from effcalc.cli.main import usage
from effcalc.cli.output import Captured, Drawing, captured
from effcalc.output.embed import Output
from effcalc.output.embed.syntax import Syntax
from effcalc.output.formats import FORMATS
from effcalc.output.plots.stamp import data_hash

SAFE = frozenset(
    (
        *("--phi", "--alpha", "--beta", "--gamma", "--depth", "--width", "--resolution"),
        *("--image-size", "--variant", "--set", "--classes", "--in-channels", "--no-head"),
        *("--workers", "--batch", "--dtype", "--per", "--max-level"),
        *("--columns", "--sort", "--digits", "--caption", "--no-notes"),
    )
)
"""Options that say what to compute and how it looks, and neither write, execute nor measure."""

_COMM = (
    *("--strategy", "--algorithm", "--accumulate", "--unit", "--no-reshard", "--micro-batches"),
    *("--link", "--per-node", "--compute", "--device", "--mfu", "--precision"),
)
_MEMORY = ("--mode", "--optimizer", "--master-weights", "--checkpoint", "--zero")

PURE: dict[str, tuple[str, ...]] = {
    "archs": (),
    "comm": _COMM,
    "compare": (),
    "deploy": (
        *("--bits", "--density", "--index-bits", "--huffman", "--deep-compression", "--link"),
        *("--clients", "--on-chip", "--fit-device", "--paper"),
    ),
    "memory": (*_MEMORY, "--fit"),
    "papers": (),
    "plot": ("--output", "--theme", "--picture-width", "--figure", *_COMM, *_MEMORY),
    "predict": ("--device", "--channels-last", "--compiled", "--mode"),
    "scale": ("--max-macs", "--max-params", "--max-weights", "--max-activations"),
    "show": (),
    "sweep": ("--random", "--seed", "--where", "--pareto", "--top", "--by"),
    "value": ("--exact",),
}
"""The commands that a document may hold, each with the safe options that it alone has.

A group of commands has one entry. What --output of a plot names is drawn by `effcalc embed` itself,
under the repository's root, when all documents are well.
"""

TARGETS: dict[str, tuple[str, ...]] = {
    "count": ("--arg", "--input", "--backward", "--real"),
}
"""Commands that import the code they are pointed at."""

TIME_LIMIT = 10.0
"""Seconds that a command in a document may take; all together may take ten times as long."""


@dataclass
class RegionRunner:
    """Runs the commands of regions, equal ones once."""

    root: Path
    targets: bool = False
    seconds: float = TIME_LIMIT
    spent: float = 0.0
    pictures: dict[Path, tuple[Drawing, Path]] = field(default_factory=dict)
    results: dict[tuple[Any, ...], Captured] = field(default_factory=dict)

    def compute(self, document: Path) -> Callable[[str, Syntax], Output]:
        """Return what computes the regions of a document, whose path has no symlinks.

        `pictures` gets the pictures that it shows, with the document.
        """
        base = document.parent

        def output(command: str, syntax: Syntax) -> Output:
            args = self._args(command)
            key = (base, *args)
            if key not in self.results:
                result = self._run(args, base)
                if isinstance(result, Drawing):
                    self._keep(result, document)
                self.results[key] = result
            return _output(self.results[key], syntax)

        return output

    def _args(self, command: str) -> list[str]:
        """Read a command line, and refuse one that no document may hold."""
        try:
            args = shlex.split(command)
        except ValueError as error:
            raise InputError(f"{one_line(command)!r}: {one_line(error)}") from None
        name = args[0] if args else ""
        if name in TARGETS and not self.targets:
            raise InputError(f"{name!r} imports the code it counts: embed --allow-targets")
        if name not in PURE and name not in TARGETS:
            known = ", ".join(PURE)
            raise InputError(
                f"no document runs {one_line(name)!r}{suggest(name, PURE)}; known: {known}"
            )
        return args

    def _run(self, args: list[str], base: Path) -> Captured:
        allowed = SAFE.union((PURE | TARGETS)[args[0]])

        def check(options: list[str]) -> None:
            for option in options:
                if option not in allowed:
                    raise InputError(f"{option}: is not for a command in a document")

        left = 10 * self.seconds - self.spent
        if left <= 0:
            raise InputError("the commands of all documents together took too long")
        begun = time.monotonic()
        with ExitStack() as stack:
            stack.enter_context(time_limited(min(self.seconds, left), f"{args[0]!r}"))
            stack.enter_context(memory_limited())
            stack.enter_context(guarded() if args[0] in PURE else nullcontext())
            stack.enter_context(confined(base, self.root))
            stack.enter_context(redirect_stdout(io.StringIO()))
            results = stack.enter_context(captured())
            _called(args, check)
        self.spent += time.monotonic() - begun
        if len(results) != 1:
            raise InputError(f"{args[0]!r} gave {len(results)} results, and a region holds one")
        return results[0]

    def _keep(self, drawing: Drawing, document: Path) -> None:
        """Take up a picture that documents show; refuse a file that is no such picture."""
        path = drawing.options.output or ""
        name = one_line(path)
        if os.path.isabs(path) or "\\" in path or Path(path).suffix not in (".svg", ".png"):
            raise InputError(
                f"--output: {name!r} must be a .svg or .png, by its path from the document with /"
            )
        real = place(document.parent / path, self.root)
        if ".git" in real.relative_to(self.root.resolve()).parts:
            raise InputError(f"--output: {name!r} is git's own folder")
        if real.exists() and data_hash(real) is None:
            raise InputError(f"--output: {name!r} is there and is no picture that effcalc drew")
        if not real.parent.is_dir():
            raise InputError(f"--output: there is no folder for {name!r}")
        other, _ = self.pictures.setdefault(real, (drawing, document))
        if (other.plot.hash, other.options) != (drawing.plot.hash, drawing.options):
            raise InputError(f"--output: {name!r} is drawn by another region, and differently")


def _called(args: list[str], check: Callable[[list[str]], None]) -> None:
    from typer import TyperException

    try:
        run(args, check)
    except TyperException as error:
        raise InputError(usage(error)) from None
    except MemoryError:
        raise RunError(f"{args[0]!r} needs more memory than there is") from None


def _output(result: Captured, syntax: Syntax) -> Output:
    """Write a result as a document has it."""
    format = FORMATS[syntax.format]
    if isinstance(result, str):
        return Output(format.escape(result), inline=True)
    if isinstance(result, Drawing):
        return Output(syntax.image(result.options.output or "", result.plot.title), inline=True)
    table, look = result
    return Output("".join(format.fragment(table, look)))
