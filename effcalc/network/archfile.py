"""Architecture files: strict TOML, one format for the built-in networks and for a user's own.

The format is documented in docs/architecture-files.md. Nothing in a file is ever executed; values
that start with "=" are arithmetic over the file's knobs (`effcalc.base.expr`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from effcalc.base import expr
from effcalc.base.errors import InputError, one_line, suggest
from effcalc.base.toml import MAX_NUMBER, WORDS, TomlTable, read, typed
from effcalc.base.units import int_text
from effcalc.network.arch import Arch, Knob, Published, Stage, Variant, merge_equal
from effcalc.network.blocks import BLOCKS
from effcalc.network.catalog import find
from effcalc.network.keys import ABOVE_ZERO, Key, block_keys

_TOP = (
    *("name", "title", "source", "notes", "input", "scaling", "knobs", "defaults"),
    *("stage", "network", "variant", "published"),
)


def load(
    name: str,
    settings: Mapping[str, str] | None = None,
    classes: int | None = None,
    in_channels: int | None = None,
) -> tuple[Arch, Variant | None]:
    """Load a network by built-in name, or from `file.toml` or `file.toml:NAME`.

    `settings` are knobs as a user types them (`{"sr": "0.75"}`). The second value is the released
    variant that the name itself means (`efficientnet-b3`). Raises `InputError`.
    """
    file, dot_toml, member = name.partition(".toml")
    variant = ""
    if dot_toml and (not member or member.startswith(":")):
        path = Path(file + dot_toml)
        where, member = str(path), member[1:]
    else:
        entry = find(name)
        path, member, variant = entry.path, entry.network, entry.variant
        where = path.name
    for option, value in (("`classes`", classes), ("`in_channels`", in_channels)):
        if value is not None and not 1 <= value <= MAX_NUMBER:
            raise InputError(f"{option} must be from 1 to 2^31, not {int_text(value)}")
    top = TomlTable(read(path, where), where)
    arch = _arch(top, member, settings or {}, classes, in_channels)
    return arch, arch.variant(variant) if variant else None


def _arch(
    top: TomlTable,
    member: str,
    given: Mapping[str, str],
    classes: int | None,
    in_channels: int | None,
) -> Arch:
    """Check a file and return its network `member` ("" for the first)."""
    top.only(_TOP)
    base = str(top.get("name", str))
    knobs = tuple(_knobs(top))
    network = _network(top, {"": base}.get(member, member), knobs)
    settings = {k.name: k.default for k in knobs} | network.preset
    settings |= {k: _knob_value(knobs, k, v, "`knobs`") for k, v in given.items()}

    image = top.table("input")
    image.only(("size", "channels", "classes"))
    scaling = top.table("scaling")
    scaling.only(("rule", "divisor", "keep", "merge_equal"))
    keep = scaling.get("keep", float, 0.9)
    if not 0 <= keep <= 1:
        raise InputError(f"{scaling.where}: keep is a share from 0 to 1, not {keep}")
    arch = Arch(
        name=network.name,
        title=network.title,
        source=network.source,
        stages=(),
        image_size=_image_size(image),
        in_channels=in_channels or _positive(image, "channels", 3),
        classes=classes or _positive(image, "classes", 1000),
        rule=scaling.get("rule", str, ""),
        keep=keep,
        notes=_strings(top, "notes"),
        knobs=knobs,
        preset=network.preset,
        settings=settings,
        variants=tuple(_variants(top)),
        published=tuple(_published(top, base)),
        file=top.where,
    )
    return _with_stages(arch, top, scaling)


class _Network(NamedTuple):
    """One of the networks of a file, and the knobs that it sets."""

    name: str
    title: str
    source: str
    preset: dict[str, Any]


def _network(top: TomlTable, chosen: str, knobs: tuple[Knob, ...]) -> _Network:
    """Check all networks of a file, and return one."""
    base = str(top.get("name", str))
    networks = [_Network(base, top.get("title", str, base), top.get("source", str, ""), {})]
    for table in top.tables("network"):
        table.only(("name", "title", "source", "set"))
        name = _new_name(table, [network.name for network in networks])
        values = {
            k: _knob_value(knobs, k, v, f"{table.where}: set")
            for k, v in table.table("set").values.items()
        }
        title = table.get("title", str, name)
        source = table.get("source", str, networks[0].source)
        networks.append(_Network(name, title, source, values))
    names = [network.name for network in networks]
    if chosen not in names:
        raise InputError(
            f"{top.where}: has no network {one_line(chosen)!r}{suggest(chosen, names)}; "
            f"it has {', '.join(names)}"
        )
    return networks[names.index(chosen)]


def _with_stages(arch: Arch, top: TomlTable, scaling: TomlTable) -> Arch:
    names = {**arch.settings, "classes": arch.classes}
    defaults = top.table("defaults")
    divisor = _positive(scaling, "divisor", 8)
    known = {key for block in BLOCKS.values() for key in block_keys(block)}
    defaults.only(sorted(known))
    stages = tuple(_stage(t, defaults, names, divisor) for t in top.tables("stage"))
    if not stages:
        raise InputError(f"{top.where}: has no [[stage]]; a network needs at least one")
    seen: list[str] = []
    for table in top.tables("stage"):
        seen.append(_new_name(table, seen))
    if scaling.get("merge_equal", bool, False):
        stages = merge_equal(stages)
        if len({stage.name for stage in stages}) < len(stages):
            raise InputError(f"{scaling.where}: merge_equal gives two stages one name; rename them")
    return replace(arch, stages=stages)


_STAGE_KEYS = ("name", "block", "repeats", "repeat_scales", "channel_scales", "min_width", "head")


def _stage(table: TomlTable, defaults: TomlTable, names: Mapping[str, Any], divisor: int) -> Stage:
    name = table.get("name", str)
    if not name.isidentifier():
        raise InputError(f"{table.where}: name {one_line(name)!r} must be letters, digits and _")
    table = TomlTable(table.values, f"{table.where} ({name})")
    block = table.get("block", str)
    if block not in BLOCKS:
        raise InputError(
            f"{table.where}: no block is named {one_line(block)!r}{suggest(block, BLOCKS)}; "
            f"known: {', '.join(sorted(BLOCKS))}"
        )
    keys = block_keys(BLOCKS[block])
    table.only([*_STAGE_KEYS, *keys])
    values: dict[str, Any] = {}
    for word, key in keys.items():
        given = table if word in table.values else defaults
        if word in given.values:
            values[word] = _value(given, word, key, names)
        elif key.default is None:
            raise InputError(
                f"{table.where}: the key {word!r} is missing; block {block} needs {WORDS[key.kind]}"
            )
        else:
            values[word] = key.default
    min_width = table.get("min_width", float, 0.0)
    if min_width < 0:
        raise InputError(f"{table.where}: min_width must be at least 0, not {min_width:g}")
    repeats = 0
    if "repeats" in table.values:
        repeats = _value(table, "repeats", Key(int, limit=ABOVE_ZERO), names)
    return Stage(
        name,
        block,
        values,
        repeats,
        table.get("repeat_scales", bool, True),
        table.get("channel_scales", bool, True),
        divisor,
        min_width,
        table.get("head", bool, False),
    )


def _value(table: TomlTable, name: str, key: Key, names: Mapping[str, Any]) -> Any:
    """A block's value: of the right type, computed where it starts with "=", and in range."""
    value = table.values[name]
    where = f"{table.where}: {name}"
    if isinstance(value, str) and value.startswith("="):
        tree = expr.parse(value[1:], where)
        value = expr.evaluate(tree, names, where)
        if key.kind is int and isinstance(value, float) and value.is_integer():
            value = int(value)
    value = typed(value, key.kind, where)
    if key.choices and value not in key.choices:
        raise InputError(
            f"{where} {one_line(repr(value))} is not known{suggest(value, key.choices)}; "
            f"known: {', '.join(key.choices)}"
        )
    if key.limit is not None and not key.limit.holds(value):
        raise InputError(f"{where} {key.limit.text}, not {value}")
    return value


