"""How a step runs, as the options of `effcalc memory` and `effcalc plot memory` say it.

Annotations stay objects in this module: app.py reads them without evaluating any text.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import typer

from effcalc.cli.options import option
from effcalc.footprint.optimizer import OPTIMIZERS


@dataclass(frozen=True, slots=True)
class StepOptions:
    """What runs, at which batches, precisions and so on; lists are still text."""

    panel: ClassVar[str] = "Step (NUMBERS and TYPES may be lists: a,b)"

    batch: Annotated[str, option("--batch", "NUMBERS", "Images in a batch: 32, or 16,32,64.")] = "1"
    mode: Annotated[
        str | None, option("--mode", "MODE", "infer, train or, as without it, both.")
    ] = None
    dtype: Annotated[str, option("--dtype", "TYPES", "fp32, bf16, or amp: autocast with bf16.")] = (
        "fp32"
    )
    optimizer: Annotated[str, option("--optimizer", "NAME", f"One of {', '.join(OPTIMIZERS)}.")] = (
        "momentum"
    )
    master_weights: Annotated[
        bool,
        typer.Option(
            "--master-weights",
            help="With bf16: float32 copies for the optimizer.",
            show_default=False,
        ),
    ] = False
    checkpoint: Annotated[
        str, option("--checkpoint", "PART", "Recompute each stage or block for backward.")
    ] = "none"
    workers: Annotated[
        str, option("--workers", "N", "Data-parallel workers that ZeRO shards over.")
    ] = "1"
    zero: Annotated[str, option("--zero", "STAGE", "ZeRO stage that shards: 1, 2 or 3.")] = "0"
    device: Annotated[
        str, option("--device", "DEVICE", "Whose torch kernels run: cpu or cuda.")
    ] = "cpu"
