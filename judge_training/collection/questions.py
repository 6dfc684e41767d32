"""What the teacher is asked, in our own words (the files under `prompts/`).

The texts are filled in one pass, like a judge's, and fenced by lines that occur in none of the texts inside, so that a
response can neither expand a template nor close the part that it stands in. A scenario's criteria are part of these
questions and of nothing else: what the judge is trained on does not hold them.

Reading the answers is in `steps.py`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from importlib.resources import files

from judge_training.scenarios.catalog import Criterion
from rewards.protocol.render import choose_fence
from rewards.protocol.spec import Scale, VerdictLabels

_MARK = re.compile(r"\{\{(\w+)\}\}")


def answer_question(query: str) -> str:
    """Asks the teacher to answer an exam question itself."""
    return _fill("answer", {"query": query})


def compare_question(
    query: str,
    responses: tuple[str, str],
    criteria: Sequence[Criterion],
    labels: VerdictLabels,
    own_answer: str | None,
) -> str:
    """Asks for a comparison of two responses, in the order given."""
    named = {"first": labels.first, "second": labels.second, "tie": labels.tie, "criteria": _listed(criteria)}
    texts = {"query": query, "response_1": responses[0], "response_2": responses[1]}
    return _fill("compare", texts, named, own_answer=own_answer)


def free_question(query: str, response: str, own_answer: str | None) -> str:
    """Asks for a critique of one response, without criteria."""
    return _fill("free_critique", {"query": query, "response": response}, own_answer=own_answer)


def guided_question(query: str, response: str, criteria: Sequence[Criterion], own_answer: str | None) -> str:
    """Asks for a critique of one response along the criteria."""
    texts = {"query": query, "response": response}
    return _fill("guided_critique", texts, {"criteria": _listed(criteria)}, own_answer=own_answer)


def combine_question(query: str, response: str, critiques: tuple[str, str], scale: Scale) -> str:
    """Asks for one critique out of two, and a rating."""
    texts = {"query": query, "response": response, "critique_a": critiques[0], "critique_b": critiques[1]}
    return _fill("combine", texts, {"scale": _named(scale)})


def _fill(
    name: str, texts: dict[str, str], ours: dict[str, str] | None = None, *, own_answer: str | None = None
) -> str:
    """A prompt with other people's texts between fences and our own words as they are."""
    fence = choose_fence([*texts.values(), own_answer or ""])
    block = f"{fence} correct answer, as you worked it out\n{own_answer}\n{fence} end\n" if own_answer else ""
    values = {**texts, **(ours or {}), "fence": fence, "own_answer": block}
    return "".join(values[piece] if index % 2 else piece for index, piece in enumerate(_pieces(name)))


@cache
def _pieces(name: str) -> tuple[str, ...]:
    """Literal text and names of fields in turn."""
    text = files("judge_training.collection").joinpath("prompts", f"{name}.txt").read_text(encoding="utf-8")
    return tuple(_MARK.split(text.rstrip("\n")))


def _listed(criteria: Sequence[Criterion]) -> str:
    return "\n".join(f"- {one.name}: {one.text}" for one in criteria)


def _named(scale: Scale) -> str:
    number = "a whole number" if scale.step == 1 and scale.low % 1 == 0 else f"a number in steps of {scale.step}"
    return f"{number} from {scale.low} (useless) to {scale.high} (excellent)"
