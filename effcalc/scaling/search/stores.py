"""Where a study is kept: in a file that one process owns, or in PostgreSQL, shared by many.

The owner of a file holds a lock on it that ends with the process: attempts that it did not start
itself are of a dead one. Optuna's own lock of journal files is not needed then; a killed writer's
would hold up the next for 30 s.

In PostgreSQL, processes tell that they are alive by heartbeats, and take an advisory lock, which
ends with the connection. Optuna's RetryHeartbeatStaleTrialCallback is not used, since it makes the
new attempt in a second step: who is killed between the two loses the candidate.

SQLite is not offered: several processes on it run trials twice.
"""

from __future__ import annotations

import fcntl
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import sha256
from typing import IO, Any

from effcalc.base.errors import InputError, NeedsError, need, one_line
from effcalc.scaling.search.candidates import Candidate
from effcalc.scaling.search.study import Progress, Study, look_at, reason

# --- what a study is about ---------------------------------------------------------------------


def _agreed(study: Any, about: Mapping[str, str], new: bool = True) -> None:
    """Say what a new study is about, or refuse one that is about something else."""
    was = study.user_attrs.get("effcalc")
    if was is None:
        if study.get_trials(deepcopy=False) or not new:
            raise InputError("`study`: is a study of something else; give another name")
        study.set_user_attr("effcalc", dict(about))
        return
    other = sorted(k for k in {*was, *about} if was.get(k) != about.get(k))
    if other:
        raise InputError(
            f"`study`: was started with another {', '.join(other)}; give the options it was "
            "started with, or another `study`"
        )


def _quiet() -> Any:
    need("optuna", "effcalc search `evaluate`", "search")
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
            f"`study`: {one_line(path)!r} is there already; give `resume` to go on with it, or "
            "another `study`"
        )
    try:
        file = open(path, "a+b")  # noqa: SIM115 - closed below, which gives the lock back
    except OSError as error:
        raise InputError(f"`study`: cannot write {one_line(path)!r}: {error.strerror}") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InputError(
                f"`study`: another search is at work on {one_line(path)!r}; `status` shows it"
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
        raise InputError(f"`study`: {one_line(path)!r} is not the file of a search")
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
        raise InputError(f"`study`: {one_line(path)!r} is not the file of a search") from None
    return study


# --- many processes, PostgreSQL ----------------------------------------------------------------


def _with_driver(url: str) -> str:
    """Name the driver that the extra installs, where a URL names none."""
    return url.replace("postgresql://", "postgresql+psycopg://", 1)


@contextmanager
def shared(
    url: str,
    name: str,
    about: Mapping[str, str],
    candidates: Sequence[Candidate],
    retries: int,
    heartbeat: int,
) -> Iterator[Study]:
    """Join the study of that name in a PostgreSQL database, or start it."""
    optuna = _quiet()
    if not url.startswith(("postgresql://", "postgresql+")):
        raise InputError(
            "`storage`: give postgresql://USER@HOST/DATABASE; only there do several processes "
            "work on one study safely, and one process needs a `study` file alone"
        )
    url = _with_driver(url)
    need("sqlalchemy", "`storage`", "search")
    import sqlalchemy
    from optuna.exceptions import StorageInternalError
    from optuna.storages import RDBStorage, fail_stale_trials

    away = (sqlalchemy.exc.OperationalError, sqlalchemy.exc.InterfaceError, StorageInternalError)
    options = {"pool_pre_ping": True}
    try:
        engine = sqlalchemy.create_engine(url, **options)
    except ImportError as error:
        raise NeedsError(f"`storage` needs {error.name}; pip install 'effcalc[search]'") from None
    except sqlalchemy.exc.ArgumentError:
        raise InputError("`storage`: is not a URL like postgresql://USER@HOST/DATABASE") from None
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
        raise NeedsError(f"`storage`: {reason(error)}") from None

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
                raise InputError(f"`study`: there is no file {one_line(place)!r}")
            study = optuna.load_study(study_name="effcalc", storage=_journal(optuna, place))
        else:
            study = optuna.load_study(study_name=place, storage=_with_driver(storage))
    except (KeyError, ValueError):
        raise InputError(f"`study`: there is no search {one_line(place)!r}") from None
    except ImportError as error:
        raise NeedsError(f"`storage` needs {error.name}; pip install 'effcalc[search]'") from None
    _agreed(study, about, new=False)
    return look_at(study, candidates, retries)
