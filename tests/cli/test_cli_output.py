"""Files are written whole or not at all."""

from __future__ import annotations

import io
import os
import re
import stat
import sys
import threading

import pytest

from effcalc.base.errors import InputError
from effcalc.base.files import open_output
from effcalc.cli.output import progress, status
from tests.cli_helpers import run, shell


def mode(path) -> int:
    return stat.S_IMODE(os.stat(path).st_mode)


def test_a_file_holds_what_stdout_would(demo, tmp_path) -> None:
    path = tmp_path / "x.csv"
    told = run("zz-demo", "--phi", "0:3", "--format", "csv").out
    assert run("zz-demo", "--phi", "0:3", "--output", str(path)).out == ""
    assert path.read_text() == told


def test_the_suffix_names_the_format(demo, tmp_path) -> None:
    for name, start in [
        ("a.md", "**Demo**"),
        ("a.JSON", "{"),
        ("a.htm", "<!doctype"),
        ("a", "Demo"),
    ]:
        assert run("zz-demo", "-o", str(tmp_path / name)).code == 0
        assert (tmp_path / name).read_text().startswith(start)
    assert run("zz-demo", "-o", str(tmp_path / "a.md"), "--format", "json").code == 0
    assert (tmp_path / "a.md").read_text().startswith("{")


@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_a_new_file_follows_the_umask(tmp_path, mask: int) -> None:
    was = os.umask(mask)
    try:
        with open_output(str(tmp_path / "x")) as file:
            file.write("φ\n")
    finally:
        os.umask(was)
    assert mode(tmp_path / "x") == 0o666 & ~mask
    assert (tmp_path / "x").read_bytes() == "φ\n".encode()


def test_a_file_keeps_its_permissions_and_a_symlink_its_target(tmp_path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_text("old")
    target.chmod(0o640)
    link.symlink_to("target")
    with open_output(str(link)) as file:
        file.write("new")
        assert target.read_text() == "old"
    assert link.is_symlink()
    assert (target.read_text(), mode(target)) == ("new", 0o640)
    dangling = tmp_path / "dangling"
    dangling.symlink_to("later")
    with open_output(str(dangling)) as file:
        file.write("new")
    assert (tmp_path / "later").read_text() == "new"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_midway_changes_nothing(tmp_path, error) -> None:
    path = tmp_path / "x"
    path.write_text("old")
    with pytest.raises(error), open_output(str(path)) as file:  # noqa: PT012
        file.write("new" * 100_000)
        raise error
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_cannot_be_written_is_refused_before_anything_is_done(demo, tmp_path) -> None:
    cases = {
        str(tmp_path): "is a folder; name a file in it",
        str(tmp_path / "no" / "x"): "there is no folder",
        str(tmp_path / "no") + "/": "not the name of a file",
        "": "not the name of a file",
        "a\0b": "not the name of a file",
        str(tmp_path / ("x" * 300)): "too long",
        str(demo / "zz_demo.py" / "x"): "",
    }
    for path, says in cases.items():
        result = run("zz-demo", "--fail", "SystemError", "--output", path)
        assert (result.code, says in result.error()) == (2, True), result.err


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_file_is_left_alone(tmp_path) -> None:
    path = tmp_path / "x"
    path.write_text("old")
    path.chmod(0o444)
    with pytest.raises(InputError, match="permissions"), open_output(str(path)):
        pass


def test_a_pipe_is_written_as_it_comes(tmp_path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(path.read_text()))
    reader.start()
    with open_output(str(path)) as file:
        file.write("new")
    reader.join(10)
    assert read == ["new"]
    assert stat.S_ISFIFO(os.stat(path).st_mode)


def test_devices_are_written_in_place(program, tmp_path) -> None:
    done = shell(program, "effcalc zz-demo --format csv --output /dev/stdout | head -1")
    assert (done.stdout, done.stderr) == ("phi,macs,told\n", "")
    done = shell(program, "effcalc zz-demo --format csv --output /dev/stdout > x", cwd=tmp_path)
    assert (tmp_path / "x").read_text().startswith("phi,macs,told\n")
    assert shell(program, "effcalc zz-demo --output /dev/null").returncode == 0
    full = shell(program, "effcalc zz-demo --output /dev/full")
    assert (full.returncode, full.stderr.count("\n")) == (4, 1)
    assert "cannot write '/dev/full': No space left on device" in full.stderr


def test_100_000_rows_stream_into_a_file(demo, tmp_path) -> None:
    path = tmp_path / "x.json"
    assert run("zz-demo", "--phi", "1:100_000", "-o", str(path)).code == 0
    assert path.read_text().count('"phi"') == 100_000 + 1


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_shows_on_a_terminal_alone(monkeypatch) -> None:
    monkeypatch.setattr("effcalc.cli.output.PATIENCE_S", 0)
    monkeypatch.setattr("sys.stderr", io.StringIO())
    assert list(progress(range(3), "Rows")) == [0, 1, 2]
    assert sys.stderr.getvalue() == ""
    monkeypatch.setattr("sys.stderr", _Terminal())
    monkeypatch.setenv("TERM", "xterm")
    assert list(progress(range(3000), "Rows", 3000)) == list(range(3000))
    shown = re.sub(r"\x1b\[[0-9;]*m", "", sys.stderr.getvalue())
    assert "Rows: 1 of 3,000" in shown  # the first, before which rich was not imported
    assert "Rows: 3,000 of 3,000" in shown
    assert shown.endswith("\x1b[2K")  # its line is cleared


def test_progress_of_a_short_task_imports_no_rich(monkeypatch) -> None:
    monkeypatch.setattr("sys.stderr", _Terminal())
    monkeypatch.setitem(sys.modules, "rich.progress", None)  # to import it is an ImportError
    assert list(progress(range(3), "Rows", 3)) == [0, 1, 2]
    assert sys.stderr.getvalue() == ""


def test_status_shows_on_a_terminal_alone(monkeypatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    for terminal, expected in ((io.StringIO(), False), (_Terminal(), True)):
        monkeypatch.setattr("sys.stderr", terminal)
        with status() as show:
            show("matmul [bold]\n256")
        assert ("matmul [bold] 256" in terminal.getvalue()) == expected == bool(terminal.getvalue())
