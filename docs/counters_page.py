"""Makes docs/counters.md of docs/counters.json, which benchmarks/counters.py records."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from effcalc.base.units import format_bytes, format_count, format_seconds

RECORD = Path(__file__).parent / "counters.json"
CLOSE = 0.005


class Rule(NamedTuple):
    """Something that counters do differently, with one of the small modules as its example."""

    title: str
    why: str
    case: str
    arithmetic: str


RULES = (
    Rule(
        "Biases",
        "A bias is one addition for each result, and no multiplication. Some count it as a MAC: "
        "little in a large layer, a seventh here.",
        "linear",
        "`nn.Linear(7, 5)` on 2 rows: 2·7·5 = 70 MACs; 2·5 = 10 biases make it 80",
    ),
    Rule(
        "Element-wise work added in",
        "Normalisation, activations, pooling and interpolation have no products that a matrix unit "
        "could do. Counters that add them to the MACs each have their own price for one element. "
        "On the convolutional models below that is most of the difference.",
        "batch norm",
        "`nn.BatchNorm2d(3)` on 2x3x4x4: 96 results, no product; 2 or 4 operations for each, or "
        "its 6 parameters for each image, make the other figures",
    ),
    Rule(
        "Functional calls",
        "A forward hook sees modules. What a module's `forward` calls itself is invisible unless "
        'the function is patched, and a trace has another operator for `padding="same"`.',
        "conv functional",
        '`F.conv2d(x, w, padding="same")`, 3 to 2 channels, 4x4: 2·16·27 = 864',
    ),
    Rule(
        "Exact type",
        "Hooks are chosen by `type(module)` in a table, so a subclass has none. torchinfo looks "
        'for "Conv" in the name, and takes this one for something else.',
        "conv subclass",
        "a subclass of `nn.Conv2d(3, 4, 3)` that standardises its weight, 5x5 to 3x3: 4·9·27 = 972",
    ),
    Rule(
        "Tokens",
        "A linear layer runs on every token of a sequence. Parameters times the batch count one.",
        "linear over tokens",
        "`nn.Linear(7, 5)` on 2x197x7: 2·197·7·5 = 13,790; (7·5 + 5)·2 = 80 is one token's, with "
        "its bias",
    ),
    Rule(
        "Attention",
        "Scores and their product with the values have no parameters and no module: L·L·D MACs "
        "each, for every head together. Traces and CPU's kernels have them as one operator, "
        "`scaled_dot_product_attention`, for which most have no formula.",
        "attention",
        "2 images, L = 6, D = 12: projections 2·6·(12·36 + 12·12) = 6,912, the two products "
        "2·2·6·6·12 = 1,728, together 8,640",
    ),
    Rule(
        "Causal attention",
        "A kernel may leave out what the mask closes. On CPU it computes whole blocks of 512 keys: "
        "`effcalc count --real` says 19,464,192 here, and on meta tensors, where all pairs are "
        "computed, the figure below.",
        "attention, causal, long",
        "L = 1024, D = 12: projections 1024·576 = 589,824; all pairs 2·1024·1024·12 = 25,165,824; "
        "CPU's blocks 2·(512·512 + 512·1024)·12 = 18,874,368",
    ),
    Rule(
        "Products that are no matrix by matrix",
        "A matrix by a vector, a dot product, an outer product, distances: few have a formula.",
        "matrix by vector",
        "4x6 by 6: 24",
    ),
    Rule(
        "Transposed convolutions",
        "Each input position meets the whole kernel of its group. Counting output positions, as "
        "for a convolution, is right at stride 1 without padding alone.",
        "conv transposed",
        "4 to 6 channels in 2 groups, 3x3, stride 2, 5x5 to 12x12: 4·25·3·9 = 2,700 by input; by "
        "output 6·144·2·9 = 15,552",
    ),
    Rule(
        "Modules in two places",
        "A module that is registered at two places and called at both runs twice. A sum over a "
        "tree of modules meets all its calls at each place; thop hooks it at each place too.",
        "registered at two places",
        "`nn.Linear(4, 4)` called twice on 3 rows: 2·3·16 = 96; twice that is 192, four times 384",
    ),
    Rule(
        "Recurrent layers",
        "Steps times weights. The fused kernel is one operator, unknown to most; hooks know the "
        "module and add its gates' arithmetic.",
        "LSTM",
        "two layers both ways, 3 to 5 units, 5 steps of 2 rows: 10·(2·20·(3 + 5) + 2·20·(10 + 5)) "
        "= 9,200",
    ),
    Rule(
        "Custom autograd functions",
        "A trace has the function as one opaque operator; patches and hooks do not look inside.",
        "custom autograd function",
        "`x @ weight` of 2x4 and 4x3 in an `autograd.Function`: 2·4·3 = 24",
    ),
)

# What is known of a figure to which no rule adds up.
REMARKS = {
    ("fvcore", "timm:maxvit_tiny_tf_224"): "by hand: it misses the products of attention "
    "(−177,020,928), and for einsum it reads the count back from what numpy's `einsum_path` "
    "prints, four digits (+48 over 44 calls)",
}

HEAD = """# Where and why counters disagree

