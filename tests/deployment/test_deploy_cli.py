"""`effcalc deploy`: sizes, links, chips and the paper's rows, as a user meets them."""

from __future__ import annotations

import json

import pytest

from effcalc.deployment.onchip import Need, chip, chips, holds_both, holds_weights, need
from effcalc.deployment.papers import claims
from effcalc.deployment.sizes import Storage, int_storage, parse_compression
from effcalc.hardware.files import Device
from effcalc.scaling.scale import scale
from tests.cli.test_cli_commands import table
from tests.cli_helpers import run


def rows(*args: str, key: str = "storage") -> dict[str, dict]:
    return {row[key]: row for row in table("deploy", *args)["rows"]}


# --- sizes --------------------------------------------------------------------------------------


def test_sizes_by_storage():
    found = rows("squeezenet-1.0", "--density", "0.33", "--huffman")
    assert list(found) == [
        *("float32", "float16", "int8", "int4"),
        *("8-bit codebook", "6-bit codebook", "4-bit codebook"),
        *("33%, float32", "33%, 8 bits", "33%, 6 bits", "33%, 4 bits"),
        *("33%, 8 bits, Huffman", "33%, 6 bits, Huffman", "33%, 4 bits, Huffman"),
    ]
    for row in found.values():
        parts = sum(row[part] for part in ("values", "indices", "tables", "kept"))
        assert row["size"] == parts
        assert row["smaller"] == 4 * 1_248_424 / row["size"]
    assert found["33%, 8 bits"]["size"] == 659_579


def test_deep_compression_step_by_step():
    found = rows("squeezenet-1.0", "--deep-compression", "density=0.33,bits=6")
    assert [r["size"] for r in found.values()] == [4_993_696, 1_866_990, 536_767, 476_511]
    # Without pruning there are no indices to code, and the codebook is the only step.
    only = rows("squeezenet-1.0", "--deep-compression", "bits=6")
    assert list(only) == ["float32", "6-bit codebook"]


def test_a_shared_scaling_option_scales():
    wide = rows("--width", "2", "--no-head")["float32"]["size"]
    at = scale("efficientnet-b0", width=2.0, head=False)
    assert wide == at.weight_bytes + at.buffer_bytes - 49 * 8  # without 49 step counters


def test_over_a_link():
    # 4,993,696 bytes over 1.25e6 bytes/s, and 30 ms.
    row = rows("squeezenet-1.0", "--link", "10Mbps:30ms", "--clients", "1M")["float32"]
    assert row["time"] == pytest.approx(0.03 + 4_993_696 / 1.25e6)
    assert row["sent"] == 4_993_696 * 10**6
    assert row["sent_time"] == pytest.approx(0.03 + 4_993_696e6 / 1.25e6)
    # A link of a hardware file: 12.5e9 bytes/s and its latency.
    named = rows("squeezenet-1.0", "--link", "ethernet-100g")["float32"]
    assert named["time"] == pytest.approx(5e-6 + 4_993_696 / 12.5e9)


def test_the_terminal_has_80_columns():
    for args in (
        ["squeezenet-1.0"],
        ["--phi", "3", "--density", "0.33", "--huffman"],
        ["squeezenet-1.0", "--deep-compression", "density=0.33,bits=6"],
        ["squeezenet-1.0", "--link", "10Mbps", "--clients", "1M"],
        ["squeezenet-1.0", "--on-chip", "all"],
        ["squeezenet-1.1", "--fit-device", "virtex-7", "--bits", "8"],
        ["--paper"],
    ):
        rule = run("deploy", *args).out.split("\n─", 1)[1].partition("\n")[0]
        assert len(rule) < 80, args


# --- chips --------------------------------------------------------------------------------------

TWO = Device("d", "D", "S", on_chip_bytes=100, on_chip_weight_bytes=300)
ONE = Device("d", "D", "S", on_chip_bytes=400)


@pytest.mark.parametrize(
    ("device", "weights", "activations", "alone", "both"),
    [
        (TWO, 300, 100, True, True),  # each in its own memory
        (TWO, 301, 1, False, False),
        (TWO, 300, 101, True, False),
        (TWO, 60, 40, True, True),
        (ONE, 300, 100, True, True),  # together
        (ONE, 300, 101, True, False),
        (ONE, 401, 0, False, False),
    ],
)
def test_what_a_chip_holds(device, weights, activations, alone, both):
    assert holds_weights(device, weights) is alone
    assert holds_both(device, Need(weights, activations)) is both


def test_what_squeezenet_needs():
    at = scale("squeezenet-1.0")
    for storage, width in ((Storage(), 4), (Storage("float", 16), 2), (int_storage(8), 1)):
        assert need(at, storage).activations == at.peak_activation_bytes * width // 4


def test_the_papers_chip_holds_squeezenet():
    """Section 1: a Virtex-7 has at most 8.5 MB, and SqueezeNet's weights fit it."""
    virtex = chip("virtex-7", "")
    assert virtex.on_chip_bytes == 1_880 * 36 * 1024 // 8
    assert round(1_880 * 36 * 1024 / 10**6) == 69  # Mb; the paper's "68 Mbits" are 67,680 Kb
    assert holds_weights(virtex, 4 * 1_248_424)
    assert not holds_weights(virtex, 4 * 60_965_224)


