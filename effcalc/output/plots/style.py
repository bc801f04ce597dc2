"""How every plot looks, and how it becomes a file: SVG, PNG, or HTML that works offline.

A kind of plot makes a `Plot` from tables; `render` draws it in a theme at a width, and puts the
hash of its data inside. altair and vl-convert (the extra `plot`) are loaded when something is
drawn, so the data of a plot can be checked without them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from effcalc.base.errors import InputError, named, need, one_line
from effcalc.output.plots.stamp import digest, meta_tag, stamp_png, stamp_svg
from effcalc.output.table import Table

if TYPE_CHECKING:
    import altair as alt

DEFAULT_WIDTH = 720  # pixels: what a page of documentation shows without scaling
FONT = "Helvetica, Arial, 'Liberation Sans', sans-serif"


class Theme(NamedTuple):
    """Colours; `series` are told apart by lightness as well."""

    background: str
    ink: str  # titles and marks
    muted: str  # what is to be read second
    rule: str  # grid and axes
    bar: str
    series: tuple[str, ...]


THEMES = {
    "light": Theme(
        *("#ffffff", "#1f2328", "#57606a", "#d8dee4", "#2f6fab"),
        ("#123f73", "#d1570b", "#2b8f6a", "#8250c8", "#9a7500", "#b3265e"),
    ),
    "dark": Theme(
        *("#0d1117", "#e6edf2", "#9aa4ae", "#30373e", "#5ea3e0"),
        ("#a5d2ff", "#f28a4b", "#43b98d", "#b392f0", "#d6b13c", "#f27ca6"),
    ),
}

AUTO = "auto"
THEME_NAMES = (*THEMES, AUTO)
SUFFIXES = (".svg", ".png", ".html")


class PlotLook(NamedTuple):
    """What a drawing function needs to know: its theme, and the whole picture's width."""

    theme: Theme
    width: float


@dataclass(frozen=True)
class Plot:
    """A picture not yet drawn: `draw` makes the chart from `tables`, whose hash is its data's."""

    kind: str
    title: str
    subtitle: tuple[str, ...]
    tables: tuple[Table, ...]
    draw: Callable[[PlotLook], alt.TopLevelMixin]

    @property
    def hash(self) -> str:
        """The hash of what is drawn."""
        return digest(self.kind, self.tables)

    def _repr_html_(self) -> str:
        return svg(self, "light", DEFAULT_WIDTH)


def check_suffix(path: str, what: str = "`output`") -> str:
    """Return a picture's suffix; raise `InputError` for one that is none of `SUFFIXES`."""
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        raise InputError(f"{what}: {one_line(path)!r} ends in none of {', '.join(SUFFIXES)}")
    return suffix


def check_theme(name: str) -> str:
    """Return the name of a theme; raise `InputError` for an unknown one."""
    return named(name, {name: name for name in THEME_NAMES}, "theme", "`theme`")


def save(plot: Plot, path: str | Path, theme: str = "light", width: int = DEFAULT_WIDTH) -> None:
    """Draw a plot to a file, SVG, PNG or HTML by its suffix."""
    data = render(plot, check_suffix(str(path)), theme, width)
    Path(path).write_bytes(data)


def render(plot: Plot, suffix: str, theme: str = "light", width: int = DEFAULT_WIDTH) -> bytes:
    """Return the picture as the bytes of a file with that suffix.

    The theme "auto" is a light picture that turns dark where the reader's system is; a PNG cannot
    turn, and is light. Raises `NeedsError` without altair and vl-convert.
    """
    check_theme(theme)
    if suffix == ".svg":
        return svg(plot, theme, width).encode()
    if suffix == ".png":
        import_engine()
        import vl_convert

        spec, _ = _fitted(plot, theme, width)
        return stamp_png(vl_convert.vegalite_to_png(spec, scale=2), plot.hash)
    return _page(plot, theme, width).encode()


def svg(plot: Plot, theme: str = "light", width: int = DEFAULT_WIDTH) -> str:
    """Return the picture as an SVG, in which text is text."""
    _, text = _fitted(plot, theme, width)
    label = escape(". ".join([plot.title, *plot.subtitle]))
    text = text.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1)
    if theme == AUTO:
        head, end, rest = text.partition(">")
        text = f"{head}{end}<style>{_turning()}</style>{rest}"
    return stamp_svg(text, plot.hash) + "\n"


def import_engine() -> None:
    """Raise `NeedsError` where what draws is not installed."""
    need("altair", "a plot", "plot")
    need("vl_convert", "a plot", "plot")


