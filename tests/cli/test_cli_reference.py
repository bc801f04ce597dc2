"""docs/cli.md says what the command line takes."""

from __future__ import annotations

from pathlib import Path

from effcalc.cli import reference as page
from effcalc.cli.app import command_names

DOCS = Path(__file__).resolve().parents[2] / "docs" / "cli.md"


def test_the_reference_is_fresh() -> None:
    assert DOCS.read_text(encoding="utf-8") == page.reference()


def test_every_command_is_in_it() -> None:
    text = page.reference()
    assert all(f"## effcalc {name}\n" in text for name in command_names())


def test_check_tells_a_stale_page(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(page, "PAGE", tmp_path / "cli.md")
    assert page.main(["--check"]) == 1
    assert "is stale; run python -m effcalc.cli.reference" in capsys.readouterr().err
    assert page.main([]) == 0
    assert page.main(["--check"]) == 0
    page.PAGE.write_text("old")
    assert page.main(["--check"]) == 1


def test_a_table_of_options_has_one_row_for_each(demo) -> None:
    text = page.reference()
    part = text[text.index("## effcalc zz-demo") :]
    assert "effcalc zz-demo [OPTIONS] [NETWORK]" in part
    assert "| `--alpha NUMBER` | Base α of the depth; 1.2 unless given. |" in part
    assert "```sh\neffcalc zz-demo --phi 0:7\n```" in part
