"""The house rules: what is imported when, what is public, what the docs name."""

from __future__ import annotations

import ast
import importlib
import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import effcalc

PROJECT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    "arguments",
    [
        ["scale", "--phi", "3"],
        ["comm", "--compute", "1s"],
        ["memory", "--phi", "3", "--batch", "32"],
        ["scale", "--max-macs", "1G"],
        ["compare", "alexnet"],
        ["--help"],
    ],
)
def test_commands_load_neither_torch_nor_numpy(arguments):
    program = (
        "import sys, json; from effcalc.cli.main import main; main(sys.argv[1:]);"
        "print(json.dumps([m for m in ('torch', 'numpy', 'rich') if m in sys.modules]),"
        "file=sys.stderr)"
    )
    run = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True
    )
    assert not set(json.loads(run.stderr)) & {"torch", "numpy"}


def test_import_effcalc_loads_little():
    program = "import effcalc, sys; assert not {'torch', 'numpy', 'typer'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_public_names():
    assert effcalc.scale("efficientnet-b0", phi=3).params == 16_350_296
    assert set(effcalc.__all__) <= set(dir(effcalc))
    for name in effcalc.__all__:
        assert getattr(effcalc, name) is getattr(effcalc, name)
        assert getattr(effcalc, name).__doc__
    # The function stays what it is after its module was imported.
    importlib.import_module("effcalc.scaling.scale")
    assert callable(effcalc.scale)
    with pytest.raises(AttributeError, match="no attribute 'scael'"):
        _ = effcalc.scael


@pytest.mark.parametrize(
    "script", sorted((PROJECT / "benchmarks").glob("*.py")), ids=lambda p: p.stem
)
def test_benchmarks_name_what_is_there(script):
    """Every name that a benchmark imports from effcalc exists; running them takes minutes."""
    for node in ast.walk(ast.parse(script.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("effcalc"):
            module = importlib.import_module(node.module)
            for name in (alias.name for alias in node.names):
                assert hasattr(module, name) or find_spec(f"{node.module}.{name}"), name