def _new_name(table: TomlTable, taken: Iterable[str]) -> str:
    """Return a table's name, and refuse one that another of its kind has."""
    name: str = table.get("name", str)
    if name in taken:
        raise InputError(f"{table.where}: the name {one_line(name)!r} is taken; names must differ")
    return name


def _positive(table: TomlTable, key: str, default: int) -> int:
    value: int = table.get(key, int, default)
    if value < 1:
        raise InputError(f"{table.where}: {key} must be at least 1, not {value}")
    return value


def _image_size(table: TomlTable) -> tuple[int, int]:
    value = table.values.get("size", 224)
    sides = value if isinstance(value, list) else [value, value]
    where = f"{table.where}: size"
    if len(sides) != 2:
        raise InputError(f"{where} must be one side or [height, width], not {len(sides)} values")
    height, width = (typed(side, int, where) for side in sides)
    if height < 1 or width < 1:
        raise InputError(f"{where} must be at least one pixel, not {height} x {width}")
    return height, width


def _strings(table: TomlTable, key: str) -> tuple[str, ...]:
    value = table.values.get(key, [])
    if not isinstance(value, list):
        raise InputError(f"{table.where}: {key} must be a list of strings")
    return tuple(typed(text, str, f"{table.where}: {key}") for text in value)


