"""How what `effcalc predict` predicts is run, as its options say it.

Annotations stay objects in this module: app.py reads them without evaluating any text.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import typer


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How the network runs."""

    panel: ClassVar[str] = "How it runs"

    dtype: Annotated[
        str | None,
        typer.Option(
            "--dtype",
            metavar="DTYPE",
            help="fp32, tf32, amp, fp16 or bf16; amp where the device has fp16.",
        ),
    ] = None
    channels_last: Annotated[
        bool,
        typer.Option("--channels-last", help="Channels-last layout.", show_default=False),
    ] = False
    compiled: Annotated[
        bool, typer.Option("--compiled", help="Through torch.compile.", show_default=False)
    ] = False
    mode: Annotated[
        str,
        typer.Option("--mode", metavar="MODE", help="infer, or train: forward, backward, update."),
    ] = "infer"
