"""Evaluate the candidates of a study, several at a time, until none is left."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from effcalc.errors import RunError
from effcalc.search.evaluate import Result
from effcalc.search.study import Progress, Study

Run = Callable[[int, threading.Event], Result]
"""Evaluates the candidate of a number; setting the event ends it."""


def work(study: Study, run: Run, jobs: int, seconds: float) -> Iterator[Progress]:
    """Evaluate what is left to do, and yield how things stand after each result.

    At least every `seconds` the study hears that this process is alive. Where other processes
    work too, the end is when all candidates are done, whoever does them. Raises `RunError` where
    a candidate is given up before any has a result: the command is wrong, not the candidate.
    """
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
                        study.done(under_way.pop(future), future.result())
                    if not finished:
                        continue
                found = study.progress()
                if found.failed and not found.accuracies:
                    number, cause = next(iter(found.failed.items()))
                    raise RunError(f"--evaluate: {study.candidates[number].text()}: {cause}")
                yield found
                if not found.running and not found.waiting:
                    return
                if not under_way and not found.waiting:
                    time.sleep(min(1.0, seconds))  # others are at work on the rest
        finally:
            stop.set()
            study.give_up()
