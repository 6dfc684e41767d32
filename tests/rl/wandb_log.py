"""Reads an offline W&B run back from its `.wandb` file, to check what was really logged.

The file is a log in LevelDB's format: a 7-byte head (":W&B", magic, version), then blocks of 32 KiB with
records of (crc 4 bytes, length 2 bytes, type 1 byte); a record that does not fit is split into first, middle, last.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

BLOCK = 32 * 1024
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4


def _payloads(data: bytes) -> Iterator[bytes]:
    assert data[:4] == b":W&B"
    position, parts = 7, []
    while position + 7 <= len(data):
        left = BLOCK - position % BLOCK
        if left < 7:
            position += left
            continue
        length = int.from_bytes(data[position + 4 : position + 6], "little")
        kind = data[position + 6]
        body = data[position + 7 : position + 7 + length]
        if len(body) < length:
            return  # still being written
        position += 7 + length
        if kind in (FULL, FIRST):
            parts = []
        parts.append(body)
        if kind in (FULL, LAST):
            yield b"".join(parts)


class OfflineRun:
    """What one offline run holds."""

    def __init__(self, folder: Path) -> None:
        from wandb.proto import wandb_internal_pb2 as pb

        self.folder = folder
        self.history: list[dict[str, Any]] = []
        self.config: dict[str, Any] = {}
        self.artifacts: list[Any] = []
        self.kinds: list[str] = []
        self.run: Any = None
        self.exit_code: int | None = None
        (log,) = folder.glob("*.wandb")
        for payload in _payloads(log.read_bytes()):
            record = pb.Record.FromString(payload)
            self._read(record)

    def _read(self, record: Any) -> None:
        kind = record.WhichOneof("record_type")
        self.kinds.append(kind)
        if kind == "history":
            row: dict[str, Any] = {}
            for item in record.history.item:
                *parents, last = list(item.nested_key) or [item.key]
                inner = row
                for parent in parents:
                    inner = inner.setdefault(parent, {})
                inner[last] = json.loads(item.value_json)
            self.history.append(row)
        elif kind == "run":
            self.run = record.run
            for item in record.run.config.update:
                self.config[item.key or "/".join(item.nested_key)] = json.loads(item.value_json)
        elif kind == "artifact":
            self.artifacts.append(record.artifact)
        elif kind == "exit":
            self.exit_code = record.exit.exit_code

    def scalars(self, name: str, by: str) -> list[tuple[float, float]]:
        """(step, value) of a metric."""
        return [(row[by], row[name]) for row in self.history if name in row]

    def tables(self) -> dict[str, dict[str, Any]]:
        """Every logged table by name: its columns and data as they lie on disk."""
        return {
            key: json.loads((self.folder / "files" / value["path"]).read_text(encoding="utf-8"))
            for row in self.history
            for key, value in row.items()
            if isinstance(value, dict) and value.get("_type") == "table-file"
        }

    def table_records(self) -> list[tuple[str, dict[str, Any]]]:
        """Every time a table was logged."""
        return [
            (key, value)
            for row in self.history
            for key, value in row.items()
            if isinstance(value, dict) and value.get("_type") == "table-file"
        ]


def offline_runs(run_folder: Path) -> list[OfflineRun]:
    """All finished offline runs inside a run folder, oldest first.

    W&B's background process may close the log a moment after `finish` has returned, so this waits for the record
    that ends a run.
    """
    return [_finished(folder) for folder in sorted((run_folder / "wandb").glob("offline-run-*"))]


def _finished(folder: Path) -> OfflineRun:
    for _ in range(600):
        run = OfflineRun(folder)
        if run.exit_code is not None:
            return run
        time.sleep(0.05)
    raise AssertionError(f"the run in {folder} was never finished; it holds {run.kinds}")
