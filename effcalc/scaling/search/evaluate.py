"""Run the command that trains and evaluates a candidate, and read the accuracy it prints."""

from __future__ import annotations

import math
import os
import sys
import threading
from collections.abc import Sequence
from typing import NamedTuple

from effcalc.base.errors import InputError, one_line
from effcalc.base.process import Limits, run
from effcalc.base.units import parse_number
from effcalc.scaling.search.candidates import check_accuracy


class Result(NamedTuple):
    """The accuracy that an evaluation printed, or in one line why there is none."""

    accuracy: float
    cause: str = ""


def evaluate(args: Sequence[str], seconds: float, stop: threading.Event) -> Result:
    """Run a command; the last line of its stdout must be the accuracy, a number."""
    request = {"args": list(args), "pythonpath": os.environ.get("PYTHONPATH")}
    ended = run("effcalc.scaling.search.child", request, Limits(seconds, sys.maxsize), stop)
    if ended.answer is None:
        return Result(math.nan, ended.cause)
    code, last, message = (ended.answer[key] for key in ("code", "last", "message"))
    if code:
        return Result(math.nan, one_line(f"exit code {code}: {message or last}".removesuffix(": ")))
    try:
        accuracy = parse_number(last, "the last line")
        check_accuracy(accuracy, "the last line")
    except InputError as error:
        what = str(error) if last else "it printed nothing"
        return Result(math.nan, one_line(f"the last line of stdout must be the accuracy: {what}"))
    return Result(accuracy)
