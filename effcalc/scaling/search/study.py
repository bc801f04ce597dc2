"""The trials of a search: what is done, what is left to do, and what is next.

A trial is one attempt at a candidate. Whatever happens to a process, the trials record what
is left to do. `Study.claim` updates them before it returns one, under a lock:

- an attempt whose process is gone is marked as failed;
- a candidate that has no result and no attempt under way or waiting gets a new attempt, unless
  it failed too often.

So a candidate is never lost, and never has two attempts at a time. The first result counts.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

from effcalc.base.errors import RunError, one_line
from effcalc.scaling.search.candidates import Candidate, ranges
from effcalc.scaling.search.evaluate import Result

STALE_LIMIT = 10
"""Attempts at one candidate that may end with their process before it counts as failed."""
RETRY_SECONDS = 60.0  # how long a database may be unreachable while a search runs

T = TypeVar("T")


@dataclass(slots=True)
class Progress:
    """State of a study: accuracies by number of the candidate, and how many run or wait.

    `failed` has the last cause for each candidate that failed too often.
    """

    accuracies: dict[int, float] = field(default_factory=dict)
    running: int = 0
    waiting: int = 0
    failed: dict[int, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Access:
    """How processes share the storage of a study.

    `lock` is a context in which one process alone changes the trials; `alive` says of a running
    trial whether its process lives; `beat` records a heartbeat for a trial's id; `unreachable` are
    the errors of a database that cannot be reached.
    """

    lock: Callable[[], Any]
    alive: Callable[[Any], bool]
    beat: Callable[[int], None]
    unreachable: tuple[type[Exception], ...]


class Study:
    """The trials of one search, several of which this process may evaluate at a time."""

    def __init__(
        self, study: Any, candidates: Sequence[Candidate], retries: int, access: Access
    ) -> None:
        """Take an Optuna study and how its storage is shared; see `stores.py`."""
        self.candidates, self.retries = candidates, retries
        self._study, self._access = study, access
        self._mine: dict[int, Any] = {}

    def claim(self) -> int | None:
        """Begin an attempt, and return the number of its candidate; None where none waits."""
        return self._retrying(self._claim)

    def _claim(self) -> int | None:
        with self._access.lock():
            if not self._update().waiting:
                return None
            with warnings.catch_warnings():  # heartbeats are recorded here, not by optimize
                warnings.simplefilter("ignore", UserWarning)
                trial = self._study.ask()  # takes the first waiting trial
            self._access.beat(trial._trial_id)
            number = int(trial.user_attrs["candidate"])
            self._mine[number] = trial
            return number

    def beat(self) -> None:
        """Record that this process still works on its attempts."""

        def beat_all() -> None:
            for trial in self._mine.values():
                self._access.beat(trial._trial_id)

        self._retrying(beat_all)

    def done(self, number: int, result: Result) -> None:
        """Record how an attempt ended, unless another process has failed it before."""
        trial = self._mine[number]

        def record() -> None:
            from optuna.trial import TrialState

            with self._access.lock():
                if self._study.get_trials(deepcopy=False)[trial.number].state.is_finished():
                    return
                if result.cause:
                    trial.set_user_attr("cause", result.cause)
                    self._study.tell(trial, state=TrialState.FAIL)
                else:
                    self._study.tell(trial, result.accuracy)

        self._retrying(record)
        del self._mine[number]

    def release(self) -> None:
        """Release the attempts of this process to others at once."""
        from optuna.trial import TrialState

        with suppress(Exception):  # the missing heartbeats have the same effect later
            for trial in self._mine.values():
                trial.set_user_attr("left", True)
                self._study.tell(trial, state=TrialState.FAIL, skip_if_finished=True)

    def progress(self) -> Progress:
        """Update the trials, and return the progress."""

        def update() -> Progress:
            with self._access.lock():
                return self._update()

        return self._retrying(update)

    def _update(self) -> Progress:
        """Mark attempts of dead processes, and add the attempts that are missing."""
        from optuna.trial import TrialState

        mine = {trial.number for trial in self._mine.values()}
        trials = self._study.get_trials(deepcopy=False)
        running = (t for t in trials if t.state == TrialState.RUNNING and t.number not in mine)
        dead = [trial for trial in running if not self._access.alive(trial)]
        for trial in dead:
            self._study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)
        if dead:
            trials = self._study.get_trials(deepcopy=False)
        current = progress_of(trials, len(self.candidates), self.retries)
        for number in missing(trials, len(self.candidates), current):
            self._study.add_trial(self._attempt(number))
            current.waiting += 1
        return current

    def _attempt(self, number: int) -> Any:
        from optuna.distributions import FloatDistribution
        from optuna.trial import TrialState, create_trial

        names = ("alpha", "beta", "gamma")
        ends = dict(zip(names, ranges(self.candidates), strict=True))
        return create_trial(
            state=TrialState.WAITING,
            params={name: getattr(self.candidates[number], name) for name in names},
            distributions={name: FloatDistribution(*ends[name]) for name in names},
            user_attrs={"candidate": number},
        )

    def _retrying(self, action: Callable[[], T]) -> T:
        """Run an action, and retry it for a while where a database is unreachable."""
        until = time.monotonic() + RETRY_SECONDS
        while True:
            try:
                return action()
            except self._access.unreachable as error:
                if time.monotonic() > until:
                    raise RunError(f"`storage`: {reason(error)}") from None
                time.sleep(1)


def read_progress(study: Any, candidates: int, retries: int) -> Progress:
    """Return the progress of a study, and change nothing."""
    return progress_of(study.get_trials(deepcopy=False), candidates, retries)


def progress_of(trials: Sequence[Any], candidates: int, retries: int) -> Progress:
    """Return the progress by all trials of a study."""
    from optuna.trial import TrialState

    state = Progress()
    attempts: dict[int, list[Any]] = {number: [] for number in range(candidates)}
    for trial in trials:
        number = trial.user_attrs.get("candidate")
        if number in attempts:
            attempts[number].append(trial)
    for number, own_trials in attempts.items():
        states = [trial.state for trial in own_trials]
        if TrialState.COMPLETE in states:
            state.accuracies[number] = own_trials[states.index(TrialState.COMPLETE)].value
        elif TrialState.RUNNING in states:
            state.running += 1
        elif TrialState.WAITING in states:
            state.waiting += 1
        else:
            attributes = [t.user_attrs for t in own_trials]
            causes = [attrs["cause"] for attrs in attributes if "cause" in attrs]
            killed = sum("cause" not in attrs and "left" not in attrs for attrs in attributes)
            if len(causes) > retries:
                state.failed[number] = causes[-1]
            elif killed > STALE_LIMIT:
                state.failed[number] = f"its process was killed {killed} times"
    return state


def missing(trials: Sequence[Any], candidates: int, state: Progress) -> list[int]:
    """Numbers of the candidates for which nothing is done, under way or waiting."""
    from optuna.trial import TrialState

    open_states = (TrialState.RUNNING, TrialState.WAITING)
    busy = {trial.user_attrs.get("candidate") for trial in trials if trial.state in open_states}
    return [n for n in range(candidates) if n not in {*busy, *state.accuracies, *state.failed}]


def reason(error: Exception) -> str:
    """The first line of a database's error, which contains no password."""
    lines = str(getattr(error, "orig", None) or error).strip().splitlines()
    return one_line(lines[0] if lines else type(error).__name__)
