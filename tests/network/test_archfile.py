"""Architecture files: what is wrong with one is said in a line that names file, table and key."""

from __future__ import annotations

import os
from typing import get_args

import pytest

from effcalc.base.errors import InputError
from effcalc.base.toml import MAX_BYTES, MAX_TABLES
from effcalc.network.archfile import load
from effcalc.network.builder import ACTIVATIONS, Activation
from effcalc.network.catalog import built_in_names, index
from effcalc.scaling.scale import scale

STAGE = '[[stage]]\nname = "s"\nblock = "convolution"\nkernel = 3\nchannels = 8\n'
GOOD = 'name = "mine"\n' + STAGE
LINEAR = '[[stage]]\nname = "fc"\nblock = "linear"\nchannels = 8\n'
FIRE = '[[stage]]\nname = "f"\nblock = "fire"\nexpand = {}\npct_3x3 = 0.5\nsqueeze_ratio = {}\n'
KNOB = GOOD + "[knobs.a]\n"


def mbconv(expansion: str) -> str:
    keys = f"kernel = 3\nchannels = 8\nexpansion = {expansion}\n"
    return f'name = "mine"\n[[stage]]\nname = "s"\nblock = "mbconv"\n{keys}'


def expression(text: str) -> str:
    return GOOD.replace("= 8", f"= '= {text}'")


