"""Profile a network or a module: time it, record it, trace it, batch size by batch size."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn

from effcalc.base.errors import EffcalcError, InputError, NeedsError, RunError, one_line
from effcalc.models.count import explained, out_of_memory
from effcalc.models.record import dtype_name
from effcalc.models.trace import trace
from effcalc.network.liveness import activations
from effcalc.network.network import Network
from effcalc.profiling.events import attribute
from effcalc.profiling.live.environment import (
    UNTESTED,
    cache_bytes,
    choose_device,
    environment,
)
from effcalc.profiling.live.precision import (
    amp_format,
    check_dtype,
    float32_precision,
    place,
)
from effcalc.profiling.live.ranks import RECORDED as RANKS_RECORDED
from effcalc.profiling.live.ranks import REPEAT, WARMUP, data_parallel, joined, wait
from effcalc.profiling.live.recording import module_ranges, record, synchronizer
from effcalc.profiling.live.roofs import cached
from effcalc.profiling.live.steps import MODES, Runner, StepKind
from effcalc.profiling.live.subject import Source, Subject, batch_of, from_module
from effcalc.profiling.live.timing import Sample, cache_flusher, take_samples, warm_up
from effcalc.profiling.noise import disturbances, read_counters
from effcalc.profiling.results import Measurement, Memory, Profile, Profiled, combine
from effcalc.profiling.roofline import Roofs, roofs_from
from effcalc.profiling.settings import ProfileSettings
from effcalc.profiling.statistics import summarize
from effcalc.scaling.figures import weights

RECORD_SECONDS = 4.0  # of runs under the profiler
RECORDED = (3, 12)  # fewest and most of them


def profile(
    model: nn.Module,
    inputs: Any = (),
    kwargs: Mapping[str, Any] | None = None,
    **settings: Any,
) -> Profile:
    """Time a copy of a model on this machine, whole, by layer and by kernel.

    `inputs` is a tensor, a tuple of positional or a mapping of keyword arguments. The settings are
    fields of `ProfileSettings`, such as `mode="train"`, `dtype="bf16"`, `device="cpu"`,
    `threads=1`, `repeat=20`. The model stays as it is.

    `effcalc.profiling.summary` and `profile_parts` make tables of the result. Raises `InputError`,
    `NeedsError` for a device that is not attached, `RunError` where the model fails.
    """
    chosen = ProfileSettings(**settings)
    source = from_module(model, inputs, kwargs)
    name = type(model).__name__
    with prepared(chosen) as (device, where):
        measured = tuple(measurements(name, source, (None,), chosen, device))
        return Profile(name, measured, where, known_roofs(chosen, device))


def known_roofs(settings: ProfileSettings, device: torch.device) -> Roofs | None:
    """The roofs that `effcalc device` measured and kept, of the format and layout in use."""
    table = cached(device)
    if table is None:
        return None
    dtype = settings.dtype
    if dtype == "amp":
        dtype = {torch.float16: "fp16", torch.bfloat16: "bf16"}[amp_format(device)]
    return roofs_from(table, dtype, "channels_last" if settings.channels_last else "contiguous")


@contextmanager
def prepared(settings: ProfileSettings) -> Iterator[tuple[torch.device, dict[str, Any]]]:
    """Set threads and float32 precision while the block runs; yields device and environment."""
    device = choose_device(settings.device)
    if settings.ranks is not None and device.type == "cuda":
        device = choose_device(f"cuda:{settings.ranks.local}")  # each process has one of its own
    if settings.mode not in MODES:
        raise InputError(f"`mode`: {one_line(settings.mode)!r} is not infer or train")
    check_dtype(settings.dtype, device)
    if settings.compile:
        _check_compiler(device)
    threads = torch.get_num_threads()
    try:
        if settings.threads is not None:
            torch.set_num_threads(settings.threads)
        with float32_precision(settings.dtype):
            where: dict[str, Any] = environment(device)
            where |= {
                "dtype": settings.dtype,
                "tf32": "on" if settings.dtype == "tf32" else "off",
                "layout": "channels_last" if settings.channels_last else "contiguous",
                "caches": "cold" if settings.cold else "warm",
                "compiled": "torch.compile" if settings.compile else "no",
            }
            if settings.ranks is not None:
                where["ranks"] = settings.ranks.world
                where["backend"] = "nccl" if device.type == "cuda" else "gloo"
            if settings.dtype == "amp":
                where["amp_format"] = dtype_name(amp_format(device))
            if device.type in UNTESTED:
                where["untested"] = f"effcalc is not tested on {device.type}"
            with joined(settings.ranks, device):
                yield device, where
    finally:
        torch.set_num_threads(threads)


def _check_compiler(device: torch.device) -> None:
    if device.type == "cpu" and not any(map(shutil.which, ("c++", "g++", "clang++", "cl"))):
        raise NeedsError(
            "`compile` on a CPU needs a C++ compiler (g++ or clang++), and none is here"
        )
    if device.type == "cuda" and not torch.utils._triton.has_triton():
        raise NeedsError("`compile` on a GPU needs triton, which is not installed or does not work")


class MemoryRanOutError(RunError):
    """Memory ran out, of the host or the device."""


@dataclass(frozen=True)
class _Job:
    """What is measured, batch size by batch size; `report` shows a line of progress."""

    name: str
    source: Source
    settings: ProfileSettings
    device: torch.device
    report: Callable[[str], None]


@dataclass
class _Draft:
    """What has been measured so far of one batch size: an interrupt leaves it as it is."""

    batch: int = 1
    samples: list[Sample] = field(default_factory=list)
    warmup: int = 0
    network: Network | None = None
    memory: Memory | None = None
    profiled: Profiled | None = None
    merged: Mapping[str, str] = field(default_factory=dict)
    noise: list[str] = field(default_factory=list)

    def measurement(self, settings: ProfileSettings, partial: str = "") -> Measurement:
        on_device = [s.device for s in self.samples if s.device is not None]
        return Measurement(
            batch=self.batch,
            dtype=settings.dtype,
            mode=settings.mode,
            wall=summarize([s.wall for s in self.samples]),
            device=summarize(on_device) if on_device else None,
            warmup=self.warmup,
            profiled=self.profiled,
            memory=self.memory,
            network=self.network,
            merged=self.merged,
            noise=tuple(self.noise),
            partial=partial,
        )


def measurements(
    name: str,
    source: Source,
    batches: Sequence[int | None],
    settings: ProfileSettings,
    device: torch.device,
    report: Callable[[str], None] = lambda text: None,
) -> Iterator[Measurement]:
    """Measure one batch size after the other.

    Where a run is interrupted or fails after samples were taken, what was measured is yielded
    first, marked partial, and the error raised after it. Out of memory raises a `RunError` that
    says which batch fits.
    """
    job = _Job(name, source, settings, device, report)
    for batch in batches:
        draft = _Draft()
        try:
            _measure(job, batch, draft)
        except (KeyboardInterrupt, EffcalcError) as error:
            if draft.samples:
                interrupted = isinstance(error, KeyboardInterrupt)
                yield draft.measurement(settings, "interrupted" if interrupted else one_line(error))
            if isinstance(error, MemoryRanOutError) and settings.ranks is None:
                raise RunError(f"{error}; {_largest_batch(job, batch)}") from error
            raise
        yield draft.measurement(settings)


def _measure(job: _Job, batch: int | None, draft: _Draft) -> None:
    """Trace, time and record one batch size; the draft keeps what there is if the rest fails."""
    settings, device = job.settings, job.device
    prefix = "" if batch is None else f"batch {batch}: "

    def report(text: str) -> None:
        job.report(prefix + text)

    report("building the model")
    with _failures(job.name, batch, None):
        subject = job.source(batch)
        runner = _runner(subject, settings, device)
        repeat, warmup = settings.repeat, settings.warmup
    draft.batch, draft.merged = batch_of(*runner.inputs), subject.merged
    with _failures(job.name, batch, runner.inputs):
        if not settings.compile:
            report("tracing")
            for _ in range(2 if settings.mode == "train" else 1):
                # The first training step creates the optimizer's state, which others have.
                draft.network = _traced(runner)
        if settings.ranks is not None:
            repeat, warmup = repeat or REPEAT, WARMUP if warmup is None else warmup
            if settings.mode == "train":
                wrapped = data_parallel(runner.owner, device)
                runner = Runner(wrapped, runner.owner, runner.inputs, device, runner.kind)
            wait()
        report("warming up")
        draft.warmup, settled = warm_up(runner, device, warmup)
        flush = cache_flusher(device, 2 * cache_bytes(device)) if settings.cold else _nothing
        with _noise_noted(draft, settled):
            take_samples(runner, flush, device, repeat, draft.samples, report)
        draft.memory = _memory(draft.network, runner)
        report("recording layers and kernels")
        draft.profiled = _recorded(runner, flush, settings, draft.samples)


@contextmanager
def _noise_noted(draft: _Draft, settled: bool) -> Iterator[None]:
    """Note what may have disturbed the samples that the block takes, even where it fails."""
    before = read_counters()
    try:
        yield
    finally:
        walls = [sample.wall for sample in draft.samples]
        if walls:
            draft.noise += disturbances(before, read_counters(), walls, torch.get_num_threads())
        if not settled:
            draft.noise.append("runs still got faster as the warm-up ended: a larger `warmup`")


def _nothing() -> None:
    """Leave the caches as the last run left them."""


@contextmanager
def _failures(name: str, batch: int | None, inputs: Any) -> Iterator[None]:
    """Turn what a model raises into a `RunError` of one line."""
    with explained(name, inputs, real=True):
        try:
            yield
        except BaseException as error:
            if not out_of_memory(error):
                raise
            path = getattr(error, "effcalc_path", "")
            where = f"{name}, in its module {path}" if path else name
            at = "" if batch is None else f" at batch {batch}"
            raise MemoryRanOutError(f"{where}: memory ran out{at}") from error


def _largest_batch(job: _Job, batch: int | None) -> str:
    """Halve the batch until a step fits, and name the batch that does."""
    if batch is None:
        return "a smaller input needs less"
    smaller = batch // 2
    while smaller:
        job.report(f"memory ran out; trying batch {smaller}")
        try:
            with _failures(job.name, smaller, ()):
                _runner(job.source(smaller), job.settings, job.device)()
                synchronizer(job.device)()
        except MemoryRanOutError:
            smaller //= 2
            if job.device.type == "cuda":
                torch.cuda.empty_cache()
        else:
            return f"batch {smaller} fits"
    return "batch 1 does not fit either"


def _runner(subject: Subject, settings: ProfileSettings, device: torch.device) -> Runner:
    """Place a subject on the device, and return what runs its steps."""
    module, inputs = place(
        subject.module,
        (subject.args, dict(subject.kwargs)),
        settings.dtype,
        device,
        settings.channels_last,
    )
    run: Any = module
    if settings.compile:
        # Inductor's kernels on a CPU are recorded only where they are compiled to be.
        options: dict[str, Any] = {"cpp.enable_kernel_profile": device.type == "cpu"}
        run = torch.compile(module, options=options)
    autocast = amp_format(device) if settings.dtype == "amp" else None
    return Runner(run, module, inputs, device, StepKind(settings.mode == "train", autocast))


def _traced(runner: Runner) -> Network:
    """Trace one step where and as it is measured: real tensors, formats and kernels' operands."""
    args, kwargs = runner.inputs

    def rest(outputs: Any) -> None:
        with torch.autocast(runner.device.type, enabled=False):
            runner.update(runner.loss(outputs))

    train = runner.kind.train
    with runner.autocast():
        network = trace(runner.owner, args, kwargs, grad=train, then=rest if train else None)
    uncounted = {k: n for k, n in network.uncounted.items() if not k.startswith("profiler::")}
    return replace(network, uncounted=uncounted)


