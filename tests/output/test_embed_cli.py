"""`effcalc embed`, `value` and `show` as they are run, and what a stranger's document gets."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from effcalc.cli import app, output, regions
from effcalc.cli.app import command_names
from effcalc.cli.regions import PURE, TARGETS
from tests.cli_helpers import run

REGION = "<!-- effcalc: {} -->\n<!-- effcalc end -->\n"
# From the authors' released coefficients: EfficientNet-B4 has 19,341,616 parameters.
B4 = "19.34M"


@pytest.fixture
def root(tmp_path, monkeypatch):
    folder = tmp_path / "root"
    folder.mkdir()
    (folder / ".git").mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize("name", ["a.md", "a.html", "a.rst", "a.tex"])
def test_check_says_what_is_stale_and_embed_mends_it(name, root):
    marks = {
        "a.rst": ".. effcalc: {}\n\n.. effcalc end\n",
        "a.tex": "% effcalc: {}\n% effcalc end\n",
    }
    path = root / name
    path.write_text(marks.get(name, REGION).format("scale --phi 0:3 --columns phi,params"))
    path.chmod(0o640)
    before = path.read_bytes()
    stale = run("embed", "--check", name)
    assert stale.code == 1
    assert f"stale; update with: effcalc embed {name}" in stale.err
    assert stale.out.startswith(f"--- {name}\n+++ {name}\n@@ ")
    assert path.read_bytes() == before
    assert run("embed", "--diff", name).out == stale.out
    assert "16.35M" in path.read_text()  # EfficientNet-B0 at φ = 3: 16,350,296
    assert run("embed", "--check", name).code == 0
    assert path.stat().st_mode & 0o777 == 0o640


def test_folders_patterns_and_files(root):
    for name in ("a.md", "d/b.rst", "d/e/c.md", "d/.hidden/d.md", "d/e/x.txt"):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(
            ".. effcalc: value phi --phi 2\n.. effcalc end\n"
            if "rst" in name
            else REGION.format("value phi --phi 2")
        )
    assert run("embed", "d").err == "filled d/b.rst\nfilled d/e/c.md\n"
    (root / "d/e/c.md").write_text(REGION.format("value phi"))
    assert run("embed", "--check", "d/**/*.md").err.startswith("effcalc: error: d/e/c.md: line 1: ")
    assert run("embed", "*.md").err == "filled a.md\n"
    assert "matches no file" in run("embed", "x*.md").error()
    assert "cannot be read" in run("embed", "x.md").error()
    assert "is no document" in run("embed", "d/e/x.txt").error()


def test_a_value_in_a_sentence():
    assert run("value", "params", "--variant", "b4").out == f"{B4}\n"
    assert run("value", "params", "efficientnet-b4", "--exact").out == "19,341,616\n"
    assert run("value", "params", "--variant", "b4", "--digits", "2").out == "19M\n"
    assert run("value", "growth", "--phi", "0", "--exact").out == "1×\n"
    assert "did you mean 'params'?" in run("value", "parms").error()
    assert "for one scaling" in run("value", "params", "--phi", "0:3").error()
    assert "no figure for 'phi'" in run("value", "phi", "--depth", "2").error()


def test_a_saved_table_is_shown_and_never_measured(root):
    assert run("scale", "--phi", "0:2", "--output", "runs.json").code == 0
    assert run("scale", "--phi", "2", "--output", "one.json").code == 0
    shown = run(
        "show", "runs.json", "--columns", "phi,params", "--sort", "-phi", "--caption", "Mine"
    )
    table = run(
        "scale", "--phi", "0:2", "--columns", "phi,params", "--sort", "-phi", "--caption", "Mine"
    )
    assert shown.out == table.out
    assert run("value", "params", "one.json").out == run("value", "params", "--phi", "2").out
    assert "one row" in run("value", "params", "runs.json").error()
    assert "give no scaling" in run("value", "params", "one.json", "--phi", "2").error()
    (root / "d").mkdir()
    (root / "d/a.md").write_text(REGION.format("show ../runs.json --columns params"))
    assert run("embed", "d/a.md").code == 0
    assert "9.110M" in (root / "d/a.md").read_text()


def test_notes_can_be_left_out():
    full, bare = (run("scale", *more).out for more in ([], ["--no-notes"]))
    assert full.startswith(bare)
    assert "MACs =" in full
    assert "MACs =" not in bare


def test_equal_commands_run_once(root, monkeypatch):
    ran = []
    monkeypatch.setattr(
        regions, "run", lambda args, agree: ran.append(args) or app.run(args, agree)
    )
    (root / "a.md").write_text(REGION.format("scale") * 3 + REGION.format("scale   --phi '2'"))
    assert run("embed", "a.md").code == 0
    assert ran == [["scale"], ["scale", "--phi", "2"]]


# --- a stranger's document ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("embed .", "no document runs 'embed'"),
        ("", "no document runs ''"),
        ("export -o x.py", "no document runs 'export'"),
        ("count os:getcwd", "'count' imports the code it counts: embed --allow-targets"),
        ("scale --output x.md", "--output: is not for a command in a document"),
        ("scale -ox.md", "--output: is not for"),
        ("scale --format json", "--format: is not for"),
        ("scale --help", "--help: is not for"),
        ("scale --evaluate 'import os'", "there is no option --evaluate"),
        ("scale; touch x.md", "no document runs 'scale;'"),
        ("scale | tee x.md", "unexpected extra argument"),
        ("scale $(touch x.md)", "unexpected extra argument"),
        ("scale `touch x.md`", "unexpected extra argument"),
        ("scale > x.md", "unexpected extra argument"),
        ("scale 'x", "No closing quotation"),
        ("scale ../out.toml", "outside the repository"),
        ("scale /etc/passwd.toml", "outside the repository"),
        ("scale link.toml", "outside the repository"),
        ("scale linked/out.toml", "outside the repository"),
        ("compare alexnet@classes=3 ../out.toml@phi=1", "outside the repository"),
        ("comm --device ../out.toml --mfu 30%", "outside the repository"),
        ("comm --link ../out.toml", "outside the repository"),
        ("deploy --on-chip ../out.toml", "outside the repository"),
        ("deploy --fit-device link.toml", "outside the repository"),
        ("show ../out.json", "outside the repository"),
        ("value params ../out.json", "outside the repository"),
        ("show loop.json", "is not a path"),
        ("scale --phi 0:9:0.001", "at most 1,000 rows"),
        ("scale --phi 0:1e300", "values"),
        ("scale --depth 0:1e6 --width 0:1e6", "at most 1,000 rows"),
        ("show big.json", "at most 1,000 rows"),
    ],
)
def test_a_stranger_s_document_reaches_nothing(command, said, root):
    outside = root.parent
    (outside / "out.toml").write_text("name = 1")
    (outside / "out.json").write_text("{}")
    (root / "link.toml").symlink_to(outside / "out.toml")
    (root / "linked").symlink_to(outside)
    (root / "loop.json").symlink_to("loop.json")
    table = json.loads(run("scale", "--format", "json").out)
    (root / "big.json").write_text(json.dumps(table | {"rows": table["rows"] * 1001}))
    good = REGION.format("scale")
    (root / "a.md").write_text(good)
    (root / "b.md").write_text(REGION.format(command))
    before = sorted(outside.rglob("*"))
    result = run("embed", "a.md", "b.md")
    assert result.code == 2
    assert result.error().startswith("b.md: line 1: ")
    assert said in result.err
    assert (root / "a.md").read_text() == good  # nothing is written unless all is well
    assert sorted(outside.rglob("*")) == before


def test_a_diff_says_nothing_to_a_terminal_or_a_ci(root):
    evil = "::add-mask::x\n##[error]y\n\x1b[2Jz\u202e\n"
    (root / "a.md").write_text(
        REGION.format("value params").replace("\n<!-- eff", f"\n{evil}<!-- eff")
    )
    out = run("embed", "--check", "a.md").out
    assert "add-mask" in out
    assert "\\x1b[2Jz\\u202e" in out
    assert not [line for line in out.splitlines() if line.strip().startswith(("::", "##["))]
    assert all(c.isprintable() or c == "\n" for c in out)


def test_targets_run_for_who_allows_them(root):
    pytest.importorskip("torch")
    (root / "zz_model.py").write_text("from torch.nn import Linear\nprint('hello')\n")
    region = REGION.format(
        "count zz_model.py:Linear --arg in_features=3 --arg out_features=4 --input 2x3"
    )
    (root / "a.md").write_text(region)
    assert "embed --allow-targets" in run("embed", "a.md").error()
    assert run("embed", "--allow-targets", "a.md").code == 0
    filled = (root / "a.md").read_text()
    assert "| 16 " in filled or " 16 |" in filled  # 3 · 4 weights and 4 biases
    assert "hello" not in filled


def test_a_document_outside_the_repository_is_refused(root):
    (root.parent / "out.md").write_text(REGION.format("scale"))
    (root / "link.md").symlink_to(root.parent / "out.md")
    for name in ("link.md", "../out.md"):
        assert "outside the repository" in run("embed", name).error()


def test_a_link_inside_the_repository_stays_a_link(root):
    (root / "a.md").write_text(REGION.format("value params"))
    (root / "b.md").symlink_to("a.md")
    assert run("embed", "b.md").code == 0
    assert (root / "b.md").is_symlink()
    assert "5.289M" in (root / "a.md").read_text()


def test_time_is_limited(root, demo, monkeypatch):
    monkeypatch.setitem(PURE, "zz-demo", ("--fail",))
    (root / "a.md").write_text(REGION.format("zz-demo --fail wait"))  # it would take a minute
    said = run("embed", "a.md", "--time-limit", "0.2").err
    assert "a.md: line 1: 'zz-demo' took longer than 200 ms" in said


WRITER = '''
import typer
from typing import Annotated

def zz_evil(what: str, how: str = "x") -> None:
    """Do what no document may."""
    import os, subprocess, socket
    if what == "write":
        open("x.md", "w")
    if what == "append":
        os.open("x.md", os.O_APPEND | os.O_WRONLY | os.O_CREAT)
    if what == "remove":
        os.remove("a.md")
    if what == "start":
        subprocess.run(["true"])
    if what == "shell":
        os.system("true")
    if what == "connect":
        socket.create_connection(("127.0.0.1", 9), 1)
'''


@pytest.mark.parametrize("what", ["write", "append", "remove", "start", "shell", "connect"])
def test_a_pure_command_that_is_not_is_stopped(what, root, demo, monkeypatch):
    source = WRITER.replace("what: str", "what: Annotated[str, typer.Argument()]").replace(
        'how: str = "x"', 'how: Annotated[str, typer.Option()] = "x"'
    )
    (demo / "zz_evil.py").write_text(source)
    monkeypatch.setitem(PURE, "zz-evil", ())
    text = REGION.format(f"zz-evil {what}")
    (root / "a.md").write_text(text)
    result = run("embed", "a.md")
    assert result.code == 2
    assert "a command in a document" in result.error()
    assert [p.name for p in root.iterdir() if p.name != ".git"] == ["a.md"]
    assert (root / "a.md").read_text() == text


def test_options_are_refused_until_they_are_entered(root, demo, monkeypatch):
    monkeypatch.setitem(PURE, "zz-demo", ())
    (root / "a.md").write_text(REGION.format("zz-demo --fail RunError"))
    assert "--fail: is not for a command in a document" in run("embed", "a.md").error()


def test_the_lists_name_what_there_is():
    from effcalc.cli.app import build

    groups = {name.split()[0] for name in command_names()}
    assert groups >= {*PURE, *TARGETS}
    for name in command_names():
        word = name.split()[0]
        known = {option for parameter in build(name).params for option in parameter.opts}
        for option in (PURE | TARGETS).get(word, ()):
            assert option in known or word == "plot"


# --- crashes and full disks --------------------------------------------------------------------


def test_a_full_disk_changes_no_document(root, monkeypatch):
    texts = {f"{i}.md": REGION.format(f"value params --phi {i}") for i in range(3)}
    for name, text in texts.items():
        (root / name).write_text(text)
    calls = []

    def full(fd):
        calls.append(fd)
        if len(calls) == 2:
            raise OSError(28, os.strerror(28))

    monkeypatch.setattr(output.os, "fsync", full)
    result = run("embed", *texts)
    assert result.code == 4
    assert "No space left on device" in result.err
    assert {p.name: p.read_text() for p in root.glob("*.md")} == texts
    assert len(list(root.iterdir())) == 4  # no temporary file is left


def test_a_kill_leaves_each_document_old_or_new(root):
    old = REGION.format("value params") + "text\n" * 400_000
    (root / "a.md").write_text(old)
    new = old.replace("-->\n<!-- effcalc end", "-->\n\n5.289M\n\n<!-- effcalc end")
    seen = set()
    program = "import sys; from effcalc.cli.main import main; sys.exit(main(sys.argv[1:]))"
    for delay in (0.15, 0.2, 0.25, 0.3, 0.35, 0.4):
        (root / "a.md").write_text(old)
        child = subprocess.Popen([sys.executable, "-c", program, "embed", "a.md"], stderr=-3)
        time.sleep(delay)
        child.send_signal(signal.SIGKILL)
        child.wait()
        text = (root / "a.md").read_text()
        assert text in (old, new)
        seen.add(text)
    assert seen


# --- pictures ----------------------------------------------------------------------------------

PLOT = "<!-- effcalc: plot scaling --phi 0:2 --output {} -->\n<!-- effcalc end -->\n"


@pytest.mark.parametrize("path", ["img/a.svg", "./img/a b.png"])
def test_a_picture_is_drawn_when_its_data_changed(path, root):
    (root / "docs/img").mkdir(parents=True)
    document, picture = root / "docs/a.md", root / "docs" / path
    document.write_text(PLOT.format(f"'{path}'"))
    stale = run("embed", "--check", "docs")
    assert stale.code == 1
    assert f"{picture.relative_to(root)}: is not there" in stale.out
    assert not picture.exists()
    assert run("embed", "docs").code == 0
    assert f"](../docs/{path})".replace("../docs/", "").replace(" ", "%20") in document.read_text()
    assert run("embed", "--check", "docs").code == 0
    # Other bytes with the same data, as another version of what draws would make, are not stale.
    data = picture.read_bytes()
    picture.write_bytes(data + b"\n")
    assert run("embed", "--check", "docs").code == 0
    assert run("embed", "docs").err == ""
    assert run("embed", "--redraw", "docs").err == f"filled {picture.relative_to(root)}\n"
    assert picture.read_bytes() == data
    document.write_text(document.read_text().replace("0:2", "0:3"))
    stale = run("embed", "--check", "docs")
    assert stale.out == f"{picture.relative_to(root)}: its data changed\n"
    assert "update with: effcalc embed docs/a.md" in stale.err
    assert picture.read_bytes() == data


def test_each_kind_of_document_shows_a_picture_its_own_way(root):
    region = "effcalc: plot scaling --phi 0:1 --caption 'A_b & <c>' --output a.png"
    texts = {
        "a.md": (f"<!-- {region} -->\n<!-- effcalc end -->", r"![A_b & \<c>](a.png)"),
        "a.html": (
            f"<!-- {region} --><!-- effcalc end -->",
            '<img src="a.png" alt="A_b &amp; &lt;c&gt;">',
        ),
        "a.rst": (f".. {region}\n\n.. effcalc end", ".. image:: a.png\n   :alt: A_b & <c>\n"),
        "a.tex": (f"% {region}\n% effcalc end", "\\includegraphics[width=\\linewidth]{a.png}\n"),
    }
    for name, (text, _) in texts.items():
        (root / name).write_text(text)
    assert run("embed", *texts).code == 0
    for name, (_, markup) in texts.items():
        assert markup in (root / name).read_text()


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("../a.svg", "outside the repository"),
        ("/etc/a.svg", "by its path from the document"),
        ("linked/a.svg", "outside the repository"),
        ("link.svg", "outside the repository"),
        (".git/a.svg", "git's own folder"),
        ("logo.svg", "is no picture that effcalc drew"),
        ("none/a.svg", "there is no folder"),
        ("a.html", "must be a .svg or .png"),
        ("a.sh", "ends in none of"),
        ("a.svg --picture-width 9", "--picture-width"),
    ],
)
def test_a_picture_goes_nowhere_else(path, said, root):
    (root.parent / "a.svg").write_text("<svg/>")
    (root / "link.svg").symlink_to(root.parent / "b.svg")
    (root / "linked").symlink_to(root.parent)
    (root / "logo.svg").write_text("<svg>mine</svg>")
    (root / "a.md").write_text(PLOT.format(path))
    before = {p: p.read_bytes() for p in root.parent.rglob("*") if p.is_file()}
    result = run("embed", "a.md")
    assert result.error().startswith("a.md: line 1: ")
    assert said in result.err
    assert {p: p.read_bytes() for p in root.parent.rglob("*") if p.is_file()} == before


def test_two_regions_do_not_draw_one_file(root):
    (root / "a.md").write_text(PLOT.format("a.svg") * 2)
    assert run("embed", "a.md").code == 0
    (root / "a.md").write_text(PLOT.format("a.svg") + PLOT.format("a.svg --theme dark"))
    assert "is drawn by another region, and differently" in run("embed", "a.md").error()


def test_a_picture_is_not_drawn_where_a_document_is_broken(root):
    (root / "a.md").write_text(PLOT.format("a.svg"))
    (root / "b.md").write_text(REGION.format("scale --phi x"))
    assert run("embed", ".").code == 2
    assert not (root / "a.svg").exists()
