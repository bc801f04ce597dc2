"""What `effcalc search` tries, and how it evaluates it, as its options say it.

Annotations stay objects in this module: app.py reads them without evaluating any text.
"""

from dataclasses import dataclass, field
from typing import Annotated, ClassVar

import typer

from effcalc.cli.options import Classes, InChannels, NoHead, Settings, number, whole


@dataclass(frozen=True, slots=True)
class SearchOptions:
    """Which bases α, β, γ are tried, on which network, and what counts as good."""

    panel: ClassVar[str] = "Candidates (a list 1,1.1,1.2 or a range 1:1.5:0.1)"

    alpha: Annotated[
        str, typer.Option("--alpha", metavar="NUMBERS", help="Bases α of the depth.")
    ] = "1:2:0.1"
    beta: Annotated[
        str, typer.Option("--beta", metavar="NUMBERS", help="Bases β of the width.")
    ] = "1:1.4:0.05"
    gamma: Annotated[
        str, typer.Option("--gamma", metavar="NUMBERS", help="Bases γ of the resolution.")
    ] = "1:1.4:0.05"
    tolerance: Annotated[
        float,
        typer.Option(
            "--tolerance",
            metavar="NUMBER",
            parser=number("--tolerance"),
            help="How far α·β²·γ² may be from 2.",
        ),
    ] = 0.1
    phi: Annotated[
        float,
        typer.Option(
            "--phi", metavar="NUMBER", parser=number("--phi"), help="φ of the networks tried."
        ),
    ] = 1.0
    accuracy: Annotated[
        str | None,
        typer.Option(
            "--accuracy",
            metavar="FILE.csv",
            help="Accuracies of candidates: columns alpha, beta, gamma, accuracy.",
        ),
    ] = None
    cost: Annotated[
        str,
        typer.Option(
            "--cost",
            metavar="COST",
            help="COST of the objective: macs, params, memory, communication or latency.",
        ),
    ] = "macs"
    profiles: Annotated[
        str | None,
        typer.Option(
            "--profiles",
            metavar="FILE",
            help="Saved profile of each candidate, for latency: 'lat/{d}-{w}-{px}.json'.",
        ),
    ] = None
    target: Annotated[
        str | None,
        typer.Option(
            "--target", metavar="COST", help="T of the objective; the median cost if not given."
        ),
    ] = None
    exponent: Annotated[
        float,
        typer.Option(
            "--exponent", metavar="NUMBER", parser=number("--exponent"), help="w of the objective."
        ),
    ] = -0.07
    settings: Settings = field(default_factory=list)
    classes: Classes = None
    in_channels: InChannels = None
    no_head: NoHead = False


@dataclass(frozen=True, slots=True)
class StudyOptions:
    """How the accuracies of candidates are found by a command, and kept."""

    panel: ClassVar[str] = "Evaluation"

    evaluate: Annotated[
        str | None,
        typer.Option(
            "--evaluate",
            metavar="COMMAND",
            help="Trains a candidate, with {d}, {w}, {r}, {px}, {alpha}, {beta}, {gamma} or {phi} "
            "in it; the last line it prints is the accuracy. No shell sees it.",
        ),
    ] = None
    study: Annotated[
        str | None,
        typer.Option(
            "--study",
            metavar="FILE",
            help="Where results are kept, NETWORK.search if not given; with --storage a name.",
        ),
    ] = None
    storage: Annotated[
        str | None,
        typer.Option(
            "--storage", metavar="URL", help="A PostgreSQL URL, postgresql://…, for many machines."
        ),
    ] = None
    worker: Annotated[
        bool,
        typer.Option("--worker", help="Help with the search of --storage, and print nothing."),
    ] = False
    jobs: Annotated[
        int,
        typer.Option(
            "--jobs", metavar="N", parser=whole("--jobs", 1, 1024), help="Commands at a time."
        ),
    ] = 1
    retries: Annotated[
        int,
        typer.Option(
            "--retries",
            metavar="N",
            parser=whole("--retries", 0, 1000),
            help="How often a candidate whose command fails is tried again.",
        ),
    ] = 1
    time_limit: Annotated[
        float | None,
        typer.Option(
            "--time-limit",
            metavar="SECONDS",
            parser=number("--time-limit"),
            help="Longest that a command may take.",
        ),
    ] = None
    heartbeat: Annotated[
        int,
        typer.Option(
            "--heartbeat",
            metavar="SECONDS",
            parser=whole("--heartbeat", 1, 3600),
            help="How often a process of --storage says that it is alive; three missed are one "
            "killed.",
        ),
    ] = 10
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the search that --study holds.")
    ] = False
    status: Annotated[
        bool, typer.Option("--status", help="Show how the search stands, and change nothing.")
    ] = False
