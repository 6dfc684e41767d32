"""Examples of our own, for the tests of every step."""

from __future__ import annotations

from judge_training.examples import JudgeExample
from rewards.types import Message, Prompt


def prompt(text: str) -> Prompt:
    return Prompt(id=f"prompt-{abs(hash(text))}", messages=(Message(role="user", content=text),))


def pair(number: int = 1, query: str | None = None, **changes) -> JudgeExample:
    values = {
        "id": f"pair-{number}",
        "kind": "pairwise",
        "prompt": prompt(query or f"Name river number {number} of the country."),
        "responses": (f"The Elbe, {number}.", f"Elba, {number}."),
        "source": "own",
        "label": "first",
        "human_label": "first",
    }
    return JudgeExample.model_validate(values | changes)


def single(number: int = 1, query: str | None = None, **changes) -> JudgeExample:
    values = {
        "id": f"single-{number}",
        "kind": "single",
        "prompt": prompt(query or f"Name mountain number {number} of the country."),
        "responses": (f"The Brocken, {number}.",),
        "source": "own",
        "rating": 6.0,
        "critique": "Right, but bare.",
    }
    return JudgeExample.model_validate(values | changes)
