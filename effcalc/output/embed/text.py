"""A document's bytes as text and back, and the numbers of its lines."""

from __future__ import annotations

import codecs
import re
from bisect import bisect_left
from typing import NamedTuple

from effcalc.base.errors import InputError

MAX_BYTES = 64 << 20

# UTF-32's mark begins with UTF-16's, so it comes first.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)

NEWLINE = re.compile(r"\r\n|\n|\r")


class DocumentText(NamedTuple):
    """A document's text, and how it was written."""

    text: str
    mark: bytes  # the byte order mark
    encoding: str
    is_unicode: bool = True  # any character can be written: not where bytes are no UTF-8

    @property
    def errors(self) -> str:
        """What becomes of bytes that are none of the encoding's: they are kept as they are."""
        return "surrogateescape" if self.encoding == "utf-8" else "surrogatepass"

    def encode(self, text: str) -> bytes:
        """Return the bytes of a document that reads `text`."""
        return self.mark + text.encode(self.encoding, self.errors)


def decode(data: bytes, name: str) -> DocumentText:
    """Read a document: UTF-8, or UTF-16 or UTF-32 with a byte order mark.

    Bytes that are no UTF-8, as in a document in Latin-1, come through as they are. Raises
    `InputError` that `name` starts.
    """
    if len(data) > MAX_BYTES:
        raise InputError(f"{name}: is larger than 64 MiB")
    mark, encoding = next((m for m in _MARKS if data.startswith(m[0])), (b"", "utf-8"))
    document = DocumentText("", mark, encoding)
    try:
        document = document._replace(text=data[len(mark) :].decode(encoding, document.errors))
        whole = document.encode(document.text) == data
    except UnicodeError:
        whole = False
    if not whole:
        raise InputError(f"{name}: is not the {encoding.upper()} that its first bytes announce")
    return document._replace(is_unicode=encoding != "utf-8" or not has_surrogates(document.text))


def has_surrogates(text: str) -> bool:
    """Whether a text holds halves of characters, as which bytes that are no UTF-8 come through."""
    return not text.isascii() and re.search("[\ud800-\udfff]", text) is not None


class Lines:
    """The lines of a text, numbered from 1; a line ends with LF, CR LF or CR."""

    def __init__(self, text: str) -> None:
        """Find where the lines end."""
        self.text = text
        self._ends = [match.end() for match in NEWLINE.finditer(text)]

    def number(self, at: int) -> int:
        """Return the number of the line that holds position `at`."""
        return bisect_left(self._ends, at + 1) + 1

    def start(self, number: int) -> int:
        """Return where a line starts."""
        return 0 if number == 1 else self._ends[number - 2]

    def end(self, number: int) -> int:
        """Return where a line ends, its line break included."""
        return self._ends[number - 1] if number <= len(self._ends) else len(self.text)
