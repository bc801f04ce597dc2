"""Draw a plot as SVG, PNG, or interactive HTML that works offline.

Needs altair and vl-convert: pip install 'effcalc[plot]'. Every plot shows the figures of a table
that effcalc prints.

Examples:
effcalc plot scaling --phi 0:7:0.25 --output scaling.svg
effcalc plot stages --variant b3 --output stages.png --theme dark
effcalc plot compare --output compare.html
"""
