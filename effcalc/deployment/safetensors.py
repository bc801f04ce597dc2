"""Weights in .safetensors files, mapped from the disk (safetensors, NumPy).

The package checks a file and its header. Tensors are mapped, not read, so that a file may be
larger than memory: the package copies them, and has no NumPy dtype for bfloat16 and float8.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open

from effcalc.base.errors import InputError, one_line
from effcalc.network.network import Shape

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
    entries: dict[str, Entry] = {}
    at = 0
    try:
        with safe_open(path, framework="np") as tensors:
            for name in tensors.offset_keys():
                described = tensors.get_slice(name)
                dtype, shape = described.get_dtype(), tuple(described.get_shape())
                if dtype not in ITEM_BYTES:
                    raise InputError(f"{where}: {one_line(name, 80)} is {dtype}, not read here")
                start, at = at, at + math.prod(shape) * ITEM_BYTES[dtype]
                entries[name] = Entry(dtype, shape, start, at)
        data = np.memmap(path, np.uint8, "r")
    except OSError as error:
        raise InputError(f"{where}: cannot be read: {error.strerror or one_line(error)}") from None
    except SafetensorError as error:
        raise InputError(
            f"{where}: is not a safetensors file, or is truncated or altered: {one_line(error)}"
        ) from None
    header = data[8 : len(data) - at].tobytes()  # tensors follow it without gaps, to the end
    try:
        json.loads(header, object_pairs_hook=_distinct)
    except ValueError as error:
        raise InputError(f"{where}: is not a safetensors file: {error}") from None
    return File(path, entries, data[len(data) - at :])


def _distinct(pairs: list[tuple[str, Any]]) -> None:
    """Refuse a name that is given twice, of which the package takes the last."""
    if len(dict(pairs)) != len(pairs):
        raise ValueError("a name is there twice")


def write(
    file: IO[bytes],
    entries: Iterable[tuple[str, str, Shape]],
    tensors: Iterable[bytes | npt.NDArray[Any]],
) -> None:
    """Write tensors, each (name, dtype, shape), whose bytes follow in the same order.

    The package would hold all of them in memory, and names bytes otherwise in each version.
    """
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
