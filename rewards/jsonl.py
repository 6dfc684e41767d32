"""Files of records, one whole JSON object a line, appended as the work goes on.

A line that ends in a newline is done; a torn tail (kill -9, full disk) is cut off when the file is opened
again, so it is never read and never doubled. Nothing is renamed or rewritten while a job runs.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from pydantic import BaseModel, JsonValue, TypeAdapter, ValidationError

from rewards.errors import InputError, MissingFileError, StorageError

RecordT = TypeVar("RecordT")


def _whole_lines_end(path: Path) -> int:
    """Byte offset just after the last newline of the file."""
    size = path.stat().st_size
    with path.open("rb") as file:
        position = size
        while position > 0:
            start = max(0, position - 65536)
            file.seek(start)
            found = file.read(position - start).rfind(b"\n")
            if found >= 0:
                return start + found + 1
            position = start
    return 0


class AppendLog:
    """A JSONL file open for appending whole records; use as a context manager.

    Opening cuts off a torn tail. A write that fails (disk full) is taken back to the last whole line and
    raised as `StorageError`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            end = _whole_lines_end(path)
            if end != path.stat().st_size:
                os.truncate(path, end)
        self._file = path.open("ab", buffering=0)

    def write(self, record: BaseModel | dict[str, JsonValue]) -> None:
        """Append one record and hand it to the operating system."""
        text = record.model_dump_json() if isinstance(record, BaseModel) else json.dumps(record, ensure_ascii=False)
        data = text.encode("utf-8") + b"\n"
        end = self._file.tell()
        try:
            written = self._file.write(data)
            while written is not None and written < len(data):
                data = data[written:]
                written = self._file.write(data)
        except OSError as error:
            os.truncate(self.path, end)
            raise StorageError(
                f"could not write {self.path}: {error.strerror or error}. Everything before this record is kept; "
                "free some space and start the same command again with --resume"
            ) from error

    def close(self) -> None:
        """Flush to the disk and close."""
        if not self._file.closed:
            os.fsync(self._file.fileno())
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def read_records(path: Path, kind: type[RecordT] | TypeAdapter[RecordT]) -> Iterator[RecordT]:
    """Read records that autoj wrote; a torn last line counts as not written.

    Raises MissingFileError when there is no such file and InputError, with the line's number, when a whole
    line is not a record of this kind.
    """
    adapter: TypeAdapter[RecordT] = kind if isinstance(kind, TypeAdapter) else TypeAdapter(kind)
    if not path.is_file():
        raise MissingFileError(f"expected a file of records at {path}, found none")
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                return
            try:
                yield adapter.validate_json(line)
            except ValidationError as error:
                first = error.errors(include_url=False)[0]
                where = ".".join(str(part) for part in first["loc"])
                raise InputError(f"{path}, line {number}: {where or 'the line'}: {first['msg']}") from error


def write_records(path: Path, records: Iterable[BaseModel | dict[str, JsonValue]]) -> int:
    """Write a whole file of records at once, by way of a temporary file, and return their number."""
    temporary = path.with_name(path.name + ".part")
    temporary.unlink(missing_ok=True)
    count = 0
    with AppendLog(temporary) as log:
        for record in records:
            log.write(record)
            count += 1
    temporary.replace(path)
    return count
