"""`effcalc comm --verify`: real ranks, of this machine or of the torchrun that runs this."""

# Annotations stay objects in this module: app.py reads them without evaluating any text.
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import typer

from effcalc.base.errors import CheckFailed, InputError, RunError, need, one_of

if TYPE_CHECKING:
    from effcalc.cli.training import StrategyOptions
    from effcalc.communication.verify import Compared
    from effcalc.output.table import Table
    from effcalc.scaling.request import ScalingRequest

MAX_RANKS = 64


@dataclass(frozen=True, slots=True)
class VerifyOptions:
    """Whether to train on real ranks, and how far they may be off."""

    panel: ClassVar[str] = "Verification (Linux, torch)"

    verify: Annotated[
        bool,
        typer.Option(
            "--verify",
            help="Train real steps of ddp or fully-shard and compare what they send.",
            show_default=False,
        ),
    ] = False
    ranks: Annotated[
        str | None,
        typer.Option(
            "--ranks", "-n", metavar="N", help="Ranks to start here: 2, or as torchrun has."
        ),
    ] = None
    backend: Annotated[
        str, typer.Option("--backend", metavar="NAME", help="gloo, or nccl under torchrun.")
    ] = "gloo"
    tolerance: Annotated[
        str,
        typer.Option(
            "--tolerance", metavar="SHARE", help="How far off is still right: 0.1%, or 0."
        ),
    ] = "0.1%"
    time_limit: Annotated[
        str, typer.Option("--time-limit", metavar="TIME", help="After which the ranks are ended.")
    ] = "300s"

    def check(self) -> None:
        """Refuse what is said of a verification that is not asked for."""
        if not self.verify and self != VerifyOptions():
            raise InputError("-n, --tolerance, --time-limit and --backend are for --verify")


def verify(
    network: str,
    scaling: "ScalingRequest",
    training: "StrategyOptions",
    options: VerifyOptions,
    title: str,
) -> "tuple[Table | None, str]":
    """Run the ranks and return the table, and what does not hold ("" where all does).

    Under torchrun this process is a rank, and only rank 0 has a table. Raises `InputError`,
    `NeedsError`, and `RunError` where a rank fails.
    """
    from effcalc.base.units import parse_seconds
    from effcalc.cli.training import count
    from effcalc.communication.model import training_model
    from effcalc.communication.strategies import check
    from effcalc.communication.tables import verify_table
    from effcalc.communication.verify import VERIFIED, alone, compare, phases
    from effcalc.scaling.request import one_network

    strategies, setups = training.strategies(), training.setups()
    if len(strategies) != 1 or len(setups) != 1:
        raise InputError("--verify is for one strategy and one dtype")
    [strategy], [setup] = strategies, setups
    one_of(strategy.name, VERIFIED, "--verify --strategy")
    one_of(options.backend, ("gloo", "nccl"), "--backend")
    check(setup, strategy)
    tolerance = _tolerance(options.tolerance)
    seconds = parse_seconds(options.time_limit, "--time-limit")
    if seconds <= 0:
        raise InputError("--time-limit must be above zero")
    scaled = one_network(network, scaling, "--verify")
    need("torch", "--verify", "torch")
    launched = {"RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"} <= os.environ.keys()
    ranks = None if options.ranks is None else count(options.ranks, "--ranks", MAX_RANKS)
    run = {
        "network": network,
        "scaling": asdict(scaling),
        "strategy": strategy.name,
        "setup": asdict(setup),
    }
    if launched:
        answers = _as_rank([run], ranks, options.backend, seconds)
        if answers is None:
            return None, ""
    else:
        if options.backend == "nccl":
            raise InputError("--backend nccl is for a rank of torchrun, with a GPU each")
        answers = start([run], 2 if ranks is None else ranks, seconds)
    plan = strategy.plan(training_model(scaled.network), setup, len(answers))
    expected = phases(plan, answers[0])
    rows = compare(expected, answers)
    wrong = _wrong(rows, tolerance)
    if wrong and not launched and not any(row.differs for row in rows):
        # The collectives are those predicted: one of them must send other bytes.
        single = alone(expected)
        listed = [(c.op, c.size, c.element, c.root) for [c] in (p.collectives for p in single)]
        separate = start([{"collectives": listed}], len(answers), seconds)
        wrong += f"; {_wrong(compare(single, separate), tolerance) or 'each alone is right'}"
    return verify_table(title, rows, answers[0]["environment"]), wrong


def start(runs: Sequence[dict[str, Any]], ranks: int, seconds: float) -> list[dict[str, Any]]:
    """Run what `effcalc.cli.rank` knows on ranks of this machine; return what each answered.

    Raises `RunError` with the first failure of a rank; by then all have ended.
    """
    import sys
    import tempfile

    from effcalc.base.errors import NeedsError
    from effcalc.base.limits import child_memory
    from effcalc.base.process import Limits, run_all
    from effcalc.cli import rank

    if sys.platform != "linux":
        raise NeedsError("--verify needs Linux, whose kernel counts a connection's bytes")
    with tempfile.TemporaryDirectory(prefix="effcalc-") as folder:
        store = os.path.join(folder, "store")
        places = [
            {"rank": r, "workers": ranks, "file": store, "backend": "gloo", "seconds": seconds}
            for r in range(ranks)
        ]
        limits = Limits(seconds, child_memory())
        ended = run_all(rank.__name__, [{"runs": runs, "place": p} for p in places], limits)
    failed = [(e.failed, i) for i, e in enumerate(ended) if e.answer is None]
    if failed:
        _, first = min(failed)
        raise RunError(f"--verify: rank {first} failed: {ended[first].cause}")
    return [e.answer for e in ended if e.answer is not None]


def _as_rank(
    runs: list[dict[str, Any]], ranks: int | None, backend: str, seconds: float
) -> list[dict[str, Any]] | None:
    """Be one of torchrun's ranks; rank 0 gets the answers of all."""
    from effcalc.cli.rank import answer

    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    if ranks not in (None, world):
        raise InputError(f"-n: torchrun started {world} ranks; leave -n out")
    place = {"rank": rank, "workers": world, "file": "", "backend": backend, "seconds": seconds}
    gathered: list[dict[str, Any]] | None = answer({"runs": runs, "place": place})["all"]
    return gathered if rank == 0 else None


def _tolerance(text: str) -> float:
    from effcalc.base.units import parse_share

    return 0.0 if text.strip() in ("0", "0%") else parse_share(text, "--tolerance")


def _wrong(rows: "Sequence[Compared]", tolerance: float) -> str:
    """Say what is off by more than the tolerance, or ran though it was not predicted."""
    worst = max(rows, key=lambda row: row.share)
    differs = next((row.differs for row in rows if row.differs), "")
    if worst.share <= tolerance:
        return differs
    said = f"{worst.phase}, rank {worst.rank}: off by {worst.off:+,} bytes"
    return f"{said}; {differs}" if differs else said


def confirm(wrong: str) -> None:
    """Raise `CheckFailed` where something does not hold."""
    if wrong:
        raise CheckFailed(f"--verify: {wrong}")
