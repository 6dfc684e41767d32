"""The one place that turns a design into questions about responses that do not exist yet: into calls and tokens.

n responses to a prompt are n ratings; their comparisons are a pair of each with the next of a ring (n), with the first
(n - 1), or of all (n(n - 1)/2), and each pair is asked in one or two orders. Every prompt is rendered once and stands
for its share of the questions, and every response counts with its token limit: then the numbers are the most it can
be. Knows nothing of recipes: prompts and numbers in, planned questions out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from rewards.designs import pairs_for
from rewards.judges.base import CompareItem, RateItem
from rewards.judges.questions import compare_question, rate_question
from rewards.judging_cost import Planned
from rewards.protocol.render import Mode
from rewards.protocol.spec import JudgeProtocol
from rewards.types import Candidate, Prompt

Comparing = Literal["none", "all", "circular", "anchor", "ties"]
_STANDS_IN = "…"
"""Text of a response that is not there yet; its tokens are counted apart."""


def pair_shape(design: Comparing) -> Literal["all", "circular", "anchor"]:
    """The design whose pairs can be told without ratings: ties make at most a ring."""
    return design if design in ("all", "anchor") else "circular"


def pairs_of_design(design: Comparing, n: int) -> int:
    """The most pairs that a design makes of the n responses to a prompt, each to be asked in one or two orders."""
    if design == "none":
        return 0
    return len(pairs_for([_stand_in("prompt", number) for number in range(n)], pair_shape(design)))


def design_questions(
    prompts: Sequence[Prompt],
    protocol: JudgeProtocol,
    mode: Mode,
    *,
    groups: int,
    n: int,
    tokens: int,
    rated: bool = True,
    design: Comparing = "none",
    both_orders: bool = True,
) -> list[Planned]:
    """The questions about `groups` groups of `n` responses, each of at most `tokens` tokens, to one prompt a group.

    rated: whether each response is rated; a protocol that compares by ratings has them rated for the comparisons.
    """
    pairs = groups * pairs_of_design(design, n) * (2 if both_orders else 1)
    by_ratings = protocol.compare_by == "rating"
    planned = []
    if rated or (pairs and by_ratings):
        planned.append(unseen("ratings", prompts, protocol, mode, responses=1, total=groups * n, tokens=tokens))
    if pairs and not by_ratings:
        planned.append(unseen("comparisons", prompts, protocol, mode, responses=2, total=pairs, tokens=tokens))
    return planned


def training_questions(
    prompts: Sequence[Prompt],
    protocol: JudgeProtocol,
    mode: Mode,
    *,
    batches: int,
    responses: int,
    group: int,
    tokens: int,
    design: Comparing = "none",
) -> list[Planned]:
    """What a policy that trains on the judge's word has it asked: `responses` a batch, `group` of them to a prompt.

    design: compare the responses of a group in both orders instead of rating each.
    """
    found = design_questions(
        prompts,
        protocol,
        mode,
        groups=batches * responses // group,
        n=group,
        tokens=tokens,
        rated=design == "none",
        design=design,
    )
    return [replace(one, name=f"{one.name} while it trains") for one in found]


def match_questions(prompts: Sequence[Prompt], protocol: JudgeProtocol, mode: Mode, *, tokens: int) -> Planned:
    """One policy against another on every prompt: in two orders, or two ratings."""
    responses: Literal[1, 2] = 2 if protocol.compare_by == "question" else 1
    total = 2 * len(prompts)
    return unseen("evaluation", prompts, protocol, mode, responses=responses, total=total, tokens=tokens)


def unseen(
    name: str,
    prompts: Sequence[Prompt],
    protocol: JudgeProtocol,
    mode: Mode,
    *,
    responses: Literal[1, 2],
    total: int,
    tokens: int,
) -> Planned:
    """So many questions about responses that do not exist yet, of at most so many tokens each."""
    asked = []
    for prompt in prompts:
        one, two = _stand_in(prompt.id, 0), _stand_in(prompt.id, 1)
        if responses == 1:
            asked.append(rate_question(RateItem(prompt=prompt, candidate=one), protocol, mode))
        else:
            asked.append(compare_question(CompareItem(prompt=prompt, first=one, second=two), protocol, mode))
    return Planned(
        name,
        "rate" if responses == 1 else "compare",
        tuple(question for question in asked if question is not None),
        total=total,
        unseen_tokens=responses * tokens,
        at_most=True,
    )


def _stand_in(prompt_id: str, number: int) -> Candidate:
    return Candidate(id=f"{prompt_id}/{number}", prompt_id=prompt_id, text=f"{_STANDS_IN}{number}", index=number)
