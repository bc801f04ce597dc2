"""Hardware files: strict, with their sources, and units that are right."""

from __future__ import annotations

import pytest

from effcalc.base.errors import InputError
from effcalc.hardware.files import device_names, link_names, load_device, load_link


@pytest.mark.parametrize("name", device_names())
def test_every_device_loads_and_names_its_source(name):
    device = load_device(name)
    assert len(device.source) > 20
    assert device.peaks or device.bandwidth or device.on_chip_bytes


@pytest.mark.parametrize("name", link_names())
def test_every_link_loads_and_names_its_source(name):
    link = load_link(name)
    assert len(link.source) > 20
    assert 1e6 < link.bytes_per_second < 1e13
    assert 0 <= link.latency_s < 1


def test_units_are_those_in_the_keys():
    # The A100 whitepaper: 312 TFLOP/s of dense bf16, 1,555 GB/s.
    device = load_device("a100-40gb")
    assert device.peaks["bf16"] == 312e12
    assert device.bandwidth == 1555e9
    # 100 Gb/s are 12.5e9 bytes a second.
    assert load_link("ethernet-100g").bytes_per_second == 12.5e9


def test_a_link_as_typed():
    link = load_link("100Gbps:5us")
    assert (link.bytes_per_second, link.latency_s) == (12.5e9, 5e-6)
    assert load_link("25GB/s").bytes_per_second == 25e9
    assert load_link("25GB/s").latency_s == 0


BASE = 'title = "T"\nsource = "S"\n'


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('title = "T"\n[link]\nbandwidth_gb_per_s = 1\nlatency_us = 1', "'source' is missing"),
        (BASE + "[link]\nbandwidth_gb_per_s = 1", "'latency_us' is missing"),
        (BASE + "[link]\nbandwidth_gb_per_s = 0\nlatency_us = 1", "above zero"),
        (BASE + "[link]\nbandwith_gb_per_s = 1\nlatency_us = 1", "did you mean"),
        (BASE + "[memory]\nsize_gib = 1", "is a device, not a link"),
    ],
)
def test_a_wrong_link_file_is_told_where_and_what(tmp_path, text, says):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=r"mine") as caught:
        load_link(str(path))
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (BASE, "[compute], [memory] or [on_chip]"),
        (BASE + "[compute]\nbf16_sparse_tflops = 624.0", "unknown key"),
        (BASE + "[memory]\nsize_gib = -1", "above zero"),
        (BASE + "[link]\nbandwidth_gb_per_s = 1\nlatency_us = 1", "is a link, not a device"),
    ],
)
def test_a_wrong_device_file_is_told_where_and_what(tmp_path, text, says):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        load_device(str(path))
    assert says in str(caught.value)


def test_an_unknown_name_is_answered_with_a_close_one():
    with pytest.raises(InputError, match="did you mean 'a100-40gb'"):
        load_device("a100-40g")
    with pytest.raises(InputError, match="100Gbps"):
        load_link("100 apples")
