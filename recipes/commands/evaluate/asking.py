"""Asking a judge for an evaluation: one folder keeps what it answered, and who was asked about what.

A folder belongs to one judge and one set of data. Answers are found by id, and ids such as a line's number say nothing
of the data: with another judge or other data in the same folder, old answers would pass for new ones. So both are
written down and checked.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from rewards.documents import write_json
from rewards.errors import InputError
from rewards.judges.base import CompareItem, Judge, JudgeCard, RateItem
from rewards.judges.config import JudgeSettings
from rewards.types import Comparison, Judgment, Record

ASKED = "asked.json"
COMPARISONS = "comparisons.jsonl"
JUDGMENTS = "judgments.jsonl"


class Asked(Record):
    """Who was asked about what."""

    judge: JudgeCard
    data: str
    """SHA-256 over the data's files and what was chosen of them."""


def data_digest(files: Sequence[Path], *chosen: str) -> str:
    """What a set of questions is made from: the files' bytes, and settings that change what an id stands for."""
    digest = hashlib.sha256()
    for path in files:
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    for one in chosen:
        digest.update(hashlib.sha256(one.encode()).digest())
    return digest.hexdigest()


def open_judge(settings: JudgeSettings, folder: Path, data: str) -> Judge:
    """The judge, with its cache in the folder; raises InputError when the folder is another judge's or data's."""
    from rewards.judges.load import load_judge

    judge = load_judge(settings.model_copy(update={"cache": settings.cache or folder / "judgments.sqlite"}))
    if not (folder / ASKED).exists() and any((folder / name).exists() for name in (COMPARISONS, JUDGMENTS)):
        raise InputError(f"{folder} holds answers, and no {ASKED} that says whose; give another --output")
    claim_folder(folder, judge.card, data)
    return judge


def claim_folder(folder: Path, card: JudgeCard, data: str, *, option: str = "--output") -> None:
    """Write down whose answers a folder holds; raises InputError when it is another judge's or data's."""
    path = folder / ASKED
    if path.exists():
        before = _read(path)
        if before.judge.digest != card.digest:
            raise InputError(
                f"{folder} holds answers of the judge {before.judge.name!r} ({before.judge.digest[:12]}), not of "
                f"{card.name!r} ({card.digest[:12]}); give another {option}"
            )
        if before.data != data:
            raise InputError(f"{folder} holds answers about other data; give another {option}")
    write_json(path, Asked(judge=card, data=data))


def _read(path: Path) -> Asked:
    try:
        return Asked.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise InputError(
            f"{path}: expected what autoj evaluate-judge wrote, got {error.errors()[0]['msg']}"
        ) from error


def compare(settings: JudgeSettings, items: Sequence[CompareItem], folder: Path, data: str) -> list[Comparison]:
    """Comparisons in both orders; what the folder holds is not asked again. Failures are counted in the numbers."""
    from rewards.judging import compare_to_file

    return compare_to_file(open_judge(settings, folder, data), items, folder / COMPARISONS, limit=1.0)


def rate(settings: JudgeSettings, items: Sequence[RateItem], folder: Path, data: str) -> list[Judgment]:
    """Ratings; what the folder holds is not asked again. Failures are counted in the numbers."""
    from rewards.judging import rate_to_file

    return rate_to_file(open_judge(settings, folder, data), items, folder / JUDGMENTS, limit=1.0)


def asked_digest(folder: Path) -> str:
    """Digest of the judge whose answers a folder holds; "" when it does not say."""
    path = folder / ASKED
    return _read(path).judge.digest if path.is_file() else ""


def who(folder: Path) -> str:
    """The judge whose answers a folder holds, in words; "" when it does not say."""
    path = folder / ASKED
    if not path.is_file():
        return ""
    card = _read(path).judge
    return f"{card.name}, {card.mode} mode, {'trained' if card.trained else 'not trained'} to judge"
