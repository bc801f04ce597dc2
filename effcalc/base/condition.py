"""The condition of `--where`: comparisons over named numbers, joined by and, or, not; no eval.

Works on Python numbers and, element by element, on arrays; arithmetic is that of `expr`.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any

from effcalc.base.errors import InputError, one_line, suggest
from effcalc.base.expr import BINARY, FUNCTIONS, LIMIT, UNARY, tree_of, walk
from effcalc.base.units import parse_bytes, parse_count

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
        names = {n.id for n in ast.walk(self.tree) if isinstance(n, ast.Name)}
        return names - set(self.quantities) - set(FUNCTIONS)

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
        tree = tree_of(code)
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
        case ast.BinOp(left=left, op=op, right=right) if type(op) in BINARY:
            _check(left, False, names, known, place)
            _check(right, False, names, known, place)
            return
        case ast.UnaryOp(op=op, operand=part) if type(op) in UNARY:
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
            values = [walk(part, names, where) for part in (left, *rest)]
            pairs = zip(ops, values, values[1:], strict=False)
            return reduce(operator.and_, (_COMPARE[type(op)](a, b) for op, a, b in pairs))
    raise AssertionError("the condition was not checked")
