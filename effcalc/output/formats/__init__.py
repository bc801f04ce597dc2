"""Output formats: one file each, in one registry that `--format` follows.

To add a format, write a generator of text in a file of this folder, register it there, and name
it in `core.FILES`. Formats for people write fitted units (`16.35M`), formats for programs exact
values.
"""

from effcalc.output.formats.core import FORMATS, Format, find_format, render

__all__ = ["FORMATS", "Format", "find_format", "render"]
