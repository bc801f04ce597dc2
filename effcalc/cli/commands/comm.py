"""`effcalc comm`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from effcalc.cli.comm_verify import VerifyOptions
from effcalc.cli.options import DEFAULT_NETWORK, AnyNetwork, Args, Inputs, OutputOptions
from effcalc.cli.scaling import ScalingOptions
from effcalc.cli.training import ComputeOptions, LinkOptions, StrategyOptions

if TYPE_CHECKING:
    from effcalc.cli.training import Asked
    from effcalc.output.table import Table

Per = Annotated[
    str | None,
    typer.Option(
        "--per", metavar="PART", help="Break one prediction down: rank, collective or stage."
    ),
]


def comm(
    scaling: ScalingOptions,
    training: StrategyOptions,
    wires: LinkOptions,
    spent: ComputeOptions,
    checked: VerifyOptions,
    output: OutputOptions,
    network: AnyNetwork = DEFAULT_NETWORK,
    per: Per = None,
    arg: Args = [],  # noqa: B006 - typer's, never changed
    input: Inputs = [],  # noqa: B006
) -> None:
    """Predict what workers send to train a network together, and how long that takes.

    The textbook's figure and what torch's gloo backend really sends stand side by side. Where
    the compute is known (--compute, or --device and --mfu) there are the time that overlap does
    not hide and the scaling efficiency. --verify trains real steps on real ranks of this machine,
    or as a rank of torchrun, and ends with 1 where they send other bytes than predicted.

    Examples:
    effcalc comm squeezenet-1.1 --workers 1,8,64,512 --compute 40ms
    effcalc comm resnet-50 --strategy ddp,zero-3,fully-shard --workers 8
    effcalc comm --algorithm ring,tree,halving-doubling --link 10Gbps:30us
    effcalc comm resnet-50 --link nvlink-4,infiniband-hdr --per-node 8
    effcalc comm resnet-50 --workers 4 --per collective
    effcalc comm resnet-50 --strategy pipeline --workers 4 --per stage
    effcalc comm resnet-50 --device a100-40gb --mfu 30% --dtype bf16
    effcalc comm torchvision:vit_b_16 --workers 8 --strategy ddp,zero-3
    effcalc comm squeezenet-1.1 --verify -n 4
    effcalc comm resnet-18 --strategy fully-shard --verify -n 2 --tolerance 0
    """
    from effcalc.base.errors import InputError
    from effcalc.cli.comm_verify import confirm, verify
    from effcalc.cli.networks import is_target, read_networks
    from effcalc.cli.output import write_table
    from effcalc.cli.training import predicted
    from effcalc.communication.model import training_model

    checked.check()
    if checked.verify and is_target(network):
        raise InputError("--verify trains networks of effcalc archs; give one of them")
    asked = read_networks(network, scaling, arg, input).one("comm")
    name = f"{asked.title}: {', '.join(s.name for s in training.strategies())}"
    if checked.verify:
        table, wrong = verify(network, scaling, training, checked, f"{name}, verified")
        if table is not None:
            write_table(table, output)
        confirm(wrong)
    else:
        results = predicted(training_model(asked.network), training, wires, spent)
        write_table(_table(name, results, per), output)


def _table(name: str, asked: Asked, per: str | None) -> Table:
    """Return the predictions, or with `per` the breakdown of a single one."""
    from effcalc.base.errors import InputError, one_of
    from effcalc.communication.tables import BREAKDOWNS, comm_table

    results, shown = asked
    if per is None:
        return comm_table(name, list(results) if len(results) == 1 else results, shown)
    breakdown = BREAKDOWNS[one_of(per, BREAKDOWNS, "--per")]
    if len(results) != 1:
        raise InputError(f"--per is for one prediction, and this asks for {len(results):,}")
    [only] = results
    return breakdown(name, only)
