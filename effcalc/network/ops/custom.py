"""Formulas of a user's own operators."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeVar

from effcalc.network.network import OperatorCall
from effcalc.network.ops.core import BY_TORCH, OPS, Op, register

F = TypeVar("F", bound=Callable[[OperatorCall], int])


def formula(
    op: str, counts: Literal["macs", "elementwise", "flops_other"] = "macs"
) -> Callable[[F], F]:
    """Register a formula for a custom torch operator, by its name without overload.

    The decorated function takes one call of the operator as an `OperatorCall`, and returns:
    multiply-accumulates, or with `counts` element-wise results or other floating-point
    operations. `call.operands` are the tensor arguments in the schema's order (lists are
    written out, missing optional ones left out), `call.outputs` the results, `call.attrs` the
    other arguments by name. Reads and writes are counted as for any operator. Decorate one
    function for each kind of work that the operator does; a second formula for the same work
    replaces the first. Only operators of a user's own can be given formulas.

        @effcalc.formula("mylib::swiglu")
        def swiglu(call):
            x, weight = call.operands  # (n, k), (2 m, k)
            n, k = x.shape
            return n * k * weight.shape[0]

    Raises `ValueError` for a name without a namespace, an operator that effcalc counts itself,
    or an unknown `counts`.
    """
    if "::" not in op:
        raise ValueError(f"{op!r} is not an operator; give namespace and name: 'mylib::op'")
    if counts not in ("macs", "elementwise", "flops_other"):
        raise ValueError(f"counts is 'macs', 'elementwise' or 'flops_other', not {counts!r}")
    if op in BY_TORCH and BY_TORCH[op].name != op:
        raise ValueError(f"{op} has a formula already: effcalc's own record {BY_TORCH[op].name!r}")

    def registered(function: F) -> F:
        if op not in OPS:
            register(Op(op, (op,)))
        changed: dict[str, Any] = {counts: function}
        OPS[op] = BY_TORCH[op] = OPS[op]._replace(**changed)
        return function

    return registered
