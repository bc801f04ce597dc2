"""Output formats: one file each, named as `--format` names it.

To add a format, write a file here with a generator of text and `@renderer` over it; `core.py`
lists the folder. Formats for people write fitted units (`16.35M`), formats for programs exact
values.
"""

from effcalc.output.formats.core import FORMATS, Format, find_format, render

__all__ = ["FORMATS", "Format", "find_format", "render"]
