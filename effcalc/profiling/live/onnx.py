"""Profile an ONNX file by onnxruntime, with which such files are deployed.

Its own profiler says how long each node of the graph took that it made of the file; the layers of
that node are found by `models/onnxfused.py`. Nothing in the file is executed as Python. Weights
that it keeps in other files are read, from its own folder alone.
"""

from __future__ import annotations

import importlib
import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from effcalc.base.errors import EffcalcError, InputError, NeedsError, RunError, need, one_line
from effcalc.models.count import out_of_memory
from effcalc.models.inputs import parse_inputs
from effcalc.models.names import existing_file
from effcalc.models.onnxfile import Fixed, dtype_name, graph_network, node_name, read_onnx
from effcalc.models.onnxfused import fused_nodes, joined_name
from effcalc.models.target import wrong_batch
from effcalc.network.network import Network
from effcalc.profiling.live.environment import cache_bytes
from effcalc.profiling.live.run import RECORD_SECONDS, RECORDED
from effcalc.profiling.live.timing import Sample, cache_flusher, take_samples, warm_up
from effcalc.profiling.noise import disturbances, read_counters
from effcalc.profiling.records import OUTSIDE, Owner, ProfiledRun, TimeKey
from effcalc.profiling.results import Measurement, Profiled, combine
from effcalc.profiling.settings import ProfileSettings
from effcalc.profiling.statistics import summarize

EXPORT = "export it so from torch, or profile the model in code (module:factory)"
LEVELS = ("DISABLE_ALL", "ENABLE_BASIC", "ENABLE_EXTENDED", "ENABLE_LAYOUT", "ENABLE_ALL")
"""How far onnxruntime optimizes a graph; the last is its default."""

