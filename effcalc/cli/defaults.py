"""Defaults of options from `[tool.effcalc]` in pyproject.toml.

    [tool.effcalc]
    digits = 3

    [tool.effcalc.scale]
    columns = "phi,params,macs"

They come from the nearest pyproject.toml with such a table, from the current folder upward; for a
command in a document from the document's folder up to the repository's root, so that a document is
filled the same wherever that is run. They only say how a table looks and what it assumes: a
stranger's file cannot make a command write, run or measure anything.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from effcalc.base.errors import InputError
from effcalc.base.paths import whereabouts

if TYPE_CHECKING:
    from effcalc.base.toml import TomlTable

FILE = "pyproject.toml"

EVERYWHERE = ("format", "digits", "workers", "batch", "dtype", "no-notes")
"""Keys of `[tool.effcalc]`, for every command that has the option."""

OF_A_COMMAND = (*EVERYWHERE, "columns", "sort", "caption", "per", "max-level")
"""Keys of `[tool.effcalc.COMMAND]`."""


def default_args(
    name: str, command: Any, command_names: Callable[[], list[str]]
) -> tuple[list[str], str]:
    """Return the options that stand before those given to the command `name`, and their file."""
    start, root = whereabouts()
    for folder in (start, *start.parents):
        path = folder / FILE
        if path.is_file() and b"effcalc" in _bytes(path):
            from effcalc.base.toml import TomlTable, read

            tool = TomlTable(read(path, str(path)), str(path)).table("tool")
            if "effcalc" in tool.values:
                table = TomlTable(tool.table("effcalc").values, f"{path}: [tool.effcalc]")
                words = [*dict.fromkeys(name.split()[0] for name in command_names())]
                table.only([*EVERYWHERE, *words])
                return _args(table, name, command, root is not None), str(path)
        if folder == root:
            break
    return [], ""


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None


def _args(table: TomlTable, name: str, command: Any, in_document: bool) -> list[str]:
    from effcalc.base.toml import TomlTable

    word = name.split()[0]
    where = f"{table.where[:-1]}.{word}]"
    own = TomlTable(table.table(word).values, where)
    own.only(OF_A_COMMAND)
    options = {option: p for p in command.params for option in p.opts}
    args = []
    for source in (table, own):
        for key, value in source.values.items():
            option = f"--{key}"
            if isinstance(value, dict) or (in_document and key == "format"):
                continue  # a command's own table; a document has its format
            if option in options:
                args += _arg(option, value, options[option].is_flag, f"{source.where}: {key}")
            elif source is own:
                raise InputError(f"{where}: effcalc {name} has no option {option}")
    return args


def _arg(option: str, value: Any, is_flag: bool, where: str) -> list[str]:
    if is_flag and isinstance(value, bool):
        return [option] if value else []
    if not is_flag and isinstance(value, str | int | float) and not isinstance(value, bool):
        return [f"{option}={value}"]
    raise InputError(f"{where} must be {'true or false' if is_flag else 'a string or a number'}")
