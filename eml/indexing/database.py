"""The connection to index.sqlite: whole transactions, writers one after the other, errors with their cause."""

import os
import shutil
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

from eml.errors import DataError, EmlError, OutputError
from eml.indexing.file_systems import why_not_writable
from eml.progress import Report
from eml.storage.copies import local_copy

NAME = "index.sqlite"
APPLICATION = 0x454D4C49  # "EMLI" in the file's header
FORMAT = 1
PAGE_SIZE = 16_384  # bytes; embeddings of up to some thousand numbers fill most of a page
PATIENCE = 600.0  # seconds that a writer waits for the others
READING = 10_000  # milliseconds that a reader waits for what is locked for a moment
TELLING = 1.0  # seconds of waiting before it is told
NEEDED = 65_536  # bytes beside the database in which processes say what they read
LARGE_LOG = 64 << 20  # bytes of the log of changes that are moved into the database at once

BUSY, READ_ONLY, DAMAGED, FULL, CANNOT_OPEN, DISK = {5, 6}, {8}, {1, 11, 17, 20, 26}, {13}, {14, 15, 22}, {10}
DAMAGED_ADVICE = "restore a copy, or build the index again; eml index verify lists all that is damaged"


class Database:
    """A connection that is shared by the threads of a process, and opened anew in each process.

    Args:
        folder: The folder of the index.
        report: Called with a line when a writer has to wait.
        patience: Seconds that a writer waits for other writers.
    """

    def __init__(self, folder: Path, report: Report | None = None, patience: float = PATIENCE) -> None:
        self.folder, self.path = folder, folder / NAME
        self.report, self.patience = report, patience
        self.refusal = why_not_writable(folder)
        self._threads = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._process = os.getpid()
        self._opened_file: tuple[int, int, int] | None = None
        self.is_reading = False

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """Yield the connection in a transaction that sees one moment; inside another one, that one."""
        with self._threads, self._explained():
            connection = self.connection()
            if self.is_reading:
                yield connection
                return
            connection.execute("BEGIN")
            self.is_reading = True
            try:
                yield connection
            finally:
                self.is_reading = False
                with suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """Yield the connection in a transaction of the only writer; all of it happens when the block ends, or nothing.

        Raises:
            OutputError: The folder cannot be written.
            DataError: Another writer is busy for longer than `patience`.
        """
        with self._threads, self._explained():
            if self.refusal:
                raise OutputError(f"{self.folder}: cannot be written: {self.refusal}", code="not-writable")
            assert not self.is_reading, "a change inside a block that sees one moment"
            connection = self.connection()
            self._wait(connection, "BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
                raise
            self._shorten_log(connection)

    def connection(self) -> sqlite3.Connection:
        """Return this process's connection."""
        if self._process != os.getpid():  # a child must neither use nor close its parent's
            self._connection, self._process, self.is_reading = None, os.getpid(), False
        if self._connection is not None and self._opened_file not in (None, self._file()):
            self.close()
        if self._connection is None:
            self._connection = self._connect()
        return self._connection

    def close(self) -> None:
        """Close the connection; the last one of all processes moves the log of changes into the database."""
        with self._threads:
            if self._connection is not None and self._process == os.getpid():
                with suppress(sqlite3.Error):
                    self._connection.close()
            self._connection = None

    def empty_log(self) -> bool:
        """Move the log of changes into the database and cut it to nothing; return whether no reader held it up."""
        with self._threads, self._explained():
            busy, *_ = self.connection().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            return not busy

    def vacuum(self) -> None:
        """Write the database anew, without free space in which there may be bytes of what was deleted."""
        with self._threads, self._explained():
            connection = self.connection()
            self._wait(connection, "VACUUM")

    def _connect(self) -> sqlite3.Connection:
        if not self.path.is_file():
            raise no_index(self.folder)
        mode = "rw"
        if self.refusal:  # without a log of changes nothing has to be shared, and nobody may write
            has_log = self._log().is_file() and self._log().stat().st_size > 0
            mode, self._opened_file = ("ro", None) if has_log else ("ro&immutable=1", self._file())
        uri = f"file:{quote(str(self.path.absolute()))}?mode={mode}"
        connection = sqlite3.connect(
            uri, uri=True, isolation_level=None, timeout=READING / 1000, check_same_thread=False, cached_statements=64
        )
        for setting in ("synchronous=FULL", "secure_delete=ON", "cache_size=-32768", "trusted_schema=OFF"):
            connection.execute(f"PRAGMA {setting}")
        _check_kind(connection, self.folder)
        return connection

    def _wait(self, connection: sqlite3.Connection, statement: str) -> None:
        """Execute a statement of the only writer, after waiting for others."""
        began, is_told = time.monotonic(), False
        connection.execute("PRAGMA busy_timeout=200")
        try:
            while True:
                try:
                    connection.execute(statement)
                    return
                except sqlite3.OperationalError as error:
                    if (_code(error) & 0xFF) not in BUSY or time.monotonic() - began > self.patience:
                        raise
                if not is_told and self.report and time.monotonic() - began > TELLING:
                    self.report(f"{self.folder}: another process writes to the index; waiting for it")
                    is_told = True
        finally:
            connection.execute(f"PRAGMA busy_timeout={READING}")

    def _shorten_log(self, connection: sqlite3.Connection) -> None:
        with suppress(OSError, sqlite3.Error):
            if self._log().stat().st_size > LARGE_LOG:
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _log(self) -> Path:
        return self.path.with_name(f"{NAME}-wal")

    def _file(self) -> tuple[int, int, int]:
        """Return what changes when someone else writes the file; with a log beside it, never the same as before."""
        facts = self.path.stat()
        return facts.st_ino, facts.st_mtime_ns, -1 if self._log().exists() else facts.st_size

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.ProgrammingError:
            raise
        except sqlite3.Error as error:
            raise explain(error, self.path) from error


def create_database(folder: Path, schema: str) -> None:
    """Write an empty database with a schema into a folder.

    Raises:
        OutputError: Locks do not work there, or it cannot be written.
    """
    refusal = why_not_writable(folder)
    if refusal:
        raise OutputError(f"{folder}: no index can be written here: {refusal}", code="not-writable")
    path = folder / NAME
    try:
        connection = sqlite3.connect(path, isolation_level=None)
        try:
            connection.execute(f"PRAGMA page_size={PAGE_SIZE}")
            mode = connection.execute("PRAGMA journal_mode=WAL").fetchone()[0]
            if mode != "wal":
                text = f"{folder}: no index can be written here: processes cannot share memory on its file system"
                raise OutputError(text, code="not-writable")
            connection.execute(f"PRAGMA application_id={APPLICATION}")
            connection.execute(f"PRAGMA user_version={FORMAT}")
            connection.executescript(schema)
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise explain(error, path) from error


def explain(error: sqlite3.Error, path: Path) -> EmlError:
    """Return the error that says what SQLite's error means for the user."""
    code = _code(error) & 0xFF
    if code in BUSY:
        return DataError(f"{path}: another process writes to the index; try again later", code="index-is-locked")
    if code in FULL:
        return OutputError(f"{path}: the disk is full; nothing has been changed", code="disk-full")
    if code in READ_ONLY:
        return OutputError(f"{path}: cannot be written: {error}", code="not-writable")
    if code in CANNOT_OPEN | DISK and path.is_file() and _free(path.parent) < NEEDED:
        text = f"{path}: the disk is full; searching needs {NEEDED // 1024} kB beside the index too. Free space"
        return OutputError(text, code="disk-full")
    if code in CANNOT_OPEN | DISK:
        return DataError(f"{path}: cannot be read: {error}", code="not-readable")
    return damaged(path, str(error))


def _free(folder: Path) -> int:
    """Return the free bytes of a folder's disk; as many as are needed where they cannot be told."""
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return NEEDED


def damaged(path: Path, reason: str) -> DataError:
    """Return the error of an index that has been changed by something else than eml."""
    return DataError(f"{path}: damaged: {reason}; {DAMAGED_ADVICE}", code="damaged-index")


def _code(error: sqlite3.Error) -> int:
    code: int = getattr(error, "sqlite_errorcode", 1)
    return code


def local_index(folder: str | os.PathLike[str]) -> Path:
    """Return the folder of an index: itself, and of one at an address the local copy.

    Raises:
        DataError: The address is not one that is read, has no whole copy that `eml upload` made, or does not answer.
    """
    try:
        return local_copy(folder)
    except ValueError as error:
        raise DataError(f"`index` {error}", code="invalid-value", parameter="index") from error
    except OSError as error:
        text = f"{folder}: cannot be fetched: {error.strerror or error}"
        raise DataError(text, code="not-readable", parameter="index") from error


def is_index(folder: Path) -> bool:
    """Return whether a folder holds an index."""
    return (folder / NAME).is_file()


def no_index(folder: Path) -> DataError:
    """Return the error for a folder that is missing or holds no index."""
    text = f"is not an index of eml: it has no {NAME}" if folder.exists() else "there is no such index"
    return DataError(f"{folder}: {text}. Give the folder that eml index build made", code="not-an-index")


def _check_kind(connection: sqlite3.Connection, folder: Path) -> None:
    """Raise a DataError unless the database is an index of a format that this version reads."""
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if application != APPLICATION:
        raise DataError(f"{folder / NAME}: is not an index of eml", code="not-an-index")
    if version > FORMAT:
        text = f"{folder}: written by a newer eml (format {version}; this one reads {FORMAT}): upgrade eml"
        raise DataError(text, code="newer-eml")
    if version != FORMAT:
        raise damaged(folder / NAME, f"there is no format {version}")
    # A view can be read for ever, a trigger acts when something is written; checksums can be made to fit both.
    foreign = "SELECT name FROM sqlite_master WHERE type NOT IN ('table', 'index') OR (type = 'table' AND rootpage = 0)"
    if connection.execute(foreign).fetchone() is not None:
        raise damaged(folder / NAME, "it has views, triggers or virtual tables, which eml never writes")
