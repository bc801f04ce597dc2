"""Tables about shipping a network: its sizes, the chips that hold it, and the papers' rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from effcalc.base.units import Value, format_bytes, format_count, format_number, format_percent
from effcalc.deployment.onchip import ChipFit, Need, chips, holds_both, holds_weights, need
from effcalc.deployment.papers import Claim
from effcalc.deployment.sizes import Sizes, Storage, kept_of, pieces, steps, stored
from effcalc.hardware.files import Device, Link
from effcalc.output.table import Column, Row, Table
from effcalc.scaling.scale import Scaled
from effcalc.scaling.solve import Fit

if TYPE_CHECKING:  # these need NumPy, which only --weights and --read load
    from effcalc.deployment.effz import StoredTensor
    from effcalc.deployment.ship import Shipped

_KEPT = "biases, norms and running statistics stay float32 (float16 in float16)"


def sizes_table(
    scaled: Scaled,
    storages: Sequence[Storage],
    title: str,
    link: Link | None = None,
    clients: int = 1,
    parts: bool = False,
) -> Table:
    """One row for each storage: its size, the smallest chip that holds it, its time over a link.

    `parts` shows what the bytes are for, in place of the chips.
    """
    tensors = list(pieces(scaled.network))
    elements = sum(tensor.numel * tensor.times for tensor in tensors)
    base = stored(tensors, Storage()).total
    chip = link is None and not parts
    columns = _size_columns(chip, parts, link, clients)
    devices = chips()
    rows: list[Row] = []
    for storage in storages:
        size = stored(tensors, storage)
        rows.append(
            {
                "storage": storage.name,
                "size": size.total,
                "smaller": base / size.total,
                "bits": 8 * size.total / elements,
                **dict(zip(Sizes._fields, size, strict=True)),
                **_chips_of(need(scaled, storage), devices),
                **(_link_row(size.total, link, clients) if link else {}),
            }
        )
    notes = [_KEPT]
    statistics = base - scaled.weight_bytes
    if statistics:
        notes.append(
            f"sizes hold {statistics:,} bytes of running statistics; scale leaves them out"
        )
    notes += _storage_notes(storages)
    if chip:
        notes.append("smallest chip: of those in effcalc deploy `on_chip` all")
    if link:
        notes.append(f"{link.title}: payload alone, without headers or loss")
    return Table("deploy", title, columns, rows, tuple(notes), layout="rows")


def _size_columns(chip: bool, parts: bool, link: Link | None, clients: int) -> tuple[Column, ...]:
    return (
        Column("storage", "stored as", "text", "how the weights are stored"),
        Column("size", "size", "bytes", "all that inference needs"),
        Column("smaller", "smaller", "ratio", "float32 over it"),
        Column("bits", "bits each", "number", "bits for each number", False),
        Column("values", "values", "bytes", "weights, or their codes", parts),
        Column("indices", "indices", "bytes", "positions of the weights kept", parts),
        Column("tables", "tables", "bytes", "codebooks, scales, code lengths", parts),
        Column("kept", "floats", "bytes", "what stays a float", parts),
        Column("padding", "padding", "int", "zeros stored for long gaps", False),
        Column("activations", "peak act.", "bytes", "one image, at the width beside it", chip),
        Column("chip_weights", "holds weights", "text", "smallest chip that does", chip),
        Column(
            "chip_both", "holds both", "text", "smallest chip for weights and activations", chip
        ),
        *(_link_columns(link, clients) if link else ()),
    )


def _storage_notes(storages: Iterable[Storage]) -> list[str]:
    notes = []
    storages = list(storages)
    if any(s.kind == "int" for s in storages):
        notes.append("int8, int4: a float32 scale for each output channel")
    if any(s.kind == "codebook" for s in storages):
        notes.append("codebook: one for each tensor, of float32 values")
    pruned = [s for s in storages if s.density < 1]
    if pruned:
        bits = " and ".join(dict.fromkeys(str(s.index_bits) for s in pruned))
        notes.append(f"pruned: weights at random positions, relative indices of {bits} bits")
    if any(s.huffman for s in storages):
        notes.append("Huffman: of indices; a code of the values needs the weights")
    return notes


def _link_columns(link: Link, clients: int) -> tuple[Column, ...]:
    several = clients > 1
    return (
        Column("time", "time", "seconds", f"over {link.title}"),
        Column("sent", "sent", "bytes", f"to {format_count(clients)} clients", several),
        Column("sent_time", "one by one", "seconds", "to all over the one link", several),
    )


def _link_row(size: int, link: Link, clients: int) -> dict[str, Value]:
    rate = link.bytes_per_second
    return {
        "time": link.latency_s + size / rate,
        "sent": size * clients,
        "sent_time": link.latency_s + size * clients / rate,
    }


def _chips_of(needed: Need, devices: Sequence[Device]) -> dict[str, Value]:
    """Return the activations, and the smallest chips that hold the weights alone and both."""
    weights = (d.name for d in devices if holds_weights(d, needed.weights))
    both = (d.name for d in devices if holds_both(d, needed))
    return {
        "activations": needed.activations,
        "chip_weights": next(weights, None),
        "chip_both": next(both, None),
    }


def chips_table(
    scaled: Scaled, storages: Sequence[Storage], devices: Sequence[Device], title: str
) -> Table:
    """One row for each device: in which storages its own memory holds the network."""
    needs = [(storage, need(scaled, storage)) for storage in storages]
    columns = (
        Column("device", "device"),
        Column("memory", "memory", "bytes", "for weights and activations"),
        Column("weight_memory", "weights", "bytes", "beside it, for weights alone"),
        *(Column(_key(s), _short(s), "text", s.name) for s in storages),
        Column("source", "source", "text", "of the memory", False),
        Column("notes", "notes", "text", "what the figure leaves out", False),
    )
    rows: list[Row] = [
        {
            "device": device.name,
            "memory": device.on_chip_bytes,
            "weight_memory": device.on_chip_weight_bytes or None,
            **{_key(storage): _held(device, needed) for storage, needed in needs},
            "source": device.source,
            "notes": " ".join(device.notes) or None,
        }
        for device in devices
    ]
    notes = (
        "w+a: holds the weights and the activation peak of one image; w: the weights alone",
        "weights + activations: "
        + "; ".join(
            f"{_short(s)} {format_bytes(n.weights, 3)} + {format_bytes(n.activations, 3)}"
            for s, n in needs
        ),
        "both in one memory, or weights in a memory of their own; the program is not counted",
    )
    return Table("deploy-chips", title, columns, rows, notes, layout="rows")


def _held(device: Device, needed: Need) -> str | None:
    if holds_both(device, needed):
        return "w+a"
    return "w" if holds_weights(device, needed.weights) else None


def _short(storage: Storage) -> str:
    if storage.kind == "codebook":
        share = f"{storage.density * 100:.4g}%·" if storage.density < 1 else ""
        return f"{share}b{storage.bits}{'h' if storage.huffman else ''}"
    return f"{'fp' if storage.kind == 'float' else 'int'}{storage.bits}"


def _key(storage: Storage) -> str:
    return storage.name.replace("%", " percent").replace(",", "").replace(" ", "_").lower()


def chip_fit_table(fits: Iterable[ChipFit], device: Device, title: str) -> Table:
    """The largest φ and width at which a device holds the network, for each storage."""
    columns = (
        Column("storage", "stored as", "text", "how the weights are stored"),
        Column("phi", "φ", "number", "the largest for weights + activations"),
        Column("phi_params", "params", "count", "at that φ"),
        Column("width", "w", "number", "the largest, d = r = 1, for both"),
        Column("width_params", "params", "count", "at that w"),
        Column("phi_weights", "φ, weights", "number", "the largest for weights alone"),
        Column("width_weights", "w, weights", "number", "the largest for weights alone"),
    )
    rows: list[Row] = []
    for fit in fits:
        phi, width = fit.both
        rows.append(
            {
                "storage": fit.storage.name,
                "phi": phi.value,
                "phi_params": _params(phi),
                "width": width.value,
                "width_params": _params(width),
                "phi_weights": fit.weights[0].value,
                "width_weights": fit.weights[1].value,
            }
        )
    store = device.on_chip_weight_bytes
    kib = format_number((device.on_chip_bytes or 0) / 1024)
    beside = f", and {format_number(store / 1024)} KiB for weights alone" if store else ""
    notes = [
        f"{device.title}: {kib} KiB{beside}",
        f"source: {device.source}",
        *device.notes,
        "largest on a grid of 0.001; a dash: not even the smallest fits",
        "the program, and a network's input beyond one image, are not counted",
    ]
    return Table("deploy-fit", title, columns, rows, tuple(notes), layout="rows")


def _params(fit: Fit) -> int | None:
    return None if fit.scaled is None else fit.scaled.params


def paper_table(claims: Sequence[Claim]) -> Table:
    """Published sizes of compressed networks beside effcalc's, with ratios to the first."""
    first = claims[0]
    columns = (
        Column("label", "network", "text", "and how it is stored"),
        Column("printed", "printed", "text", "size, by the paper"),
        Column("computed", "effcalc", "bytes", "effcalc's exact size"),
        Column("verdict", "same", "text", "within the digits printed"),
        Column("reduction", "printed", "text", "how many times smaller than the first"),
        Column("of_printed", "of sizes", "ratio", "by the sizes that the paper prints"),
        Column("ratio", "effcalc", "ratio", "by the exact sizes"),
        Column("storage", "storage", "text", "as `deep_compression` reads it", False),
        Column("note", "assumed", "text", "of the row", False),
    )
    rows: list[Row] = [
        {
            "label": claim.published.label,
            "printed": claim.printed,
            "computed": claim.computed,
            "verdict": claim.verdict,
            "reduction": claim.published.reduction,
            "of_printed": first.value / claim.value,
            "ratio": first.computed / claim.computed,
            "storage": claim.published.storage or None,
            "note": claim.published.note,
        }
        for claim in claims
    ]
    notes = [f"{c.published.label}: {c.published.note}" for c in claims]
    weights = sum(p.numel * p.times for p in pieces(claims[-1].scaled.network) if len(p.shape) > 1)
    bare = ", ".join(
        f"{format_bytes(kept_of(weights, 0.33) * bits // 8, 2)} with {bits} bits" for bits in (8, 6)
    )
    notes.append(f"33% of the weights alone, without indices, codebooks and biases: {bare}")
    notes.append("same, as MiB: as printed when the paper's MB are 2^20 bytes")
    title = f"{first.published.table}, by arithmetic"
    return Table("deploy-paper", title, columns, rows, tuple(notes), layout="rows")


