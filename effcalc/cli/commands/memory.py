"""`effcalc memory`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from effcalc.cli.options import OutputOptions, ScalingOptions

if TYPE_CHECKING:
    from effcalc.cli.memory import Request
    from effcalc.table import Table

Network = Annotated[
    str,
    typer.Argument(
        metavar="NETWORK",
        help="A built-in network, an architecture file.toml, or a target of effcalc count.",
    ),
]
Batches = Annotated[
    str, typer.Option("--batch", metavar="NUMBERS", help="Images in a batch: 32, or 16,32,64.")
]
Mode = Annotated[
    str | None,
    typer.Option("--mode", metavar="MODE", help="infer, train or, as without it, both."),
]
Dtypes = Annotated[
    str, typer.Option("--dtype", metavar="TYPES", help="fp32, bf16 or amp (bf16); a list too.")
]
Optimizer = Annotated[
    str, typer.Option("--optimizer", metavar="NAME", help="sgd, momentum, adam or adamw.")
]
Master = Annotated[
    bool,
    typer.Option(
        "--master-weights", help="With bf16: float32 copies for the optimizer.", show_default=False
    ),
]
Checkpoint = Annotated[
    str,
    typer.Option(
        "--checkpoint", metavar="PART", help="Compute each stage or block again for backward."
    ),
]
Workers = Annotated[
    str, typer.Option("--workers", metavar="N", help="Data-parallel workers that ZeRO shards over.")
]
Zero = Annotated[
    str, typer.Option("--zero", metavar="STAGE", help="ZeRO stage that shards: 1, 2 or 3.")
]
Device = Annotated[
    str,
    typer.Option("--device", metavar="DEVICE", help="Whose torch kernels run: cpu or cuda."),
]
Per = Annotated[
    str | None,
    typer.Option(
        "--per", metavar="PART", help="Where it sits: stage, block, layer, or every moment."
    ),
]
FitOption = Annotated[
    str | None,
    typer.Option("--fit", metavar="BYTES", help="Find what fits: 24GiB, 80GB."),
]
Args = Annotated[
    list[str],
    typer.Option("--arg", metavar="NAME=VALUE", help="An argument of a target's factory."),
]
Inputs = Annotated[
    list[str],
    typer.Option("--input", metavar="INPUT", help="What goes into a target: 8x3x224x224."),
]


def memory(
    scaling: ScalingOptions,
    output: OutputOptions,
    network: Network = "efficientnet-b0",
    batch: Batches = "1",
    mode: Mode = None,
    dtype: Dtypes = "fp32",
    optimizer: Optimizer = "momentum",
    master_weights: Master = False,
    checkpoint: Checkpoint = "none",
    workers: Workers = "1",
    zero: Zero = "0",
    device: Device = "cpu",
    per: Per = None,
    fit: FitOption = None,
    arg: Args = [],  # noqa: B006 - typer's, never changed
    input: Inputs = [],  # noqa: B006
) -> None:
    """Predict the peak memory of inference and of a training step, without running anything.

    Parameters, optimizer state, gradients, what torch's autograd keeps for the backward pass and
    what lives for a moment: how much of each is alive at the peak, and the layer and the moment
    of it. --per says what each part keeps, --fit how far batch and φ can grow.

    Examples:
    effcalc memory --phi 3 --batch 32
    effcalc memory resnet-50 --batch 16,32,64 --mode train --optimizer adam
    effcalc memory --batch 32 --dtype fp32,amp --mode train
    effcalc memory resnet-50 --batch 32 --mode train --per stage
    effcalc memory --batch 64 --checkpoint block --zero 3 --workers 8
    effcalc memory efficientnet-b0 --fit 24GiB --dtype amp
    effcalc memory torchvision:resnet50 --batch 32
    """
    from effcalc.cli.memory import request
    from effcalc.cli.output import write_table

    asked = request(
        network, scaling, batch, mode, dtype, optimizer, master_weights, checkpoint, workers, zero,
        device, arg, input,
    )  # fmt: skip
    write_table(_fitted(asked, fit) if fit is not None else _predicted(asked, per), output)


def _predicted(asked: Request, per: str | None) -> Table:
    """Predict every run that is asked for."""
    from effcalc.errors import InputError
    from effcalc.views.memory import described, memory_table, per_table

    runs = list(asked.runs())
    if per is not None and len(runs) != 1:
        raise InputError(
            f"--per is for one run, and this asks for {len(runs)}; give one --batch and --dtype, "
            "and --mode train or --mode infer"
        )
    if len(runs) > 1:
        return memory_table(runs, f"{asked.title}: peak memory")
    p = runs[0].prediction
    title = f"{asked.title}, batch {p.batch}: {described(p.step)}"
    return memory_table(runs, title) if per is None else per_table(runs[0], per, title)


def _fitted(asked: Request, text: str) -> Table:
    """Find the largest batch and φ."""
    from effcalc.errors import InputError
    from effcalc.units import parse_bytes
    from effcalc.views.memory import fit_table

    limit = parse_bytes(text, "--fit")
    if limit < 1:
        raise InputError("--fit: must be above zero, such as 24GiB")
    return fit_table(asked.fits(limit), limit, asked.one_step("--fit"), asked.title)
