"""Time and size of compressed weights, beside general-purpose codecs on the same symbols.

    python benchmarks/deploy.py [ROUNDS]

Weights are normally distributed ones of SqueezeNet 1.1, ResNet-18 and AlexNet (61 million), in
torchvision's shapes, pruned and clustered once as `effcalc deploy --weights` does. Then each codec
takes the same bytes, one for each value and one for each distance; codecs alternate, the time
is the fastest of the rounds, and MB are 10^6 of these bytes. zstandard is used where installed.
"""

from __future__ import annotations

import lzma
import sys
import time
import zlib
from collections.abc import Callable
from importlib.util import find_spec

import numpy as np

from effcalc.deployment.effz import deflate, inflate
from effcalc.deployment.huffman import entropy
from effcalc.deployment.quantise import quantise
from effcalc.deployment.sizes import parse_compression, pieces
from effcalc.scaling.scale import scale

NETWORKS = {
    "squeezenet-1.1": "density=0.33,bits=6",
    "resnet-18": "density=0.33,bits=6",
    "alexnet": "density=0.11,bits=5",
}


def each(pack: Callable[[bytes], bytes]) -> Callable[[list[np.ndarray]], list[bytes]]:
    return lambda streams: [pack(s.tobytes()) for s in streams]


def codecs() -> dict[str, tuple[Callable, Callable]]:
    """Name -> encode and decode a list of streams."""
    found = {
        "effcalc": (
            lambda streams: [(deflate(s), len(s)) for s in streams],
            lambda coded: [inflate(data, count, 256) for data, count in coded],
        )
    }
    for level in (1, 6):
        found[f"zlib {level}"] = (
            each(lambda b, level=level: zlib.compress(b, level)),
            lambda coded: [zlib.decompress(c) for c in coded],
        )
    found["lzma 1"] = (
        each(lambda b: lzma.compress(b, preset=1)),
        lambda coded: [lzma.decompress(c) for c in coded],
    )
    if find_spec("zstandard"):
        import zstandard

        for level in (3, 19):
            found[f"zstd {level}"] = (
                each(zstandard.ZstdCompressor(level).compress),
                lambda coded: [zstandard.ZstdDecompressor().decompress(c) for c in coded],
            )
    return found


def main(rounds: int = 3) -> None:
    rng = np.random.default_rng(0)
    for name, text in NETWORKS.items():
        storage = parse_compression(text)
        tensors = [p for p in pieces(scale(name).network) if len(p.shape) > 1]
        weights = [
            rng.standard_normal(p.numel, np.float32) for p in tensors for _ in range(p.times)
        ]
        begin = time.perf_counter()
        quantised = [quantise(w, storage) for w in weights]
        spent = time.perf_counter() - begin
        millions = sum(map(len, weights)) / 1e6
        streams = [s for q in quantised for s in (q.codes, q.distances)]
        raw = sum(map(len, streams))
        least = sum(entropy(np.bincount(s).tolist()) * len(s) for s in streams if len(s)) / 8
        print(
            f"\n{name}, {text}: {millions:.1f} million weights pruned and clustered in "
            f"{spent:.1f} s; {raw:,} symbols, entropy {least:,.0f} bytes\n"
        )
        print("| codec | bytes | over the entropy | encode | decode |")
        print("| --- | ---: | ---: | ---: | ---: |")
        best: dict[str, list[float]] = {}
        sizes = {}
        for _ in range(rounds):
            for codec, (pack, unpack) in codecs().items():
                t0 = time.perf_counter()
                coded = pack(streams)
                t1 = time.perf_counter()
                back = unpack(coded)
                t2 = time.perf_counter()
                assert all(s.tobytes() == bytes(b) for s, b in zip(streams, back, strict=True))
                sizes[codec] = sum(len(c[0]) if isinstance(c, tuple) else len(c) for c in coded)
                old = best.get(codec, [9e9, 9e9])
                best[codec] = [min(old[0], t1 - t0), min(old[1], t2 - t1)]
        for codec, (packing, unpacking) in best.items():
            print(
                f"| {codec} | {sizes[codec]:,} | {sizes[codec] / least - 1:+.1%} | "
                f"{raw / packing / 1e6:.0f} MB/s | {raw / unpacking / 1e6:.0f} MB/s |"
            )


if __name__ == "__main__":
    main(*(int(n) for n in sys.argv[1:]))
