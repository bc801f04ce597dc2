"""`effcalc comm`."""

from __future__ import annotations

from typing import Annotated

import typer

from effcalc.cli.options import Network, OutputOptions, ScalingOptions
from effcalc.cli.training import ComputeOptions, LinkOptions, StrategyOptions
from effcalc.cli.verification import VerifyOptions

Per = Annotated[
    str | None,
    typer.Option(
        "--per", metavar="PART", help="Break one prediction down: rank, collective or stage."
    ),
]


def comm(
    network: Network,
    scaling: ScalingOptions,
    training: StrategyOptions,
    wires: LinkOptions,
    spent: ComputeOptions,
    checked: VerifyOptions,
    output: OutputOptions,
    per: Per = None,
) -> None:
    """Say what workers send to train a network together, how long that takes, and what shows.

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
    effcalc comm squeezenet-1.1 --verify -n 4
    effcalc comm resnet-18 --strategy fully-shard --verify -n 2 --tolerance 0
    """
    from effcalc.cli.networks import one_network, title
    from effcalc.cli.output import write_table
    from effcalc.cli.training import choose
    from effcalc.cli.verification import confirm, verify
    from effcalc.comm.model import training_model
    from effcalc.comm.predict import predictions
    from effcalc.errors import InputError
    from effcalc.request import Many
    from effcalc.views.comm import BREAKDOWNS, comm_table

    counts, setups = training.counts(), training.setups()
    strategies, algorithms = training.strategies(), training.algorithms()
    links, group = wires.links()
    at = one_network(network, scaling, "comm")
    name = f"{title(at)}: {', '.join(s.name for s in strategies)}"
    checked.check()
    if checked.verify:
        table, wrong = verify(network, scaling, strategies, setups, checked, f"{name}, verified")
        if table is not None:
            write_table(table, output)
        confirm(wrong)
        return
    model = training_model(at.network)
    compute = [spent.seconds(model, setup) for setup in setups]
    made = Many(
        len(counts) * len(strategies) * len(algorithms) * len(setups),
        lambda: predictions(model, counts, strategies, algorithms, setups, compute, links, group),
    )
    if per is None:
        axes = (("strategy", strategies), ("algorithm", algorithms), ("dtype", setups))
        shown = [axis for axis, values in axes if len(values) > 1]
        rows = list(made) if len(made) == 1 else made
        write_table(comm_table(name, rows, shown), output)
        return
    breakdown = BREAKDOWNS[choose(per, BREAKDOWNS, "--per")]
    if len(made) != 1:
        raise InputError(f"--per is for one prediction, and this asks for {len(made):,}")
    [only] = made
    write_table(breakdown(name, only), output)