def test_every_chip_has_a_row_and_the_largest_network_fits():
    found = rows("squeezenet-1.1", "--on-chip", "all", key="device")
    assert [d.name for d in chips()] == list(found)
    assert len(found) >= 20
    # 5 MB of weights and 6 MB of activations; of int8, 1.3 MB and 1.5 MB.
    assert found["virtex-7"]["float32"] == "w"
    assert found["virtex-7"]["int8"] == "w+a"
    assert found["rp2040"]["int4"] is None


@pytest.mark.parametrize("name", ["virtex-7", "kendryte-k210"])
def test_the_largest_that_fits_does_and_the_next_does_not(name):
    device = chip(name, "")
    args = ("squeezenet-1.1", "--fit-device", name, "--bits", "6", "--density", "0.33")
    storages = {
        "float32": Storage(),
        "int8": int_storage(8),
        "33%, 6 bits": parse_compression("density=0.33,bits=6,huffman=no"),
    }
    found = rows(*args)
    for text, storage in storages.items():
        width, phi = found[text]["width"], found[text]["phi"]
        for key, value in (("width", width), ("phi", phi)):
            fits = scale("squeezenet-1.1", **{key: value})
            more = scale("squeezenet-1.1", **{key: round(value + 0.001, 3)})
            assert holds_both(device, need(fits, storage)), (text, key)
            assert not holds_both(device, need(more, storage)), (text, key)
        assert found[text]["width_params"] == scale("squeezenet-1.1", width=width).params


def test_a_chip_of_ones_own(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text(
        'title = "Mine"\nsource = "me"\n[on_chip]\nmemory_kib = 8\nweights_kib = 5000\n'
    )
    [row] = table("deploy", "squeezenet-1.0", "--on-chip", str(file))["rows"]
    assert (row["memory"], row["weight_memory"], row["float32"]) == (8192, 5_120_000, "w")
    file.write_text('title = "Mine"\nsource = "me"\n[on_chip]\nweights_kib = 5000\n')
    assert "give both" in run("deploy", "--on-chip", str(file)).error()


# --- the paper's rows ---------------------------------------------------------------------------


def test_the_papers_rows():
    found = {
        (c.published.label, c.printed): (c.computed, c.verdict)
        for c in claims("SqueezeNet, table 2")
    }
    assert found == {
        ("AlexNet", "240MB"): (243_860_896, "no"),
        ("SqueezeNet", "4.8MB"): (4_993_696, "as MiB"),
        ("SqueezeNet, 33%, 8 bits", "0.66MB"): (659_579, "yes"),
        ("SqueezeNet, 33%, 6 bits", "0.47MB"): (536_767, "no"),
        ("33%, 6 bits, Huffman", "0.47MB"): (476_511, "no"),
    }


def test_the_papers_factors():
    found = table("deploy", "--paper")["rows"]
    # 240 MB over each printed size, rounded down, is the factor printed.
    for row in found:
        assert int(row["of_printed"] + 1e-9) == int(row["reduction"].removesuffix("x"))
    assert [round(row["ratio"], 1) for row in found] == [1.0, 48.8, 369.7, 454.3, 511.8]


def test_codes_of_5_9_bits_would_give_the_printed_0_47_mb():
    # The last row's note: entries · (6 − 5.87) / 8 = 476,511 − 470,000.
    entries = 410_668 + 678
    assert 6 - (476_511 - 470_000) * 8 / entries == pytest.approx(5.87, abs=0.005)


# --- errors -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--phi", "0,1"], "deploy is for one scaling"),
        (["--bits", "9"], "--bits: 9 bits are not a whole number from 1 to 8"),
        (["--bits", "3.5"], "--bits: 3.5 bits are not"),
        (["--density", "0"], "--density: 0 is not a share"),
        (["--density", "0.5", "--index-bits", "9"], "--index-bits: 9 bits are not"),
        (["--huffman"], "give --density 0.33 too"),
        (["--clients", "5"], "--clients is how many"),
        (["--link", "10Mbps", "--clients", "0"], "--clients is how many"),
        (["--link", "10Mbs"], "--link: '10Mbs' is not a bandwidth"),
        (["--link", "virtex-7"], "'virtex-7' is a device"),
        (["--link", "10Mbps", "--on-chip", "all"], "leave out --on-chip"),
        (["--paper", "--bits", "8"], "--bits is not for this table; leave out --paper"),
        (["--deep-compression", "bits=6", "--density", "0.5"], "leave out --deep-compression"),
        (["--index-bits", "5"], "give --density 0.33 too"),
        (["--paper", "--phi", "3"], "--paper is about networks of its own"),
        (["squeezenet-1.0", "--paper"], "--paper is about networks of its own"),
        (["--paper", "--on-chip", "all"], "give one of them"),
        (["--on-chip", "virtx-7"], "did you mean 'virtex-7'"),
        (["--on-chip", "a100-40gb"], "gives no [on_chip] memory_kib"),
        (["--fit-device", "virtex-7", "--phi", "3"], "finds the scaling itself"),
        (["efficientnet-b3", "--fit-device", "virtex-7"], "is a released scaling"),
        (["--deep-compression", "density=0.33"], "bits are missing"),
    ],
)
def test_errors_are_one_line(args, says):
    result = run("deploy", *args)
    assert result.code == 2
    assert says in result.error()


def test_numpy_and_torch_stay_unloaded():
    import subprocess
    import sys

    program = (
        "import sys, json; from effcalc.cli.main import main; main(['deploy', '--density', '.3']);"
        "print(json.dumps([m for m in ('torch', 'numpy') if m in sys.modules]), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert json.loads(done.stderr) == []
