"""Documents filled by `effcalc embed`: only what is between the markers changes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from effcalc.embed import fill, syntax_of
from effcalc.errors import InputError
from tests.cli_helpers import run

MD = syntax_of("a.md")
START, END = b"<!-- effcalc: scale -->", b"<!-- effcalc end -->"
plain = st.binary(max_size=60).filter(lambda b: not set(b) & set(b"<`~-"))


@given(plain, plain, st.sampled_from([b"\n", b"\r\n"]), st.booleans())
def test_bytes_outside_regions_stay_and_filling_twice_is_filling_once(a, b, eol, bom):
    head = b"\xef\xbb\xbf" * bom + a + eol + START
    data = head + eol + b"old" + eol + END + b
    new, stale = fill(data, "a.md", MD, lambda *_: "| φ |\n")
    assert len(stale) == 1
    body = eol * 2 + "| φ |".encode() + eol * 2  # a blank line on either side
    assert new == head + body + END + b
    assert fill(new, "a.md", MD, lambda *_: "| φ |\n") == (new, [])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("\n<!-- effcalc: scale -->\n", "a.md: line 2: the region has no"),
        ("<!-- effcalc end -->", "line 1: this end has no"),
        ("<!-- effcalc: scale -->\n<!-- effcalc: scale -->\n", "line 2: a region begins inside"),
        ("<!-- effcalc: scale", "not closed"),
    ],
)
def test_broken_markers_name_file_and_line(text, said):
    with pytest.raises(InputError, match=said):
        fill(text.encode(), "a.md", MD, lambda *_: "")


def test_a_fence_shows_markers_as_text():
    text = b"```md\n<!-- effcalc: scale -->\n```\n"
    assert fill(text, "a.md", MD, lambda *_: "") == (text, [])


@pytest.mark.parametrize("name", ["a.md", "a.html", "a.tex"])
def test_check_says_what_is_stale_and_embed_mends_it(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    marks = ("% effcalc: {}\n% effcalc end\n", "<!-- effcalc: {} -->\n<!-- effcalc end -->\n")
    path = tmp_path / name
    path.write_text(marks[name != "a.tex"].format("scale --phi 0:3 --columns phi,params"))
    before = path.read_bytes()
    stale = run("embed", "--check", name)
    assert stale.code == 1
    assert f"effcalc embed {name}" in stale.err
    assert "+" in stale.out
    assert path.read_bytes() == before
    assert run("embed", name).code == 0
    assert "16.35M" in path.read_text()  # EfficientNet-B0 at φ = 3
    assert run("embed", "--check", name).code == 0


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("embed .", "no document runs 'embed'"),
        ("scale --output x.md", "not for a region"),
        ("scale ../out.toml", "outside the repository"),
        ("scale link.toml", "outside the repository"),
        ("scale --phi 0:9:0.001", "at most 1,000 rows"),
    ],
)
def test_a_stranger_s_document_reaches_nothing(command, said, tmp_path, monkeypatch):
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "out.toml").write_text("name = 1")
    (root / "link.toml").symlink_to(tmp_path / "out.toml")
    monkeypatch.chdir(root)
    good = "<!-- effcalc: scale -->\n<!-- effcalc end -->\n"
    (root / "a.md").write_text(good)
    (root / "b.md").write_text(f"<!-- effcalc: {command} -->\n<!-- effcalc end -->\n")
    result = run("embed", "a.md", "b.md")
    assert result.code == 2
    assert result.error().startswith("b.md: line 1: ")
    assert said in result.err
    assert (root / "a.md").read_text() == good  # nothing is written unless all is well
