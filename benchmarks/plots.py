"""Time and size of one plot, drawn by effcalc and by what else could draw it.

Each is a fresh process that draws the line of MACs against φ: interpreter, imports and drawing,
median of RUNS, interleaved. `python benchmarks/plots.py [FOLDER]`: a FOLDER with matplotlib and
plotly, as `pip install --target FOLDER matplotlib plotly kaleido` makes it, is measured too.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RUNS = 5
OURS = {
    "effcalc plot scaling": "from effcalc.cli.main import main\nimport sys\n"
    "sys.exit(main(['plot', 'scaling', '-o', sys.argv[1]]))",
    "effcalc plot stages": "from effcalc.cli.main import main\nimport sys\n"
    "sys.exit(main(['plot', 'stages', '-o', sys.argv[1]]))",
}
_DATA = "import sys\nx = [i / 4 for i in range(29)]\ny = [3.9e8 * 1.92**p for p in x]\n"
PEERS = {
    "altair, vl-convert": _DATA + "import altair as alt\n"
    "rows = [dict(x=a, y=b) for a, b in zip(x, y)]\n"
    "c = alt.Chart(alt.InlineData(values=rows)).mark_line().encode(x='x:Q', y='y:Q')\n"
    "if sys.argv[1].endswith('html'):\n"
    "    import vl_convert\n"
    "    open(sys.argv[1], 'w').write(vl_convert.vegalite_to_html(c.to_dict(), bundle=True))\n"
    "else:\n    c.save(sys.argv[1])",
    "matplotlib": _DATA + "import matplotlib\nmatplotlib.use('agg')\n"
    "import matplotlib.pyplot as plt\nf, a = plt.subplots()\na.semilogy(x, y)\n"
    "f.savefig(sys.argv[1])",
    "plotly": _DATA + "import plotly.graph_objects as go\n"
    "f = go.Figure(go.Scatter(x=x, y=y))\n"
    "if sys.argv[1].endswith('html'):\n    f.write_html(sys.argv[1], include_plotlyjs=True)\n"
    "else:\n    f.write_image(sys.argv[1])",
}


def main(folder: str | None) -> None:
    env = os.environ | {"PYTHONPATH": os.pathsep.join([*filter(None, [folder]), *sys.path[1:]])}
    programs = OURS | (PEERS if folder else {"altair, vl-convert": PEERS["altair, vl-convert"]})
    with tempfile.TemporaryDirectory() as name:
        cases = [(who, s) for who in programs for s in (".svg", ".png", ".html")]
        times: dict[tuple[str, str], list[float]] = {case: [] for case in cases}
        sizes: dict[tuple[str, str], int] = {}
        for _ in range(RUNS):
            for who, suffix in list(times):
                path = Path(name, f"x{suffix}")
                path.unlink(missing_ok=True)
                begun = time.perf_counter()
                ran = subprocess.run(
                    [sys.executable, "-c", programs[who], str(path)], env=env, capture_output=True
                )
                if ran.returncode or not path.exists():
                    del times[who, suffix]
                    continue
                times[who, suffix].append(time.perf_counter() - begun)
                sizes[who, suffix] = path.stat().st_size
    print("| | format | median | file |\n| --- | --- | ---: | ---: |")
    for who, suffix in cases:
        seconds = times.get((who, suffix))
        told = f"{statistics.median(seconds):.2f} s" if seconds else "cannot"
        size = f"{sizes[who, suffix] / 1000:,.0f} kB" if seconds else "–"
        print(f"| {who} | {suffix[1:]} | {told} | {size} |")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
