"""The .effz file: weights pruned, clustered and Huffman-coded by zlib, with a checksum (NumPy).

docs/effz.md has the format. A file is written whole in memory, since coded weights are small, and
one tensor at a time is held as floats.
"""

from __future__ import annotations

import hashlib
import math
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from effcalc.base.errors import InputError, one_line
from effcalc.deployment.quantise import Bytes, Quantised, scattered
from effcalc.deployment.safetensors import ITEM_BYTES
from effcalc.deployment.sizes import Sizes
from effcalc.network.network import Shape

MAGIC = b"\x89EFFZ\r\n\x1a"
VERSION = 2
MAX_FILE = 4 << 30  # bytes that are read
MAX_DECODED = 16 << 30  # bytes that they may stand for
MAX_TENSORS = 1 << 20
MAX_RANK = 8
_HEAD = struct.Struct("<8sHIQ")  # magic, version, tensors, bytes of the records
_EXTRA = struct.Struct("<HBQ")  # centroids, index bits, entries
_STREAM = struct.Struct("<I")  # bytes of a stream
_DIGEST = hashlib.sha256
_DTYPES = tuple(ITEM_BYTES)
_RAW, _DENSE, _PRUNED = range(3)


class Damaged(Exception):  # noqa: N818 - its reader says which file
    """A file says something that no writer writes."""


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A tensor in a file: as it was (`raw`), or coded as float32 with its parts.

    A pruned one has two streams, values and distances; a dense one has values alone. Each stands
    for `entries` symbols.
    """

    name: str
    dtype: str
    shape: Shape
    raw: bytes = b""
    centroids: npt.NDArray[np.float32] | None = None
    streams: tuple[bytes, ...] = ()
    entries: int = 0
    index_bits: int = 0

    @property
    def numel(self) -> int:
        """Its elements."""
        return math.prod(self.shape)

    @property
    def sizes(self) -> Sizes:
        """Bytes in a file beside name, shape, dtype and encoding."""
        if self.centroids is None:
            return Sizes(kept=len(self.raw))
        values, *indices = map(len, self.streams)
        tables = 4 * len(self.centroids) + _STREAM.size * len(self.streams)
        return Sizes(values, sum(indices), tables)


def deflate(symbols: Bytes) -> bytes:
    """Huffman-code symbols: raw DEFLATE (RFC 1951) of literals alone, without matches."""
    coder = zlib.compressobj(9, zlib.DEFLATED, -15, 9, zlib.Z_HUFFMAN_ONLY)
    return coder.compress(symbols.data) + coder.flush()


def inflate(data: bytes, count: int, symbols: int) -> Bytes:
    """Return `count` symbols, each under `symbols`; raise `Damaged` where there are others."""
    decoder = zlib.decompressobj(-15)
    try:
        decoded = np.frombuffer(decoder.decompress(data, count + 1), np.uint8)
    except zlib.error:
        raise Damaged("a stream that is no DEFLATE data") from None
    if len(decoded) != count or not decoder.eof or decoder.unused_data:
        raise Damaged("a stream of the wrong length")
    if count and int(decoded.max()) >= symbols:
        raise Damaged("a symbol without a meaning")
    return decoded


def code(name: str, shape: Shape, tensor: Quantised, index_bits: int) -> StoredTensor:
    """Huffman-code a quantised tensor."""
    entries, centroids = len(tensor.codes), tensor.centroids
    values = deflate(tensor.codes)
    if tensor.distances is None:
        return StoredTensor(name, "F32", shape, b"", centroids, (values,), entries)
    streams = (values, deflate(tensor.distances))
    return StoredTensor(name, "F32", shape, b"", centroids, streams, entries, index_bits)


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
        parts.append(_EXTRA.pack(len(tensor.centroids), tensor.index_bits, tensor.entries))
    return b"".join(parts)


def _payload(tensor: StoredTensor) -> Iterator[bytes]:
    if tensor.centroids is None:
        yield tensor.raw
        return
    yield tensor.centroids.astype("<f4").tobytes()
    for stream in tensor.streams:
        yield _STREAM.pack(len(stream))
        yield stream


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
    """Parse a file. Nothing in it is trusted, since anyone can compute its checksum."""
    where = one_line(path)
    if data[: len(MAGIC)] != MAGIC:
        raise InputError(f"{where}: is not an .effz file")
    size = _DIGEST().digest_size
    if len(data) < _HEAD.size + size or _DIGEST(data[:-size]).digest() != data[-size:]:
        raise InputError(f"{where}: is truncated or altered: its checksum does not match")
    _, version, count, records = _HEAD.unpack_from(data)
    if version != VERSION:
        raise InputError(
            f"{where}: is of version {version}, and this effcalc reads {VERSION}; write it again "
            "with effcalc deploy `weights`"
        )
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
        raise Damaged("a tensor whose parts contradict each other")
    values = np.frombuffer(body.take(4 * centroids), "<f4").astype(np.float32)
    streams = tuple(bytes(body.take(*body.numbers("I"))) for _ in range(1 + pruned))
    return StoredTensor(name, dtype, shape, b"", values, streams, entries, index_bits)


def restore(
    tensors: Sequence[StoredTensor], path: str
) -> Iterator[tuple[StoredTensor, npt.NDArray[np.uint8]]]:
    """Yield each tensor and its bytes; coded ones are little-endian float32."""
    try:
        for tensor in tensors:
            yield tensor, _restored(tensor)
    except (Damaged, ValueError) as error:
        raise InputError(f"{one_line(path)}: is no valid .effz file: it has {error}") from None


def _restored(tensor: StoredTensor) -> npt.NDArray[np.uint8]:
    if tensor.centroids is None:
        return np.frombuffer(tensor.raw, np.uint8)
    size = len(tensor.centroids)
    if tensor.index_bits:
        codes = inflate(tensor.streams[0], tensor.entries, size + 1)
        distances = inflate(tensor.streams[1], tensor.entries, 1 << tensor.index_bits)
        flat = scattered(tensor.numel, tensor.centroids, codes, distances)
    else:
        flat = tensor.centroids[inflate(tensor.streams[0], tensor.entries, size)]
    return flat.astype("<f4", copy=False).view(np.uint8)
