"""Weights compressed for real: codes, codebooks, the .effz file, and what a damaged one does."""

from __future__ import annotations

import hashlib
import json
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
import safetensors.numpy
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from safetensors.torch import load_file, save_file

from effcalc.base.errors import InputError
from effcalc.deployment import effz
from effcalc.deployment import safetensors as reader
from effcalc.deployment.effz import deflate, inflate
from effcalc.deployment.huffman import entropy
from effcalc.deployment.match import matched
from effcalc.deployment.quantise import cluster, largest, quantise
from effcalc.deployment.ship import compress
from effcalc.deployment.sizes import kept_of, parse_compression, pieces, stored
from effcalc.models.build import build
from effcalc.scaling.scale import scale
from tests.cli.test_cli_commands import table
from tests.cli_helpers import run
from tests.deployment.test_deploy_sizes import walk

SYMBOLS = st.lists(st.integers(0, 255), max_size=4000).map(lambda s: np.array(s, np.uint8))
FLOATS = hnp.arrays(
    np.float32, st.integers(1, 300), elements=st.floats(-4, 4, width=32, allow_subnormal=False)
)
STORAGES = st.builds(
    lambda density, bits, index: parse_compression(
        f"density={density},bits={bits},index_bits={index}"
    ),
    st.sampled_from([0.02, 0.1, 0.33, 0.5, 1]),
    st.integers(1, 8),
    st.integers(1, 8),
)


# --- streams ------------------------------------------------------------------------------------


@given(SYMBOLS)
@settings(deadline=None, max_examples=50)
def test_what_is_deflated_is_inflated(symbols):
    assert np.array_equal(inflate(deflate(symbols), len(symbols), 256), symbols)


@given(SYMBOLS.filter(len))
@settings(deadline=None)
def test_a_stream_is_huffman_coded_and_no_more(symbols):
    """Literals alone: never under the entropy, even where symbols repeat as a pattern."""
    pattern = np.tile(symbols, 50)[:32000]
    data = deflate(pattern)
    least = entropy(np.bincount(pattern).tolist()) * len(pattern) / 8
    # Huffman's code of at most 15 bits, and the lengths of 257 codes, each of at most 7 + 7 bits.
    assert least - 1e-6 <= len(data) <= least + len(pattern) / 8 + 257 * 14 / 8 + 20


def test_a_stream_is_readable_by_any_zlib():
    symbols = (np.arange(100_000) * 7 % 200).astype(np.uint8)
    assert zlib.decompress(deflate(symbols), wbits=-15) == symbols.tobytes()


GOOD = deflate(np.array([0, 1, 1, 0, 1, 1, 0, 1], np.uint8))


@pytest.mark.parametrize(
    ("data", "count", "symbols"),
    [
        (GOOD, 7, 2),
        (GOOD, 9, 2),
        (GOOD, 8, 1),  # 1 has no meaning
        (GOOD, 0, 2),
        (GOOD[:-1], 8, 2),
        (GOOD + b"\0", 8, 2),
        (b"", 8, 2),
        (b"", 0, 2),
        (b"\xff\xff", 8, 2),
        (zlib.compress(bytes(1 << 20)), 8, 2),
    ],
)
def test_a_damaged_stream_is_refused(data, count, symbols):
    assert inflate(GOOD, 8, 2).tolist() == [0, 1, 1, 0, 1, 1, 0, 1]
    with pytest.raises(effz.Damaged):
        inflate(data, count, symbols)


def test_a_bomb_is_inflated_no_further_than_its_count():
    coder = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = coder.compress(bytes(1 << 28)) + coder.flush()
    tracemalloc.start()
    with pytest.raises(effz.Damaged):
        inflate(bomb, 1000, 2)
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


# --- pruning and clustering ---------------------------------------------------------------------


@given(FLOATS, st.floats(0.01, 1))
def test_pruning_keeps_the_largest(weights, density):
    kept = min(kept_of(len(weights), density), int(np.count_nonzero(weights)))
    mask = largest(weights, kept_of(len(weights), density))
    assert mask.sum() == kept
    if 0 < kept < len(weights):
        assert np.abs(weights[mask]).min() >= np.abs(weights[~mask]).max()


