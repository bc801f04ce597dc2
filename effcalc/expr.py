"""A small, safe expression language: arithmetic and comparisons over named values, no eval.

Used for values that start with "=" in an architecture file, and for the condition of `--where`.
Works on Python numbers and, element by element, on arrays.
"""

from __future__ import annotations

import ast
import operator
import re
import warnings
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any

from effcalc import num
from effcalc.errors import InputError, one_line, suggest
from effcalc.units import parse_bytes, parse_count

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
_ARGUMENTS = {"floor": 1, "ceil": 1, "round": 1, "max": 2, "min": 2}
_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
_BOOLEAN: dict[type[ast.boolop], Callable[[Any, Any], Any]] = {
    ast.And: operator.and_,
    ast.Or: operator.or_,
}
_ARITHMETIC = "numbers, names, + - * / // %, brackets, floor, ceil, round, min, max"


def parse(text: str, where: str) -> ast.expr:
    """Parse an expression; raise `InputError` that names `where` it stands."""
    if len(text) > LIMIT:
        raise InputError(f"{where}: an expression has at most {LIMIT} characters")
    try:
        return _tree(text.strip())
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise InputError(
            f"{where}: {text.strip()!r} is not an expression; write {_ARITHMETIC}"
        ) from None


def _tree(text: str) -> ast.expr:
    with warnings.catch_warnings():  # Python's own about text such as 0x1or 2
        warnings.simplefilter("ignore")
        return ast.parse(text, mode="eval").body


def evaluate(node: ast.expr, names: Mapping[str, Any], where: str) -> Any:
    """Compute a parsed expression over `names`; raise `InputError` that names `where` it stands."""
    try:
        return _walk(node, names, where)
    except (ArithmeticError, TypeError, ValueError) as error:
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
            return num.exact(_BINARY[type(op)], a, b)
        case ast.UnaryOp(op=op, operand=operand) if type(op) in _UNARY:
            return _UNARY[type(op)](_walk(operand, names, where))
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in _FUNCTIONS:
            return _FUNCTIONS[name](*(_walk(arg, names, where) for arg in args))
    raise InputError(
        f"{where}: {ast.unparse(node)!r} is not allowed in an expression; write {_ARITHMETIC}"
    )


# --- conditions --------------------------------------------------------------------------------

# A number with a suffix, which Python has no word for.
_QUANTITY = re.compile(r"(?<![\w.])(?:\d[\d_]*(?:\.[\d_]*)?|\.\d[\d_]*)([A-Za-z]+)\b")
_FIRST = 0x4E00  # the first of 20,000 characters that are names to Python
_CONDITION = (
    "write for example params < 6M and macs < 500M; known: and or not, < <= == != >= >, "
    "+ - * / // %, brackets, floor, ceil, round, min, max"
)


@dataclass(frozen=True, slots=True)
class Condition:
    """A parsed condition over named numbers: `holds` says where it is true."""

    tree: ast.expr
    text: str
    where: str
    quantities: Mapping[str, int]

    @property
    def names(self) -> set[str]:
        """The named values that it asks for."""
        found = {n.id for n in ast.walk(self.tree) if isinstance(n, ast.Name)}
        return found - set(self.quantities) - set(_FUNCTIONS)

    def holds(self, values: Mapping[str, Any]) -> Any:
        """Whether the condition is true: a bool, or an array of them where values are arrays."""
        try:
            return _test(self.tree, {**values, **self.quantities}, self.where)
        except (ArithmeticError, TypeError, ValueError) as error:
            what = one_line(error)
            raise InputError(f"{self.where}: {self.text!r} has no value: {what}") from None


