"""Where a search keeps what it knows: an Optuna study, in a file or in PostgreSQL.

A trial is one attempt at a candidate. Whatever happens to a process, the trials say what is left
to do, and `Study.claim` brings them in order before it hands one out, under a lock:

- an attempt whose process is gone is marked as failed;
- a candidate that has no result and no attempt under way or waiting gets a new attempt, unless
  it failed too often.

So a candidate is never lost, and never has two attempts at a time. The first result counts.

A file has one process alone, which holds a lock on it that ends with the process: attempts that
it did not start itself are of a dead one. Optuna's own lock of journal files is not needed then; a
killed writer's would hold up the next for 30 s. In PostgreSQL, processes tell that they are alive
by heartbeats, and take an advisory lock, which ends with the connection. Optuna's
RetryHeartbeatStaleTrialCallback is not used, since it makes the new attempt in a second step: who
is killed between the two loses the candidate.
"""

from __future__ import annotations

import fcntl
import os
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from hashlib import sha256
from typing import IO, Any, TypeVar

from effcalc.errors import InputError, NeedsError, RunError, need, one_line
from effcalc.search.candidates import Candidate, differ
from effcalc.search.evaluate import Result

STALE_LIMIT = 10
"""Attempts at one candidate that may end with their process before it counts as failed."""
HEARTBEAT = 10
PATIENCE = 60.0  # seconds that a database may be away while a search runs

T = TypeVar("T")


@dataclass(slots=True)
class Progress:
    """What a study knows: accuracies by number of the candidate, and how many are otherwise.

    `failed` has the last cause for each candidate that is given up.
    """

    accuracies: dict[int, float] = field(default_factory=dict)
    running: int = 0
    waiting: int = 0
    failed: dict[int, str] = field(default_factory=dict)


class Study:
    """The trials of one search; `jobs` of this process may be under way at a time."""

    def __init__(
        self,
        study: Any,
        candidates: Sequence[Candidate],
        retries: int,
        lock: Callable[[], Any],
        alive: Callable[[Any], bool],
        beat: Callable[[int], None],
        away: tuple[type[Exception], ...],
    ) -> None:
        """Take an Optuna study and how its storage is locked; see `local` and `shared`."""
        self.candidates, self.retries = candidates, retries
        self._study, self._lock, self._alive, self._beat = study, lock, alive, beat
        self._away = away
        self._mine: dict[int, Any] = {}

    def claim(self) -> int | None:
        """Begin an attempt, and return the number of its candidate; None where none waits."""
        return self._patiently(self._claim)

    def _claim(self) -> int | None:
        with self._lock():
            if not self._settled().waiting:
                return None
            with warnings.catch_warnings():  # heartbeats are recorded here, not by optimize
                warnings.simplefilter("ignore", UserWarning)
                trial = self._study.ask()  # takes the first that waits
            self._beat(trial._trial_id)
            number = int(trial.user_attrs["candidate"])
            self._mine[number] = trial
            return number

    def beat(self) -> None:
        """Say that this process still works on its attempts."""

        def beats() -> None:
            for trial in self._mine.values():
                self._beat(trial._trial_id)

        self._patiently(beats)

    def done(self, number: int, result: Result) -> None:
        """Record how an attempt ended, unless another process has given it up before."""
        trial = self._mine[number]

        def tell() -> None:
            from optuna.trial import TrialState

            with self._lock():
                if self._study.get_trials(deepcopy=False)[trial.number].state.is_finished():
                    return
                if result.cause:
                    trial.set_user_attr("cause", result.cause)
                    self._study.tell(trial, state=TrialState.FAIL)
                else:
                    self._study.tell(trial, result.accuracy)

        self._patiently(tell)
        del self._mine[number]

    def give_up(self) -> None:
        """Leave the attempts of this process to others at once."""
        from optuna.trial import TrialState

        with suppress(Exception):  # heartbeats that stop will say the same later
            for trial in self._mine.values():
                self._study.tell(trial, state=TrialState.FAIL, skip_if_finished=True)

    def progress(self) -> Progress:
        """Bring the trials in order, and say how things stand."""

        def look() -> Progress:
            with self._lock():
                return self._settled()

        return self._patiently(look)

    def _settled(self) -> Progress:
        """Mark attempts of dead processes, and add the attempts that are missing."""
        from optuna.trial import TrialState

        mine = {trial.number for trial in self._mine.values()}
        trials = self._study.get_trials(deepcopy=False)
        for trial in trials:
            theirs = trial.state == TrialState.RUNNING and trial.number not in mine
            if theirs and not self._alive(trial):
                self._study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)
        found = look_at(self._study, len(self.candidates), self.retries)
        for number in missing(self._study, len(self.candidates), found):
            self._study.add_trial(self._attempt(number))
            found.waiting += 1
        return found

    def _attempt(self, number: int) -> Any:
        from optuna.distributions import FloatDistribution
        from optuna.trial import TrialState, create_trial

        names = ("alpha", "beta", "gamma")
        ends = dict(zip(names, differ(self.candidates), strict=True))
        return create_trial(
            state=TrialState.WAITING,
            params={name: getattr(self.candidates[number], name) for name in names},
            distributions={name: FloatDistribution(*ends[name]) for name in names},
            user_attrs={"candidate": number},
        )

    def _patiently(self, action: Callable[[], T]) -> T:
        """Try again for a while where a database is away."""
        until = time.monotonic() + PATIENCE
        while True:
            try:
                return action()
            except self._away as error:
                if time.monotonic() > until:
                    raise RunError(f"--storage: {_reason(error)}") from None
                time.sleep(1)


