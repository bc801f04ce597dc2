"""Where a study is kept: in a file that one process owns, or in PostgreSQL, shared by many.

The owner of a file holds a lock on it that ends with the process: attempts that it did not start
itself are of a dead one. Optuna's own lock of journal files is not needed then; a killed writer's
would hold up the next for 30 s.

In PostgreSQL, processes record heartbeats, and take an advisory lock, which ends with the
connection. Optuna's RetryHeartbeatStaleTrialCallback is not used: it creates the new attempt in a
second step, and a process that is killed between the two loses the candidate.

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
from effcalc.scaling.search.study import Access, Progress, Study, read_progress, reason

# --- what a study is about ---------------------------------------------------------------------


def _check_same_search(study: Any, about: Mapping[str, str], new: bool = True) -> None:
    """Record what a new study is about, or refuse a study of another search."""
    before = study.user_attrs.get("effcalc")
    if before is None:
        if study.get_trials(deepcopy=False) or not new:
            raise InputError("`study`: is a study of something else; give another name")
        study.set_user_attr("effcalc", dict(about))
        return
    other = sorted(k for k in {*before, *about} if before.get(k) != about.get(k))
    if other:
        raise InputError(
            f"`study`: was started with another {', '.join(other)}; give the options it was "
            "started with, or another `study`"
        )


def _import_optuna() -> Any:
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
    optuna = _import_optuna()
    exists = os.path.exists(path)
    if exists and not resume:
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
        _cut_incomplete_line(file, path)
        study = _load(optuna, lambda: _journal(optuna, path), path, about)
        access = Access(_no_lock, lambda trial: False, lambda number: None, ())
        yield Study(study, candidates, retries, access)


@contextmanager
def _no_lock() -> Iterator[None]:
    yield


_START = b'{"op_code":'


def _cut_incomplete_line(file: IO[bytes], path: str) -> None:
    """Cut off a last line that a killed process left incomplete; refuse another kind of file."""
    file.seek(0)
    if not _START.startswith(file.read(len(_START))):
        raise InputError(f"`study`: {one_line(path)!r} is not the file of a search")
    size = file.seek(0, os.SEEK_END)
    end = size
    while end:
        start = max(0, end - (1 << 16))
        file.seek(start)
        newline = file.read(end - start).rfind(b"\n")
        if newline >= 0:
            end = start + newline + 1
            break
        end = start
    if end < size:
        file.truncate(end)


def _load(optuna: Any, storage: Callable[[], Any], path: str, about: Mapping[str, str]) -> Any:
    try:
        study = optuna.create_study(
            storage=storage(), study_name="effcalc", direction="maximize", load_if_exists=True
        )
        _check_same_search(study, about)
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
    optuna = _import_optuna()
    engine = _engine(url)
    import sqlalchemy
    from optuna.exceptions import StorageInternalError
    from optuna.storages import RDBStorage, fail_stale_trials

    errors = sqlalchemy.exc
    unreachable = (errors.OperationalError, errors.InterfaceError, StorageInternalError)
    try:
        with _advisory_lock(engine, name):
            # This creates tables, which two processes must not do at once.
            storage = RDBStorage(
                _with_driver(url),
                engine_kwargs=_ENGINE_OPTIONS,
                heartbeat_interval=heartbeat,
                grace_period=3 * heartbeat,
            )
            study = optuna.create_study(
                storage=storage, study_name=name, direction="maximize", load_if_exists=True
            )
            _check_same_search(study, about)
    except unreachable as error:
        raise NeedsError(f"`storage`: {reason(error)}") from None
    heartbeats = sqlalchemy.text("SELECT trial_id FROM trial_heartbeats")

    def alive(trial: Any) -> bool:
        # An attempt starts and records its first heartbeat under the lock that is held here.
        with engine.connect() as connection:
            return trial._trial_id in set(connection.execute(heartbeats).scalars())

    @contextmanager
    def lock() -> Iterator[None]:
        with _advisory_lock(engine, name):
            fail_stale_trials(study)
            yield

    access = Access(lock, alive, storage.record_heartbeat, unreachable)
    try:
        yield Study(study, candidates, retries, access)
    finally:
        engine.dispose()
        storage.engine.dispose()


_ENGINE_OPTIONS = {"pool_pre_ping": True}


def _engine(url: str) -> Any:
    """Return SQLAlchemy's engine for a URL; raise `InputError` or `NeedsError` for a bad one."""
    if not url.startswith(("postgresql://", "postgresql+")):
        raise InputError(
            "`storage`: give postgresql://USER@HOST/DATABASE; only there do several processes "
            "work on one study safely, and one process needs a `study` file alone"
        )
    need("sqlalchemy", "`storage`", "search")
    import sqlalchemy

    try:
        return sqlalchemy.create_engine(_with_driver(url), **_ENGINE_OPTIONS)
    except ImportError as error:
        raise NeedsError(f"`storage` needs {error.name}; pip install 'effcalc[search]'") from None
    except sqlalchemy.exc.ArgumentError:
        raise InputError("`storage`: is not a URL like postgresql://USER@HOST/DATABASE") from None


@contextmanager
def _advisory_lock(engine: Any, name: str) -> Iterator[None]:
    """Hold the lock of a study in PostgreSQL."""
    import sqlalchemy

    # Any number, as long as all processes of this study use the same one.
    key = int.from_bytes(sha256(f"effcalc {name}".encode()).digest()[:7])
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("SELECT pg_advisory_xact_lock(:key)"), {"key": key})
        yield


def stored(
    path: str, storage: str | None, candidates: int, retries: int, about: Mapping[str, str]
) -> Progress:
    """Return the progress of a stored study, and change nothing."""
    optuna = _import_optuna()
    try:
        if storage is None:
            if not os.path.exists(path):
                raise InputError(f"`study`: there is no file {one_line(path)!r}")
            study = optuna.load_study(study_name="effcalc", storage=_journal(optuna, path))
        else:
            study = optuna.load_study(study_name=path, storage=_with_driver(storage))
    except (KeyError, ValueError):
        raise InputError(f"`study`: there is no search {one_line(path)!r}") from None
    except ImportError as error:
        raise NeedsError(f"`storage` needs {error.name}; pip install 'effcalc[search]'") from None
    _check_same_search(study, about, new=False)
    return read_progress(study, candidates, retries)
