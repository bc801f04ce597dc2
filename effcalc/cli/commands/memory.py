"""`effcalc memory`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from effcalc.cli.options import DEFAULT_NETWORK, AnyNetwork, Args, Inputs, OutputOptions
from effcalc.cli.scaling import ScalingOptions
from effcalc.cli.steps import StepOptions

if TYPE_CHECKING:
    from effcalc.cli.memory import Request
    from effcalc.output.table import Table

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
Verify = Annotated[
    bool,
    typer.Option(
        "--verify", help="Run the step here, and compare with what it takes.", show_default=False
    ),
]
Tolerance = Annotated[
    str,
    typer.Option(
        "--tolerance", metavar="PERCENT", help="Difference of peaks above which --verify ends in 1."
    ),
]


def memory(
    scaling: ScalingOptions,
    step: StepOptions,
    output: OutputOptions,
    network: AnyNetwork = DEFAULT_NETWORK,
    per: Per = None,
    fit: FitOption = None,
    verify: Verify = False,
    tolerance: Tolerance = "3",
    arg: Args = [],  # noqa: B006 - typer's, never changed
    input: Inputs = [],  # noqa: B006
) -> None:
    """Predict the peak memory of inference and of a training step, without running anything.

    Parameters, optimizer state, gradients, what torch's autograd keeps for the backward pass and
    what lives for a moment: how much of each is alive at the peak, and the layer and the moment
    of it. --per says what each part keeps, --fit how far batch and φ can grow. --verify runs the
    step and measures it.

    Examples:
    effcalc memory --phi 3 --batch 32
    effcalc memory resnet-50 --batch 16,32,64 --mode train --optimizer adam
    effcalc memory --batch 32 --dtype fp32,amp --mode train
    effcalc memory resnet-50 --batch 32 --mode train --per stage
    effcalc memory --batch 64 --checkpoint block --zero 3 --workers 8
    effcalc memory efficientnet-b0 --fit 24GiB --dtype amp
    effcalc memory torchvision:resnet50 --batch 32
    effcalc memory squeezenet-1.1 --batch 8 --verify
    """
    from effcalc.base.errors import InputError
    from effcalc.cli.memory import request
    from effcalc.cli.output import write_table

    asked = request(network, scaling, step, arg, input)
    if fit is not None and (verify or per is not None):
        raise InputError("--fit finds what fits; give it without --verify and --per")
    if verify:
        _verify(asked, per, tolerance, output)
    else:
        write_table(_fitted(asked, fit) if fit is not None else _predicted(asked, per), output)


def _predicted(asked: Request, per: str | None) -> Table:
    """Predict every run that is asked for."""
    from effcalc.base.errors import InputError
    from effcalc.footprint.tables import described, memory_table, per_table

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


def _verify(asked: Request, per: str | None, text: str, output: OutputOptions) -> None:
    """Run every step that is asked for, compare, and end in 1 where one is too far off."""
    from effcalc.base.errors import CheckFailed, InputError, need
    from effcalc.base.units import parse_number
    from effcalc.cli.output import write_table
    from effcalc.footprint.tables import verify_table

    tolerance = parse_number(text.removesuffix("%"), "--tolerance")
    if tolerance < 0:
        raise InputError(f"--tolerance: {tolerance:g} is below zero")
    if per is not None:
        raise InputError("--verify measures the whole step; give no --per")
    need("torch", "--verify", "torch")
    from effcalc.cli.memory_verify import checks, measured_on

    compared = checks(asked)
    title = f"{asked.title}: memory, predicted and measured"
    write_table(verify_table(compared, title, measured_on(asked), tolerance), output)
    off = [check for check in compared if abs(check.difference) > tolerance]
    if off:
        worst = max(off, key=lambda check: abs(check.difference))
        raise CheckFailed(
            f"--verify: the predicted peak is {worst.difference:+.2f}% off, and --tolerance "
            f"allows {tolerance:g}%"
        )


def _fitted(asked: Request, text: str) -> Table:
    """Find the largest batch and φ."""
    from effcalc.base.errors import InputError
    from effcalc.base.units import parse_bytes
    from effcalc.footprint.tables import fit_table

    limit = parse_bytes(text, "--fit")
    if limit < 1:
        raise InputError("--fit: must be above zero, such as 24GiB")
    return fit_table(asked.fits(limit), limit, asked.one_step("--fit"), asked.title)