def look_at(study: Any, candidates: int, retries: int) -> Progress:
    """Read how things stand, changing nothing."""
    from optuna.trial import TrialState

    found = Progress()
    attempts: dict[int, list[Any]] = {number: [] for number in range(candidates)}
    for trial in study.get_trials(deepcopy=False):
        number = trial.user_attrs.get("candidate")
        if number in attempts:
            attempts[number].append(trial)
    for number, trials in attempts.items():
        states = [trial.state for trial in trials]
        if TrialState.COMPLETE in states:
            found.accuracies[number] = trials[states.index(TrialState.COMPLETE)].value
        elif TrialState.RUNNING in states:
            found.running += 1
        elif TrialState.WAITING in states:
            found.waiting += 1
        else:
            causes = [t.user_attrs["cause"] for t in trials if "cause" in t.user_attrs]
            if len(causes) > retries:
                found.failed[number] = causes[-1]
            elif len(trials) - len(causes) > STALE_LIMIT:
                found.failed[number] = f"its process was killed {len(trials) - len(causes)} times"
    return found


def missing(study: Any, candidates: int, found: Progress) -> list[int]:
    """Numbers of the candidates for which nothing is done, under way or waiting."""
    from optuna.trial import TrialState

    open_states = (TrialState.RUNNING, TrialState.WAITING)
    busy = {
        trial.user_attrs.get("candidate")
        for trial in study.get_trials(deepcopy=False)
        if trial.state in open_states
    }
    return [n for n in range(candidates) if n not in {*busy, *found.accuracies, *found.failed}]


def _reason(error: Exception) -> str:
    """The first line of a database's complaint, which names no password."""
    lines = str(getattr(error, "orig", None) or error).strip().splitlines()
    return one_line(lines[0] if lines else type(error).__name__)


# --- what a study is about ---------------------------------------------------------------------


def _agreed(study: Any, about: Mapping[str, str], new: bool = True) -> None:
    """Say what a new study is about, or refuse one that is about something else."""
    was = study.user_attrs.get("effcalc")
    if was is None:
        if study.get_trials(deepcopy=False) or not new:
            raise InputError("--study: is a study of something else; give another name")
        study.set_user_attr("effcalc", dict(about))
        return
    other = sorted(k for k in {*was, *about} if was.get(k) != about.get(k))
    if other:
        raise InputError(
            f"--study: was started with another {', '.join(other)}; give the options it was "
            "started with, or another --study"
        )


def _quiet() -> Any:
    need("optuna", "effcalc search --evaluate", "search")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    return optuna


# --- one process, a file -----------------------------------------------------------------------


class _NoLock:
    """Stands in for Optuna's lock of a journal file that one process alone writes."""

    def acquire(self) -> bool:
        """Do nothing."""
        return True

    def release(self) -> None:
        """Do nothing."""


def _journal(optuna: Any, path: str) -> Any:
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    lock: Any = _NoLock()
    return JournalStorage(JournalFileBackend(path, lock_obj=lock))


@contextmanager
def local(
    path: str, about: Mapping[str, str], candidates: Sequence[Candidate], retries: int, resume: bool
) -> Iterator[Study]:
    """Own the study in a file, for as long as the block lasts."""
    optuna = _quiet()
    there = os.path.exists(path)
    if there and not resume:
        raise InputError(
            f"--study: {one_line(path)!r} is there already; give --resume to go on with it, or "
            "another --study"
        )
    try:
        file = open(path, "a+b")  # noqa: SIM115 - closed below, which gives the lock back
    except OSError as error:
        raise InputError(f"--study: cannot write {one_line(path)!r}: {error.strerror}") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InputError(
                f"--study: another search is at work on {one_line(path)!r}; --status shows it"
            ) from None
        _mend(file, path)
        study = _load(optuna, lambda: _journal(optuna, path), path, about)
        yield Study(study, candidates, retries, _nothing, lambda trial: False, lambda n: None, ())