def condition(text: str, known: Collection[str], where: str) -> Condition:
    """Parse a condition such as `params < 6M and macs < 500M` over the names in `known`.

    Numbers may have the suffixes of counts (`1.8G`) and of sizes (`6MiB`). Raises `InputError`,
    which says at which character the first thing that cannot be stands.
    """
    text = one_line(text, limit=LIMIT + 1)
    if len(text) > LIMIT:
        raise InputError(f"{where}: a condition has at most {LIMIT} characters")
    for at, character in enumerate(text):
        if not character.isascii():
            raise InputError(f"{where}: character {at + 1}, {character!r}: {_CONDITION}")
    quantities: dict[str, int] = {}

    def quantity(match: re.Match[str]) -> str:
        """Put a name as long as the number in its place, so that every place stays the same."""
        word, suffix = match[0], match[1].lower()
        read = parse_bytes if suffix.endswith("b") and suffix != "b" else parse_count
        name = chr(_FIRST + len(quantities)).ljust(len(word), "_")
        quantities[name] = read(word, f"{where}: character {match.start() + 1}")
        return name

    code = _QUANTITY.sub(quantity, text)

    def place(node: ast.expr) -> str:
        """Say where in the text a node stands, and what is there."""
        data = code.encode()
        start = len(data[: node.col_offset].decode())
        end = len(data[: node.end_col_offset].decode())
        return f"{where}: character {start + 1}, {one_line(text[start:end], 60)!r}"

    try:
        tree = _tree(code)
    except SyntaxError as error:
        at = error.offset if error.offset and error.lineno == 1 else len(text) + 1
        near = text[at - 1 : at + 19] or "the end"
        raise InputError(f"{where}: character {at}, {near!r}: {_CONDITION}") from None
    except (ValueError, RecursionError, MemoryError):
        raise InputError(f"{where}: {text!r} is not a condition; {_CONDITION}") from None
    try:
        _check(tree, True, {*known, *quantities}, known, place)
    except RecursionError:
        raise InputError(f"{where}: the condition is nested too deeply") from None
    return Condition(tree, text, where, quantities)


def _check(
    node: ast.expr,
    truth: bool,
    names: Collection[str],
    known: Collection[str],
    place: Callable[[ast.expr], str],
) -> None:
    """Refuse what is not in the language; `truth` says whether a condition or a number is due."""
    parts: list[ast.expr]
    match node:
        case ast.BoolOp(values=parts):
            due = True
        case ast.UnaryOp(op=ast.Not(), operand=part):
            due, parts = True, [part]
        case ast.Compare(left=left, ops=ops, comparators=rest) if all(
            type(op) in _COMPARE for op in ops
        ):
            due, parts = False, [left, *rest]
        case _ if truth:
            raise InputError(f"{place(node)} is not a condition; {_CONDITION}")
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
            return
        case ast.Name(id=name):
            if name not in names:
                raise InputError(
                    f"{place(node)}: no figure is named that{suggest(name, known)}; "
                    f"known: {', '.join(known)}"
                )
            return
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            _check(left, False, names, known, place)
            _check(right, False, names, known, place)
            return
        case ast.UnaryOp(op=op, operand=part) if type(op) in _UNARY:
            _check(part, False, names, known, place)
            return
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if _ARGUMENTS.get(
            name
        ) == len(args):
            for arg in args:
                _check(arg, False, names, known, place)
            return
        case _:
            raise InputError(f"{place(node)} is not allowed; {_CONDITION}")
    if not truth:
        raise InputError(f"{place(node)} is a condition where a number should be; {_CONDITION}")
    for part in parts:
        _check(part, due, names, known, place)


def _test(node: ast.expr, names: Mapping[str, Any], where: str) -> Any:
    """Evaluate a checked condition; `&`, `|` and `^` are the same on bools and on arrays."""
    match node:
        case ast.BoolOp(op=op, values=parts):
            return reduce(_BOOLEAN[type(op)], (_test(part, names, where) for part in parts))
        case ast.UnaryOp(operand=part):
            return _test(part, names, where) ^ True
        case ast.Compare(left=left, ops=ops, comparators=rest):
            values = [_walk(part, names, where) for part in (left, *rest)]
            pairs = zip(ops, values, values[1:], strict=False)
            return reduce(operator.and_, (_COMPARE[type(op)](a, b) for op, a, b in pairs))
    raise AssertionError("the condition was not checked")