def _memory(network: Network | None, runner: Runner) -> Memory | None:
    """The most memory that one step had at once, and what was there before it."""
    device = runner.device
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        held = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        runner()
        torch.cuda.synchronize(device)
        return Memory(torch.cuda.max_memory_allocated(device), held, "torch's CUDA allocator")
    if device.type != "cpu" or network is None:
        return None
    own = weights(network.calls)
    held = own.weight_bytes + own.buffer_bytes + sum(t.nbytes for t in runner.state())
    peak = held + activations(network).peak
    return Memory(peak, held, "live storages at operator boundaries")


def _recorded(
    runner: Runner,
    flush: Callable[[], None],
    settings: ProfileSettings,
    samples: Sequence[Sample],
) -> Profiled | None:
    """Run under the profiler, as often as some seconds allow."""
    median = summarize([sample.wall for sample in samples]).median
    runs = min(max(round(RECORD_SECONDS / max(median, 1e-6)), RECORDED[0]), RECORDED[1])
    if settings.ranks is not None:
        runs = RANKS_RECORDED
    runner.marks.marks.clear()
    ranges = nullcontext() if settings.compile else module_ranges(runner.owner, runner.marks)
    with ranges:
        events = record(runner, flush, runs, runner.device, settings.trace)
    return combine(attribute(events, runner.marks.marks))
