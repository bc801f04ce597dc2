"""Read and write .safetensors files strictly (NumPy).

A file is the length of a JSON header, the header, and the tensors' bytes without gaps
(https://github.com/huggingface/safetensors, section Format). Tensors are mapped, not read, so a
file may be larger than memory. The package of that name has no bfloat16 for NumPy.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from effcalc.base.errors import InputError, one_line
from effcalc.network.network import Shape

MAX_HEADER = 100 << 20  # the format's own limit

ITEM_BYTES: Mapping[str, int] = {
    **dict.fromkeys(("F64", "I64", "U64"), 8),
    **dict.fromkeys(("F32", "I32", "U32"), 4),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 2),
    **dict.fromkeys(("I8", "U8", "BOOL", "F8_E4M3", "F8_E5M2"), 1),
}
FLOATS: Mapping[str, str] = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}


@dataclass(frozen=True, slots=True)
class Entry:
    """A tensor of a file: its dtype by the format's name, and where its bytes are."""

    dtype: str
    shape: Shape
    start: int
    end: int

    @property
    def numel(self) -> int:
        """Its elements."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class File:
    """An opened file: tensors in the order of their bytes."""

    path: str
    entries: Mapping[str, Entry]
    data: npt.NDArray[np.uint8]

    def raw(self, name: str) -> npt.NDArray[np.uint8]:
        """The bytes of a tensor, mapped from the file."""
        entry = self.entries[name]
        return self.data[entry.start : entry.end]

    def floats(self, name: str) -> npt.NDArray[np.float32]:
        """A float tensor as flat float32; raises `InputError` for NaN and infinite values."""
        dtype = self.entries[name].dtype
        values: npt.NDArray[Any] = self.raw(name).view(FLOATS[dtype])
        if dtype == "BF16":  # the upper half of a float32
            values = (values.astype(np.uint32) << 16).view(np.float32)
        finite = np.isfinite(values)
        if not finite.all():
            first = int(np.argmin(finite))
            raise InputError(
                f"{one_line(self.path)}: {one_line(name, 80)} has {values[first]} at position "
                f"{first:,}; weights must be finite"
            )
        with np.errstate(over="ignore"):
            narrow = values.astype(np.float32)
        if dtype == "F64" and not np.isfinite(narrow).all():
            raise InputError(
                f"{one_line(self.path)}: {one_line(name, 80)} has values beyond float32"
            )
        return narrow


def read(path: str) -> File:
    """Open a file; raise `InputError` for one that is not as the format says."""
    where = one_line(path)
    try:
        data: npt.NDArray[np.uint8] = np.memmap(Path(path), np.uint8, "r")
    except OSError as error:
        raise InputError(f"{where}: cannot be read: {error.strerror or error}") from None
    except ValueError:  # an empty file cannot be mapped, and a NUL is in no path
        raise InputError(f"{where}: is not a safetensors file: it is empty or no path") from None
    bad = f"{where}: is not a safetensors file"
    if len(data) < 8:
        raise InputError(f"{bad}: it has {len(data)} bytes")
    [size] = struct.unpack("<Q", data[:8].tobytes())
    if size > min(MAX_HEADER, len(data) - 8):
        raise InputError(f"{bad}, or is truncated: its header is said to have {size:,} bytes")
    try:
        header = json.loads(data[8 : 8 + size].tobytes(), object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{bad}: its header is no JSON: {one_line(error)}") from None
    if not isinstance(header, dict):
        raise InputError(f"{bad}: its header is no JSON object")
    header.pop("__metadata__", None)
    found = [(name, _entry(name, value, bad)) for name, value in header.items()]
    found.sort(key=lambda item: (item[1].start, item[1].end))
    at = 0
    for name, entry in found:
        if entry.start != at:
            raise InputError(f"{bad}: the bytes of {one_line(repr(name), 80)} are not where due")
        at = entry.end
    if at != len(data) - 8 - size:
        raise InputError(
            f"{where}: is truncated or altered: tensors take {at:,} bytes, and there are "
            f"{len(data) - 8 - size:,}"
        )
    return File(path, dict(found), data[8 + size :])


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name is there twice")
    return found


def _entry(name: str, value: Any, bad: str) -> Entry:
    what = f"{bad}: {one_line(repr(name), 80)}"
    if not isinstance(value, dict) or value.keys() != {"dtype", "shape", "data_offsets"}:
        raise InputError(f"{what} must have dtype, shape and data_offsets")
    dtype, shape, place = value["dtype"], value["shape"], value["data_offsets"]
    if not isinstance(dtype, str) or dtype not in ITEM_BYTES:
        raise InputError(f"{what} has a dtype that is not known: {one_line(repr(dtype), 40)}")
    for numbers in (shape, place):
        if not isinstance(numbers, list) or not all(type(n) is int and n >= 0 for n in numbers):
            raise InputError(f"{what}: shape and data_offsets are lists of whole numbers")
    if len(place) != 2 or place[1] - place[0] != math.prod(shape) * ITEM_BYTES[dtype]:
        raise InputError(f"{what}: its bytes are not those of its shape and dtype")
    return Entry(dtype, tuple(shape), place[0], place[1])


def write(
    file: IO[bytes],
    entries: Iterable[tuple[str, str, Shape]],
    tensors: Iterable[bytes | npt.NDArray[Any]],
) -> None:
    """Write tensors, each (name, dtype, shape), whose bytes follow in the same order."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name, dtype, shape in entries:
        end = at + math.prod(shape) * ITEM_BYTES[dtype]
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [at, end]}
        at = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    file.write(struct.pack("<Q", len(text)))
    file.write(text)
    for tensor in tensors:
        file.write(tensor if isinstance(tensor, bytes) else np.ascontiguousarray(tensor).data)
