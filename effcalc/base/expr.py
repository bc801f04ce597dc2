"""A small, safe expression language: arithmetic over named values, no eval.

Used for values that start with "=" in an architecture file, and by `condition` for that of
`--where`. Works on Python numbers and, element by element, on arrays.
"""

from __future__ import annotations

import ast
import operator
import warnings
from collections.abc import Callable, Mapping
from typing import Any

from effcalc.base import num
from effcalc.base.errors import InputError, suggest

LIMIT = 500  # characters; far above any sensible expression

BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
UNARY: dict[type[ast.unaryop], Callable[[Any], Any]] = {
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
}
FUNCTIONS: dict[str, Callable[..., Any]] = {
    "floor": num.floor,
    "ceil": num.ceil,
    "round": lambda x: num.floor(x + 0.5),
    "max": num.maximum,
    "min": lambda a, b: -num.maximum(-a, -b),
}
_ARITHMETIC = "numbers, names, + - * / // %, brackets, floor, ceil, round, min, max"


def parse(text: str, where: str) -> ast.expr:
    """Parse an expression; raise `InputError` that names `where` it stands."""
    if len(text) > LIMIT:
        raise InputError(f"{where}: an expression has at most {LIMIT} characters")
    try:
        return tree_of(text.strip())
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise InputError(
            f"{where}: {text.strip()!r} is not an expression; write {_ARITHMETIC}"
        ) from None


def tree_of(text: str) -> ast.expr:
    """Parse text as Python does; raises what `ast.parse` raises."""
    with warnings.catch_warnings():  # Python's own about text such as 0x1or 2
        warnings.simplefilter("ignore")
        return ast.parse(text, mode="eval").body


def evaluate(node: ast.expr, names: Mapping[str, Any], where: str) -> Any:
    """Compute a parsed expression over `names`; raise `InputError` that names `where` it stands."""
    try:
        return walk(node, names, where)
    except (ArithmeticError, TypeError, ValueError) as error:
        raise InputError(f"{where}: {ast.unparse(node)!r} has no value: {error}") from None
    except RecursionError:
        raise InputError(f"{where}: the expression is nested too deeply") from None


def walk(node: ast.expr, names: Mapping[str, Any], where: str) -> Any:
    """Compute a tree over `names`; each of its parts must be in the language."""
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
        case ast.BinOp(left=left, op=op, right=right) if type(op) in BINARY:
            a, b = walk(left, names, where), walk(right, names, where)
            if isinstance(a, str) or isinstance(b, str):  # to Python, * repeats text and % formats
                raise TypeError("text is no number")
            return num.exact(BINARY[type(op)], a, b)
        case ast.UnaryOp(op=op, operand=operand) if type(op) in UNARY:
            return UNARY[type(op)](walk(operand, names, where))
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in FUNCTIONS:
            return FUNCTIONS[name](*(walk(arg, names, where) for arg in args))
    raise InputError(
        f"{where}: {ast.unparse(node)!r} is not allowed in an expression; write {_ARITHMETIC}"
    )
