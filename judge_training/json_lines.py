"""Reading JSON lines that somebody else wrote: a release, a review file that a person edited.

Unlike `rewards.jsonl`, a last line without a newline is a line (editors leave it out), and every problem is an
error with the line's number: such a file is never appended to, so nothing in it can be torn.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from pydantic import JsonValue

from rewards.errors import InputError, MissingFileError


def read_objects(path: Path) -> Iterator[tuple[int, dict[str, JsonValue]]]:
    """Every object of the file with its line number, from 1; lines of white space only are skipped.

    Raises MissingFileError when there is no such file, InputError for a line that is not UTF-8 or not an object.
    """
    if not path.is_file():
        raise MissingFileError(f"expected a file of JSON lines at {path}, found none")
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                value = json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8"))
            except (UnicodeDecodeError, json.JSONDecodeError) as error:
                raise InputError(f"{path}, line {number}: expected a JSON object, got {error}") from error
            if not isinstance(value, dict):
                raise InputError(f"{path}, line {number}: expected a JSON object, got {type(value).__name__}")
            yield number, value
