"""`[tool.effcalc]` in pyproject.toml: which file, which keys, and what it can never do."""

from __future__ import annotations

import json

import pytest

from tests.cli_helpers import run


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Return a writer of pyproject.toml; the current folder is one below it."""
    folder = tmp_path / "project" / "sub"
    folder.mkdir(parents=True)
    (folder.parent / ".git").mkdir()
    monkeypatch.chdir(folder)

    def write(text: str, where: str = "..") -> None:
        (folder / where / "pyproject.toml").write_text(text)

    return write


def test_a_default_stands_behind_what_is_given(project):
    project(
        "[tool.effcalc]\ndigits = 2\n[tool.effcalc.scale]\ncolumns = 'params'\nno-notes = true\n"
    )
    shown = run("scale", "--phi", "0:1").out.split()
    assert [word for word in shown if "─" not in word] == [
        "EfficientNet-B0",
        "params",
        "5.3M",
        "9.1M",
    ]
    assert run("value", "params").out == "5.3M\n"  # 5,288,548
    assert run("value", "params", "--digits", "3").out == "5.29M\n"
    saved = json.loads(run("scale", "--phi", "0:1", "--format", "json").out)
    assert saved["command"].startswith("effcalc scale --digits=2 --columns=params --no-notes --phi")
    assert saved["conventions"]  # a saved table keeps what its words mean


def test_a_table_of_a_command_goes_before_the_one_of_all(project):
    project("[tool.effcalc]\ndigits = 2\n[tool.effcalc.value]\ndigits = 6\n")
    assert run("value", "params").out == "5.28855M\n"


def test_the_nearest_file_with_such_a_table_counts(project):
    project("[tool.effcalc]\ndigits = 2\n")
    project("[project]\ndependencies = ['effcalc']\n", where=".")
    assert run("value", "params").out == "5.3M\n"
    project("[tool.effcalc]\ndigits = 3\n", where=".")
    assert run("value", "params").out == "5.29M\n"


def test_a_file_of_others_is_not_even_read(project):
    project("[tool.other\n")
    assert run("value", "params").out == "5.289M\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("digit = 3", "[tool.effcalc]: unknown key 'digit' (did you mean 'digits'?)"),
        ("digits = 'x'", "--digits: 'x' is not a whole number"),
        ("digits = 99", "--digits: 99 is not a whole number from 1 to 17"),
        ("digits = true", "digits must be a string or a number"),
        ("format = 'x'", "--format: there is no format 'x'"),
        ("no-notes = 3", "no-notes must be true or false"),
        ("output = 'x.md'", "unknown key 'output'"),
        ("scael = {}", "unknown key 'scael' (did you mean 'scale'?)"),
        ("scale = 3", "[scale] must be a table"),
        ("scale = {output = 'x'}", "[tool.effcalc.scale]: unknown key 'output'"),
        ("scale = {set = 'a=1'}", "[tool.effcalc.scale]: unknown key 'set'"),
        ("scale = {max-level = 3}", "effcalc scale has no option --max-level"),
        ("scale = {columns = 'pram'}", "--columns: there is no column 'pram'"),
        ("scale = {sort = ['a']}", "sort must be a string or a number"),
        ("x = [", "is not valid TOML"),
    ],
)
def test_a_mistake_names_the_file(text, said, project):
    project(f"[tool.effcalc]\n{text}\n")
    result = run("scale", "--phi", "0:1")
    assert result.code == 2
    assert "project/pyproject.toml: " in result.error()
    assert said in result.err


def test_a_mistake_of_the_command_line_is_not_blamed_on_the_file(project):
    project("[tool.effcalc]\ndigits = 3\n")
    assert run("scale", "--digits", "99").error().startswith("--digits: 99")


def test_help_and_completion_need_no_file(project, monkeypatch):
    project("[tool.effcalc]\nx = 3\n")
    assert run("--help").code == 0


def test_a_document_is_filled_the_same_from_everywhere(project, tmp_path, monkeypatch):
    region = "<!-- effcalc: scale --phi 0:1 -->\n<!-- effcalc end -->\n"
    root = tmp_path / "project"
    (tmp_path / "pyproject.toml").write_text(
        "[tool.effcalc]\ndigits = 9\n"
    )  # outside the repository
    project(
        "[tool.effcalc]\nformat = 'csv'\ndigits = 3\n[tool.effcalc.scale]\ncolumns = 'params'\n"
    )
    for folder in (root, root / "sub"):
        (folder / "a.md").write_text(region)
    assert run("embed", "../a.md", "a.md").code == 0
    filled = (root / "a.md").read_text()
    assert "| params |\n| -----: |\n|  5.29M |\n|  9.11M |\n" in filled
    assert (root / "sub" / "a.md").read_text() == filled
    (root / "pyproject.toml").unlink()
    monkeypatch.chdir(root)
    assert run("embed", "--check", "a.md").code == 1
    assert "5.289M" in run("embed", "--diff", "a.md").out
