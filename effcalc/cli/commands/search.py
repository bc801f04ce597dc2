"""`effcalc search`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from effcalc.cli.options import Network, OutputOptions, Workers
from effcalc.cli.study import SearchOptions, StudyOptions

if TYPE_CHECKING:
    import threading
    from collections.abc import Mapping, Sequence

    from effcalc.network.arch import Arch
    from effcalc.output.table import Table
    from effcalc.scaling.scale import Scaled
    from effcalc.scaling.search.candidates import Candidate
    from effcalc.scaling.search.evaluate import Result
    from effcalc.scaling.search.study import Progress
    from effcalc.scaling.search.table import Results

ThenScale = Annotated[
    str | None,
    typer.Option(
        "--then-scale",
        metavar="NUMBERS",
        help="STEP 2: the networks at these φ with the best bases, such as 0:7.",
    ),
]


def search(
    network: Network,
    options: SearchOptions,
    study: StudyOptions,
    workers: Workers,
    output: OutputOptions,
    then_scale: ThenScale = None,
) -> None:
    """Search the bases α, β, γ of compound scaling: the paper's STEP 1, and then STEP 2.

    Candidates are the points of a grid at which MACs about double, |α·β²·γ² − 2| <= tolerance.
    Given their accuracies, from a CSV file or from a command that trains each, they are ranked by
    ACC × (COST/T)^w. A search that is killed at any time goes on with --resume; many machines
    share one with --storage.

    Examples:
    effcalc search
    effcalc search --alpha 1:1.5:0.1 --tolerance 0.05 --columns alpha,growth
    effcalc search --accuracy my-accuracies.csv --cost memory --then-scale 0:7
    effcalc search --evaluate 'my-train {d} {w} {px}' --jobs 2
    effcalc search --evaluate 'my-train {d} {w} {px}' --jobs 2 --resume
    effcalc search --evaluate 'my-run {d}' --storage postgresql://db/x --worker
    """
    from effcalc.base.errors import InputError
    from effcalc.cli.output import write_table
    from effcalc.scaling.request import load_unscaled, settings
    from effcalc.scaling.search.table import search_table

    _check_options(options, study)
    knobs, sizes = settings(options.settings), (options.classes, options.in_channels)
    arch = load_unscaled(network, knobs, *sizes, "search {} instead")
    results = _results(arch, network, options, workers)
    if study.evaluate is not None:
        about = _about(arch, network, options, results, study.evaluate)
        progress = _evaluated(network, results, study, about)
        if study.worker:
            return
        results = _with_progress(results, progress, study.status)
    if then_scale is None:
        title = f"{arch.title}: α·β²·γ² within {options.tolerance:g} of 2"
        write_table(search_table(title, results), output)
    else:
        order = results.ranked()
        if not order:
            raise InputError("--then-scale needs a best candidate: give accuracies or --evaluate")
        best = results.candidates[order[0]]
        write_table(_family(arch, best, then_scale, workers, not options.no_head), output)
    if not study.status:
        _check_failed(results)


def _check_failed(results: Results) -> None:
    """Raise `RunError` where candidates have no result."""
    from effcalc.base.errors import RunError

    if results.failed:
        number, cause = next(iter(results.failed.items()))
        raise RunError(
            f"{len(results.failed)} of {len(results.candidates)} candidates have no result; the "
            f"first, {results.candidates[number].text()}: {cause}; --resume with more --retries "
            "tries again"
        )


def _check_options(options: SearchOptions, study: StudyOptions) -> None:
    """Refuse options that do not go together."""
    from effcalc.base.errors import InputError, one_of
    from effcalc.scaling.search.candidates import COSTS, command

    one_of(options.cost, (*COSTS, "latency"), "--cost")
    if (options.cost == "latency") != (options.profiles is not None):
        raise InputError("--cost latency and --profiles 'FOLDER/{d}-{w}-{px}.json' go together")
    if options.accuracy is not None and study.evaluate is not None:
        raise InputError("--accuracy and --evaluate exclude each other; give one of them")
    if study.evaluate is not None:
        command(study.evaluate)
    elif study.worker or study.resume or study.status or study.storage or study.study:
        raise InputError("--evaluate is missing: give the command that the search was started with")
    if study.worker and study.storage is None:
        raise InputError("--worker joins a search in a database; give its --storage")


def _candidates(options: SearchOptions) -> tuple[list[Candidate], dict[int, float], list[str]]:
    """Return the candidates, the accuracies that a file has for them, and notes."""
    from effcalc.base.errors import InputError
    from effcalc.base.units import parse_values
    from effcalc.scaling.search.candidates import grid, read_accuracies

    if options.accuracy is not None:
        known, left_out = read_accuracies(options.accuracy, options.tolerance)
        notes = [f"{left_out} lines of the file are outside of the tolerance"] if left_out else []
        return list(known), dict(enumerate(known.values())), notes
    axes = []
    for name in ("alpha", "beta", "gamma"):
        values = parse_values(getattr(options, name), f"--{name}")
        if len(values) > 10_000:
            raise InputError(f"--{name}: has {len(values):,} values; at most 10,000 are tried")
        axes.append(sorted({float(v) for v in values}))
    return grid(axes[0], axes[1], axes[2], options.tolerance), {}, []


def _results(arch: Arch, network: str, options: SearchOptions, workers: int) -> Results:
    """Return the candidates and their costs, with the accuracies that a file has for them."""
    import statistics

    from effcalc.scaling.search.table import Objective, Results

    candidates, accuracies, notes = _candidates(options)
    head = not options.no_head
    networks = [c.scale(arch, options.phi, workers, head) for c in candidates]
    costs = _costs(options, network, candidates, networks)
    target = _target(options) or statistics.median(costs)
    objective = Objective(options.cost, target, options.exponent)
    return Results(candidates, networks, costs, objective, accuracies, notes=tuple(notes))


def _with_progress(results: Results, progress: Progress, status: bool) -> Results:
    """Return the results with those of a study; `status` adds a note of how many are left."""
    from dataclasses import replace

    notes = results.notes
    if status:
        count = len(progress.accuracies)
        notes += (
            f"{count} of {len(results.candidates)} evaluated, {progress.running} under way, "
            f"{progress.waiting} waiting, {len(progress.failed)} given up",
        )
    return replace(results, accuracies=progress.accuracies, failed=progress.failed, notes=notes)


def _costs(
    options: SearchOptions,
    network: str,
    candidates: Sequence[Candidate],
    networks: Sequence[Scaled],
) -> list[float]:
    """What each candidate costs; none may cost nothing."""
    from effcalc.base.errors import InputError
    from effcalc.output.saved import latency
    from effcalc.scaling.search.candidates import COSTS, fields, filled

    if options.profiles is not None:
        values = zip(networks, candidates, strict=True)
        names = [fields(network, scaled, c) for scaled, c in values]
        return [latency(filled(options.profiles, name, "--profiles")) for name in names]
    costs: list[float] = [COSTS[options.cost][1](scaled) for scaled in networks]
    if not all(costs):
        raise InputError(f"--cost {options.cost}: is 0 for a candidate; choose another cost")
    return costs


def _target(options: SearchOptions) -> float | None:
    """T as given, in the unit of the cost."""
    from effcalc.base.errors import InputError
    from effcalc.base.units import parse_bytes, parse_count, parse_number

    if options.target is None:
        return None
    sized = options.cost in ("memory", "communication")
    read = parse_bytes if sized else parse_number if options.cost == "latency" else parse_count
    value = read(options.target, "--target")
    if value <= 0:
        raise InputError(f"--target must be above zero, not {options.target}")
    return value


def _about(
    arch: Arch,
    network: str,
    options: SearchOptions,
    results: Results,
    evaluate: str,
) -> dict[str, str]:
    """What must be the same for results to belong to one search."""
    import json
    from hashlib import sha256

    stages = repr((arch.stages, arch.image_size, arch.in_channels, arch.keep))
    return {
        "network": network,
        "architecture": sha256(stages.encode()).hexdigest(),
        "phi": repr(float(options.phi)),
        "candidates": json.dumps([[c.alpha, c.beta, c.gamma] for c in results.candidates]),
        "evaluate": evaluate,
    }


def _evaluated(
    network: str, results: Results, options: StudyOptions, about: Mapping[str, str]
) -> Progress:
    """Evaluate what is left, or with --status only read the study; return the progress."""
    import math
    from os.path import basename

    from effcalc.cli.output import progress
    from effcalc.scaling.search.candidates import command, fields, filled
    from effcalc.scaling.search.evaluate import evaluate
    from effcalc.scaling.search.stores import local, shared, stored
    from effcalc.scaling.search.study import Progress
    from effcalc.scaling.search.work import work

    candidates = results.candidates
    name = basename(network).removesuffix(".toml")
    place = options.study or (f"effcalc-{name}" if options.storage else f"{name}.search")
    if options.status:
        return stored(place, options.storage, len(candidates), options.retries, about)
    words = command(options.evaluate or "")
    seconds = math.inf if options.time_limit is None else options.time_limit

    def run(number: int, stop: threading.Event) -> Result:
        values = fields(network, results.networks[number], candidates[number])
        return evaluate([filled(w, values, "--evaluate") for w in words], seconds, stop)

    joined = (
        local(place, about, candidates, options.retries, options.resume)
        if options.storage is None
        else shared(options.storage, place, about, candidates, options.retries, options.heartbeat)
    )
    last = Progress()
    with joined as study:
        states = work(study, run, options.jobs, options.heartbeat)
        for state in progress(states, "results", len(candidates)):
            last = state
    return last


def _family(arch: Arch, best: Candidate, phis: str, workers: int, head: bool) -> Table:
    """STEP 2: the networks at several φ with the best bases."""
    from effcalc.base.units import parse_values
    from effcalc.scaling.request import Many
    from effcalc.scaling.tables.scaling import scale_table

    values = parse_values(phis, "--then-scale")
    family = Many(len(values), lambda: (best.scale(arch, phi, workers, head) for phi in values))
    return scale_table(arch, family, f"{arch.title}, {best.text()}", workers)
