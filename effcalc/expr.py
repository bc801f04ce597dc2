"""A small, safe expression language: arithmetic and comparisons over named values, no eval.

Used for values that start with "=" in an architecture file. Works on Python numbers
and on arrays.
"""

from __future__ import annotations

import ast
import operator
import warnings
from collections.abc import Callable, Mapping
from typing import Any

from effcalc import num
from effcalc.errors import InputError, suggest

LIMIT = 500  # characters; far above any sensible expression

_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
_UNARY: dict[type[ast.unaryop], Callable[[Any], Any]] = {
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
}
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "floor": num.floor,
    "ceil": num.ceil,
    "round": lambda x: num.floor(x + 0.5),
    "max": num.maximum,
    "min": lambda a, b: -num.maximum(-a, -b),
}


def parse(text: str, where: str) -> ast.expr:
    """Parse an expression; raise `InputError` that names `where` it stands."""
    if len(text) > LIMIT:
        raise InputError(f"{where}: an expression has at most {LIMIT} characters")
    try:
        with warnings.catch_warnings():  # Python's own about text such as 0x1or 2
            warnings.simplefilter("ignore")
            return ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise InputError(
            f"{where}: {text.strip()!r} is not an expression; "
            "write numbers, names, + - * / // %, brackets, floor, ceil, round, min, max"
        ) from None


def evaluate(node: ast.expr, names: Mapping[str, Any], where: str) -> Any:
    """Compute a parsed expression over `names`; raise `InputError` that names `where` it stands."""
    try:
        return _walk(node, names, where)
    except (ZeroDivisionError, OverflowError, TypeError, ValueError) as error:
        raise InputError(f"{where}: {ast.unparse(node)!r} has no value: {error}") from None
    except RecursionError:
        raise InputError(f"{where}: the expression is nested too deeply") from None


def _walk(node: ast.expr, names: Mapping[str, Any], where: str) -> Any:
    match node:
        case ast.Constant(value=bool() | int() | float() as value):
            return value
        case ast.Name(id=name):
            if name not in names:
                known = ", ".join(sorted(names)) or "none"
                raise InputError(
                    f"{where}: no value is named {name!r}{suggest(name, names)}; known: {known}"
                )
            return names[name]
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            a, b = _walk(left, names, where), _walk(right, names, where)
            if isinstance(a, str) or isinstance(b, str):  # to Python, * repeats text and % formats
                raise TypeError("text is no number")
            return _BINARY[type(op)](a, b)
        case ast.UnaryOp(op=op, operand=operand) if type(op) in _UNARY:
            return _UNARY[type(op)](_walk(operand, names, where))
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in _FUNCTIONS:
            return _FUNCTIONS[name](*(_walk(arg, names, where) for arg in args))
    raise InputError(
        f"{where}: {ast.unparse(node)!r} is not allowed in an expression; "
        "write numbers, names, + - * / // %, brackets, floor, ceil, round, min, max"
    )