def complaint(tmp_path, text: str | bytes, **more) -> str:
    """Return what is wrong with a file; the message starts with the file as it was given."""
    path = tmp_path / "mine.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError) as caught:
        scale(str(path), **more)
    message = str(caught.value)
    assert str(path) in message
    assert message.isprintable()
    return message.replace(f"{path}: ", "", 1)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        # keys
        (STAGE, "the key 'name' is missing; give a string"),
        (GOOD.replace("block", "blok"), "[[stage]] 1 (s): the key 'block' is missing"),
        (GOOD.replace("kernel", "kernal"), "unknown key 'kernal' (did you mean 'kernel'?); known:"),
        (GOOD.replace("kernel = 3\n", ""), "[[stage]] 1 (s): the key 'kernel' is missing; block"),
        ("nme = 1\n" + GOOD, "unknown key 'nme' (did you mean 'name'?)"),
        (GOOD + "[scaling]\ndivsor = 8\n", "[scaling]: unknown key 'divsor' (did you mean"),
        (GOOD + "[input]\nsise = 8\n", "[input]: unknown key 'sise' (did you mean 'size'?)"),
        (GOOD + "[defaults]\nchanels = 8\n", "[defaults]: unknown key 'chanels'"),
        (GOOD + "[[published]]\ntabel = 1\n", "[[published]] 1: unknown key 'tabel'"),
        (GOOD + '[[variant]]\nname = "v"\n', "[[variant]] 1: the key 'depth' is missing"),
        # types
        ("name = 1\n" + STAGE, "name must be a string, not 1"),
        ('name = "x"\nstage = 1\n', "stage must be written as [[stage]] tables"),
        ('name = "x"\ninput = 1\n' + STAGE, "[input] must be a table"),
        ('name = "x"\nknobs = 1\n' + STAGE, "[knobs] must be a table"),
        ('name = "x"\nnotes = "n"\n' + STAGE, "notes must be a list of strings"),
        ('name = "x"\nnotes = [1]\n' + STAGE, "notes must be a string, not 1"),
        (GOOD.replace("= 8", "= 8.0"), "(s): channels must be a whole number, not 8.0"),
        (GOOD.replace("= 8", "= true"), "(s): channels must be a whole number, not True"),
        (GOOD.replace("= 8", "= [8]"), "(s): channels must be a whole number, not [8]"),
        (GOOD + "bias = 1\n", "(s): bias must be true or false, not 1"),
        (GOOD + "activation = 1\n", "(s): activation must be a string, not 1"),
        (GOOD + "[input]\nsize = [1, 2, 3]\n", "size must be one side or [height, width], not 3"),
        (GOOD + "[input]\nsize = 22.4\n", "[input]: size must be a whole number"),
        # ranges
        (GOOD.replace("= 8", "= 0"), "(s): channels must be above zero, not 0"),
        (GOOD.replace("= 8", "= -8"), "(s): channels must be above zero, not -8"),
        (GOOD.replace("= 8", "= 2147483649"), "2147483649 is out of range (at most 2^31)"),
        (GOOD.replace("= 8", f"= {'9' * 500}"), "is out of range (at most 2^31)"),
        (GOOD.replace("= 8", f"= {'9' * 5000}"), "is not valid TOML"),
        (GOOD + "dropout = nan\n", "(s): dropout: nan is out of range"),
        (GOOD + "dropout = inf\n", "(s): dropout: inf is out of range"),
        (GOOD + "padding = -2\n", "(s): padding must be at least -1, not -2"),
        (GOOD + "dropout = -0.5\n", "(s): dropout is a share from 0 to 1, not -0.5"),
        (mbconv("2\nse_ratio = -1"), "(s): se_ratio must be at least 0, not -1"),
        (GOOD + "dropout = 1.5\n", "(s): dropout is a share from 0 to 1, not 1.5"),
        (GOOD + "min_width = -1\n", "(s): min_width must be at least 0, not -1"),
        (GOOD + "[input]\nsize = 0\n", "size must be at least one pixel, not 0 x 0"),
        (GOOD + "[input]\nchannels = 0\n", "[input]: channels must be at least 1, not 0"),
        (GOOD + "[scaling]\nkeep = 2\n", "[scaling]: keep is a share from 0 to 1, not 2"),
        (GOOD + "[scaling]\ndivisor = 0\n", "[scaling]: divisor must be at least 1, not 0"),
        (
            GOOD + '[[variant]]\nname = "v"\ndepth = 0\nwidth = 1\nimage_size = 1\n',
            "[[variant]] 1: depth must be above zero",
        ),
        # names
        ('name = "x"\n', "has no [[stage]]; a network needs at least one"),
        (GOOD + STAGE, "[[stage]] 2: the name 's' is taken; names must differ"),
        (GOOD + '[[network]]\nname = "mine"\n', "[[network]] 1: the name 'mine' is taken"),
        (GOOD.replace('"s"', '"s.t"'), "name 's.t' must be letters, digits and _"),
        (GOOD.replace('"convolution"', '"mbconw"'), "no block is named 'mbconw' (did you mean"),
        (GOOD + 'activation = "rleu"\n', "activation 'rleu' is not known (did you mean 'relu'?)"),
        (GOOD + STAGE * MAX_TABLES, f"at most {MAX_TABLES} [[stage]] tables, not {MAX_TABLES + 1}"),
        # what cannot be built: file and stage
        (GOOD + "groups = 3\n", "stage s: conv: 3 input and 8 output channels cannot be split"),
        (GOOD + "padding = 0\n[input]\nsize = 2\n", "stage s: the image is too small, conv would"),
        ('name = "x"\n' + LINEAR + STAGE, "stage s: convolution needs an image, and a linear"),
        (mbconv("1e-9"), "stage s: expand.conv would have no channels"),
        ('name = "x"\n' + FIRE.format(8, 0.001), "stage f: squeeze.conv would have no channels"),
        ('name = "x"\n' + FIRE.format(0.1, 1), "stage f: expand 0.1 comes to no filter"),
        (mbconv("nan"), "(s): expansion: nan is out of range"),
        # knobs
        (KNOB + "default = true\n", "[knobs]: [a]: default must be a number or a string"),
        (KNOB + "default = nan\n", "[a]: default: nan is out of range"),
        (KNOB + "default = 5\nlow = 9\n", "[a]: default must be from 9 to inf, not 5"),
        (KNOB + 'default = "z"\nchoices = ["q"]\n', "[a]: default 'z' is not known"),
        (GOOD + '[[network]]\nname = "n"\nset = { b = 1 }\n', "set: no knob is named 'b'"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, text: str, says: str) -> None:
    assert says in complaint(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("1 << 3", "'1 << 3' is not allowed in an expression; write numbers, names, +"),
        ("2 ** 9", "is not allowed"),
        ("classes == 3", "is not allowed"),
        ('__import__("os")', "is not allowed"),
        ("classes.real", "is not allowed"),
        ("0x1or 2", "is not allowed"),
        ("8 +", "'8 +' is not an expression"),
        ("(" * 300, "is not an expression"),
        ("1 + " * 200 + "1", "at most 500 characters"),
        ("clases", "no value is named 'clases' (did you mean 'classes'?)"),
        ("8 / 0", "'8 / 0' has no value: division by zero"),
        ("floor(1, 2)", "has no value"),
        ("1e300 * 1e300", "channels must be a whole number, not inf"),
        ("floor(1e300)", "is out of range"),
        ("7 / 2", "channels must be a whole number, not 3.5"),
        ("1 - 2", "channels must be above zero, not -1"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_bad_expressions(tmp_path, text: str, says: str) -> None:
    message = complaint(tmp_path, expression(text))
    assert message.startswith("[[stage]] 1 (s): channels")
    assert says in message


def test_a_text_is_no_number_to_repeat_or_to_format(tmp_path) -> None:
    """To Python `"z" * 10**9` is a gigabyte, and so is `"%1000000000d" % 1`."""
    for default, text in (("z", "a * 1000000000"), ("%1000000000d", "a % 1")):
        file = expression(text) + f'[knobs.a]\ndefault = "{default}"\n'
        assert "has no value: text is no number" in complaint(tmp_path, file)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"name = ", "is not valid TOML"),
        (b'name = "a"\nname = "b"', "is not valid TOML"),
        (b"\x00", "is not valid TOML"),
        (GOOD.encode() + b"# \xff", f"byte {len(GOOD) + 2} is not UTF-8; save it as UTF-8"),
        (b"a = " + b"[" * 100_000, "is nested too deeply"),
        (b"#" * (MAX_BYTES + 1), "is larger than 1 MiB"),
        (b"", "the key 'name' is missing"),
    ],
    ids=["value", "twice", "nul", "utf-8", "deep", "large", "empty"],
)
def test_what_is_no_toml(tmp_path, data: bytes, says: str) -> None:
    assert says in complaint(tmp_path, data)


