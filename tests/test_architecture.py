"""The table of rooms in docs/architecture.md is complete, and imports go down it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import effcalc

ROOT = Path(effcalc.__file__).parent
PAGE = Path(__file__).parents[1] / "docs" / "architecture.md"


def imports(path: Path) -> set[str]:
    """Names of effcalc's own rooms that a module imports when it is loaded."""
    found = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("effcalc"):
            parts = (node.module or "").split(".")
            found |= {parts[1]} if len(parts) > 1 else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names if alias.name.startswith("effcalc.")]
            found |= {name.split(".")[1] for name in names}
    return found


def rooms() -> list[str]:
    """Rooms in the order of the table."""
    table = PAGE.read_text(encoding="utf-8").partition("\n## Rooms")[2].partition("\n## ")[0]
    firsts = re.findall(r"^\| (`.+?) \|", table, flags=re.M)
    names = [name for first in firsts for name in re.findall(r"`([\w/.]+)`", first)]
    return [name.removesuffix("/").removesuffix(".py") for name in names]


def test_every_room_is_in_the_table() -> None:
    there = {
        path.stem
        for path in ROOT.iterdir()
        if (path.is_dir() or path.suffix == ".py") and not path.name.startswith("__")
    }
    assert sorted(rooms()) == sorted(there)


def test_imports_go_down_the_table() -> None:
    order = rooms()
    up = [
        f"{path.relative_to(ROOT)} imports {name}"
        for room in order
        for path in (ROOT / f"{room}.py", *(ROOT / room).rglob("*.py"))
        if path.is_file()
        for name in imports(path)
        if name in order and order.index(name) > order.index(room)
    ]
    assert not up