What effcalc and {ways} other ways of counting say of {small} small modules whose
multiply-accumulates are worked out by hand, and of {models} models of all kinds. Every figure is
from a real run, `python -m benchmarks.counters` ({date}, {machine};
{versions}).
For a model of your own: `effcalc count TARGET --against all`.

Figures are MACs of the whole batch. What the others print is brought to that:

{conventions}

## In short

"Right" is equal to the last digit; of the models also within 0.5%. For the models the truth is
the MACs of convolutions and matrix products on which effcalc and torch's FlopCounterMode on meta
tensors agree, and torch's own sum of parameters. "Unexplained" are figures to which no known rule
adds up.

{scores}

Before the rules, the unit: a multiply-accumulate is one MAC and two FLOPs. fvcore prints MACs and
calls them flops, FlopCounterMode prints FLOPs, calflops both, and papers print MACs as "FLOPs". A
factor of two between two counters is this first of all.

## The rules
"""


def page() -> str:
    """Return the page."""
    record = json.loads(RECORD.read_text(encoding="utf-8"))
    small, models = record["small"], record["models"]
    names = [*small[0]["found"]]
    for row in models:  # which is what the page says
        assert row["macs"] == row["found"]["torch, meta"]["macs"], row["name"]
    versions = ", ".join(
        f"{k} {v}"
        for k, v in record["environment"].items()
        if k not in ("date", "machine", "python")
    )
    text = HEAD.format(
        ways=len(names) - 1,
        small=len(small),
        models=len(models),
        date=record["environment"]["date"],
        machine=record["environment"]["machine"],
        versions=versions,
        conventions="\n".join(f"- {n}: {c}." for n, c in record["conventions"].items()),
        scores=_scores(names, small, models),
    )
    by_name = {row["name"]: row for row in small}
    for rule in RULES:
        text += f"\n### {rule.title}\n\n{_wrap(rule.why)}\n\n"
        text += f"{_wrap(f'{_upper(rule.arithmetic)}.')}\n\n"
        text += _table(("MACs", "counters"), _said(by_name[rule.case]), "r-")
    text += "\n### Weights in memory\n\n"
    text += _wrap(
        "Counters that run the model on real tensors need its weights and its arithmetic; on meta "
        "tensors there is neither. What it costs for each model is below; for a network of 1.8 "
        "billion parameters see [the benchmark](benchmarks/count.md)."
    )
    text += f"\n\n## Small modules\n\nDifference from the truth.\n\n{_matrix(names, small)}"
    text += f"\n## Models\n\nDifference from the truth.\n\n{_matrix(names, models)}"
    text += _costs(names, models)
    text += "\n## Why, one by one\n\nThe operators on which a counter differs, or what it raised.\n"
    for name in names[1:]:
        lines = [*_reasons(name, small), *_reasons(name, models)]
        if lines:
            text += f"\n### {name}\n\n" + "".join(f"- {line}\n" for line in lines)
    return text


def _wrap(text: str) -> str:
    return "\n".join(textwrap.wrap(text, 100, break_long_words=False, break_on_hyphens=False))


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], align: str) -> str:
    """Markdown; `align` has "r" for each column of numbers."""
    lines = [head, ["---:" if a == "r" else "---" for a in align], *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _right(row: dict[str, Any], one: dict[str, Any]) -> bool:
    """Whether a figure is right; on real tensors a kernel may compute less."""
    return one.get("macs") in {row["macs"], row.get("real_macs", row["macs"])} - {None}


def _close(row: dict[str, Any], one: dict[str, Any]) -> bool:
    macs = one.get("macs")
    return macs is not None and abs(macs - row["macs"]) <= CLOSE * row["macs"]


def _scores(names: Sequence[str], small: list[Any], models: list[Any]) -> str:
    rows = []
    for name in names:
        pairs = [(row, row["found"][name]) for row in small]
        large = [(row, row["found"][name]) for row in models]
        told = [(r, o) for r, o in (*pairs, *large) if o.get("params") is not None]
        wrong = sum(o["params"] != r["params"] for r, o in told)
        rows.append(
            (
                name,
                f"{sum(_right(*p) for p in pairs)} of {len(pairs)}",
                f"{sum(_right(*p) for p in large)} of {len(large)}",
                f"{sum(_close(*p) for p in large)} of {len(large)}",
                f"{wrong} of {len(told)}" if told else "–",
                str(sum("cause" in o for _, o in (*pairs, *large))),
                str(sum(o.get("why") == "unexplained" for _, o in (*pairs, *large))),
            )
        )
    head = (
        *("counter", "small modules right", "models right", "models within 0.5%"),
        *("parameters wrong", "failed", "unexplained"),
    )
    return _table(head, rows, "-rrrrrr").rstrip()


def _said(row: dict[str, Any]) -> Iterable[tuple[str, str]]:
    """Yield each figure that was given, the right one first, and by which counters."""
    figures: dict[Any, list[str]] = {row["macs"]: []}
    for name, one in row["found"].items():
        figures.setdefault(one.get("macs", "fails"), []).append(name)
    for figure, names in figures.items():
        if names:
            text = figure if isinstance(figure, str) else f"{figure:,}"
            yield text, "; ".join(names)


def _matrix(names: Sequence[str], rows: list[Any]) -> str:
    lines = [
        (row["name"], f"{row['macs']:,}", *(_cell(row, row["found"][n]) for n in names))
        for row in rows
    ]
    return _table(("", "MACs", *names), lines, "-" + "r" * (1 + len(names)))


def _cell(row: dict[str, Any], one: dict[str, Any]) -> str:
    if "cause" in one:
        return "fails"
    if _right(row, one):
        return "✓"
    difference = one["macs"] - row["macs"]
    if not row["macs"]:
        return f"+{difference:,}"
    change = 100 * difference / row["macs"]
    sign = "−" if change < 0 else "+"
    if abs(change) < 0.005:
        return f"{sign}<0.01%"
    return f"{sign}{abs(change):.2f}%" if abs(change) < 10 else f"{sign}{abs(change):.0f}%"


def _costs(names: Sequence[str], models: list[Any]) -> str:
    text = (
        "\nSeconds of a cold process that imports the counter, builds the model and counts it, "
        "once\neach and in turn, on a machine that other work shared.\n\n"
    )
    rows = [
        (row["name"], *(format_seconds(row["found"][n]["seconds"]) for n in names))
        for row in models
    ]
    text += _table(("", *names), rows, "-" + "r" * len(names))
    text += "\nMost resident memory of that process.\n\n"
    rows = [
        (row["name"], *(format_bytes(row["found"][n]["peak"]) for n in names)) for row in models
    ]
    return text + _table(("", *names), rows, "-" + "r" * len(names))


def _reasons(name: str, rows: list[Any]) -> Iterable[str]:
    for row in rows:
        one = row["found"][name]
        if "cause" in one:
            cause = one["cause"].removeprefix("RunError: ").removesuffix(": ")
            yield f"{row['name']}: fails: {cause}"
        elif not _right(row, one):
            macs = f"{format_count(one['macs'])} for {format_count(row['macs'])}"
            remark = REMARKS.get((name, row["name"]), "") if one["why"] == "unexplained" else ""
            yield f"{row['name']}: {macs}; {one['why']}" + (f"; {remark}" if remark else "")