_CPU = torch.device("cpu")
_FORMATS = {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16"}
_EXTERNAL = 1  # data_location of a tensor whose data is in another file
_NODE = "_kernel_time"


def settings_for(target: str, settings: ProfileSettings, per: str | None) -> ProfileSettings:
    """Return the settings with the device and numeric format that the file is run with.

    Raises `InputError` for what onnxruntime does not do, `NeedsError` for a package or a provider
    that is not installed.
    """
    where = one_line(target)
    need("onnx", "reading an ONNX file", "onnx")
    need("onnxruntime", "profiling an ONNX file", "onnx")
    refused = {
        "`mode` train": settings.mode == "train",
        "`compile`": settings.compile,
        "`channels_last`": settings.channels_last,
        "torchrun": settings.ranks is not None,
    }
    for option, given in refused.items():
        if given:
            raise InputError(f"{where}: onnxruntime has no {option}; {EXPORT}")
    path = existing_file(target)
    own = _format(_model(path, where))
    if settings.dtype not in ("fp32", own):
        raise InputError(f"{where}: holds {own}, not `dtype` {settings.dtype}; {EXPORT}")
    has_cuda = "CUDAExecutionProvider" in _runtime().get_available_providers()
    kind = (settings.device or "").partition(":")[0]
    if not kind:
        kind = "cuda" if has_cuda and torch.cuda.is_available() else "cpu"
    if kind not in ("cpu", "cuda"):
        raise InputError(f"`device` {one_line(kind)}: an ONNX file runs on cpu or cuda")
    if kind == "cuda" and torch.cuda.is_available() and not has_cuda:
        raise NeedsError("`device` cuda: this onnxruntime has no CUDA; install onnxruntime-gpu")
    if kind == "cuda" and per is not None:
        raise InputError(
            f"`per` {per}: on cuda onnxruntime says when a node is launched, not how long it "
            "runs; give `device` cpu"
        )
    return replace(settings, dtype=own, device=settings.device or kind)


def runtime_version() -> str:
    """Name the runtime and its version."""
    return f"onnxruntime {_runtime().__version__}"


def onnx_measurements(
    target: str,
    inputs: Sequence[str],
    batches: Sequence[int | None],
    settings: ProfileSettings,
    device: torch.device,
    tell: Callable[[str], None] = lambda text: None,
) -> Iterator[Measurement]:
    """Measure one batch size after the other, as `run.measurements` does."""
    for batch in batches:
        prefix = "" if batch is None else f"batch {batch}: "
        draft: _Draft | None = None
        try:
            draft = _Draft(_loaded(target, inputs, batch), settings, device)
            with _failures(draft.file.where, batch):
                draft.measure(lambda text, prefix=prefix: tell(prefix + text))  # type: ignore[misc]
        except (KeyboardInterrupt, EffcalcError) as error:
            if draft is not None and draft.samples:
                interrupted = isinstance(error, KeyboardInterrupt)
                yield draft.result("interrupted" if interrupted else one_line(error))
            raise
        yield draft.result()


@dataclass(frozen=True)
class OnnxFile:
    """An ONNX file, its graph with all sizes fixed, and random inputs for it."""

    path: Path
    where: str
    model: Any
    fixed: Fixed
    feed: Mapping[str, Any]

    @property
    def batch(self) -> int:
        """The first dimension of the first input that has one."""
        return next((shape[0] for shape, _ in self.fixed.values() if shape), 1)


def _loaded(target: str, inputs: Sequence[str], batch: int | None) -> OnnxFile:
    path, where = existing_file(target), one_line(target)
    model, fixed = read_onnx(path, where, parse_inputs(inputs), batch or 1)
    _check_other_files(model.graph, path, where)
    feed = {name: _random(where, name, shape, dtype) for name, (shape, dtype) in fixed.items()}
    file = OnnxFile(path, where, model, fixed, feed)
    if batch is not None and batch != file.batch:
        raise wrong_batch(target, batch, next((s for s, _ in fixed.values() if s), ()))
    return file


def _model(path: Path, where: str) -> Any:
    try:
        return importlib.import_module("onnx").load(str(path), load_external_data=False)
    except Exception as error:
        raise InputError(f"{where}: is not an ONNX file: {one_line(error)}") from None


def _format(model: Any) -> str:
    """Return the numeric format of most weights."""
    sizes: Counter[str] = Counter()
    for tensor in model.graph.initializer:
        count = 1
        for side in tensor.dims:
            count *= side
        name = dtype_name(tensor.data_type)
        if name in _FORMATS:
            sizes[_FORMATS[name]] += count
    return max(sizes, key=lambda name: sizes[name], default="fp32")


def _random(where: str, name: str, shape: Sequence[int], dtype: str) -> Any:
    """Return an input: random numbers, index 0, true."""
    numpy = importlib.import_module("numpy")
    try:
        kind = numpy.dtype(dtype)
    except TypeError:
        raise InputError(f"{where}: input {one_line(name)} is {dtype}: not in NumPy") from None
    if kind.kind == "f":
        return numpy.random.default_rng(0).random(shape, numpy.float32).astype(kind)
    return numpy.full(shape, kind.kind == "b", kind)


def _check_other_files(graph: Any, path: Path, where: str) -> None:
    """Refuse weights that are not in the file or beside it."""
    folder = path.resolve().parent
    for tensor in _tensors(graph):
        if tensor.data_location != _EXTERNAL:
            continue
        location = next((e.value for e in tensor.external_data if e.key == "location"), "")
        other = (folder / location).resolve()
        if not other.is_relative_to(folder) or not other.is_file():
            raise InputError(
                f"{where}: its weights are in {one_line(location)!r}, which is not a file in its "
                "folder"
            )


def _tensors(graph: Any) -> Iterator[Any]:
    """Yield all constants of a graph and of the graphs in its nodes."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            for inner in (attribute.g, *attribute.graphs):
                if inner.node or inner.initializer:
                    yield from _tensors(inner)


@contextmanager
def _failures(where: str, batch: int | None) -> Iterator[None]:
    """Turn what onnxruntime raises into a `RunError` of one line."""
    try:
        yield
    except EffcalcError:
        raise
    except Exception as error:
        if _out_of_memory(error):
            at = "" if batch is None else f" at batch {batch}"
            raise RunError(f"{where}: memory ran out{at}") from error
        raise RunError(f"{where}: onnxruntime failed: {one_line(error)}") from error


def _out_of_memory(error: Exception) -> bool:
    return out_of_memory(error) or "Failed to allocate memory" in str(error)


def _runtime() -> Any:
    return importlib.import_module("onnxruntime")


@dataclass
class _Draft:
    """What has been measured so far of one batch size: an interrupt leaves it as it is."""

    file: OnnxFile
    settings: ProfileSettings
    device: torch.device
    samples: list[Sample] = field(default_factory=list)
    warmup: int = 0
    network: Network | None = None
    profiled: Profiled | None = None
    noise: list[str] = field(default_factory=list)

    def measure(self, tell: Callable[[str], None]) -> None:
        """Time the file, then record it."""
        tell("loading the file")
        file, settings = self.file, self.settings
        step = partial(_session(file, self.device).run, None, file.feed)
        tell("warming up")
        self.warmup, settled = warm_up(step, _CPU, settings.warmup)
        flush = cache_flusher(_CPU, 2 * cache_bytes(_CPU)) if settings.cold else _nothing
        before = read_counters()
        try:
            take_samples(step, flush, _CPU, settings.repeat, self.samples, tell)
        finally:
            walls = [sample.wall for sample in self.samples]
            if walls:
                self.noise += disturbances(before, read_counters(), walls, torch.get_num_threads())
            if not settled:
                self.noise.append("runs still got faster as the warm-up ended: a larger `warmup`")
        del step
        if self.device.type == "cpu":
            tell("recording nodes")
            runs = round(RECORD_SECONDS / max(summarize(walls).median, 1e-6))
            runs = min(max(runs, RECORDED[0]), RECORDED[1])
            self.network, steps = recorded(file, runs, flush, settings.trace)
            self.profiled = combine(steps)
        else:
            self.network = graph_network(file.model, file.fixed, file.where, file.where)

    def result(self, partial: str = "") -> Measurement:
        """Return the measurement; `partial` says why something is missing."""
        return Measurement(
            batch=self.file.batch,
            dtype=self.settings.dtype,
            mode="infer",
            wall=summarize([s.wall for s in self.samples]),
            warmup=self.warmup,
            profiled=self.profiled,
            network=self.network,
            noise=tuple(self.noise),
            partial=partial,
        )


def _nothing() -> None:
    """Leave the caches as the last run left them."""


def _session(
    file: OnnxFile, device: torch.device, level: str = LEVELS[-1], folder: str | None = None
) -> Any:
    """Open the file; with a folder, its profile and its optimized graph are written there."""
    runtime = _runtime()
    options = runtime.SessionOptions()
    options.graph_optimization_level = getattr(runtime.GraphOptimizationLevel, f"ORT_{level}")
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 4  # only what is fatal: errors are raised as well
    if folder is not None:
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "profile")
        options.optimized_model_filepath = str(Path(folder) / "optimized.onnx")
        # Weights go to a file of their own, which nothing reads.
        name = "session.optimized_model_external_initializers_file_name"
        options.add_session_config_entry(name, "weights")
    provider: Any = "CPUExecutionProvider"
    if device.type == "cuda":
        cuda = {"device_id": str(device.index or 0), "use_tf32": "0"}
        provider = ("CUDAExecutionProvider", cuda)
    try:
        return runtime.InferenceSession(str(file.path), options, providers=[provider])
    except Exception as error:
        if _out_of_memory(error):
            raise
        message = f"{file.where}: onnxruntime cannot run it: {one_line(error)}"
        raise InputError(message) from None


def recorded(
    file: OnnxFile,
    runs: int,
    before: Callable[[], None] = _nothing,
    trace: str | None = None,
    level: str = LEVELS[-1],
) -> tuple[Network, list[ProfiledRun]]:
    """Run a file on the CPU under onnxruntime's profiler, after one run that is not kept.

    The calls of the network have the names of the rows. `trace` is a file to write the
    profile to, for Chrome or Perfetto.
    """
    with tempfile.TemporaryDirectory() as folder:
        session = _session(file, _CPU, level, folder)
        session.run(None, file.feed)
        for _ in range(runs):
            before()
            session.run(None, file.feed)
        profile = session.end_profiling()
        events = json.loads(Path(profile).read_text(encoding="utf-8", errors="replace"))
        if trace is not None:
            shutil.copyfile(profile, trace)
        optimized = _model(Path(folder) / "optimized.onnx", file.where).graph
    graph = file.model.graph
    rows: list[str | None] = []
    names: dict[str, str] = {}
    for numbers in fused_nodes(graph, optimized):
        inside = [graph.node[i] for i in numbers]
        row = joined_name([node_name(node) for node in inside]) if inside else None
        rows.append(row)
        names |= {node.output[0]: row for node in inside if row and node.output}
    network = graph_network(file.model, file.fixed, file.where, file.where, names)
    return network, attribute_nodes(events, optimized.node, rows)[1:]


def attribute_nodes(
    events: Sequence[Mapping[str, Any]], nodes: Sequence[Any], rows: Sequence[str | None]
) -> list[ProfiledRun]:
    """Return the runs that onnxruntime recorded, with the time of each of `rows`.

    `nodes` are the optimized graph's, in the order of running; nodes inside another one (the body
    of a loop) belong to it. What passes between nodes is outside of the model.
    """
    runs = [e for e in events if e.get("cat") == "Session" and e["name"] == "model_run"]
    recorded = [e for e in events if e.get("cat") == "Node" and e["name"].endswith(_NODE)]
    recorded.sort(key=lambda e: (e["ts"], -e["dur"]))
    numbers = {node.name: i for i, node in enumerate(nodes) if node.name}
    result = []
    for run in runs:
        start, end = run["ts"], run["ts"] + run["dur"]
        outer = list(_outermost(e for e in recorded if start <= e["ts"] and _end(e) <= end))
        in_order = [e["args"].get("op_name") for e in outer] == [n.op_type for n in nodes]
        parts: Counter[TimeKey] = Counter()
        calls: Counter[TimeKey] = Counter()
        for i, event in enumerate(outer):
            number = i if in_order else numbers.get(event["name"].removesuffix(_NODE))
            row = None if number is None else rows[number]
            owner = OUTSIDE if row is None else Owner("layer", row)
            key = TimeKey(owner, "forward", str(event["args"].get("op_name", "node")))
            parts[key] += 1000 * event["dur"]
            calls[key] += 1
        between = 1000 * run["dur"] - sum(parts.values())
        parts[TimeKey(OUTSIDE, "forward", "")] += between
        result.append(ProfiledRun(1000 * run["dur"], 1000 * run["dur"], parts, calls))
    return result


def _end(event: Mapping[str, Any]) -> int:
    return int(event["ts"] + event["dur"])


def _outermost(events: Iterator[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """Yield the events that are in no other; they are sorted by their start."""
    end = -1
    for event in events:
        if event["ts"] >= end:
            yield event
            end = _end(event)
