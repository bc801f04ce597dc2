"""Plots, drawn from the same tables that effcalc prints.

To add a kind, such as `memory`, write two new files; nothing else has to know them.

1. A chart, `effcalc/footprint/plot.py`: a function from tables to a `Plot`. The tables come from
   `views/` and hold every figure; a chart computes none. altair is imported where it draws, so
   that data can be checked without it.

       def memory(timeline: Table) -> Plot:
           table = drawable(timeline, ("step", "bytes"))     # these columns, rows read
           return Plot("memory", timeline.title, ("one image",), (table,),
                       lambda look: _draw(look, table))

       def _draw(look: Look, table: Table) -> alt.TopLevelMixin:
           import altair as alt

           rows = records(table)     # floats under each key, and texts as `bytes_text`
           scale = axis("live", "bytes", (row["bytes"] for row in rows))     # "live, MB"
           return chart_of(rows).mark_area(color=look.theme.series[0]).encode(
               x=alt.X("step:Q", title="operator call"),
               y=alt.Y("bytes:Q", title=scale.title, axis=alt.Axis(labelExpr=scale.labels)),
               tooltip=tooltips(table, "step", "bytes"),
           ).properties(width=look.width - 110, height=300)

   `marks.py` has what charts share; theme, title, fonts and the picture's exact width are set by
   `style.py`. Series differ by shape or dash too (`SHAPES`, `DASHES`), not by colour alone.

2. A command, `effcalc/cli/commands/plot/memory.py`: like any other, with the options of its
   table's command, `plot: PlotOptions` in place of the output's, and examples.

       def memory(network: Network, scaling: ScalingOptions, plot: PlotOptions) -> None:
           from effcalc.cli.output import write_plot
           from effcalc.footprint.plot import memory as memory_plot
           ...
           write_plot(memory_plot(table), plot)

`style.save(plot, path)` writes a file from Python; `stamp.data_hash(path)` reads the hash of the
data back, and `Plot.hash` is what it should be.
"""
