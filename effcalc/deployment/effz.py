"""The .effz file: weights pruned, clustered and Huffman-coded, with a checksum (NumPy).

docs/effz.md has the format. A file is written whole in memory, since coded weights are small, and
one tensor at a time is held as floats.
"""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from effcalc.base.errors import InputError, one_line
from effcalc.deployment.bits import Damaged, Stream, decode, encode, lanes_of
from effcalc.deployment.huffman import MAX_LENGTH, code_lengths, entropy
from effcalc.deployment.quantise import Quantised, scattered
from effcalc.deployment.safetensors import ITEM_BYTES
from effcalc.network.network import Shape

MAGIC = b"\x89EFFZ\r\n\x1a"
VERSION = 1
MAX_FILE = 4 << 30  # bytes that are read
MAX_DECODED = 16 << 30  # bytes that they may stand for
MAX_TENSORS = 1 << 20
MAX_RANK = 8
_HEAD = struct.Struct("<8sHIQ")  # magic, version, tensors, bytes of the records
_DIGEST = hashlib.sha256
_DTYPES = tuple(ITEM_BYTES)
_RAW, _DENSE, _PRUNED = range(3)
_TOGETHER = 1 << 24  # symbols that are decoded at a time


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A tensor in a file: as it was (`raw`), or coded as float32 with its parts.

    A pruned one has two streams, values and distances; a dense one has values alone.
    """

    name: str
    dtype: str
    shape: Shape
    raw: bytes = b""
    centroids: npt.NDArray[np.float32] | None = None
    streams: tuple[Stream, ...] = ()
    index_bits: int = 0

    @property
    def numel(self) -> int:
        """Its elements."""
        return math.prod(self.shape)

    @property
    def payload_bytes(self) -> int:
        """Bytes in a file beside name, shape, dtype and encoding."""
        return sum(map(len, _payload(self)))


@dataclass(frozen=True, slots=True)
class Coded:
    """What coding a tensor needs, in bytes, by counting alone; entropies are lower bounds."""

    values: int
    indices: int
    tables: int
    values_entropy: float
    indices_entropy: float

    @property
    def payload(self) -> int:
        """Bytes of the tensor's payload."""
        return self.values + self.indices + self.tables


def histograms(tensor: Quantised, index_bits: int) -> list[list[int]]:
    """How often each symbol occurs: values, and for a pruned tensor distances."""
    least = len(tensor.centroids) + (tensor.distances is not None)
    found = [np.bincount(tensor.codes, minlength=least).tolist()]
    if tensor.distances is not None:
        found.append(np.bincount(tensor.distances, minlength=1 << index_bits).tolist())
    return found


