"""A document is there whole, as it was before or as it is now."""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from rewards.calibration import CalibrationMap
from rewards.documents import write_json, write_text
from rewards.errors import StorageError


def test_records_and_mappings_are_json_to_read(tmp_path: Path):
    record = CalibrationMap(kind="rating", x=(1, 2), y=(1, 3), n=20)
    write_json(tmp_path / "new" / "map.json", record)
    assert CalibrationMap.load(tmp_path / "new" / "map.json") == record
    write_json(tmp_path / "words.json", {"é": 1})
    text = (tmp_path / "words.json").read_text(encoding="utf-8")
    assert json.loads(text) == {"é": 1}
    assert "é" in text


def test_a_write_that_fails_leaves_the_document_before_it(tmp_path: Path):
    def full_disk() -> Iterator[str]:
        yield "a new beginning"
        raise OSError(errno.ENOSPC, "No space left on device")

    path = tmp_path / "page.html"
    write_text(path, ["old ", "page"])
    with pytest.raises(StorageError, match=r"could not write .*page\.html: No space left on device; free some space"):
        write_text(path, full_disk())
    assert path.read_text() == "old page"
    assert list(tmp_path.iterdir()) == [path]
