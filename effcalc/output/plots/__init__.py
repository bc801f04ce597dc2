"""Plots, drawn from the same tables that effcalc prints.

To add one, such as of `memory`, write a chart beside the table that it draws, and name it in the
table: `Table(..., chart="effcalc.footprint.plot:memory")`. `--plot` then draws it. A chart is a
function from a table to a `Plot`; it computes no figure. altair is imported where it draws, so
that data can be checked without it.

    def memory(timeline: Table) -> Plot:
        table = drawable(timeline, ("step", "bytes"))     # these columns, rows read
        return Plot("memory", timeline.title, ("one image",), (table,),
                    lambda look: _draw(look, table))

    def _draw(look: PlotLook, table: Table) -> alt.TopLevelMixin:
        import altair as alt

        rows = records(table)     # floats under each key, and texts as `bytes_text`
        scale = axis("live", "bytes", (row["bytes"] for row in rows))     # "live, MB"
        return chart_of(rows).mark_area(color=look.theme.series[0]).encode(
            x=alt.X("step:Q", title="operator call"),
            y=alt.Y("bytes:Q", title=scale.title, axis=alt.Axis(labelExpr=scale.labels)),
            tooltip=tooltips(table, "step", "bytes"),
        ).properties(width=look.width - 110, height=300)

`marks.py` has what charts share; theme, title, fonts and the picture's exact width are set by
`style.py`. Series differ by shape or dash too (`SHAPES`, `DASHES`), not by colour alone. A picture
with other defaults than its table has a command of its own, a file of `cli/commands/plot/`.

`style.save(plot, path)` writes a file from Python; `stamp.data_hash(path)` reads the hash of the
data back, and `Plot.hash` is what it should be.
"""
