"""The dtypes by torch's names, and their bytes."""

from __future__ import annotations

from effcalc.base.errors import InputError, one_line, suggest

DTYPE_BYTES: dict[str, int] = {
    "float64": 8,
    "float32": 4,
    "float16": 2,
    "bfloat16": 2,
    "float8_e4m3fn": 1,
    "float8_e5m2": 1,
    "int64": 8,
    "int32": 4,
    "int16": 2,
    "int8": 1,
    "uint64": 8,
    "uint32": 4,
    "uint16": 2,
    "uint8": 1,
    "bool": 1,
    "complex64": 8,
    "complex128": 16,
}
"""Bytes of one element of each dtype, by torch's names."""

_DTYPE_SHORT = {
    "fp64": "float64",
    "f64": "float64",
    "double": "float64",
    "fp32": "float32",
    "f32": "float32",
    "float": "float32",
    "fp16": "float16",
    "f16": "float16",
    "half": "float16",
    "bf16": "bfloat16",
    "i64": "int64",
    "long": "int64",
    "i32": "int32",
    "int": "int32",
    "i16": "int16",
    "i8": "int8",
    "u8": "uint8",
}


def parse_dtype(text: str, what: str = "dtype") -> str:
    """Return torch's name for a dtype: `float32` for `fp32`, `torch.float32` or itself."""
    name = text.strip().lower().removeprefix("torch.")
    name = _DTYPE_SHORT.get(name, name)
    if name not in DTYPE_BYTES:
        near = suggest(name, [*DTYPE_BYTES, *_DTYPE_SHORT])
        raise InputError(
            f"{what}: there is no dtype {one_line(text, limit=60)!r}{near}; "
            f"known: {', '.join(DTYPE_BYTES)}"
        )
    return name


def dtype_bytes(dtype: str) -> int:
    """Return the bytes of one element of `dtype`, which may be a short name."""
    return DTYPE_BYTES.get(dtype) or DTYPE_BYTES[parse_dtype(dtype)]
