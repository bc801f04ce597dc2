"""Bytes of a network's weights in each way to store them, from the architecture alone.

Codebooks, pruning with relative indices, and Huffman coding are those of Han et al. 2016, Deep
Compression (arXiv:1510.00149), sections 2 to 4. Weights are the parameters of two or more
dimensions. Biases, norms and running statistics stay float32 (float16 in float16), and so does
a tensor that a storage would make larger.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

from effcalc.base.errors import InputError, one_line, suggest
from effcalc.base.units import parse_count, parse_number
from effcalc.deployment.huffman import mean_length
from effcalc.deployment.positions import distances, expected_padding
from effcalc.network.network import Network, Shape

INDEX_BITS = 4
"""Bits of a relative index: those of the compressed SqueezeNet that Han released."""

FLOATS = {"float32": 32, "float16": 16}
MAX_BITS = 8  # of a codebook's numbers and of an index
_LENGTH_BITS = 4  # of a code's length, 0 to 15


@dataclass(frozen=True, slots=True)
class Storage:
    """A way to store weights.

    `kind` is "float", "int" (with one float32 scale for each output channel) or "codebook"
    (numbers of `bits` bits into a float32 table of 2^bits values, one table a tensor). With a
    `density` under 1 only that share of each tensor's weights is kept, each with an index of
    `index_bits` bits relative to the one before. `huffman` codes indices and codebook numbers.
    """

    kind: str = "float"
    bits: int = 32
    density: float = 1.0
    index_bits: int = INDEX_BITS
    huffman: bool = False

    @property
    def name(self) -> str:
        """What people call it: `float16`, `6-bit codebook`, `33%, 6 bits, Huffman`."""
        if self.kind == "codebook":
            text = f"{self.bits} bits" if self.density < 1 else f"{self.bits}-bit codebook"
        else:
            text = f"{self.kind}{self.bits}"
        share = f"{self.density * 100:.4g}%, " if self.density < 1 else ""
        return f"{share}{text}{', Huffman' if self.huffman else ''}"

    @property
    def activation_bytes(self) -> int:
        """Bytes of one activation beside such weights.

        As wide as float weights, one byte beside int8 and int4, and 16 bits beside a codebook, as
        in EIE (Han et al. 2016, arXiv:1602.01528).
        """
        return {"float": self.bits // 8, "int": 1, "codebook": 2}[self.kind]


class Sizes(NamedTuple):
    """Bytes of a stored network by what they hold; `padding` counts the padding zeros.

    `tables` are codebooks, the scales of integers and the lengths of Huffman codes; `kept` are
    the tensors that stay floats.
    """

    values: int = 0
    indices: int = 0
    tables: int = 0
    kept: int = 0
    padding: int = 0

    @property
    def total(self) -> int:
        """All bytes."""
        return self.values + self.indices + self.tables + self.kept

    def plus(self, other: Sizes, times: int = 1) -> Sizes:
        """Add `times` another's, part by part."""
        return Sizes(*(a + b * times for a, b in zip(self, other, strict=True)))


class Piece(NamedTuple):
    """A tensor that inference needs, and how often the network has one alike."""

    name: str
    shape: Shape
    times: int

    @property
    def numel(self) -> int:
        """Its elements."""
        return math.prod(self.shape)


def pieces(network: Network) -> Iterator[Piece]:
    """Yield parameters and running statistics, a shared one once; not a norm's step counter."""
    seen = set()
    for call in network.calls:
        for p in call.params:
            if p.key not in seen and p.dtype.startswith("float"):
                seen.add(p.key)
                yield Piece(p.key, p.shape, call.count)


def stored(tensors: Iterable[Piece], storage: Storage) -> Sizes:
    """Size of a network's tensors; where pruning keeps weights at random, the expected one."""
    total = Sizes()
    for tensor in tensors:
        total = total.plus(stored_tensor(tensor.shape, storage), tensor.times)
    return total


def stored_tensor(shape: Shape, storage: Storage, entries: int | None = None) -> Sizes:
    """Size of one tensor, each part in whole bytes.

    `entries` are those that pruned weights really take; without it their expected number.
    """
    n = math.prod(shape)
    if storage.kind == "float" and storage.bits != 32:
        size = n * storage.bits // 8
        return Sizes(values=size) if len(shape) > 1 else Sizes(kept=size)
    if len(shape) < 2:
        return Sizes(kept=4 * n)
    if storage == Storage():
        return Sizes(values=4 * n)
    sizes = _compressed(n, shape[0], storage, entries)
    return sizes if sizes.total < 4 * n else Sizes(kept=4 * n)


def kept_of(weights: int, density: float) -> int:
    """How many of a tensor's weights a density keeps: the nearest whole number, halves up."""
    return math.floor(Fraction(str(density)) * weights + Fraction(1, 2))


