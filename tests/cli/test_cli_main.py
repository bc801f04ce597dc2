"""The program as a whole: finding commands, options, errors and exit codes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from effcalc import __version__
from effcalc.base.errors import CheckFailed, InputError, NeedsError, RunError
from effcalc.cli.app import build, command_help, command_names, is_group, names_in, summary
from tests.cli_helpers import make_command, run, shell


@pytest.mark.parametrize("args", [[], ["-h"], ["--help"]])
def test_help_lists_every_command(args: list[str]) -> None:
    result = run(*args)
    assert (result.code, result.err) == (0, "")
    assert all(f"  {name} " in result.out for name in names_in())
    assert max(map(len, result.out.splitlines())) <= 80


@pytest.mark.parametrize("name", command_names())
def test_every_command_has_help_and_examples(name: str) -> None:
    text, examples = command_help(name)
    assert text.split("\n", 1)[0].endswith(".")
    assert any("effcalc " in example for example in examples)
    for flag in ("-h", "--help"):
        result = run(*name.split(), flag)
        assert (result.code, result.err) == (0, "")
        assert max(map(len, result.out.splitlines())) <= 80
        assert result.out.rstrip().endswith(examples[-1])


@pytest.mark.parametrize("name", command_names())
def test_every_option_has_a_help_text(name: str) -> None:
    for parameter in build(name).params:
        assert parameter.help, parameter.name
        assert parameter.help.endswith("."), parameter.name


def test_version() -> None:
    assert run("--version").out == f"effcalc {__version__}\n"


def test_a_command_is_a_file_and_only_the_one_asked_for_is_imported(demo) -> None:
    make_command(demo, "zz_broken", "raise SystemError('imported')")
    make_command(demo, "_zz_helper", "raise SystemError('imported')")
    assert "zz-demo" in command_names()
    assert not any("helper" in name for name in command_names())
    assert run("zz-demo").code == 0
    assert run("zz-broken").code == 70


def test_options_reach_the_command_as_groups(demo) -> None:
    result = run("zz-demo", "--phi", "0:2", "--alpha", "1.3", "--set", "a=1", "--set", "b=2",
                 "--no-head", "--workers", "16", "--dtype", "bf16", "--format", "csv")  # fmt: skip
    told = "efficientnet-b0 1.3 ['a=1', 'b=2'] True 16 1 bfloat16"
    assert result.out.splitlines() == [
        "phi,macs,told",
        f'0,1000000,"{told}"',
        f'1,2000000,"{told}"',
        f'2,4000000,"{told}"',
    ]


def test_output_options_shape_the_table(demo) -> None:
    args = ["zz-demo", "--phi", "0:2", "--sort", "-macs", "--columns", "macs", "--digits", "2"]
    result = run(*args, "--caption", "Mine", "--format", "markdown")
    assert "**Mine**" in result.out
    assert [line for line in result.out.splitlines() if "M |" in line] == [
        "| 4.0M |",
        "| 2.0M |",
        "| 1.0M |",
    ]


def test_json_records_the_command_line(demo) -> None:
    result = run("zz-demo", "--phi", "0, 1", "--format", "json", "--debug")
    assert json.loads(result.out)["command"] == "effcalc zz-demo --phi '0, 1' --format json"


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["zz-dmeo"], "there is no command 'zz-dmeo' (did you mean 'zz-demo'?)"),
        (["zz-demo", "--phii", "3"], "there is no option --phii (did you mean '--phi'?)"),
        (["--phi", "3"], "there is no option --phi"),
        (["zz-demo", "a", "b"], "unexpected extra argument"),
        (["zz-demo", "--phi"], "--phi"),
        (["zz-demo", "--no-head=1"], "--no-head"),
        (["zz-demo", "--phi", "2:1"], "--phi: the range '2:1' runs backwards"),
        (["zz-demo", "--alpha", "nan"], "--alpha: 'nan' is not a number"),
        (["zz-demo", "--workers", "0"], "--workers: 0 is not a whole number at least 1"),
        (["zz-demo", "--digits", "18"], "--digits: 18 is not a whole number from 1 to 17"),
        (["zz-demo", "--dtype", "f33"], "--dtype: there is no dtype 'f33'"),
        (["zz-demo", "--format", "jsn"], "there is no format 'jsn' (did you mean 'json'?)"),
        (["zz-demo", "--columns", "mac"], "there is no column 'mac' (did you mean 'macs'?)"),
        (["zz-demo", "--sort", "mac"], "--sort: there is no column 'mac'"),
        (["zz-demo", "--phi", "0:20000"], "--format table holds at most 10,000 rows"),
        (["completion", "bsh"], "there is no script for 'bsh' (did you mean 'bash'?)"),
        (["completion"], "missing argument 'SHELL'; see 'effcalc completion --help'"),
    ],
)
def test_bad_usage_is_one_line_and_2(demo, args: list[str], says: str) -> None:
    result = run(*args)
    assert result.code == 2
    assert says in result.error()


@pytest.mark.parametrize(
    ("kind", "code", "says"),
    [
        (CheckFailed, 1, "it fell"),
        (InputError, 2, "it fell"),
        (NeedsError, 3, "it fell"),
        (RunError, 4, "it fell"),
        (MemoryError, 4, "out of memory"),
        (RecursionError, 70, "this is a bug in effcalc (RecursionError: it fell)"),
        (KeyError, 70, "this is a bug in effcalc (KeyError: 'it\\nfell')"),
    ],
)
def test_each_error_has_its_exit_code(demo, monkeypatch, kind, code: int, says: str) -> None:
    def fail(table, out):
        raise kind("it\nfell")

    monkeypatch.setattr("effcalc.cli.output.write_table", fail)
    result = run("zz-demo")
    assert result.code == code
    assert result.error().startswith(says)
    traced = run("zz-demo", "--debug")
    assert traced.code == code
    assert "Traceback" in traced.err
    assert f"effcalc: error: {says}" in traced.err


def test_an_interrupt_is_quiet(demo) -> None:
    result = run("zz-demo", "--fail", "interrupt")
    assert (result.code, result.out, result.err) == (130, "", "")


words = st.sampled_from(
    ["zz-demo", "completion", "bash", "--phi", "--alpha", "--format", "json", "--digits", "--sort",
     "--columns", "-macs", "all", "--set", "--", "-", "", "--no-head", "--help", "--debug", "-o",
     "/", "0:3", "0:1e9", "1e999", "nan", "-1", "\x00", "\udc80", "é\n", "resnet", "--caption"]
)  # fmt: skip


@given(st.lists(words | st.text(max_size=8), max_size=8))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_no_command_line_ends_in_a_trace(demo, args: list[str]) -> None:
    if any(arg.startswith("-o") or "--output" in arg for arg in args):
        args = [arg for arg in args if "o" not in arg]  # write no file
    result = run(*args)
    assert result.code in (0, 2)
    if result.code == 2 and "--debug" not in args:
        assert result.error()


def test_help_loads_nothing_heavy() -> None:
    script = (
        "import sys; from effcalc.cli.main import main; code = main(['--help']); "
        "print(*sorted(m for m in sys.modules if '.' not in m), file=sys.stderr); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0
    loaded = set(done.stderr.split())
    assert "typer" in loaded
    assert not loaded & {"torch", "numpy", "rich", "json", "csv", "tomllib", "html", "decimal"}


def test_scale_loads_no_format_and_no_table_that_it_does_not_write() -> None:
    script = (
        "import sys; from effcalc.cli.main import main; code = main(['scale']); "
        "print(*sorted(m for m in sys.modules if 'effcalc.' in m), file=sys.stderr); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0
    loaded = set(done.stderr.split())
    others = {
        f"effcalc.output.formats.{name}"
        for name in ("markdown", "rst", "latex", "html", "csv", "json", "jsonl")
    }
    assert not loaded & {
        *others,
        "effcalc.scaling.tables.budget",
        "effcalc.scaling.tables.comparison",
    }


def test_a_reader_that_leaves_early_is_no_error(program) -> None:
    script = "set -o pipefail; effcalc zz-demo --phi 0:1e9 --format csv | head -2"
    done = shell(program, script)
    assert done.stdout.splitlines()[0] == "phi,macs,told"
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("command", ["zz-demo --phi 0:3000 --format csv", "zz-demo", "--help"])
def test_a_full_disk_is_one_line(program, command: str) -> None:
    done = shell(program, f"effcalc {command} > /dev/full")
    assert done.returncode == 4
    assert done.stderr.startswith("effcalc: error: cannot write")
    assert done.stderr.count("\n") == 1


def test_a_closed_stdout_is_one_line(program) -> None:
    done = shell(program, "effcalc zz-demo >&-")
    assert (done.returncode, done.stderr.count("\n")) == (4, 1)
    assert "stdout is closed; use --output FILE" in done.stderr


def test_results_alone_go_to_stdout_and_a_pipe_has_no_colour(program) -> None:
    done = shell(program, "effcalc zz-demo --phi 0:3")
    assert "\x1b" not in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_a_terminal_without_the_signs_still_gets_a_table(program, encoding: str) -> None:
    done = shell(program, f"PYTHONIOENCODING={encoding} effcalc zz-demo --phi 0:3")
    assert done.returncode == 0
    assert "1.000M" in done.stdout
    done = shell(program, f"PYTHONIOENCODING={encoding} effcalc zz-demo --format json")
    assert json.loads(done.stdout)["columns"][0]["title"] == "φ"


@pytest.mark.parametrize(("sign", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it_quietly_and_leaves_no_file(program, tmp_path, sign, code) -> None:
    place = tmp_path / "out"
    place.mkdir()
    process = subprocess.Popen(
        [program, "zz-demo", "--fail", "wait", "-o", str(place / "x.csv")],
        stderr=subprocess.PIPE,
        text=True,
        cwd=str(tmp_path),
    )
    assert process.stderr is not None
    assert process.stderr.readline() == "waiting\n"
    assert list(place.iterdir())
    time.sleep(0.1)
    process.send_signal(sign)
    assert process.wait(30) == code  # 128 + the signal's number, as a shell has it
    assert process.stderr.read() == ""
    assert list(place.iterdir()) == []


def test_the_list_of_commands_has_the_first_line_of_each_ones_help() -> None:
    # It is read from the files; what importing the command says must be the same.
    names = [*command_names(), *(name for name in names_in() if is_group(name))]
    assert {name: summary(name) for name in names} == {
        name: command_help(name)[0].partition("\n")[0] for name in names
    }
