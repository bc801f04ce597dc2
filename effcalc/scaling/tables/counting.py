"""Tables about one network that was counted: its totals, or a breakdown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from effcalc.base.errors import InputError, one_of
from effcalc.network.network import Network, OperatorCall, repeated_name
from effcalc.network.ops import cost
from effcalc.output.table import Column, Row, Table
from effcalc.scaling.figures import PER, Figures, figures, macs
from effcalc.scaling.tables.scaling import Figure, breakdown_table

FIGURES = (
    Figure(
        "params", "params", "count", "parameters, a shared one once", lambda f: f.weights.params
    ),
    Figure("trainable", "trainable", "count", "of them", lambda f: f.weights.trainable),
    Figure(
        *("frozen", "frozen", "count", "of them"), lambda f: f.weights.params - f.weights.trainable
    ),
    Figure(
        "buffers", "buffers", "count", "elements, such as statistics", lambda f: f.weights.buffers
    ),
    Figure("macs", "MACs", "count", "multiply-accumulates", lambda f: f.cost.macs),
    Figure("flops", "FLOPs", "count", "2 × MACs + other arithmetic", lambda f: f.cost.flops),
    Figure(
        *("elementwise", "elementwise", "count", "results that are not of a product"),
        lambda f: f.cost.elementwise,
    ),
    Figure(
        *("flops_other", "other", "count", "FLOPs that are neither, such as FFT"),
        lambda f: f.cost.flops_other,
    ),
    Figure("weight_bytes", "weights", "bytes", "parameters", lambda f: f.weights.weight_bytes),
    Figure("buffer_bytes", "buffer bytes", "bytes", "buffers", lambda f: f.weights.buffer_bytes),
    Figure("read_bytes", "read", "bytes", "each operand once", lambda f: f.cost.read_bytes),
    Figure("written_bytes", "written", "bytes", "each result once", lambda f: f.cost.written_bytes),
    Figure("moved_bytes", "moved", "bytes", "read and written", lambda f: f.cost.moved_bytes),
    Figure(
        *("activation_bytes", "activations", "bytes", "all results, in-place ones once"),
        lambda f: f.activation_bytes,
    ),
    Figure(
        *("peak_activation_bytes", "peak act.", "bytes", "most alive at once, input included"),
        lambda f: f.peak_activation_bytes,
    ),
)
"""What a count says, in order."""

PASSES = ("forward", "backward")


def count_table(network: Network) -> Table:
    """The totals of a network; forward and backward apart where both ran."""
    row: Row = {"target": network.name, **_values(figures(network))}
    hidden = {"buffer_bytes"} | ({"flops_other"} if not row["flops_other"] else set())
    columns = [Column("target", "target", "text", "what was counted", default=False)]
    columns += [f.column({g.key for g in FIGURES} - hidden) for f in FIGURES]
    if any(_pass(call) == "backward" for call in network.calls):
        for name in PASSES:
            part = replace(
                network, calls=tuple(call for call in network.calls if _pass(call) == name)
            )
            columns.append(Column(f"{name}_macs", f"MACs {name}", "count", f"of the {name} pass"))
            row = {**row, f"{name}_macs": macs(part)}
    return Table("count", network.name, tuple(columns), [row], notes(network))


def check_breakdown(per: str | None, max_level: int | None) -> None:
    """Refuse a breakdown that there is not, before anything runs."""
    known = ("module", "layer", "op", "stage", "block")
    if per is not None:
        one_of(per, known, "`per`")
    if max_level is not None and per not in ("module", "layer"):
        raise InputError("`max_level` is for `per` module and `per` layer")


def count_breakdown(network: Network, per: str, max_level: int | None) -> Table:
    """Split a count by operator, module or layer (one operator of one module).

    Modules deeper than `max_level` are summed into the one above. Views, which cost nothing, are
    left out. Raises `InputError` for a breakdown that there is not.
    """
    check_breakdown(per, max_level)
    if per in ("stage", "block") and not network.calls[0].block:
        raise InputError(
            f"`per` {per} is for a network of effcalc's, as described; of one that ran give "
            "module, layer or op"
        )
    top = network.name

    def module(call: OperatorCall) -> str:
        path = repeated_name(call).split(".") if call.name else []
        return ".".join(path[:max_level]) or top

    def operator(call: OperatorCall) -> str:
        return f"{module(call)} ({call.op})"

    # A described network has one operator a name; a traced module may run several.
    calls = {call.name for call in network.calls if call.name}
    alone = len(calls) == len(network.calls)
    groups: dict[str, Callable[[OperatorCall], str]] = {
        "module": module,
        "layer": module if alone else operator,
    }
    kept = tuple(call for call in network.calls if not _is_empty(call))
    table = breakdown_table(
        replace(network, calls=kept), per, f"{top}, by {per}", groups.get(per) or PER[per]
    )
    return replace(table, notes=(*table.notes, *notes(network)))


def _is_empty(call: OperatorCall) -> bool:
    """Whether a layer does, moves, holds and makes nothing: a view, a question about a shape."""
    created = sum(t.numel for t in call.outputs) if call.memory == "new" else 0
    return not (created or call.params or any(cost(call)))


def _values(f: Figures) -> Row:
    return {figure.key: figure.value(f) for figure in FIGURES}


def _pass(call: OperatorCall) -> str:
    return str(call.attrs.get("phase", "forward"))


def gaps(network: Network) -> list[str]:
    """Say what a count does not cover: operators without a formula, modules that never ran."""
    texts = []
    if network.uncounted:
        names = ", ".join(f"{name} ×{n}" for name, n in sorted(network.uncounted.items()))
        texts.append(f"operators without a formula, counted by their bytes alone: {names}")
    if network.uncalled:
        texts.append(f"modules never called: {', '.join(network.uncalled)}")
    return texts


def notes(network: Network) -> tuple[str, ...]:
    """What to know beside the figures."""
    lines = gaps(network)
    unused = [
        p.key for call in network.calls if call.op == "unused" for p in call.params if not p.buffer
    ]
    inside = tuple(f"{path}." for path in network.uncalled)
    unused = [key for key in unused if not key.startswith(inside)] if inside else unused
    if unused:
        more = f" and {len(unused) - 5} more" if len(unused) > 5 else ""
        lines.append(f"parameters that nothing reads: {', '.join(unused[:5])}{more}")
    sizes = ", ".join(
        f"{'x'.join(map(str, t.shape)) or 'scalar'} {t.dtype}" for t in network.inputs
    )
    mode = "training" if network.training else "evaluation"
    lines.append(f"input: {sizes or 'none'}; {mode} mode")
    return (*lines, *network.notes)


def network_record(network: Network) -> Table:
    """The totals of a network as a record, which a notebook shows of it."""
    return replace(count_table(network), layout="record")
