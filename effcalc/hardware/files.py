"""Hardware files: what a device can do at most and hold, and what a link carries.

One TOML for each device or link, the unit in every key and a source in every file; the built-in
ones are in `effcalc/hardware/`, a user's own has the same format:

    title = "Fast Ethernet card"
    source = "where the figures come from"

    [link]
    bandwidth_gb_per_s = 12.5   # payload bytes, one direction, of one rank
    latency_us = 5.0

A device has one or more of `[compute]` (peaks of dense arithmetic, never the doubled figures of
structured sparsity), `[memory]` and `[on_chip]`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from effcalc.base.errors import InputError, one_line, suggest
from effcalc.base.toml import TomlTable, read
from effcalc.base.units import parse_bandwidth, parse_seconds

BUILT_IN = Path(__file__).parent / "data"

PEAKS = {
    "fp64_dense_tflops": "fp64",
    "fp32_dense_tflops": "fp32",
    "tf32_dense_tflops": "tf32",
    "fp16_dense_tflops": "fp16",
    "bf16_dense_tflops": "bf16",
    "fp8_dense_tflops": "fp8",
    "int8_dense_tops": "int8",
    "int4_dense_tops": "int4",
}
"""Keys of `[compute]`, with the numeric format that each is the dense peak of."""

_DEVICE = ("compute", "memory", "on_chip")


@dataclass(frozen=True, slots=True)
class Device:
    """A device by its vendor's figures; None, or no entry, where the file gives none.

    `peaks` are operations per second of dense arithmetic by numeric format, a multiply-accumulate
    being two. `bandwidth` is its main memory's in bytes per second; `on_chip_bytes` is what it can
    keep of weights and activations without main memory, and `on_chip_weight_bytes` what a memory
    for weights alone holds beside it (a microcontroller's flash).
    """

    name: str
    title: str
    source: str
    peaks: Mapping[str, float] = field(default_factory=dict)
    bandwidth: float | None = None
    on_chip_bytes: int | None = None
    on_chip_weight_bytes: int = 0
    notes: tuple[str, ...] = ()
    reported_as: tuple[str, ...] = ()  # what its driver calls it


@dataclass(frozen=True, slots=True)
class Link:
    """A link as one rank sees it: bytes per second in one direction, seconds for each message."""

    name: str
    title: str
    source: str
    bytes_per_second: float
    latency_s: float
    notes: tuple[str, ...] = ()


@cache
def _kinds() -> Mapping[str, bool]:
    """Every built-in name, and whether it is a link."""
    paths = sorted(BUILT_IN.glob("*.toml"))
    return {path.stem: "link" in read(path, path.name) for path in paths}


def device_names() -> list[str]:
    """Names of the built-in devices."""
    return [name for name, is_link in _kinds().items() if not is_link]


def link_names() -> list[str]:
    """Names of the built-in links."""
    return [name for name, is_link in _kinds().items() if is_link]


def load_device(name: str, option: str = "`device`") -> Device:
    """Load a device by built-in name or from `file.toml`; raises `InputError`."""
    key, top = _open(name, "device", option)
    if "link" in top.values:
        raise InputError(f"{option}: {one_line(name)!r} is a link, not a device")
    top.only(("title", "source", "notes", "reported_as", *_DEVICE))
    if not any(part in top.values for part in _DEVICE):
        raise InputError(f"{top.where}: a device has [compute], [memory] or [on_chip]")
    compute, memory, chip = map(top.table, _DEVICE)
    compute.only(tuple(PEAKS))
    memory.only(("size_gib", "bandwidth_gb_per_s"))
    chip.only(("memory_kib", "weights_kib"))
    _number(memory, "size_gib")  # for readers of the file; nothing is computed from it
    bandwidth = _number(memory, "bandwidth_gb_per_s")
    kept, alone = (_number(chip, key) for key in ("memory_kib", "weights_kib"))
    if alone is not None and kept is None:
        raise InputError(f"{chip.where}: weights_kib is a memory beside memory_kib; give both")
    return Device(
        name=key,
        title=top.get("title", str),
        source=top.get("source", str),
        peaks={short: v * 1e12 for k, short in PEAKS.items() if (v := _number(compute, k))},
        bandwidth=None if bandwidth is None else bandwidth * 1e9,
        on_chip_bytes=None if kept is None else round(kept * 1024),
        on_chip_weight_bytes=round((alone or 0) * 1024),
        notes=_notes(top),
        reported_as=tuple(filter(None, top.get("reported_as", str, "").split("; "))),
    )


def load_link(name: str, option: str = "`link`") -> Link:
    """Load a link by built-in name, from `file.toml`, or as typed: `100Gbps:5us`, `25GB/s`.

    Raises `InputError`.
    """
    if name[:1].isdigit() and not name.endswith(".toml"):
        bandwidth, colon, latency = name.partition(":")
        rate = parse_bandwidth(bandwidth, option)
        delay = parse_seconds(latency, option) if colon else 0.0
        return Link(name, name, "as given", rate, delay)
    key, top = _open(name, "link", option)
    if "link" not in top.values:
        raise InputError(f"{option}: {one_line(name)!r} is a device, not a link")
    top.only(("title", "source", "notes", "link"))
    link = top.table("link")
    link.only(("bandwidth_gb_per_s", "latency_us"))
    delay = link.get("latency_us", float)
    if delay < 0:
        raise InputError(f"{link.where}: latency_us must not be negative")
    title, source = top.get("title", str), top.get("source", str)
    rate = _positive(link, "bandwidth_gb_per_s") * 1e9
    return Link(key, title, source, rate, delay / 1e6, _notes(top))


def _open(name: str, what: str, option: str) -> tuple[str, TomlTable]:
    if name.endswith(".toml"):
        path = Path(name)
        return path.stem, TomlTable(read(path, str(path)), str(path))
    if name not in _kinds():
        names = device_names() if what == "device" else link_names()
        raise InputError(
            f"{option}: no {what} is named {one_line(name)!r}{suggest(name, names)}; "
            f"known: {', '.join(names)}; a file of your own ends in .toml"
        )
    path = BUILT_IN / f"{name}.toml"
    return name, TomlTable(read(path, path.name), path.name)


def _number(table: TomlTable, key: str) -> float | None:
    return _positive(table, key) if key in table.values else None


def _positive(table: TomlTable, key: str) -> float:
    value: float = table.get(key, float)
    if value <= 0:
        raise InputError(f"{table.where}: {key} must be above zero")
    return value


def _notes(top: TomlTable) -> tuple[str, ...]:
    notes = top.get("notes", str, "")
    return (notes,) if notes else ()
