"""The hash of a picture's data, kept inside the picture, which shows whether it is stale.

It covers what was drawn, never how: the kind of plot and its tables' values, with numbers to 12
digits, since the last bits of a power differ between machines. Neither theme nor size nor title
changes it. An SVG has it in `<metadata>`, a PNG in a `tEXt` chunk, an HTML page in `<meta>`.
"""

from __future__ import annotations

import json
import re
import struct
import zlib
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

from effcalc.base.errors import InputError, one_line
from effcalc.base.units import Value, int_text
from effcalc.output.table import Table, stream

NAME = "effcalc-data"

_TEXT = re.compile(
    rb"<(?:metadata>|meta name=\")" + NAME.encode() + rb"[^>]*?(sha256:[0-9a-f]{64})"
)
_PNG = b"\x89PNG\r\n\x1a\n"
_MAX_BYTES = 64 * 2**20


def digest(kind: str, tables: Iterable[Table]) -> str:
    """Return `sha256:…` of the rows of some tables, all columns, as the plot `kind` draws them."""
    content = [
        {
            "columns": [[column.key, column.unit] for column in table.columns],
            "rows": [[_canonical(value) for value in values] for values in stream(table)],
        }
        for table in tables
    ]
    text = json.dumps([kind, content], ensure_ascii=True, separators=(",", ":"))
    return f"sha256:{sha256(text.encode()).hexdigest()}"


def _canonical(value: Value) -> str | bool | None:
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, float):
        return f"{value:.12g}"
    return int_text(value)


def stamp_svg(svg: str, hash: str) -> str:
    """Return the SVG with its hash as the first element."""
    head, end, rest = svg.partition(">")
    return f"{head}{end}<metadata>{NAME} {hash}</metadata>{rest}"


def stamp_png(png: bytes, hash: str) -> bytes:
    """Return the PNG with its hash in a chunk after the header, which is 8 + 25 bytes."""
    body = b"tEXt" + f"{NAME}\0{hash}".encode("latin-1")
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    return png[:33] + chunk + png[33:]


def meta_tag(hash: str) -> str:
    """Return the element of an HTML page's head that holds the hash."""
    return f'<meta name="{NAME}" content="{hash}">'


def data_hash(path: str | Path) -> str | None:
    """Return the hash inside a picture, or None where there is no file or no hash in it.

    Raises `InputError` for a file that cannot be read.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(_MAX_BYTES)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise InputError(f"{one_line(path)}: cannot be read: {one_line(error)}") from None
    return _png_hash(data) if data.startswith(_PNG) else _text_hash(data)


def _text_hash(data: bytes) -> str | None:
    match = _TEXT.search(data)
    return match[1].decode() if match else None


def _png_hash(data: bytes) -> str | None:
    at = len(_PNG)
    while at + 8 <= len(data):
        length, name = struct.unpack_from(">I4s", data, at)
        body = data[at + 8 : at + 8 + length]
        keyword, _, value = body.partition(b"\0")
        if name == b"tEXt" and keyword == NAME.encode():
            return value.decode("latin-1")
        at += 12 + length
    return None
