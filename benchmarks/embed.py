"""Time a document of a million characters with 200 regions, beside reading it alone."""

from __future__ import annotations

import time

from effcalc.embed import fill, syntax_of

region = "<!-- effcalc: scale -->\n<!-- effcalc end -->\n" + ("x" * 79 + "\n") * 63
data = (region * 200).encode()
syntax = syntax_of("a.md")
assert syntax is not None
begun = time.perf_counter()
_, stale = fill(data, "a.md", syntax, lambda *_: "| a |")
took = time.perf_counter() - begun
begun = time.perf_counter()
data.decode()
floor = time.perf_counter() - begun
print(f"{len(data):,} bytes, {len(stale)} regions: {took:.3f} s, {took / floor:.0f} × decoding")
