"""Evaluate the candidates of a study, several at a time, until none is left."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from effcalc.base.errors import RunError
from effcalc.scaling.search.evaluate import Result
from effcalc.scaling.search.study import Progress, Study

MAX_FAILURES = 3
"""Failures of a process, while no attempt at all has succeeded, after which it ends."""

Run = Callable[[int, threading.Event], Result]
"""Evaluates the candidate of a number; setting the event ends it."""


def work(study: Study, run: Run, jobs: int, seconds: float) -> Iterator[Progress]:
    """Evaluate what is left to do, and yield the progress after each result.

    At least every `seconds` this process records that it is alive. Where other processes
    work too, this ends when all candidates are done, by any of them. Raises `RunError` where
    the first attempts all fail: then the command is wrong.
    """
    causes: list[str] = []
    stop = threading.Event()
    with ThreadPoolExecutor(jobs) as pool:
        under_way: dict[Future[Result], int] = {}
        try:
            while True:
                while len(under_way) < jobs and (number := study.claim()) is not None:
                    under_way[pool.submit(run, number, stop)] = number
                if under_way:
                    finished, _ = wait(under_way, seconds, FIRST_COMPLETED)
                    study.beat()
                    for future in finished:
                        number = under_way.pop(future)
                        result = future.result()
                        study.done(number, result)
                        if result.cause:
                            causes.append(f"{study.candidates[number].text()}: {result.cause}")
                    if not finished:
                        continue
                state = study.progress()
                if len(causes) >= MAX_FAILURES and not state.accuracies:
                    raise RunError(f"`evaluate`: nothing but failures; the first: {causes[0]}")
                yield state
                if not state.running and not state.waiting:
                    return
                if not under_way and not state.waiting:
                    time.sleep(min(1.0, seconds))  # other processes work on the rest
        finally:
            stop.set()
            study.release()
