"""Tables of published accuracy beside exact cost: the EfficientNet paper's two observations."""

from __future__ import annotations

from math import log2

from effcalc.base.errors import InputError
from effcalc.network.arch import Arch, Published
from effcalc.output.table import Column, Row, Table
from effcalc.scaling.published import at_scaling
from effcalc.scaling.scale import by_ratios, scaled


def observations_table(arch: Arch) -> Table:
    """Depth, width and resolution scaled alone and all three: accuracy gained for exact cost.

    From the published table of `arch` that has such scalings (Tan & Le 2019, tables 3 and 7);
    `scaled` says which dimensions a row scales. Raises `InputError` where there is none.
    """
    entries = _entries(arch)
    base = scaled(arch, by_ratios(arch))
    first = next((entry.top1 or 0.0 for entry in entries if not _scales(entry)), 0.0)
    columns = (
        Column("label", "scaling", "text", "as the paper names it"),
        Column("scaled", "scaled", "text", "what is scaled", default=False),
        Column("params", "params", "count", "parameters"),
        Column("macs", "MACs", "count", "multiply-accumulates, one image"),
        Column("growth", "MACs ×", "ratio", "over the unscaled network's"),
        Column("top1", "top-1 %", "number", "as published"),
        Column("gain", "points", "number", "of accuracy gained over the unscaled network"),
        Column("rate", "points a doubling", "number", "gained for each doubling of MACs"),
    )
    rows: list[Row] = []
    for entry in entries:
        result = at_scaling(arch, entry)
        gain = round((entry.top1 or 0.0) - first, 1)
        doublings = log2(result.macs / base.macs)
        rows.append(
            {
                "label": entry.label,
                "scaled": _scales(entry) or "nothing",
                "params": result.params,
                "macs": result.macs,
                "growth": result.macs / base.macs,
                "top1": entry.top1,
                "gain": gain if doublings else None,
                "rate": gain / doublings if doublings else None,
            }
        )
    notes = (f"accuracy as {entries[0].table} prints it; none is computed",)
    return Table("observations", arch.title, columns, rows, notes, layout="rows")


def _entries(arch: Arch) -> list[Published]:
    """Return the entries of the one table that scales dimensions alone, the unscaled one first."""
    tables = {e.table for e in arch.published if _scales(e) in ("depth", "width", "resolution")}
    known = [e for e in arch.published if e.table in tables and e.top1 and e.network == arch.name]
    if not known:
        raise InputError(
            f"no paper scales {arch.title} in one dimension alone; there are efficientnet-b0, "
            "mobilenet-v1, mobilenet-v2 and resnet-50"
        )
    return sorted(known, key=lambda entry: bool(_scales(entry)))


def _scales(entry: Published) -> str:
    if entry.variant or entry.knobs:
        return ""
    names = ("depth", "width", "resolution")
    scales = [name for name in names if getattr(entry, name) != 1]
    return "all three" if len(scales) == 3 else " and ".join(scales)
