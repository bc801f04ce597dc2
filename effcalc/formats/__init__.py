"""Output formats: one file each, in one registry that `--format` follows.

To add a format, write a generator of text in a file of this folder, register it there, and name
the file in the import below. Formats for people write fitted units (`16.35M`), formats for
programs exact values.
"""

# In the order in which help lists them.
from effcalc.formats import terminal, markdown, rst, latex, html, programs  # noqa: I001
from effcalc.formats.core import FORMATS, Format, find_format, render
from effcalc.formats.html import html_fragment
from effcalc.formats.programs import SCHEMA

__all__ = [
    "FORMATS",
    "SCHEMA",
    "Format",
    "find_format",
    "html",
    "html_fragment",
    "latex",
    "markdown",
    "programs",
    "render",
    "rst",
    "terminal",
]