@given(FLOATS, st.integers(1, 64))
@settings(deadline=None)
def test_clusters_are_centroids_of_what_is_nearest_to_them(weights, count):
    """A fixed point of Lloyd's algorithm, or 100 rounds of it; each centroid has a weight."""
    centroids = cluster(weights, count)
    assert 1 <= len(centroids) <= count
    assert (np.diff(centroids) > 0).all()
    nearest = np.abs(weights[:, None].astype(float) - centroids).argmin(1)
    assert len(np.unique(nearest)) == len(centroids) or len(weights) < count
    # k-means lowers the sum of squares, of which one centroid, the mean, leaves all.
    wide = weights.astype(np.float64)
    left = np.square(wide - centroids[nearest]).sum()
    assert left <= np.square(wide - wide.mean()).sum() * (1 + 1e-6)


def test_few_different_weights_are_kept_exactly():
    weights = np.array([0.5, -0.25, 0.5, 3, -0.25], np.float32)
    assert cluster(weights, 3).tolist() == [-0.25, 0.5, 3]
    small = quantise(weights, parse_compression("bits=2"))
    assert small.restored().tolist() == weights.tolist()


def test_clustering_starts_at_equal_distances():
    # 0 to 3 in steps of 1: 0.9 and 1.1 meet at 1.0; 2 stays empty and is left out.
    weights = np.array([0, 0, 0.9, 1.1, 3, 3], np.float32)
    assert cluster(weights, 3).tolist() == [0, 1, 3]


@given(FLOATS, STORAGES)
@settings(deadline=None)
def test_quantised_weights_are_those_kept_at_their_nearest_centroid(weights, storage):
    small = quantise(weights, storage)
    restored = small.restored()
    distance = np.abs(weights[:, None] - small.centroids[None])
    if storage.density == 1:
        assert small.distances is None
        kept = np.ones(len(weights), bool)
    else:
        kept = largest(weights, kept_of(len(weights), storage.density))
        assert (restored[~kept] == 0).all()
        # Padding is what the formula says, and codes of padding are 0.
        places = np.flatnonzero(kept)
        padding = walk(kept.tolist(), 1 << storage.index_bits)
        assert len(small.codes) == len(places) + padding
        assert np.count_nonzero(small.codes == 0) == padding
    if kept.any():
        assert np.isin(restored[kept], small.centroids).all()
        error = np.abs(restored - weights)[kept]
        assert error == pytest.approx(distance[kept].min(1), abs=1e-6)


# --- the file -----------------------------------------------------------------------------------


@given(FLOATS, STORAGES, st.text(max_size=20))
@settings(deadline=None, max_examples=60)
def test_a_tensor_reads_back_bit_for_bit(weights, storage, name):
    small = quantise(weights, storage)
    shape = (len(weights), 1)
    data = effz.pack(
        [
            effz.StoredTensor(f"{name}.raw", "I64", (), (7).to_bytes(8, "little")),
            effz.code(name, shape, small, storage.index_bits),
        ]
    )
    [(_, raw), (tensor, flat)] = effz.restore(effz.unpack(data, "x"), "x")
    assert raw.tobytes() == (7).to_bytes(8, "little")
    assert (tensor.name, tensor.shape) == (name, shape)
    assert flat.tobytes() == small.restored().tobytes()


def test_version_1_is_refused_in_one_line():
    body = bytearray(a_file()[:-32])
    body[8:10] = (1).to_bytes(2, "little")
    with pytest.raises(InputError, match=r"^f: is of version 1, .* reads 2; write it again with"):
        effz.unpack(bytes(body) + hashlib.sha256(body).digest(), "f")


def a_file() -> bytes:
    rng = np.random.default_rng(0)
    pruned, dense = parse_compression("density=0.33,bits=6"), parse_compression("bits=4")
    return effz.pack(
        [
            effz.code("a", (40, 50), quantise(rng.normal(size=2000).astype("f4"), pruned), 4),
            effz.code("b", (30, 10), quantise(rng.normal(size=300).astype("f4"), dense), 4),
            effz.StoredTensor("c", "F32", (3,), bytes(12)),
        ]
    )


def test_every_altered_byte_is_noticed():
    data = a_file()
    list(effz.restore(effz.unpack(data, "f"), "f"))
    for at in range(len(data)):
        changed = bytearray(data)
        changed[at] ^= 1 << (at % 8)
        with pytest.raises(InputError, match=r"^f: is (truncated or altered|not an \.effz file)"):
            effz.unpack(bytes(changed), "f")


