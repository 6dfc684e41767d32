"""Rows of data files as people have them, one at a time: .jsonl, .json, .csv and .parquet, the text ones also as .gz.

A row that cannot be read is given as a `Problem` with its place, so that the caller counts it; it never stops the
file. Only a `.json` file, which is one value, is held in memory as a whole. What the columns mean is in `columns.py`.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from rewards.errors import InputError, MissingFileError

Row = dict[str, Any]
"""A row by column name: JSON values, or what parquet holds (dates, decimals, bytes)."""

_FORMATS = ".jsonl, .json, .csv, .parquet, or .jsonl.gz, .json.gz, .csv.gz"
_MEGABYTES = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Problem:
    """A row that cannot be used, and why."""

    reason: str
    detail: str


def stream_rows(path: Path) -> Iterator[tuple[int, Row | Problem]]:
    """Every row of a file with its number: the line in .jsonl and .csv, the position (from 1) in .json and .parquet.

    A bare string as a row is a prompt. Raises MissingFileError when there is no such file and InputError when its
    format is none of those known or when the file as a whole cannot be read.
    """
    if not path.is_file():
        raise MissingFileError(f"expected a data file at {path}, found {'a folder' if path.is_dir() else 'none'}")
    suffixes = [suffix.lower() for suffix in path.suffixes[-2:]]
    zipped = suffixes[-1:] == [".gz"]
    kind = (suffixes[:-1] if zipped else suffixes)[-1:]
    if kind in ([".jsonl"], [".ndjson"]):
        return _jsonl(path, zipped=zipped)
    if kind == [".json"]:
        return _json(path, zipped=zipped)
    if kind == [".csv"]:
        return _csv(path, zipped=zipped)
    if kind == [".parquet"] and not zipped:
        return _parquet(path)
    raise InputError(f"expected a data file ({_FORMATS}), got {path.name}")


def number_rows(rows: Iterable[Mapping[str, Any] | str]) -> Iterator[tuple[int, Row | Problem]]:
    """Rows that are in memory already, numbered from 1."""
    for number, row in enumerate(rows, start=1):
        yield number, _as_row(dict(row) if isinstance(row, Mapping) else row)


def _as_row(value: Any) -> Row | Problem:
    if isinstance(value, str):
        return {"prompt": value}
    if isinstance(value, dict):
        return value
    return Problem("not_an_object", f"expected an object with named columns, got {type(value).__name__}")


def _open(path: Path, *, zipped: bool) -> IO[bytes]:
    return gzip.open(path, "rb") if zipped else path.open("rb")  # type: ignore[return-value]


def _lines(path: Path, *, zipped: bool) -> Iterator[bytes | Problem]:
    """The lines of a file; a compressed file that ends too early gives what there is and then a problem."""
    with _open(path, zipped=zipped) as file:
        try:
            yield from file
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            yield Problem("torn_file", f"expected a whole gzip file, got one that breaks off ({error})")


def _jsonl(path: Path, *, zipped: bool) -> Iterator[tuple[int, Row | Problem]]:
    for number, line in enumerate(_lines(path, zipped=zipped), start=1):
        if isinstance(line, Problem):
            yield number, line
        elif text := (line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line).strip():
            row = _decode(text)
            if isinstance(row, Problem) and row.reason == "bad_json" and not line.endswith(b"\n"):
                row = Problem("torn_line", f"expected a whole last line, got one that breaks off ({row.detail})")
            yield number, row


def _decode(text: bytes) -> Row | Problem:
    try:
        return _as_row(json.loads(text))
    except UnicodeDecodeError as error:
        return Problem("not_utf8", f"expected UTF-8 text, got byte {error.object[error.start]:#04x}")
    except (ValueError, RecursionError) as error:
        return Problem("bad_json", f"expected JSON, got {error}")


def _json(path: Path, *, zipped: bool) -> Iterator[tuple[int, Row | Problem]]:
    with _open(path, zipped=zipped) as file:
        try:
            value = json.loads(file.read().removeprefix(b"\xef\xbb\xbf") or b"[]")
        except (ValueError, RecursionError, EOFError, zlib.error, OSError) as error:
            raise InputError(f"expected one JSON value in {path}, got {error}") from error
    rows = value
    if isinstance(value, dict):
        lists = [item for item in value.values() if isinstance(item, list)]
        rows = lists[0] if len(lists) == 1 else None
    if not isinstance(rows, list):
        raise InputError(
            f"expected a list of rows in {path}, got {type(value).__name__}; write one row a line as .jsonl"
        )
    for number, row in enumerate(rows, start=1):
        yield number, _as_row(row)


def _csv(path: Path, *, zipped: bool) -> Iterator[tuple[int, Row | Problem]]:
    csv.field_size_limit(_MEGABYTES)  # the default of 128 KB is shorter than some responses
    with io.TextIOWrapper(
        _open(path, zipped=zipped), encoding="utf-8-sig", errors="surrogateescape", newline=""
    ) as file:
        reader = csv.reader(file, strict=True)
        header: list[str] | None = None
        try:
            for cells in reader:
                if not cells:
                    continue
                if header is None:
                    header = _header(cells, path)
                else:
                    yield reader.line_num, _csv_row(header, cells)
        except (csv.Error, EOFError, zlib.error, gzip.BadGzipFile) as error:
            yield reader.line_num, Problem("torn_line", f"expected a whole row of cells, got {error}")


def _header(cells: list[str], path: Path) -> list[str]:
    twice = sorted({name for name in cells if cells.count(name) > 1})
    if twice:
        raise InputError(
            f"expected different column names in {path}, got {', '.join(map(repr, twice))} more than once"
        )
    return cells


def _csv_row(header: list[str], cells: list[str]) -> Row | Problem:
    if len(cells) != len(header):
        return Problem("wrong_cells", f"expected {len(header)} cells, got {len(cells)}")
    if any("\udc80" <= character <= "\udcff" for cell in cells for character in cell if not cell.isascii()):
        return Problem("not_utf8", "expected UTF-8 text, got other bytes")
    return dict(zip(header, cells, strict=True))


def _parquet(path: Path) -> Iterator[tuple[int, Row | Problem]]:
    import polars as pl

    number = 0
    try:
        for batch in pl.scan_parquet(path, glob=False).collect_batches(chunk_size=1024):
            for row in batch.iter_rows(named=True):
                number += 1
                yield number, row
    except pl.exceptions.PolarsError as error:
        raise InputError(f"expected a parquet file at {path}, got one that cannot be read ({error})") from error
