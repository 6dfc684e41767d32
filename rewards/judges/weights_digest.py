"""Which weights a folder holds, as a digest of contents: two fine-tunes of equal shape differ, a copy does not.

Gigabytes are hashed only once: the digest of a large file is kept in the cache folder with the file's size and time
of change. A file of the hub's own cache is a link to a blob that is named by its digest, which is taken as it is.
A certificate is left out: it names the digest, so it cannot be part of it.
The digest says nothing of the dtype or the machine that runs the model.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

from rewards.judges.embedded_model import cache_folder

_LARGE = 64 * 1024 * 1024
_BLOB = re.compile(r"[0-9a-f]{64}")
_PARTS = ("*.safetensors", "*.json", "*.jinja", "*.model")
_CERTIFICATE = "judge_certificate.json"


def folder_digest(folder: Path) -> str:
    """SHA-256 (hexadecimal) of the names and contents of the model and tokenizer files in `folder`."""
    digest = hashlib.sha256()
    found = {file for pattern in _PARTS for file in folder.glob(pattern) if file.name != _CERTIFICATE}
    for file in sorted(found):
        digest.update(f"{file.name}\0{_file_digest(file)}\0".encode())
    return digest.hexdigest()


def embedded_digest(folder: Path) -> str:
    """SHA-256 (hexadecimal) of the embedded model's weights and its version, which the folder's name says.

    Its other files are written by the libraries that converted it and differ with their versions; a certificate that
    ships must fit wherever the weights are the same.
    """
    weights = _file_digest(folder / "model.safetensors")
    return hashlib.sha256(f"{folder.name}\0{weights}".encode()).hexdigest()


def _file_digest(file: Path) -> str:
    real = file.resolve()
    if _BLOB.fullmatch(real.name) and real.parent.name == "blobs":
        return real.name
    state = real.stat()
    if state.st_size < _LARGE:
        return _hash(real)
    note = cache_folder() / "digests" / f"{hashlib.sha256(str(real).encode()).hexdigest()}.json"
    key = [state.st_size, state.st_mtime_ns]
    known = _read_note(note)
    if known is not None and known[:2] == key:
        return str(known[2])
    value = _hash(real)
    _write_note(note, [*key, value])
    return value


def _hash(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _read_note(note: Path) -> list[int | str] | None:
    try:
        known = json.loads(note.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
    return known if isinstance(known, list) and len(known) == 3 else None


def _write_note(note: Path, known: list[int | str]) -> None:
    """Keep the digest; a cache that cannot be written only costs time."""
    try:
        note.parent.mkdir(parents=True, exist_ok=True)
        note.write_text(json.dumps(known), encoding="ascii")
    except OSError:
        return