def test_every_truncation_is_noticed():
    data = a_file()
    for size in range(len(data)):
        with pytest.raises(InputError):
            effz.unpack(data[:size], "f")
    with pytest.raises(InputError, match="truncated or altered"):
        effz.unpack(data + b"\0", "f")


def test_a_forged_file_is_refused_or_decodes_within_its_bounds():
    """The checksum keeps accidents out; a stranger can make his own, and gets one line too."""
    body = a_file()[:-32]
    outcomes = set()
    for at in (*range(8, 140), *range(140, len(body), 13)):
        changed = bytearray(body)
        changed[at] ^= (1, 0x80, 0xFF)[at % 3]
        outcomes.add(outcome(bytes(changed) + hashlib.sha256(changed).digest()))
    assert outcomes == {"decoded", "refused"}


def outcome(data: bytes) -> str:
    try:
        for tensor, flat in effz.restore(effz.unpack(data, "f"), "f"):
            assert flat.nbytes == tensor.numel * reader.ITEM_BYTES[tensor.dtype]
    except InputError:
        return "refused"
    return "decoded"


def test_a_forged_size_takes_no_memory():
    tensor = effz.StoredTensor("a", "F32", (1 << 40, 1 << 20), b"")
    with pytest.raises(InputError, match="more than 16 GiB"):
        effz.unpack(effz.pack([tensor]), "f")
    small = effz.StoredTensor("a", "F32", (1 << 30,), b"")
    with pytest.raises(InputError, match="parts that pass its end"):
        effz.unpack(effz.pack([small]), "f")


# --- safetensors --------------------------------------------------------------------------------


def test_reads_and_writes_as_the_safetensors_package_does(tmp_path):
    tensors = {
        "w": torch.randn(3, 4),
        "half": torch.randn(5).half(),
        "brain": torch.randn(7).bfloat16(),
        "double": torch.randn(2, 2).double(),
        "steps": torch.tensor(3),
        "none": torch.zeros(0, 3),
    }
    save_file(tensors, tmp_path / "x.safetensors")
    file = reader.read(str(tmp_path / "x.safetensors"))
    assert {k: e.shape for k, e in file.entries.items()} == {
        k: tuple(t.shape) for k, t in tensors.items()
    }
    for name in ("w", "half", "brain", "double"):
        expected = tensors[name].float().flatten().numpy()
        assert file.floats(name).tobytes() == expected.tobytes()
    with open(tmp_path / "y.safetensors", "wb") as out:
        entries = [(n, e.dtype, e.shape) for n, e in file.entries.items()]
        reader.write(out, entries, [file.raw(n) for n in file.entries])
    again = load_file(tmp_path / "y.safetensors")
    assert again.keys() == tensors.keys()
    assert all(torch.equal(again[n], t) and again[n].dtype == t.dtype for n, t in tensors.items())


def forged(header: object, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


TENSOR = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "header too small"),
        (b"abc", "header too small"),
        (struct.pack("<Q", 1 << 60), "header too large"),
        (forged(b"{"), "invalid JSON"),
        (forged(b"[" * 100_000), "invalid JSON"),
        (forged(b'{"a":' * 100_000), "invalid JSON"),
        (forged([1]), "invalid JSON"),
        (forged(b'{"a": %b, "a": %b}' % (2 * (json.dumps(TENSOR).encode(),)), bytes(8)), "twice"),
        (forged({"a": {"dtype": "F32"}}), "missing field"),
        (forged({"a": {**TENSOR, "dtype": "F31"}}), "unknown variant `F31`"),
        (forged({"a": {**TENSOR, "dtype": "F4", "shape": [16]}}, bytes(8)), "a is F4, not read"),
        (forged({"a": {**TENSOR, "shape": [-2]}}), "invalid value: integer `-2`"),
        (forged({"a": {**TENSOR, "shape": [True, 2]}}), "invalid type: boolean"),
        (forged({"a": {**TENSOR, "shape": [1 << 62, 4]}}), "overflow"),
        (forged({"a": {**TENSOR, "shape": [3]}}), "invalid shape"),
        (forged({"a": {**TENSOR, "data_offsets": [8, 16]}}), "invalid offset for tensor `a`"),
        (forged({"a": TENSOR, "b": TENSOR}, bytes(8)), "invalid offset for tensor"),
        (forged({"a": TENSOR}, bytes(7)), "truncated or altered"),
        (forged({"a": TENSOR}, bytes(9)), "truncated or altered"),
    ],
)
def test_a_bad_safetensors_file_is_one_line(tmp_path, data, says):
    path = tmp_path / "x.safetensors"
    path.write_bytes(data)
    with pytest.raises(InputError, match=says) as error:
        reader.read(str(path))
    assert "\n" not in str(error.value)


