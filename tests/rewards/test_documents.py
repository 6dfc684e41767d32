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

    def interrupted() -> Iterator[str]:
        yield "a new beginning"
        raise KeyboardInterrupt

    path = tmp_path / "page.html"
    write_text(path, ["old ", "page"])
    with pytest.raises(StorageError, match=r"could not write .*page\.html: No space left on device; free some space"):
        write_text(path, full_disk())
    with pytest.raises(KeyboardInterrupt):
        write_text(path, interrupted())
    assert path.read_text() == "old page"
    assert list(tmp_path.iterdir()) == [path]


def test_what_stands_at_the_path_stays_what_it_is(tmp_path: Path):
    (kept := tmp_path / "kept.json").write_text("{}")
    kept.chmod(0o640)
    (link := tmp_path / "link.json").symlink_to(kept)
    write_json(link, {"a": 1})
    assert link.is_symlink()
    assert json.loads(kept.read_text()) == {"a": 1}
    assert kept.stat().st_mode & 0o777 == 0o640
    write_text(Path("/dev/null"), ["nothing"])
    assert Path("/dev/null").is_char_device()