def shipped_table(
    scaled: Scaled, storage: Storage, shipped: Shipped, how: str, title: str, written: str | None
) -> Table:
    """The size of given weights after each step of a compression, beside the formulas' sizes."""
    columns = (
        Column("step", "stored as", "text", "how the weights are stored"),
        Column("size", "size", "bytes", "of these weights"),
        Column("smaller", "smaller", "ratio", "float32 over it"),
        Column("values", "values", "bytes", "weights, or their codes"),
        Column("indices", "indices", "bytes", "positions of the weights kept"),
        Column("tables", "tables", "bytes", "codebooks, and how long each code is"),
        Column("kept", "floats", "bytes", "what stays as it was", False),
        Column("formula", "formula", "bytes", "expected from the architecture alone"),
        Column("padding", "padding", "int", "zeros stored for long gaps", False),
    )
    tensors = list(pieces(scaled.network))
    formulas = {way.name: stored(tensors, way).total for way in steps(storage)}
    base = shipped.steps[Storage().name].total
    rows: list[Row] = [
        {
            "step": step,
            "size": size.total,
            "smaller": base / size.total,
            **dict(zip(Sizes._fields, size, strict=True)),
            "formula": formulas.get(step),
        }
        for step, size in shipped.steps.items()
    ]
    total = len(shipped.data)
    rows.append({"step": written or "file", "size": total, "smaller": base / total})
    names = "by their names" if how == "names" else "by their shapes alone, not by their names"
    notes = [
        f"the file's tensors match the network's {names}",
        f"coded: {shipped.coded} of {shipped.tensors} tensors; the others stay as they were",
        f"error of the coded weights: {format_percent(shipped.error * 100)} of their root mean "
        "square, without training again",
        "entropy bound: of one code for a tensor's values and one for its indices; formula: "
        "weights at random positions",
        "the file has names and a checksum too; decoded, it equals the quantised weights bit for "
        "bit",
    ]
    return Table("deploy-weights", title, columns, rows, tuple(notes), layout="rows")


def effz_table(tensors: Sequence[StoredTensor], title: str) -> Table:
    """What an .effz file holds, a row for each tensor."""
    columns = (
        Column("name", "tensor"),
        Column("shape", "shape"),
        Column("stored", "stored as", "text", "centroids, or the dtype"),
        Column("entries", "entries", "int", "codes, those of padding zeros too"),
        Column("bytes", "bytes", "int", "without name and shape"),
        Column("bits", "bits each", "number", "for each number", False),
    )
    rows: list[Row] = [
        {
            "name": t.name,
            "shape": "x".join(map(str, t.shape)) or "scalar",
            "stored": t.dtype if t.centroids is None else f"{len(t.centroids)} centroids",
            "entries": t.entries if t.streams else None,
            "bytes": t.sizes.total,
            "bits": 8 * t.sizes.total / t.numel if t.numel else None,
        }
        for t in tensors
    ]
    total: Row = {"name": "total", "bytes": sum(t.sizes.total for t in tensors)}
    notes = ("checksum and every code are right: all tensors decode",)
    return Table("deploy-file", title, columns, rows, notes, total, layout="rows")
