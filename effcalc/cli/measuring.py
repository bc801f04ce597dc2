"""How `effcalc profile` measures, and what it shows, as its options say it.

Annotations stay objects in this module: app.py reads them without evaluating any text.
"""

from dataclasses import dataclass
from typing import Annotated

import typer


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How the model runs while it is measured."""

    device: Annotated[
        str | None,
        typer.Option(
            "--device",
            metavar="DEVICE",
            help="cpu, cuda or cuda:1 (mps and xpu untested); cuda where there is one.",
        ),
    ] = None
    mode: Annotated[
        str,
        typer.Option(
            "--mode", metavar="MODE", help="infer, or train: forward, backward, SGD with momentum."
        ),
    ] = "infer"
    batch: Annotated[
        str,
        typer.Option("--batch", metavar="NUMBERS", help="Images in a batch, or a list: 1,8,32."),
    ] = ""
    dtype: Annotated[
        str,
        typer.Option(
            "--dtype", metavar="DTYPE", help="fp32 (TF32 off), tf32, fp16, bf16 or amp (autocast)."
        ),
    ] = "fp32"
    channels_last: Annotated[
        bool, typer.Option("--channels-last", help="Store images as NHWC.", show_default=False)
    ] = False
    compile: Annotated[
        bool, typer.Option("--compile", help="Run it through torch.compile.", show_default=False)
    ] = False
    threads: Annotated[
        int | None, typer.Option("--threads", metavar="N", min=1, help="Threads of one operator.")
    ] = None
    repeat: Annotated[
        int | None,
        typer.Option(
            "--repeat", metavar="N", min=1, help="Timed runs; by default until the median is known."
        ),
    ] = None
    warmup: Annotated[
        int | None,
        typer.Option(
            "--warmup", metavar="N", min=0, help="Runs before them; by default until it settles."
        ),
    ] = None
    cold: Annotated[
        bool, typer.Option("--cold", help="Flush the caches before each run.", show_default=False)
    ] = False


@dataclass(frozen=True, slots=True)
class BreakdownOptions:
    """Which parts are shown, what else is written, and what is compared."""

    per: Annotated[
        str | None,
        typer.Option("--per", metavar="PART", help="Break the time down: layer, module or kernel."),
    ] = None
    trace: Annotated[
        str | None,
        typer.Option(
            "--trace", metavar="FILE", help="Write a trace for Perfetto or Chrome (.json)."
        ),
    ] = None
    against: Annotated[
        str | None,
        typer.Option(
            "--against", metavar="FILE.json", help="Say what is slower than in a saved profile."
        ),
    ] = None
    fail_slower: Annotated[
        str | None,
        typer.Option(
            "--fail-slower",
            metavar="PERCENT",
            help="With --against, end with 1 where it is slower by more, and beyond the noise: 5%.",
        ),
    ] = None
