"""Strict TOML: every complaint names file, table and key, and says what would be right."""

from __future__ import annotations

import math
import stat
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from effcalc.base.errors import InputError, one_line, suggest
from effcalc.base.paths import to_read

MAX_BYTES = 1 << 20
MAX_NUMBER = 1 << 31
MAX_TABLES = 1000

WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a string"}


@dataclass(frozen=True, slots=True)
class TomlTable:
    """A TOML table with the place it stands in, so that every complaint can name its key."""

    values: Mapping[str, Any]
    where: str

    def only(self, known: Sequence[str]) -> None:
        """Refuse a key that is not known."""
        for key in self.values:
            if key not in known:
                raise InputError(
                    f"{self.where}: unknown key {one_line(key)!r}{suggest(key, known)}; "
                    f"known: {', '.join(known)}"
                )

    def get(self, key: str, kind: type, default: Any = None) -> Any:
        """Return a value of the right type; without a default the key must be there."""
        if key not in self.values:
            if default is None:
                raise InputError(f"{self.where}: the key {key!r} is missing; give {WORDS[kind]}")
            return default
        return typed(self.values[key], kind, f"{self.where}: {key}")

    def table(self, key: str) -> TomlTable:
        """Return a table inside this one; empty where the key is not there."""
        value = self.values.get(key, {})
        if not isinstance(value, dict):
            raise InputError(f"{self.where}: [{key}] must be a table")
        return TomlTable(value, f"{self.where}: [{key}]")

    def tables(self, key: str) -> Iterator[TomlTable]:
        """Yield the tables of an array such as `[[stage]]`, numbered from 1."""
        value = self.values.get(key, [])
        if not isinstance(value, list) or not all(isinstance(v, dict) for v in value):
            raise InputError(f"{self.where}: {key} must be written as [[{key}]] tables")
        if len(value) > MAX_TABLES:
            raise InputError(
                f"{self.where}: at most {MAX_TABLES} [[{key}]] tables, not {len(value)}"
            )
        for number, table in enumerate(value, 1):
            yield TomlTable(table, f"{self.where}: [[{key}]] {number}")


def typed(value: Any, kind: type, where: str) -> Any:
    """Return `value` as `kind`, in a sane range; a whole number does for a float."""
    if kind is float and type(value) is int:
        value = float(value) if abs(value) <= MAX_NUMBER else math.inf
    if type(value) is not kind:
        raise InputError(f"{where} must be {WORDS[kind]}, not {one_line(repr(value), 60)}")
    if isinstance(value, int | float) and not -MAX_NUMBER <= value <= MAX_NUMBER:
        raise InputError(f"{where}: {one_line(value, 40)} is out of range (at most 2^31)")
    return value


def read(path: Path, where: str) -> dict[str, Any]:
    """Read a TOML file of at most 1 MiB; raise `InputError` that names `where` it was asked for."""
    path = to_read(path)
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise InputError(f"{where}: is a folder; give a .toml file")
        if not stat.S_ISREG(mode):  # a pipe would be waited for without end
            raise InputError(f"{where}: is not a regular file; give a .toml file")
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise InputError(f"{where}: cannot be read: {error.strerror or error}") from None
    except ValueError as error:  # a NUL in the path
        raise InputError(f"{one_line(where)}: is not a path: {error}") from None
    if len(data) > MAX_BYTES:
        raise InputError(f"{where}: is larger than 1 MiB; files of this kind are a few KiB")
    try:
        return tomllib.loads(data.decode())
    except UnicodeDecodeError as error:
        raise InputError(f"{where}: byte {error.start} is not UTF-8; save it as UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{where}: is not valid TOML: {one_line(error)}") from None
    except RecursionError:
        raise InputError(f"{where}: is nested too deeply to be read") from None
    except ValueError as error:  # an integer of thousands of digits
        raise InputError(f"{where}: is not valid TOML: {one_line(error)}") from None
