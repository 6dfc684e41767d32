"""Small files that are written whole or not at all: a page, a card, a manifest.

Each goes by way of a temporary file of this process beside it, so that a kill leaves the old one or the new one and
never a part. A link stays a link, and what is no file (/dev/stdout) is written to. Tables of records are
`rewards.jsonl`'s.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from rewards.errors import StorageError


def write_text(path: Path, parts: Iterable[str]) -> None:
    """Write a text of these parts, and its folder; raises StorageError when that fails."""
    place = path.resolve()
    there = place.exists()
    partial = place if there and not place.is_file() else place.with_name(f"{place.name}.{os.getpid()}.part")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("w", encoding="utf-8") as file:
            file.writelines(parts)
        if partial != place:
            if there:
                shutil.copymode(place, partial)
            partial.replace(place)
    except OSError as error:
        raise StorageError(f"could not write {path}: {error.strerror or error}; free some space") from error
    finally:
        if partial != place:
            partial.unlink(missing_ok=True)


def write_json(path: Path, content: BaseModel | Mapping[str, Any]) -> None:
    """Write a document as JSON to read; raises StorageError when that fails."""
    if isinstance(content, BaseModel):
        text = content.model_dump_json(indent=2)
    else:
        text = json.dumps(content, indent=2, ensure_ascii=False)
    write_text(path, [text, "\n"])
