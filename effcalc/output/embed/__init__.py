"""Documents that hold commands, filled with what the commands print.

    <!-- effcalc: scale --phi 0:3 -->
    <!-- effcalc end -->

`syntax.py` has the table of document formats, `regions.py` finds the regions, `notebook.py` reads
Markdown cells, and `fill.py` fills a document. Only what is between the two comments changes; all
else is kept byte for byte. Running the commands is the business of `effcalc/cli/regions.py`.
"""

from effcalc.output.embed.fill import Filled, fill
from effcalc.output.embed.regions import Output
from effcalc.output.embed.syntax import SUFFIXES, is_document

__all__ = ["SUFFIXES", "Filled", "Output", "fill", "is_document"]
