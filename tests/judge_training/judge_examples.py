"""Small labelled examples of both kinds, for tests that train."""

from __future__ import annotations

from judge_training.examples import JudgeExample
from rewards.types import Message, Prompt, Winner

LABELS: tuple[Winner, ...] = ("first", "second", "tie")


def rating(number: int, *, text: str = "", critique: str = "") -> JudgeExample:
    return JudgeExample(
        id=f"s{number}",
        kind="single",
        prompt=Prompt(id=f"p{number}", messages=(Message(role="user", content=f"Question {number}?"),)),
        responses=(text or f"answer {number} " * (1 + number % 3),),
        source="test",
        rating=float(1 + number % 10),
        critique=critique,
    )


def pair(number: int, *, critique: str = "") -> JudgeExample:
    return JudgeExample(
        id=f"d{number}",
        kind="pairwise",
        prompt=Prompt(id=f"q{number}", messages=(Message(role="user", content=f"Query {number}?"),)),
        responses=("yes", "no " * number + "x"),
        source="test",
        label=LABELS[number % 3],
        critique=critique,
    )


def mixed(ratings: int = 12, pairs: int = 4) -> list[JudgeExample]:
    return [rating(number) for number in range(ratings)] + [pair(number) for number in range(pairs)]
