"""Where a profile was measured: device, versions, settings, as far as they can be read."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import torch

from effcalc.base.errors import InputError, NeedsError, one_line
from effcalc.base.units import Value
from effcalc.profiling.roofline import Level

UNTESTED = ("mps", "xpu")
DEVICES = ("cpu", "cuda", *UNTESTED)


def choose_device(name: str | None) -> torch.device:
    """Return the device of that name; without one the GPU where there is one, else the CPU.

    Raises `NeedsError` for one that is not attached.
    """
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind, colon, number = name.partition(":")
    if kind not in DEVICES or (colon and not number.isdecimal()):
        raise InputError(f"`device`: {one_line(name)!r} is not one of {', '.join(DEVICES)}, cuda:1")
    backend = {"cuda": torch.cuda, "xpu": torch.xpu, "mps": torch.backends.mps}.get(kind)
    if backend is not None and not backend.is_available():
        built = "" if kind != "cuda" or torch.version.cuda else "; this torch is built without CUDA"
        raise NeedsError(f"`device` {kind}: no {kind} device is attached{built}; `device` cpu")
    if kind == "cuda" and colon and int(number) >= torch.cuda.device_count():
        raise NeedsError(f"`device` {name}: there are {torch.cuda.device_count()} cuda devices")
    return torch.device(name)


def cpu_model() -> str:
    """The processor's name."""
    with suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        line = next(line for line in lines if line.startswith("model name"))
        return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def device_name(device: torch.device) -> str:
    """What the device calls itself."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type == "xpu":
        return str(torch.xpu.get_device_name(device))
    return cpu_model() if device.type == "cpu" else device.type


def cache_bytes(device: torch.device) -> int:
    """Bytes of the last cache of a device, or 64 MiB where that is not known."""
    return max((int(level.size) for level in cache_levels(device)), default=64 << 20)


def cache_levels(device: torch.device) -> tuple[Level, ...]:
    """The caches of a device by what all threads have of them, smallest first."""
    if device.type == "cuda":
        size = getattr(torch.cuda.get_device_properties(device), "L2_cache_size", 0)
        return (Level("L2", float(size)),) if size else ()
    return cpu_caches(Path("/sys/devices/system/cpu"), torch.get_num_threads())


def cpu_caches(root: Path, threads: int) -> tuple[Level, ...]:
    """Read the caches of the first processor; those that it does not share count per thread."""
    levels: dict[str, float] = {}
    for folder in sorted(root.glob("cpu0/cache/index*")):
        with suppress(OSError, ValueError):
            what = {
                name: (folder / name).read_text(encoding="ascii").strip()
                for name in ("level", "type", "size", "shared_cpu_list")
            }
            if what["type"] == "Instruction":
                continue
            factor = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}.get(what["size"][-1:], 1)
            size = int(what["size"].rstrip("KMG")) * factor
            sharers = _count(what["shared_cpu_list"])
            levels[f"L{what['level']}"] = float(size * max(-(-threads // sharers), 1))
    return tuple(Level(name, size) for name, size in sorted(levels.items(), key=lambda i: i[1]))


def _count(ranges: str) -> int:
    """Count processors in a list such as "0-3,8"."""
    total = 0
    for part in ranges.split(","):
        first, _, last = part.partition("-")
        total += int(last or first) - int(first) + 1
    return max(total, 1)


def environment(device: torch.device) -> dict[str, Value]:
    """What a measurement on a device depends on; what cannot be read is left out."""
    values: dict[str, Value] = {
        "device": device_name(device),
        "device_type": device.type,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}",
        "cpu": cpu_model(),
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY"),
        "LD_PRELOAD": os.environ.get("LD_PRELOAD"),
        "MALLOC_CONF": os.environ.get("MALLOC_CONF"),
    }
    values |= _cpu_clock()
    if device.type == "cuda":
        values |= {
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),  # type: ignore[no-untyped-call]
            "capability": ".".join(map(str, torch.cuda.get_device_capability(device))),
            **read_nvidia_smi(_nvidia_smi(device)),
        }
    return {key: value for key, value in values.items() if value is not None}


def _cpu_clock() -> dict[str, Value]:
    folder = Path("/sys/devices/system/cpu/cpu0/cpufreq")
    values: dict[str, Value] = {}
    for key, name in (("governor", "scaling_governor"), ("clock_khz", "scaling_cur_freq")):
        with suppress(OSError):
            values[key] = (folder / name).read_text(encoding="ascii").strip()
    return values


_QUERY = {
    "driver_version": "driver",
    "clocks.sm": "clock_sm",
    "clocks.max.sm": "clock_sm_max",
    "clocks.mem": "clock_memory",
    "temperature.gpu": "temperature",
    "power.draw": "power",
    "power.limit": "power_limit",
    "clocks_event_reasons.active": "throttle_reasons",
}


def _nvidia_smi(device: torch.device) -> str:
    program = shutil.which("nvidia-smi")
    if program is None:
        return ""
    number = device.index if device.index is not None else torch.cuda.current_device()
    identity = f"GPU-{torch.cuda.get_device_properties(number).uuid}"
    query = [program, f"--query-gpu={','.join(_QUERY)}", "--format=csv,noheader", "-i", identity]
    with suppress(OSError, subprocess.SubprocessError):
        return subprocess.run(query, capture_output=True, text=True, timeout=10).stdout
    return ""


def read_nvidia_smi(text: str) -> Mapping[str, Value]:
    """Read one line of the answer of nvidia-smi to our query; what it does not know is left out."""
    cells = [cell.strip() for cell in text.strip().split("\n")[0].split(",")]
    if len(cells) != len(_QUERY):
        return {}
    pairs = zip(_QUERY.values(), cells, strict=True)
    return {key: cell for key, cell in pairs if cell and not cell.startswith("[")}