def _fitted(plot: Plot, theme: str, width: int) -> tuple[dict[str, Any], str]:
    """Return the chart that is `width` pixels wide with its axes and labels, and its SVG.

    How much room the axes take shows when they are drawn; a second drawing then fits.
    """
    import_engine()
    import vl_convert

    colours = THEMES["light" if theme == AUTO else theme]
    asked = float(width)
    for _ in range(4):
        spec = _spec(plot, PlotLook(colours, asked))
        text = str(vl_convert.vegalite_to_svg(spec))
        match = re.search(r'width="([0-9.]+)"', text)
        actual = float(match[1]) if match else width
        if abs(actual - width) < 2:
            break
        asked += width - actual
    return spec, text


def _spec(plot: Plot, look: PlotLook) -> dict[str, Any]:
    spec: dict[str, Any] = plot.draw(look).to_dict()
    spec.pop("$schema", None)
    spec["title"] = {"text": plot.title, "subtitle": list(plot.subtitle)}
    spec["config"] = config(look.theme)
    return spec


def config(theme: Theme) -> dict[str, Any]:
    """Return how a theme looks, in Vega-Lite's words."""
    return {
        "background": theme.background,
        "padding": 14,
        "font": FONT,
        "view": {"stroke": None},
        "title": {
            "anchor": "start",
            "frame": "group",
            "fontSize": 15,
            "fontWeight": 600,
            "color": theme.ink,
            "subtitleColor": theme.muted,
            "subtitleFontSize": 12,
            "subtitleLineHeight": 16,
            "subtitlePadding": 5,
            "offset": 14,
        },
        "axis": {
            "labelColor": theme.muted,
            "labelFontSize": 12,
            "labelPadding": 5,
            "titleColor": theme.ink,
            "titleFontSize": 12,
            "titleFontWeight": 400,
            "titlePadding": 9,
            "domainColor": theme.muted,
            "tickColor": theme.muted,
            "tickSize": 4,
            "gridColor": theme.rule,
        },
        "axisX": {"grid": False},
        "axisY": {"domain": False, "ticks": False},
        "legend": {
            "orient": "top",
            "direction": "horizontal",
            "title": None,
            "labelColor": theme.ink,
            "labelFontSize": 12,
            "labelLimit": 400,
            "symbolSize": 90,
            "symbolStrokeWidth": 2,
            "columnPadding": 18,
            "offset": 14,
        },
        "header": {
            "labelColor": theme.ink,
            "labelFontSize": 13,
            "labelFontWeight": 600,
            "labelAnchor": "start",
            "title": None,
        },
        "text": {"color": theme.ink, "fontSize": 12},
        "bar": {"color": theme.bar},
        "rule": {"color": theme.muted},
    }


def _turning() -> str:
    """Return the rules that make a light SVG dark where the reader's system is."""
    light, dark = THEMES["light"], THEMES["dark"]
    pairs = [
        *zip(light[:5], dark[:5], strict=True),
        *zip(light.series, dark.series, strict=True),
    ]
    rules = "".join(
        f'[{kind}="{old}"]{{{kind}:{new}}}' for old, new in pairs for kind in ("fill", "stroke")
    )
    return f"@media screen and (prefers-color-scheme:dark){{{rules}}}"


_PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
{meta}
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
body{{margin:0;background:{background};color:{ink};font-family:{font}}}
#plot{{display:flex;justify-content:center;overflow-x:auto;padding:1em}}
#vg-tooltip-element{{font-family:{font}}}
</style>
</head>
<body>
<main id="plot" aria-label="{title}"></main>
<script>{bundle}</script>
<script>
const light = {light};
const dark = {dark};
const query = matchMedia("(prefers-color-scheme: dark)");
const show = () => {{
  const spec = dark && query.matches ? dark : light;
  document.body.style.background = spec.config.background;
  const theme = spec.config.background < "#8" ? "dark" : "light";
  vegaEmbed("#plot", spec, {{actions: false, renderer: "svg", tooltip: {{theme}}}});
}};
query.addEventListener("change", show);
show();
</script>
</body>
</html>
"""


@lru_cache(maxsize=1)
def _libraries() -> str:
    """Return Vega, Vega-Lite and Vega-Embed as one script."""
    import vl_convert

    return str(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;"))


def _page(plot: Plot, theme: str, width: int) -> str:
    """Return a page that draws the plot with tooltips, and fetches nothing."""
    spec, _ = _fitted(plot, theme, width)
    other = _fitted(plot, "dark", width)[0] if theme == AUTO else None
    colours = THEMES["light" if theme == AUTO else theme]
    return _PAGE.format(
        meta=meta_tag(plot.hash),
        title=escape(one_line(plot.title)),
        background=colours.background,
        ink=colours.ink,
        font=FONT,
        bundle=_libraries(),
        light=_script_json(spec),
        dark=_script_json(other),
    )


def _script_json(value: object) -> str:
    """Write JSON that can stand inside a script: no `<` of a network's name ends it."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False).replace("<", "\\u003c")