@given(st.integers(0, 200), st.binary(min_size=1, max_size=4))
@settings(deadline=None, max_examples=200)
def test_an_altered_safetensors_header_is_one_line_or_tensors(tmp_path_factory, at, new):
    data = bytearray(forged({"a": TENSOR, "b": {**TENSOR, "data_offsets": [8, 16]}}, bytes(16)))
    data[at : at + len(new)] = new
    path = tmp_path_factory.getbasetemp() / "altered.safetensors"
    path.write_bytes(data)
    try:
        file = reader.read(str(path))
    except InputError as error:
        assert "\n" not in str(error)  # noqa: PT017 - either outcome is right
    else:
        assert all(len(file.raw(n)) == e.end - e.start for n, e in file.entries.items())


# --- whole networks -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def squeezenet(tmp_path_factory) -> str:
    """Weights of a SqueezeNet of 100 classes by effcalc's names, normally distributed."""
    path = tmp_path_factory.mktemp("weights") / "squeezenet.safetensors"
    torch.manual_seed(0)
    model = build(scale("squeezenet-1.1", classes=100).network)
    save_file({n: torch.randn(t.shape) / 8 for n, t in model.state_dict().items()}, path)
    return str(path)


ARGS = ("squeezenet-1.1", "--classes", "100")


def test_weights_are_compressed_written_and_restored(squeezenet, tmp_path):
    out, back = tmp_path / "out.effz", tmp_path / "back.safetensors"
    compression = "density=0.33,bits=6"
    found = table(
        *("deploy", *ARGS, "--weights", squeezenet, "--deep-compression", compression),
        *("--write", str(out)),
    )
    rows = {row["step"]: row for row in found["rows"]}
    # The bound is under the coded size, and that, without names and checksum, under the file's.
    assert rows[str(out)]["size"] == out.stat().st_size
    assert rows["entropy bound"]["size"] < rows["33%, 6 bits, Huffman"]["size"]
    coded = rows["33%, 6 bits, Huffman"]["size"]
    stored = effz.read(str(out))
    assert coded == sum(tensor.sizes.total for tensor in stored) < out.stat().st_size
    # Random weights are at random positions: the formula without weights is within 0.1%.
    for step in ("float32", "33%, float32", "33%, 6 bits"):
        assert rows[step]["size"] == pytest.approx(rows[step]["formula"], rel=1e-3)
    assert any("match the network's by their names" in note for note in found["notes"])

    run("deploy", "--read", str(out), "--restore", str(back))
    before, after = load_file(squeezenet), load_file(back)
    assert before.keys() == after.keys()
    storage = parse_compression(compression)
    for name, tensor in before.items():
        expected = tensor.numpy()
        if tensor.dim() > 1 and not np.array_equal(after[name].numpy(), expected):
            expected = quantise(expected.reshape(-1), storage).restored().reshape(expected.shape)
            assert np.count_nonzero(expected) == kept_of(expected.size, 0.33)
        assert after[name].numpy().tobytes() == expected.tobytes()
    # The restored weights are the network's.
    build(scale("squeezenet-1.1", classes=100).network).load_state_dict(after)


def test_reading_says_what_is_in_a_file(squeezenet, tmp_path):
    out = tmp_path / "out.effz"
    args = ("deploy", *ARGS, "--weights", squeezenet, "--deep-compression", "bits=4")
    assert run(*args, "--write", str(out)).code == 0
    found = table("deploy", "--read", str(out))
    assert found["total"]["bytes"] == sum(row["bytes"] for row in found["rows"])
    rows = {row["name"]: row for row in found["rows"]}
    assert rows["conv1.conv.weight"]["stored"] == "16 centroids"
    assert rows["conv1.conv.bias"]["stored"] == "F32"