def test_a_folder_and_no_file(tmp_path) -> None:
    (tmp_path / "f.toml").mkdir()
    with pytest.raises(InputError, match=r"f\.toml: is a folder; give a \.toml file"):
        load(str(tmp_path / "f.toml"))
    with pytest.raises(InputError, match=r"g\.toml: cannot be read: No such file"):
        load(str(tmp_path / "g.toml"))
    with pytest.raises(InputError, match="is not a path"):
        load("a\0b.toml")
    with pytest.raises(InputError, match=r"an architecture file ends in \.toml"):
        load(f"{tmp_path}{os.sep}mine.tml")


KNOBS = expression("a * 4") + (
    "[knobs.a]\ndefault = 2\nlow = 1\nhigh = 9\n"
    '[[network]]\nname = "wide"\ntitle = "Wide"\nset = { a = 4 }\n'
)


def test_members_and_knobs(tmp_path) -> None:
    """3x3 convolution of 3 channels without bias, a·4 filters; its norm has two numbers each."""
    path = tmp_path / "mine.toml"
    path.write_text(KNOBS)

    def params(name: str, **knobs: object) -> int:
        return scale(f"{path}{name}", knobs=knobs).params

    assert params("") == params(":mine") == 8 * 27 + 8 * 2
    assert params(":wide") == 16 * 27 + 16 * 2
    assert params(":wide", a=3) == 12 * 27 + 12 * 2
    for name, knobs, says in [
        (":wid", {}, r"has no network 'wid' \(did you mean 'wide'\?\); it has mine, wide"),
        ("", {"a": 10}, "`knobs` a must be from 1 to 9, not 10"),
        ("", {"a": 1.5}, "`knobs` a must be a whole number, not '1.5'"),
        ("", {"b": 1}, "`knobs`: no knob is named 'b'; known: a"),
    ]:
        with pytest.raises(InputError, match=says):
            params(name, **knobs)


def test_variants_are_found_in_any_case_and_named_when_they_cannot_be(tmp_path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(GOOD + '[[variant]]\nname = "V"\ndepth = 1\nwidth = 2\nimage_size = 9\n')
    # 8 channels twice as wide are 16.
    assert scale(str(path), variant="v").params == scale(str(path), variant="V").params
    assert scale(str(path), variant="v").params == 16 * 27 + 16 * 2
    path.write_text(
        GOOD + "padding = 0\n" + '[[variant]]\nname = "V"\ndepth = 1\nwidth = 2\nimage_size = 2\n'
    )
    with pytest.raises(InputError, match=r"variant V: .*stage s: the image is too small"):
        _ = scale(str(path)).nearest


def test_a_network_that_is_all_head_has_nothing_without_it(tmp_path) -> None:
    assert "mine is all head" in complaint_without_head(tmp_path)


def complaint_without_head(tmp_path) -> str:
    path = tmp_path / "mine.toml"
    path.write_text(GOOD + "head = true\n")
    with pytest.raises(InputError) as caught:
        scale(str(path), head=False)
    return str(caught.value)


@pytest.mark.parametrize("classes", [0, -1, 2**31 + 1, 10**5000], ids=["0", "-1", "2^31+1", "huge"])
def test_classes_and_channels_have_a_range(classes: int) -> None:
    with pytest.raises(InputError, match=r"`classes` must be from 1 to 2\^31"):
        load("resnet-18", classes=classes)
    with pytest.raises(InputError, match=r"`in_channels` must be from 1 to 2\^31"):
        load("resnet-18", in_channels=classes)


@pytest.mark.parametrize("name", built_in_names())
def test_each_built_in_file_loads(name: str) -> None:
    at = scale(name)
    assert at.arch.name == name
    assert at.arch.source
    assert at.params > 0
    assert at.macs > 0


def test_each_released_name_is_its_variant() -> None:
    for name, entry in index().items():
        assert (load(name)[1] is not None) == bool(entry.variant)


def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    path = tmp_path / "net.toml"
    os.mkfifo(path)
    with pytest.raises(InputError, match="not a regular file"):
        load(str(path))


def test_every_activation_that_a_file_may_name_has_an_operator() -> None:
    assert get_args(Activation) == tuple(ACTIVATIONS)