@contextmanager
def _nothing() -> Iterator[None]:
    yield


_START = b'{"op_code":'


def _mend(file: IO[bytes], path: str) -> None:
    """Cut off a last line that a killed process did not end; refuse what is no journal."""
    file.seek(0)
    if not _START.startswith(file.read(len(_START))):
        raise InputError(f"--study: {one_line(path)!r} is not the file of a search")
    size = file.seek(0, os.SEEK_END)
    end = size
    while end:
        start = max(0, end - (1 << 16))
        file.seek(start)
        place = file.read(end - start).rfind(b"\n")
        if place >= 0:
            end = start + place + 1
            break
        end = start
    if end < size:
        file.truncate(end)


def _load(optuna: Any, storage: Callable[[], Any], path: str, about: Mapping[str, str]) -> Any:
    try:
        study = optuna.create_study(
            storage=storage(), study_name="effcalc", direction="maximize", load_if_exists=True
        )
        _agreed(study, about)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InputError(f"--study: {one_line(path)!r} is not the file of a search") from None
    return study


# --- many processes, PostgreSQL ----------------------------------------------------------------


@contextmanager
def shared(
    url: str,
    name: str,
    about: Mapping[str, str],
    candidates: Sequence[Candidate],
    retries: int,
    heartbeat: int = HEARTBEAT,
) -> Iterator[Study]:
    """Join the study of that name in a PostgreSQL database, or start it."""
    optuna = _quiet()
    if not url.startswith(("postgresql://", "postgresql+")):
        raise InputError(
            "--storage: give postgresql://USER@HOST/DATABASE; only there do several processes "
            "work on one study safely, and one process needs a --study file alone"
        )
    url = url.replace("postgresql://", "postgresql+psycopg://", 1)  # the driver of the extra
    need("sqlalchemy", "--storage", "search")
    import sqlalchemy
    from optuna.exceptions import StorageInternalError
    from optuna.storages import RDBStorage, fail_stale_trials

    away = (sqlalchemy.exc.OperationalError, sqlalchemy.exc.InterfaceError, StorageInternalError)
    options = {"pool_pre_ping": True}
    try:
        engine = sqlalchemy.create_engine(url, **options)
    except ImportError as error:
        raise NeedsError(f"--storage needs {error.name}; pip install 'effcalc[search]'") from None
    except sqlalchemy.exc.ArgumentError:
        raise InputError("--storage: is not a URL like postgresql://USER@HOST/DATABASE") from None
    # Any number will do, as long as it is the same for everyone who works on this study.
    key = int.from_bytes(sha256(f"effcalc {name}".encode()).digest()[:7])
    take = sqlalchemy.text("SELECT pg_advisory_xact_lock(:key)")
    beating = sqlalchemy.text("SELECT trial_id FROM trial_heartbeats")

    @contextmanager
    def lock() -> Iterator[None]:
        with engine.begin() as connection:
            connection.execute(take, {"key": key})
            yield

    try:
        with lock():
            # Tables are made here, which two processes must not do at once.
            storage = RDBStorage(
                url,
                engine_kwargs=options,
                heartbeat_interval=heartbeat,
                grace_period=3 * heartbeat,
            )
            study = optuna.create_study(
                storage=storage, study_name=name, direction="maximize", load_if_exists=True
            )
            _agreed(study, about)
    except away as error:
        raise NeedsError(f"--storage: {_reason(error)}") from None

    def alive(trial: Any) -> bool:
        # An attempt is begun and has its first heartbeat under one lock, which is ours now.
        with engine.connect() as connection:
            return trial._trial_id in set(connection.execute(beating).scalars())

    @contextmanager
    def settled_lock() -> Iterator[None]:
        with lock():
            fail_stale_trials(study)
            yield

    try:
        yield Study(study, candidates, retries, settled_lock, alive, storage.record_heartbeat, away)
    finally:
        engine.dispose()
        storage.engine.dispose()


def stored(
    place: str, storage: str | None, candidates: int, retries: int, about: Mapping[str, str]
) -> Progress:
    """How a study stands, for a look that changes nothing."""
    optuna = _quiet()
    try:
        if storage is None:
            if not os.path.exists(place):
                raise InputError(f"--study: there is no file {one_line(place)!r}")
            study = optuna.load_study(study_name="effcalc", storage=_journal(optuna, place))
        else:
            url = storage.replace("postgresql://", "postgresql+psycopg://", 1)
            study = optuna.load_study(study_name=place, storage=url)
    except (KeyError, ValueError):
        raise InputError(f"--study: there is no search {one_line(place)!r}") from None
    except ImportError as error:
        raise NeedsError(f"--storage needs {error.name}; pip install 'effcalc[search]'") from None
    _agreed(study, about, new=False)
    return look_at(study, candidates, retries)