def test_torchvisions_names_match_by_shapes(tmp_path):
    from torchvision.models import efficientnet_b0, resnet18

    network = scale("efficientnet-b0").network
    shapes = {n: tuple(t.shape) for n, t in efficientnet_b0().state_dict().items()}
    assert matched(shapes, network, "f") == "shapes"
    own = {n: tuple(t.shape) for n, t in build(network).state_dict().items()}
    assert matched(own, network, "f") == "names"
    # Without step counters, as some formats keep weights, it is the same network.
    bare = {n: s for n, s in own.items() if s}
    assert matched(bare, network, "f") == "names"
    with pytest.raises(InputError, match=r"^f: of shape .* efficientnet-b0 .*; give the"):
        matched({n: tuple(t.shape) for n, t in resnet18().state_dict().items()}, network, "f")


def test_a_compressed_file_is_the_same_each_time(squeezenet):
    storage = parse_compression("density=0.2,bits=5,index_bits=5")
    first, second = (compress(reader.read(squeezenet), storage) for _ in range(2))
    assert first.data == second.data
    # Half precision weights give the same codes of their own values.
    assert 0 < first.error < 1


@pytest.mark.parametrize(
    ("change", "args", "says"),
    [
        ({"conv1.conv.weight": float("nan")}, ARGS, "conv1.conv.weight has nan at position 0"),
        ({"conv1.conv.bias": float("inf")}, ARGS, "conv1.conv.bias has inf at position 0"),
        ({}, ("squeezenet-1.1",), "conv10.conv.weight is 100x512x1x1, and squeezenet-1.1 has it"),
        ({}, ("squeezenet-1.0", "--classes", "100"), "conv1.conv.weight is 64x3x3x3"),
        ({}, ("resnet-18",), "give the network and scaling of the weights"),
        ({"conv1.conv.bias": None}, ARGS, "has no conv1.conv.bias (64)"),
        ({"more": 1.0}, ARGS, "squeezenet-1.1 has no tensor 'more'"),
    ],
)
def test_weights_that_do_not_fit_leave_the_old_file(squeezenet, tmp_path, change, args, says):
    weights = safetensors.numpy.load_file(squeezenet)
    for name, value in change.items():
        if value is None:
            del weights[name]
        else:
            weights[name] = np.full_like(weights.get(name, np.zeros(2, "f4")), value)
    safetensors.numpy.save_file(weights, tmp_path / "w.safetensors")
    out = tmp_path / "out.effz"
    out.write_bytes(b"old")
    result = run(
        *("deploy", *args, "--weights", str(tmp_path / "w.safetensors")),
        *("--deep-compression", "density=0.33,bits=6", "--write", str(out)),
    )
    assert result.code == 2
    assert says in result.error()
    assert out.read_bytes() == b"old"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.effz", "w.safetensors"]


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--weights", "x"], "--weights needs --deep-compression"),
        (["--weights", "x", "--deep-compression", "bits=6"], "x: cannot be read"),
        (["--weights", "x", "--deep-compression", "bits=6,huffman=no"], "always Huffman-coded"),
        (["--weights", "x", "--deep-compression", "bits=6", "--link", "1Gbps"], "leave out --wei"),
        (["--write", "x"], "--write is not for this table; it is for --weights"),
        (["--restore", "x"], "--restore is not for this table; it is for --read"),
        (["--read", "x"], "x: cannot be read"),
        (["--read", "x", "--paper"], "give one of them"),
        (["--read", "x", "--restore", "/"], "--restore: '/' is not the name of a file"),
    ],
)
def test_errors_are_one_line(args, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run("deploy", *args)
    assert result.code == 2
    assert says in result.error()


def test_numpy_is_an_extra(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for args in (["--weights", "x", "--deep-compression", "bits=6"], ["--read", "x"]):
        result = run("deploy", *args)
        assert result.code == 3
        assert "needs numpy; pip install 'effcalc[deploy]'" in result.error()


def test_a_formula_without_weights_is_within_one_percent_of_random_ones(squeezenet):
    """Sizes before Huffman codes need no weights: kept ones at random positions."""
    storage = parse_compression("density=0.1,bits=5,index_bits=3,huffman=no")
    network = scale("squeezenet-1.1", classes=100).network
    shipped = compress(reader.read(squeezenet), storage)
    expected = stored(pieces(network), storage).total
    assert shipped.steps[storage.name].total == pytest.approx(expected, rel=0.01)
