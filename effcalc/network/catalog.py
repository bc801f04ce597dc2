"""The names of the built-in networks, and the file that each leads to."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import NamedTuple

from effcalc.base.errors import InputError, one_line, suggest
from effcalc.base.toml import read

BUILT_IN = Path(__file__).parent / "archs"


class Entry(NamedTuple):
    """Where a built-in name leads: a file, a network in it, and a released variant of that."""

    path: Path
    network: str
    variant: str = ""


@cache
def index() -> dict[str, Entry]:
    """All built-in names. A released variant has one too: `efficientnet-b3` is B0's `b3`."""
    names: dict[str, Entry] = {}
    for path in sorted(BUILT_IN.glob("*.toml")):
        data = read(path, path.name)
        for table in (data, *data.get("network", [])):
            names[table["name"]] = Entry(path, table["name"])
        family = data["name"].rpartition("-")[0]
        for variant in data.get("variant", []):
            name = variant["name"]
            names.setdefault(f"{family}-{name}", Entry(path, data["name"], name))
    return names


def built_in_names() -> list[str]:
    """Names of the built-in networks, released variants left out."""
    return [name for name, entry in index().items() if not entry.variant]


def find(name: str) -> Entry:
    """Return where a built-in name leads; raises `InputError` for one that is none."""
    if "/" in name or "\\" in name:
        raise InputError(f"{one_line(name)!r} is not a network; an architecture file ends in .toml")
    key = name.lower()
    # The usual case reads no other file: the first network of a file gives it its name.
    direct = BUILT_IN / f"{key}.toml"
    if key.replace("-", "").replace(".", "").isalnum() and direct.is_file():
        return Entry(direct, key)
    names = index()
    if key not in names:
        raise InputError(
            f"no network is named {one_line(name)!r}{suggest(name, names)}; "
            "`effcalc archs` lists them, a file of your own ends in .toml"
        )
    return names[key]
