"""The domain names its arguments; the command line names its options."""

import ast
import math
import re
from pathlib import Path

import pytest

import effcalc
from effcalc.base.errors import InputError
from effcalc.cli.wording import with_options
from tests.cli_helpers import run

PACKAGE = Path(effcalc.__file__).parent
OPTION = re.compile(r"(?<![\w<-])--[a-z]")
NOT_OURS = ("--query-gpu=", "--format=csv,noheader")  # nvidia-smi's


def _messages(path):
    """The strings of a file that are no docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    docstrings = {id(n.value) for n in ast.walk(tree) if isinstance(n, ast.Expr)}
    for node in ast.walk(tree):
        is_text = isinstance(node, ast.Constant) and isinstance(node.value, str)
        if is_text and id(node) not in docstrings:
            yield node.value


def test_no_room_but_the_command_line_knows_options():
    files = [p for p in PACKAGE.rglob("*.py") if (PACKAGE / "cli") not in p.parents]
    wrong = [
        f"{path.relative_to(PACKAGE)}: {text}"
        for path in files
        for text in _messages(path)
        if OPTION.search(text) and text not in NOT_OURS
    ]
    assert len(files) > 100
    assert wrong == []


def test_an_argument_becomes_its_option():
    assert with_options("`image_size` or `knobs`: `x y` is left") == (
        "--image-size or --set: `x y` is left"
    )


def test_the_same_error_in_python_and_on_the_command_line():
    with pytest.raises(InputError, match=r"^`phi` must be a finite number, not inf$"):
        effcalc.scale(phi=math.inf)
    with pytest.raises(
        InputError, match=r"^`beta` must be a finite number of at least 1, not 0.5$"
    ):
        effcalc.scale(phi=1, beta=0.5)
    result = run("scale", "--phi", "1", "--beta", "0.5")
    assert result.code == 2
    assert "error: --beta must be a finite number of at least 1, not 0.5" in result.err