def _knobs(top: TomlTable) -> Iterator[Knob]:
    knobs = top.table("knobs")
    for name in knobs.values:
        table = knobs.table(name)
        table.only(("default", "help", "low", "high", "choices"))
        default = table.values.get("default")
        if type(default) not in (int, float, str):
            raise InputError(f"{table.where}: default must be a number or a string")
        knob = Knob(
            name,
            default,
            table.get("help", str, ""),
            table.get("low", float, -math.inf),
            table.get("high", float, math.inf),
            _strings(table, "choices"),
        )
        _in_range(knob, default, f"{table.where}: default")
        yield knob


def _knob_value(knobs: tuple[Knob, ...], name: str, value: Any, where: str) -> Any:
    """A knob's new value: of the default's type, and in range. Text is what a user typed."""
    by_name = {k.name: k for k in knobs}
    if name not in by_name:
        known = f"known: {', '.join(by_name)}" if by_name else "this network has no knobs"
        raise InputError(
            f"{where}: no knob is named {one_line(name)!r}{suggest(name, by_name)}; {known}"
        )
    knob = by_name[name]
    where = f"{where} {name}"
    kind = type(knob.default)
    if isinstance(value, str) and kind is not str:
        try:
            value = kind(value)
        except ValueError:
            raise InputError(
                f"{where} must be {WORDS[kind]}, not {one_line(repr(value))}"
            ) from None
    return _in_range(knob, value, where)


def _in_range(knob: Knob, value: Any, where: str) -> Any:
    kind = type(knob.default)
    value = typed(value, kind, where)
    if kind is str:
        if knob.choices and value not in knob.choices:
            raise InputError(
                f"{where} {one_line(repr(value))} is not known{suggest(value, knob.choices)}; "
                f"known: {', '.join(knob.choices)}"
            )
    elif not knob.low <= value <= knob.high:
        raise InputError(f"{where} must be from {knob.low:g} to {knob.high:g}, not {value}")
    return value


def _variants(top: TomlTable) -> Iterator[Variant]:
    names: list[str] = []
    for table in top.tables("variant"):
        table.only(("name", "depth", "width", "image_size", "source"))
        names.append(_new_name(table, names))
        yield Variant(
            names[-1],
            _ratio(table, "depth"),
            _ratio(table, "width"),
            _image_size(TomlTable({"size": table.get("image_size", int)}, table.where)),
            table.get("source", str, ""),
        )


def _ratio(table: TomlTable, key: str, default: float | None = None) -> float:
    value: float = table.get(key, float, default)
    if not 0 < value < math.inf:
        raise InputError(f"{table.where}: {key} must be above zero, not {value}")
    return value


_PUBLISHED = (
    *("table", "label", "network", "variant", "depth", "width", "resolution", "set"),
    *("params", "macs", "weights", "storage", "reduction", "top1", "top5", "note"),
)
_PUBLISHED_TEXTS = ("variant", "params", "macs", "weights", "storage", "reduction", "note")


def _published(top: TomlTable, base: str) -> Iterator[Published]:
    for table in top.tables("published"):
        table.only(_PUBLISHED)
        accuracy = [table.get(k, float, math.nan) for k in ("top1", "top5")]
        texts = {k: table.get(k, str, "") for k in _PUBLISHED_TEXTS}
        yield Published(
            table=table.get("table", str),
            label=table.get("label", str),
            network=table.get("network", str, base),
            depth=_ratio(table, "depth", 1.0),
            width=_ratio(table, "width", 1.0),
            resolution=_ratio(table, "resolution", 1.0),
            knobs=dict(table.table("set").values),
            top1=None if accuracy[0] != accuracy[0] else accuracy[0],
            top5=None if accuracy[1] != accuracy[1] else accuracy[1],
            **texts,
        )
