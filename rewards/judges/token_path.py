"""From the alternatives reported along a generated path to a distribution over whole strings, or an honest no.

A server that reports the most probable alternatives of each token shows one path through a tree. Where a verdict is
several tokens ("10" may be "1" then "0"), an alternative that was not taken can be the start of two verdicts, and
nothing tells how its probability divides. Then, and when too little was reported, the answer is
`Unparsed("ambiguous_distribution")` and never a guess. What is off by at most `TOLERANCE` of the mass is left out.

Texts are compared, not tokens, since only the server has the tokenizer: after "1" the token "]" begins "]]" as well.
The distribution in process counts the choices' own tokens only. A judge that was taught the grammar writes those.

This module sends no request (`endpoint.py` can ask for the missing branch) and knows no scale.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence

from rewards.judges.base import Distribution, TokenStep
from rewards.types import Unparsed

TOLERANCE = 0.01
"""Share of the mass on the choices that may stay undecided: at most 0.09 rating points on a scale of 1 to 10."""


def path_distribution(steps: Sequence[TokenStep], start: int, choices: tuple[str, ...]) -> Distribution | Unparsed:
    """The distribution over `choices` at character `start` of the text that the steps spell.

    choices: whole strings, best with what closes them ("1]]", "10]]"), so that none is the beginning of another.
    """
    found: dict[str, float] = dict.fromkeys(choices, 0.0)
    position = 0
    for index, step in enumerate(steps):
        if position + len(step.token) > start:
            return settle(found, *_descend(steps[index:], start - position, "", 1.0, found))
        position += len(step.token)
    return Unparsed(reason="ambiguous_distribution", detail="the reported tokens end before the verdict")


def _descend(
    steps: Sequence[TokenStep], skip: int, written: str, reached: float, found: dict[str, float]
) -> tuple[float, float]:
    """Add `reached` to the choices that continue `written`.

    Returns the part that could not be divided among choices, and the most that may lie on unreported ones.
    """
    step = steps[0]
    lead = step.token[:skip]
    alternatives = {token: math.exp(logprob) for token, logprob in {step.token: step.logprob, **step.top}.items()}
    ours = {written + token[skip:]: share for token, share in alternatives.items() if token.startswith(lead)}
    undecided, cut, forks = share_level(ours, alternatives.values(), reached, written, found)
    path = written + step.token[skip:]
    for text, share in forks.items():
        if text == path and len(steps) > 1:
            below, below_cut = _descend(steps[1:], 0, text, share, found)
            undecided, cut = undecided + below, cut + below_cut
        else:
            undecided += share
    return undecided, cut


def share_level(
    ours: dict[str, float], shares: Collection[float], reached: float, written: str, found: dict[str, float]
) -> tuple[float, float, dict[str, float]]:
    """Divide `reached`, the probability of having `written`, among the choices that continue it; adds to `found`.

    ours: the reported alternatives (with what is written before them) and their probabilities; shares: those of all
    that was reported. Inside a choice the probabilities are normalised among the choices, as decoding constrained to
    them does it: "1" is then "1" or "10", whatever else the model would have liked to write there. At the first token
    they are not, since their sum is the mass on any choice.

    Returns what is undecided and too little to follow, the most that may lie on unreported choices, and the
    alternatives that fit several choices.
    """
    cut = unreported(shares, ours, written, found)
    if written:
        total = cut + sum(share for text, share in ours.items() if fitting(text, found))
        if total <= 0.0:
            return reached, 0.0, {}
        reached /= total
    undecided, forks = _share_out(ours, reached, found)
    return undecided, reached * cut, forks


def _share_out(
    alternatives: dict[str, float], reached: float, found: dict[str, float]
) -> tuple[float, dict[str, float]]:
    """Give each alternative's probability, times `reached`, to the one choice it fits; adds to `found`.

    Returns what is undecided and too little to follow, and the alternatives that fit several choices.
    """
    undecided, forks = 0.0, {}
    for text, share in alternatives.items():
        fits = fitting(text, found)
        if len(fits) == 1:
            found[fits[0]] += reached * share
        elif fits and reached * share < TOLERANCE / 100:
            undecided += reached * share
        elif fits:
            forks[text] = reached * share
    return undecided, forks


def fitting(text: str, choices: Iterable[str]) -> list[str]:
    """The choices that the text can still become, and of those it already holds the longest."""
    open_ends = [choice for choice in choices if choice.startswith(text) and choice != text]
    held = [choice for choice in choices if text.startswith(choice)]
    return open_ends + ([max(held, key=len)] if held else [])


def unreported(shares: Collection[float], reported: Iterable[str], written: str, choices: Iterable[str]) -> float:
    """The most probability that can lie on choices which continue `written` and of which nothing was reported."""
    candidates = fitting(written, choices)
    seen = {choice for text in reported for choice in fitting(text, candidates)}
    rest = max(0.0, 1.0 - sum(shares))
    return min(rest, (len(candidates) - len(seen)) * min(shares, default=1.0))


def settle(found: dict[str, float], undecided: float, cut: float) -> Distribution | Unparsed:
    """The distribution, or `Unparsed` when too much of the mass is undecided.

    undecided: probability on the beginnings of several verdicts. cut: the most probability that can lie on verdicts
    which are not among the reported alternatives.
    """
    mass = sum(found.values())
    unsettled = undecided + cut
    if mass <= 0.0 or unsettled > TOLERANCE * (mass + unsettled):
        return Unparsed(
            reason="ambiguous_distribution",
            detail=f"{mass:.3g} of the probability can be assigned to one verdict; {undecided:.3g} lies on beginnings "
            f"of several, and up to {cut:.3g} on verdicts that were not among the alternatives reported",
        )
    return Distribution({choice: share / mass for choice, share in found.items()}, mass=min(1.0, mass))
