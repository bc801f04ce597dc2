"""Measure what a device does at most: products, convolutions, and moving bytes."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import torch

from effcalc.base.errors import EffcalcError
from effcalc.base.files import open_output
from effcalc.base.units import Value
from effcalc.output.saved import read_saved
from effcalc.output.table import Table
from effcalc.profiling.live.environment import cache_bytes, environment
from effcalc.profiling.live.precision import float32_precision
from effcalc.profiling.live.recording import synchronizer
from effcalc.profiling.roofline import Point

SECONDS = 0.3  # of repeats for each point
SLOW = 0.5  # seconds of one run, after which larger ones of the format are left out
RUNS = (3, 500)

_TORCH = {"fp32": torch.float32, "tf32": torch.float32, "fp16": torch.float16,
          "bf16": torch.bfloat16}  # fmt: skip

MATMULS = {"cpu": (256, 512, 1024, 2048), "cuda": (1024, 2048, 4096, 8192)}
"""Sides of square matrix products."""

CONVS = {
    "cpu": ((8, 64, 56, 3), (8, 128, 28, 3), (8, 256, 14, 3), (8, 256, 28, 1), (8, 512, 14, 1)),
    "cuda": ((64, 64, 56, 3), (64, 128, 28, 3), (64, 256, 14, 3), (64, 256, 28, 1),
             (64, 1024, 14, 1)),
}  # fmt: skip
"""Convolutions: batch, channels in and out, side of the image, kernel."""

LAYOUTS = ("contiguous", "channels_last")
_SMALLEST = 16 << 10


def measure(device: torch.device, dtypes: tuple[str, ...]) -> Iterator[Point]:
    """Yield each point of the sweep, the fastest of its repeats."""
    kind = device.type if device.type in MATMULS else "cuda"
    with torch.inference_mode():
        for dtype in dtypes:
            with float32_precision(dtype):
                for side in MATMULS[kind]:
                    yield (point := _matmul(side, dtype, device))
                    if point.seconds > SLOW:
                        break  # a format that the device emulates
                for layout in LAYOUTS:
                    for shape in CONVS[kind]:
                        yield (point := _conv(shape, dtype, layout, device))
                        if point.seconds > SLOW:
                            break
        largest = 4 * cache_bytes(device)
        size = _SMALLEST
        while size <= largest:
            yield from _bandwidth(size, device)
            size *= 2


def _fastest(run: Callable[[], object], device: torch.device) -> float:
    """Seconds of the fastest run: a roof is what was reached once."""
    synchronize = synchronizer(device)
    if device.type == "cuda":
        return _fastest_on_cuda(run, device)
    best = float("inf")
    begin = time.perf_counter()
    for number in range(RUNS[1]):
        synchronize()
        start = time.perf_counter()
        run()
        synchronize()
        now = time.perf_counter()
        best = min(best, now - start)
        if now - begin > (SECONDS if number >= RUNS[0] else SLOW):
            break
    return best


def _fastest_on_cuda(run: Callable[[], object], device: torch.device) -> float:
    """Time ten calls at once by the device's events, so that launching them takes no part."""
    best = float("inf")
    for number in range(RUNS[0] + 5):
        first, last = (_event() for _ in range(2))
        torch.cuda.synchronize(device)
        first.record()
        for _ in range(10):
            run()
        last.record()
        torch.cuda.synchronize(device)
        if number:  # the first chooses the kernel
            best = min(best, first.elapsed_time(last) / 1e4)
    return best


def _event() -> torch.cuda.Event:
    event: torch.cuda.Event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
    return event


def _matmul(side: int, dtype: str, device: torch.device) -> Point:
    format_ = _TORCH[dtype]
    a, b = (torch.rand(side, side, device=device).to(format_) for _ in range(2))
    out = torch.empty(side, side, device=device, dtype=format_)
    seconds = _fastest(lambda: torch.mm(a, b, out=out), device)
    size = 3 * side * side * a.element_size()
    shape = f"{side}x{side}x{side}"
    return Point("matmul", shape, dtype, None, size, seconds, 2 * side**3, size)


def _conv(shape: tuple[int, int, int, int], dtype: str, layout: str, device: torch.device) -> Point:
    batch, channels, side, kernel = shape
    format_ = _TORCH[dtype]
    memory = torch.channels_last if layout == "channels_last" else torch.contiguous_format
    x = torch.rand(batch, channels, side, side, device=device).to(format_)
    weight = torch.rand(channels, channels, kernel, kernel, device=device).to(format_)
    x, weight = (t.contiguous(memory_format=memory) for t in (x, weight))
    seconds = _fastest(lambda: torch.nn.functional.conv2d(x, weight, padding=kernel // 2), device)
    flops = 2 * batch * side * side * channels * channels * kernel * kernel
    moved = (2 * x.numel() + weight.numel()) * x.element_size()
    name = f"{kernel}x{kernel} of {batch}x{channels}x{side}x{side}"
    return Point("conv", name, dtype, layout, moved, seconds, flops, moved)


def _bandwidth(working_set: int, device: torch.device) -> Iterator[Point]:
    """Copy half of the working set to the other half; add a third and a third to the last."""
    half = working_set // 8
    a, b = (torch.ones(half, device=device) for _ in range(2))
    seconds = _fastest(lambda: b.copy_(a), device)
    yield Point("copy", "", None, None, working_set, seconds, 0, 2 * a.nbytes)
    third = working_set // 12
    a, b, c = (torch.ones(third, device=device) for _ in range(3))
    seconds = _fastest(lambda: torch.add(a, b, out=c), device)
    yield Point("add", "", None, None, working_set, seconds, 0, 3 * a.nbytes)


# --- the cache ---------------------------------------------------------------------------------

IDENTITY = ("device", "device_type", "driver", "cuda", "cudnn", "capability", "torch", "cpu",
            "cpus", "cpu_capability", "threads", "system")  # fmt: skip
"""Keys of the environment that roofs depend on: with any other value they are measured anew."""


def formats(device: torch.device) -> tuple[str, ...]:
    """The numeric formats whose peaks a device has."""
    if device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0):
        return ("fp32", "tf32", "fp16", "bf16")
    return ("fp32", "fp16") if device.type == "cuda" else ("fp32", "fp16", "bf16")


def identity(device: torch.device) -> dict[str, Value]:
    """Whose roofs they are."""
    where = environment(device)
    return {key: where[key] for key in IDENTITY if key in where}


def cache_file(who: Mapping[str, Value]) -> Path:
    """Where the roofs of a device are kept, by XDG's rules."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(Path.home(), ".cache")
    key = hashlib.sha256(json.dumps(dict(who), sort_keys=True).encode()).hexdigest()[:16]
    return Path(base) / "effcalc" / f"roofs-{key}.json"


def cached(device: torch.device) -> Table | None:
    """Return the kept table of a device; None where there is none, or it is of another one."""
    who = identity(device)
    path = cache_file(who)
    if not path.is_file():
        return None
    try:
        table = read_saved(path)
    except EffcalcError:
        return None  # half-written or of another version: measured anew
    where = table.environment or {}
    same = all(where.get(key) == value for key, value in who.items())
    return table if same and table.kind == "device" else None


def keep(table: Table, device: torch.device) -> Path:
    """Keep a table as the roofs of a device, in one step; return where."""
    path = cache_file(identity(device))
    path.parent.mkdir(parents=True, exist_ok=True)
    with open_output(str(path), "the roofs' cache") as file:
        file.write(table.render("json"))
    return path
