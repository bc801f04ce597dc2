"""docs/architecture.md names every room, in the order that import-linter holds imports to."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import effcalc

ROOT = Path(effcalc.__file__).parent
PROJECT = Path(__file__).parents[1]
LAYERS = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["tool"][
    "importlinter"
]["contracts"][0]["layers"]


def folders(root: Path) -> set[str]:
    return {path.name for path in root.iterdir() if path.is_dir() and path.name != "__pycache__"}


def test_the_page_has_the_rooms_in_the_order_of_their_imports() -> None:
    page = (PROJECT / "docs" / "architecture.md").read_text(encoding="utf-8")
    table = page.partition("\n## Rooms")[2].partition("\n## ")[0]
    assert re.findall(r"^\| `(\w+)/` \|", table, flags=re.M) == LAYERS


def test_the_rooms_are_the_folders_and_tests_mirror_them() -> None:
    assert folders(ROOT) == set(LAYERS)
    assert folders(PROJECT / "tests") - {"data"} == set(LAYERS)


def test_every_folder_of_code_is_a_package() -> None:
    bare = {path.parent for path in ROOT.rglob("*.py")} - {
        path.parent for path in ROOT.rglob("__init__.py")
    }
    assert not bare


def test_nothing_but_the_rooms_lies_at_the_top() -> None:
    assert {path.name for path in ROOT.iterdir() if path.is_file()} == {
        "__init__.py",
        "__main__.py",
        "py.typed",
    }
