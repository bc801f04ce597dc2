"""Documents that hold commands, filled with what the commands print.

    <!-- effcalc: scale --phi 0:3 -->
    <!-- effcalc end -->

`syntax.py` has the table of document formats, `regions.py` fills one document, `notebook.py` the
Markdown cells of one. Only what is between the two comments changes; all else is kept byte for
byte. Running the commands is the business of `effcalc/cli/regions.py`.
"""

from effcalc.output.embed.regions import Filled, Output, fill
from effcalc.output.embed.syntax import SUFFIXES, is_document

__all__ = ["SUFFIXES", "Filled", "Output", "fill", "is_document"]
