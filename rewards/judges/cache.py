"""Finished judgments on disk, so that a job killed anywhere asks no finished question again.

Design decisions. One SQLite file in WAL mode with one table; the key is a digest of the judge (weights, protocol,
mode, decoding), the kind of question and its content, so a change of any of them asks again. What is kept is one
*reading*: what came of one question. Every reading is committed on its own as soon as it is there: after a SIGKILL
only the calls that were under way are repeated. Failures that may go away on asking again are not kept.
`RecordCache` is the file without the judgments: whoever else pays for calls keeps records of another kind in one.

This module does not evict, does not expire, and does not know what a candidate is: identical text is one entry.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Generic, Literal, Self, TypeVar

from pydantic import ValidationError

from rewards.errors import AutojError, InputError, StorageError
from rewards.types import TRANSIENT_REASONS, Outcome, Record, Unparsed, UnparsedReason

Kind = Literal["rate", "compare"]

NOT_KEPT: frozenset[UnparsedReason] = TRANSIENT_REASONS | {"prompt_too_long"}
"""Outcomes that are never stored. `prompt_too_long` costs no call and depends on a limit that a user can raise."""

_LAYOUT = 1
"""Written to `user_version`; a file with another number is not ours."""

RecordT = TypeVar("RecordT", bound=Record)


class Reading(Record):
    """What came of one question."""

    outcome: Outcome
    critique: str = ""
    mass: float | None = None
    """Share of probability on verdicts where the verdict's distribution was read."""
    prompt_tokens: int | None = None
    new_tokens: int | None = None


def reading_key(judge: str, kind: Kind, content: str, sample: int = 0) -> str:
    """SHA-256 over the judge's digest, the kind of question, its content and the number of the sample."""
    return cache_key(judge, kind, str(sample), content)


def cache_key(*parts: str) -> str:
    """SHA-256 over texts and where each of them ends."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode("utf-8")
        digest.update(len(data).to_bytes(8, "big"))
        digest.update(data)
    return digest.hexdigest()


def _use_wal(connection: sqlite3.Connection, tries: int = 200) -> None:
    # SQLite does not wait for its busy timeout here: another process that opens the file makes it fail at once.
    for left in reversed(range(tries)):
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorname != "SQLITE_BUSY" or not left:
                raise
            time.sleep(0.05)


class RecordCache(Generic[RecordT]):
    """Records of one kind by key in an SQLite file; may be used by several threads and several processes at once.

    what: names the file in errors. layout: a number of its own for every kind of record.
    Raises InputError when the file is something else, and StorageError when it cannot be written (read-only,
    disk full) or stays locked by another process for a minute.
    """

    def __init__(self, path: Path, kind: type[RecordT], *, what: str, layout: int) -> None:
        self.path = path
        self._kind = kind
        self._what = what
        self._layout = layout
        self._lock = threading.Lock()
        self._process = os.getpid()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"could not make the folder of the {what} {path}: {error}") from error
        self._connection = self._open()

    def _open(self) -> sqlite3.Connection:
        try:
            connection = sqlite3.connect(self.path, timeout=60.0, isolation_level=None, check_same_thread=False)
        except sqlite3.Error as error:
            raise self._explain(error) from error
        try:
            self._prepare(connection)
        except sqlite3.Error as error:
            connection.close()
            raise self._explain(error) from error
        except AutojError:
            connection.close()
            raise
        return connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        # One transaction, so that of several processes that open a new file at once one lays it out.
        connection.execute("BEGIN IMMEDIATE")
        (layout,) = connection.execute("PRAGMA user_version").fetchone()
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if layout != self._layout and tables:
            raise InputError(
                f"expected a {self._what} at {self.path}, found an SQLite file of another kind (layout {layout}); "
                "name another file or move this one away"
            )
        connection.execute("CREATE TABLE IF NOT EXISTS reading (key TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID")
        connection.execute(f"PRAGMA user_version = {self._layout:d}")
        connection.execute("COMMIT")
        _use_wal(connection)
        # In WAL mode NORMAL survives the death of the process; a power cut may lose the last commits, never the file.
        connection.execute("PRAGMA synchronous = NORMAL")

    def _connect(self) -> sqlite3.Connection:
        """This process's connection: one that came through a fork must not be used."""
        if os.getpid() != self._process:
            self._connection = self._open()
            self._process = os.getpid()
        return self._connection

    def get(self, key: str) -> RecordT | None:
        """The record kept under a key, or None."""
        with self._lock:
            try:
                row = self._connect().execute("SELECT value FROM reading WHERE key = ?", (key,)).fetchone()
            except sqlite3.Error as error:
                raise self._explain(error) from error
        if row is None:
            return None
        try:
            return self._kind.model_validate_json(row[0])
        except ValidationError as error:
            raise InputError(
                f"expected a {self._kind.__name__.lower()} under {key} in {self.path}, got something else; delete the "
                "file to ask again"
            ) from error

    def put(self, key: str, record: RecordT) -> None:
        """Keep a record; it is committed when this returns."""
        with self._lock:
            try:
                self._connect().execute(
                    "INSERT OR REPLACE INTO reading (key, value) VALUES (?, ?)", (key, record.model_dump_json())
                )
            except sqlite3.Error as error:
                raise self._explain(error) from error

    def count(self) -> int:
        """Records in the file. Not `__len__`, with which an empty cache would be false."""
        with self._lock:
            try:
                (count,) = self._connect().execute("SELECT count(*) FROM reading").fetchone()
            except sqlite3.Error as error:
                raise self._explain(error) from error
        return int(count)

    def _explain(self, error: sqlite3.Error) -> InputError | StorageError:
        if isinstance(error, sqlite3.DatabaseError) and error.sqlite_errorname in {"SQLITE_NOTADB", "SQLITE_CORRUPT"}:
            return InputError(
                f"expected a {self._what} (SQLite) at {self.path}, got a file that is not one: {error}; "
                "name another file or move this one away"
            )
        return StorageError(
            f"could not use the {self._what} {self.path}: {error}. What is already in it is kept; check the free "
            "space and the permissions of its folder, and start again with --resume"
        )

    def close(self) -> None:
        """Close this process's connection."""
        with self._lock:
            self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class JudgmentCache(RecordCache[Reading]):
    """Readings by key; errors as for `RecordCache`."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, Reading, what="judgment cache", layout=_LAYOUT)

    def put(self, key: str, record: Reading) -> None:
        """Keep a reading, unless it is a failure that may go away; it is committed when this returns."""
        if not isinstance(record.outcome, Unparsed) or record.outcome.reason not in NOT_KEPT:
            super().put(key, record)
