"""The house rules: what is imported when, what is public, what the docs name."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys

import pytest

import effcalc


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