def _compressed(n: int, channels: int, storage: Storage, counted: int | None) -> Sizes:
    bits, k = storage.bits, storage.index_bits
    tables = 0
    if storage.kind == "int":
        tables = 4 * channels
    elif storage.kind == "codebook":
        tables = 4 << bits
        if storage.huffman:
            tables += _bytes((1 << bits) * _LENGTH_BITS)
    if storage.density == 1:
        return Sizes(_bytes(n * bits), 0, tables)
    kept = kept_of(n, storage.density)
    padding = expected_padding(n, kept, k) if counted is None else Fraction(counted - kept)
    entries = kept + padding
    index = Fraction(k)
    if storage.huffman:
        index = Fraction(_index_length(storage.density, k))
        tables += _bytes((1 << k) * _LENGTH_BITS)
    return Sizes(_bytes(entries * bits), _bytes(entries * index), tables, 0, round(padding))


@lru_cache(maxsize=64)
def _index_length(density: float, index_bits: int) -> float:
    """Mean length of an index's Huffman code where weights are kept at random."""
    return mean_length(distances(density, index_bits))


def _bytes(bits: int | Fraction) -> int:
    return math.ceil(Fraction(bits, 8))


def int_storage(bits: int) -> Storage:
    """Integers of 8 or 4 bits with a scale for each output channel."""
    return Storage("int", bits)


def codebook(bits: int | float, option: str = "`bits`") -> Storage:
    """A codebook of 2^bits values; raises `InputError` for other than 1 to 8 bits."""
    return Storage("codebook", _in_bits(bits, option))


def pruned(storage: Storage, density: float, index_bits: int, option: str = "`density`") -> Storage:
    """The same with only a share of the weights kept; raises `InputError`."""
    if not 0 < density <= 1:
        raise InputError(
            f"{option}: {density:g} is not a share of weights to keep; write 0.33 for a third"
        )
    return replace(storage, density=density, index_bits=_in_bits(index_bits, "`index_bits`"))


def standard(
    bits: Iterable[int | float],
    shares: Iterable[float] | None = None,
    index_bits: int = INDEX_BITS,
    huffman: bool = False,
) -> list[Storage]:
    """The storages that a network is sized in: dense ones, and for each share those pruned to it.

    Raises `InputError`; Huffman codes are for pruned weights, of which the indices are known.
    """
    if huffman and shares is None:
        raise InputError("`huffman` is for pruned weights; give `density` 0.33 too")
    books = [codebook(b) for b in bits]
    storages = [Storage(), Storage("float", 16), int_storage(8), int_storage(4), *books]
    for share in shares or ():
        storages += [pruned(storage, share, index_bits) for storage in (Storage(), *books)]
        if huffman:
            storages += [replace(pruned(book, share, index_bits), huffman=True) for book in books]
    return list(dict.fromkeys(storages))


def steps(compression: Storage) -> list[Storage]:
    """Deep Compression step by step: as it is, pruned, with codebooks, and Huffman-coded."""
    plain = replace(compression, huffman=False)
    few = replace(Storage(), density=plain.density, index_bits=plain.index_bits)
    coded = [compression] if plain.density < 1 else []
    return list(dict.fromkeys([Storage(), few, plain, *coded]))


def _in_bits(bits: int | float, option: str) -> int:
    if not 1 <= bits <= MAX_BITS or bits != int(bits):
        raise InputError(
            f"{option}: {one_line(bits, 20)} bits are not a whole number from 1 to {MAX_BITS}"
        )
    return int(bits)


_KEYS = ("density", "bits", "index_bits", "huffman")


def parse_compression(text: str, option: str = "`deep_compression`") -> Storage:
    """Read `density=0.33,bits=6`, with `index_bits=4` and `huffman=yes` unless given."""
    given: dict[str, str] = {}
    for pair in text.split(","):
        key, equals, value = (part.strip() for part in pair.partition("="))
        key = key.replace("-", "_")
        if key not in _KEYS or not equals or key in given:
            raise InputError(
                f"{option}: {one_line(repr(pair), 60)} is not one of {', '.join(_KEYS)} with its "
                f"value{suggest(key, _KEYS)}; write density=0.33,bits=6"
            )
        given[key] = value
    huffman = given.get("huffman", "yes")
    if huffman not in ("yes", "no"):
        raise InputError(f"{option}: huffman is yes or no, not {one_line(repr(huffman), 60)}")
    if "bits" not in given:
        raise InputError(f"{option}: bits are missing; write density=0.33,bits=6")
    storage = codebook(parse_count(given["bits"], f"{option} bits"), f"{option} bits")
    density = parse_number(given.get("density", "1"), f"{option} density")
    index_bits = parse_count(given.get("index_bits", str(INDEX_BITS)), f"{option} index_bits")
    storage = pruned(storage, density, index_bits, f"{option} density")
    return replace(storage, huffman=huffman == "yes")
