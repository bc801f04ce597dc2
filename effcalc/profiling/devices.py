"""The table of `effcalc device`: measured roofs beside the vendor's figures."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence

from effcalc.base.units import Value, format_bytes
from effcalc.hardware.files import Device, device_names, load_device
from effcalc.output.table import CONVENTIONS, Column, Row, Table
from effcalc.profiling.roofline import Level, Point, Roofs

_MEMORY = ("copy", "add")


def vendor_device(name: str) -> Device | None:
    """Return the built-in hardware file of the device that its driver calls `name`."""
    devices = (load_device(known) for known in device_names())
    return next((device for device in devices if name in device.reported_as), None)


def device_table(
    points: Iterable[Point],
    levels: Sequence[Level],
    environment: Mapping[str, Value],
    noise: Iterable[str] = (),
) -> Table:
    """The best of each kind of product by format and layout, and bandwidth by working set.

    `environment` describes the device; the table's has the caches too, which
    `roofline.roofs_from` reads back.
    """
    points = list(points)
    name = str(environment.get("device", ""))
    vendor = vendor_device(name)
    products = _fastest(
        (p for p in points if p.what not in _MEMORY), lambda p: (p.what, p.dtype, p.layout)
    )
    moving = _fastest((p for p in points if p.what in _MEMORY), lambda p: p.working_set)
    by_level = Roofs(1.0, (), tuple(levels))
    rows = [_product_row(point, vendor) for point in products]
    rows += [
        _memory_row(point, by_level.level_of(point.working_set), vendor)
        for point in sorted(moving, key=lambda p: p.working_set)
    ]
    notes = [f"the fastest of {len(points)} points, each the fastest of its repeats"]
    notes += [f"noise: {text}; a roof may be higher" for text in noise]
    if environment.get("device_type") == "cpu":
        notes.append(f"{environment.get('threads')} threads; other numbers have other roofs")
    if vendor is not None:
        notes.append(f"vendor's figures are dense ones: {vendor.source}")
    caches = " ".join(f"{level.name}:{level.size:.0f}" for level in levels)
    return Table(
        "device",
        f"Roofs of {name}",
        _columns(vendor),
        rows,
        tuple(notes),
        conventions={"FLOPs": CONVENTIONS["FLOPs"], "MB": CONVENTIONS["MB"]},
        environment={**environment, "caches": caches},
        layout="rows",
    )


def _columns(vendor: Device | None) -> tuple[Column, ...]:
    return (
        Column("what", "what", "text", "matrix product, convolution, or how bytes moved"),
        Column("dtype", "dtype", "text", "numeric format"),
        Column("layout", "layout", "text", "of images in memory"),
        Column("at", "at", "text", "best shape, or working set and what holds it", vendor is None),
        Column("level", "level", "text", "smallest that holds the working set", default=False),
        Column("working_set", "working set", "bytes", "operands and results", default=False),
        Column("flops_rate", "peak", "flops_per_second", "2 for a multiply-accumulate"),
        Column("bandwidth", "bandwidth", "bytes_per_second", "read and written"),
        Column("vendor_flops", "vendor's", "flops_per_second", "its dense peak", default=False),
        Column("vendor_bandwidth", "vendor's", "bytes_per_second", "of memory", default=False),
        Column("vendor_share", "of vendor's", "percent", "dense, never sparse", vendor is not None),
    )


def _fastest(points: Iterable[Point], key: Callable[[Point], Hashable]) -> list[Point]:
    """The fastest point of each key, in the order in which the keys first came."""
    best: dict[Hashable, Point] = {}
    for point in points:
        known = best.setdefault(key(point), point)
        if _rate(point) > _rate(known):
            best[key(point)] = point
    return list(best.values())


def _rate(point: Point) -> float:
    return (point.flops or point.moved) / point.seconds


def _product_row(point: Point, vendor: Device | None) -> Row:
    rate = point.flops / point.seconds
    peak = vendor.peaks.get(point.dtype or "") if vendor is not None else None
    return {
        "what": point.what,
        "dtype": point.dtype,
        "layout": point.layout,
        "at": point.shape,
        "flops_rate": rate,
        "vendor_flops": peak,
        "vendor_share": 100 * rate / peak if peak else None,
    }


def _memory_row(point: Point, level: str, vendor: Device | None) -> Row:
    rate = point.moved / point.seconds
    peak = vendor.bandwidth if vendor is not None and level == "memory" else None
    return {
        "what": point.what,
        "at": f"{format_bytes(point.working_set, 3)} in {level}",
        "level": level,
        "working_set": point.working_set,
        "bandwidth": rate,
        "vendor_bandwidth": peak,
        "vendor_share": 100 * rate / peak if peak else None,
    }