def predicted(tensor: Quantised, index_bits: int) -> Coded:
    """Size of a tensor's payload from its symbols' counts and their codes' lengths."""
    tables, sizes, bounds = 4 * len(tensor.centroids), [0, 0], [0.0, 0.0]
    for i, counts in enumerate(histograms(tensor, index_bits)):
        lengths = code_lengths(counts)
        sizes[i] = -(-sum(c * n for c, n in zip(counts, lengths, strict=True)) // 8)
        bounds[i] = entropy(counts) * sum(counts) / 8
        tables += -(-len(counts) // 2) + 2 * lanes_of(sum(counts))
    return Coded(sizes[0], sizes[1], tables, bounds[0], bounds[1])


def code(name: str, shape: Shape, tensor: Quantised, index_bits: int) -> StoredTensor:
    """Huffman-code a quantised tensor."""
    symbols = [tensor.codes] if tensor.distances is None else [tensor.codes, tensor.distances]
    streams = tuple(
        encode(s, code_lengths(counts))
        for s, counts in zip(symbols, histograms(tensor, index_bits), strict=True)
    )
    kept = 0 if tensor.distances is None else index_bits
    return StoredTensor(name, "F32", shape, b"", tensor.centroids, streams, kept)


def record_bytes(name: str, shape: Shape, coded: bool) -> int:
    """Bytes that a tensor takes beside its payload: name, shape, dtype and encoding."""
    return len(_record(StoredTensor(name, "F32", shape))) + (_EXTRA.size if coded else 0)


def container_bytes() -> int:
    """Bytes of a file without any tensor."""
    return _HEAD.size + _DIGEST().digest_size


_EXTRA = struct.Struct("<HBQ")  # centroids, index bits, entries


def _record(tensor: StoredTensor) -> bytes:
    name = tensor.name.encode()
    kind = _RAW if tensor.centroids is None else (_PRUNED if tensor.index_bits else _DENSE)
    parts = [
        struct.pack("<H", len(name)),
        name,
        struct.pack("<BBB", _DTYPES.index(tensor.dtype), kind, len(tensor.shape)),
        struct.pack(f"<{len(tensor.shape)}Q", *tensor.shape),
    ]
    if tensor.centroids is not None:
        centroids = len(tensor.centroids)
        parts.append(_EXTRA.pack(centroids, tensor.index_bits, tensor.streams[0].count))
    return b"".join(parts)


def _payload(tensor: StoredTensor) -> Iterator[bytes]:
    if tensor.centroids is None:
        yield tensor.raw
        return
    yield tensor.centroids.astype("<f4").tobytes()
    for stream in tensor.streams:
        lengths = [*stream.lengths, 0]
        yield bytes(a | b << 4 for a, b in zip(lengths[0:-1:2], lengths[1::2], strict=True))
        yield stream.lanes.astype("<u2").tobytes()
        yield stream.data


def pack(tensors: Sequence[StoredTensor]) -> bytes:
    """Return a whole file."""
    for tensor in tensors:
        if len(tensor.name.encode()) > 0xFFFF or len(tensor.shape) > MAX_RANK:
            raise InputError(f"{one_line(tensor.name, 80)}: the name or the shape is too long")
    records = b"".join(map(_record, tensors))
    head = _HEAD.pack(MAGIC, VERSION, len(tensors), len(records))
    body = b"".join([head, records, *(part for t in tensors for part in _payload(t))])
    return body + _DIGEST(body).digest()


def read(path: str) -> list[StoredTensor]:
    """Read a file; raise `InputError` for one that is truncated, altered or no .effz file."""
    try:
        with Path(path).open("rb") as file:
            data = file.read(MAX_FILE + 1)
    except (OSError, ValueError) as error:
        raise InputError(f"{one_line(path)}: cannot be read: {one_line(error)}") from None
    if len(data) > MAX_FILE:
        raise InputError(f"{one_line(path)}: is larger than 4 GiB")
    return unpack(data, path)


def unpack(data: bytes, path: str) -> list[StoredTensor]:
    """Take a file apart; nothing in it is trusted, its checksum being anyone's to make."""
    where = one_line(path)
    if data[: len(MAGIC)] != MAGIC:
        raise InputError(f"{where}: is not an .effz file")
    size = _DIGEST().digest_size
    if len(data) < container_bytes() or _DIGEST(data[:-size]).digest() != data[-size:]:
        raise InputError(f"{where}: is truncated or altered: its checksum does not match")
    _, version, count, records = _HEAD.unpack_from(data)
    if version != VERSION:
        raise InputError(f"{where}: is of version {version}; this effcalc reads {VERSION}")
    try:
        if count > MAX_TENSORS:
            raise Damaged("too many tensors")
        head = _Reader(data[_HEAD.size : -size], records)
        described = [_described(head) for _ in range(count)]
        head.done()
        names = {name for name, *_ in described}
        if len(names) != count:
            raise Damaged("a name that is there twice")
        if sum(math.prod(shape) * ITEM_BYTES[dtype] for _, dtype, _, shape, _ in described) > (
            MAX_DECODED
        ):
            raise Damaged("more than 16 GiB of tensors")
        body = _Reader(data[_HEAD.size + records : -size])
        tensors = [_tensor(body, *parts) for parts in described]
        body.done()
    except Damaged as error:
        raise InputError(f"{where}: is no valid .effz file: it has {error}") from None
    return tensors


class _Reader:
    """Bytes taken from the front, never past the end."""

    def __init__(self, data: bytes, size: int | None = None) -> None:
        self.data, self.at = memoryview(data), 0
        self.end = len(data) if size is None else size
        if self.end > len(data):
            raise Damaged("records that pass its end")

    def take(self, size: int) -> memoryview:
        if size > self.end - self.at:
            raise Damaged("parts that pass its end")
        self.at += size
        return self.data[self.at - size : self.at]

    def numbers(self, format: str) -> tuple[int, ...]:
        return struct.unpack(f"<{format}", self.take(struct.calcsize(f"<{format}")))

    def done(self) -> None:
        if self.at != self.end:
            raise Damaged("bytes that belong to nothing")


_Described = tuple[str, str, int, Shape, tuple[int, ...]]


def _described(head: _Reader) -> _Described:
    [length] = head.numbers("H")
    try:
        name = str(head.take(length), "utf-8")
    except UnicodeDecodeError:
        raise Damaged("a name that is not UTF-8") from None
    dtype, kind, rank = head.numbers("BBB")
    if dtype >= len(_DTYPES) or kind > _PRUNED or rank > MAX_RANK:
        raise Damaged("a tensor of an unknown kind")
    shape = head.numbers(f"{rank}Q")
    extra = () if kind == _RAW else head.numbers(_EXTRA.format[1:])
    return name, _DTYPES[dtype], kind, shape, extra


def _tensor(
    body: _Reader, name: str, dtype: str, kind: int, shape: Shape, extra: tuple[int, ...]
) -> StoredTensor:
    numel = math.prod(shape)
    if kind == _RAW:
        return StoredTensor(name, dtype, shape, bytes(body.take(numel * ITEM_BYTES[dtype])))
    centroids, index_bits, entries = extra
    pruned = kind == _PRUNED
    if (
        dtype != "F32"
        or centroids + pruned > 256
        or not (1 <= index_bits <= 8 if pruned else index_bits == 0)
        or (entries > numel if pruned else entries != numel)
    ):
        raise Damaged("a tensor whose parts do not agree")
    values = np.frombuffer(body.take(4 * centroids), "<f4").astype(np.float32)
    symbols = [centroids + 1, 1 << index_bits] if pruned else [centroids]
    streams = tuple(_stream(body, n, entries) for n in symbols)
    return StoredTensor(name, dtype, shape, b"", values, streams, index_bits)


def _stream(body: _Reader, symbols: int, count: int) -> Stream:
    pairs = body.take(-(-symbols // 2))
    lengths = [n for pair in pairs for n in (pair & 15, pair >> 4)]
    if any(lengths[symbols:]) or max(lengths, default=0) > MAX_LENGTH:
        raise Damaged("lengths that no code has")
    lanes = np.frombuffer(body.take(2 * lanes_of(count)), "<u2").astype(np.uint16)
    data = body.take(-(-int(lanes.sum(dtype=np.int64)) // 8))
    return Stream(count, tuple(lengths[:symbols]), lanes, bytes(data))


def restore(
    tensors: Sequence[StoredTensor], path: str
) -> Iterator[tuple[StoredTensor, npt.NDArray[np.uint8]]]:
    """Yield each tensor and its bytes; coded ones are little-endian float32.

    Streams of about 2^24 symbols decode together, whatever their tensors.
    """
    group: list[StoredTensor] = []
    pending = 0
    for tensor in tensors:
        group.append(tensor)
        pending += sum(stream.count + (1 << MAX_LENGTH) for stream in tensor.streams)
        if pending >= _TOGETHER:
            yield from _restored(group, path)
            group, pending = [], 0
    yield from _restored(group, path)


def _restored(
    group: Sequence[StoredTensor], path: str
) -> Iterator[tuple[StoredTensor, npt.NDArray[np.uint8]]]:
    try:
        symbols = iter(decode([stream for tensor in group for stream in tensor.streams]))
        for tensor in group:
            if tensor.centroids is None:
                yield tensor, np.frombuffer(tensor.raw, np.uint8)
                continue
            codes = next(symbols)
            if tensor.index_bits:
                flat = scattered(tensor.numel, tensor.centroids, codes, next(symbols))
            else:
                flat = tensor.centroids[codes]
            yield tensor, flat.astype("<f4", copy=False).view(np.uint8)
    except (Damaged, ValueError) as error:
        raise InputError(f"{one_line(path)}: is no valid .effz file: it has {error}") from None
