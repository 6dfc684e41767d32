"""A teacher that answers by rule, behind a scripted backend or a server, and examples for it to judge."""

from __future__ import annotations

from judge_training.collection.steps import CallName
from judge_training.examples import JudgeExample
from rewards.types import Message, Prompt, Winner

_SIGNS: tuple[tuple[str, CallName], ...] = (
    ("Answer the question between", "answer"),
    ("Compare two responses", "first_order"),
    ("Two reviewers wrote", "combine"),
    ("do not mention that you were given points", "guided_critique"),
    ("Write a critique", "free_critique"),
)


def call_of(question: str) -> CallName:
    """Which of our prompts a question is made from (both orders look the same)."""
    return next(name for sign, name in _SIGNS if sign in question)


def teach(question: str) -> str:
    """Prefers the response with more plus signs, and rates by their number."""
    name = call_of(question)
    if name == "first_order":
        first, second = (_fenced(question, f"response {number}").count("+") for number in (1, 2))
        verdict = "Tie" if first == second else "Response 1" if first > second else "Response 2"
        return f"1. Plus signs: Response 1 has {first}, Response 2 has {second}.\n\nFinal decision: {verdict}"
    if name == "combine":
        return f"All in all it has plus signs.\n\nRating: [[{min(10, 1 + _fenced(question, 'response').count('+'))}]]"
    return f"This is my {name.replace('_', ' ')}."


def _fenced(question: str, title: str) -> str:
    return question.split(f"~ {title}\n", 1)[1].split("\n~~~~~", 1)[0]


def prompt(number: int, scenario: str | None, text: str | None = None) -> Prompt:
    message = Message(role="user", content=text or f"Question {number}?")
    return Prompt(id=f"p{number}", messages=(message,), scenario=scenario)


def pair(
    number: int,
    first: str = "good ++",
    second: str = "bad",
    label: Winner | None = "first",
    scenario: str | None = "open_question",
) -> JudgeExample:
    return JudgeExample(
        id=f"pair-{number}",
        kind="pairwise",
        prompt=prompt(number, scenario),
        responses=(f"{number} {first}", f"{number} {second}"),
        scenario=scenario,
        source="made up",
        human_label=label,
    )


def single(number: int, response: str = "fine ++++", scenario: str | None = "open_question") -> JudgeExample:
    return JudgeExample(
        id=f"single-{number}",
        kind="single",
        prompt=prompt(number, scenario),
        responses=(f"{number} {response}",),
        scenario=scenario,
        source="made up",
    )
