"""Pair designs: which of a prompt's candidates are compared with which.

    all       every pair once, n (n - 1) / 2 comparisons
    circular  a ring, n comparisons (one when n is 2)
    anchor    every candidate against one
    ties      rings among candidates whose ratings tie; nothing across levels

Design decisions. Candidates with the same text are the same response: one of them stands for all and they are
never compared. A design depends on the candidates and the seed alone, never on the order in which they come. Who
is named first is balanced as well as the design allows, so that asking in one order only does not favour anyone.

This module does not look at verdicts, so it cannot adapt to them.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Literal

from rewards.errors import InputError
from rewards.ratings import rating_level
from rewards.types import Candidate, Reward

Design = Literal["all", "circular", "anchor", "ties"]
IdPair = tuple[str, str]


def pairs_for(
    candidates: Sequence[Candidate],
    design: Design,
    *,
    rewards: Mapping[str, Reward] | None = None,
    anchor: str | None = None,
    seed: int = 0,
) -> list[IdPair]:
    """The pairs of candidate ids to compare, as (first, second).

    `rewards` by candidate id are needed for "ties", where a candidate without one is not compared; for "anchor"
    the best of them is the anchor unless `anchor` names one, and without both it is the first candidate.

    Raises InputError for candidates of several prompts, a repeated id, an unknown anchor, or missing rewards.
    """
    _check_candidates(candidates)
    ordered = sorted(candidates, key=lambda one: (one.index, one.id))
    if design == "anchor":
        return _against(_anchor(ordered, rewards, anchor), ordered)
    if anchor is not None:
        raise InputError(f"expected an anchor only with the design 'anchor', got {anchor!r} with {design!r}")
    ids = [one.id for one in _distinct(ordered)]
    if design == "ties":
        return _within_ties(ordered, rewards, seed)
    _shuffle(ids, seed, ordered)
    return _ring(ids) if design == "circular" else _round_robin(ids)


def _check_candidates(candidates: Sequence[Candidate]) -> None:
    prompts = sorted({one.prompt_id for one in candidates})
    if len(prompts) > 1:
        raise InputError(
            f"expected the candidates of one prompt, got those of {len(prompts)}: {', '.join(prompts[:5])}"
        )
    if len({one.id for one in candidates}) < len(candidates):
        ids = [one.id for one in candidates]
        repeated = next(one for one in ids if ids.count(one) > 1)
        raise InputError(f"expected every candidate once, got {repeated!r} more than once")


def _distinct(candidates: Sequence[Candidate]) -> list[Candidate]:
    """The first candidate of every text."""
    texts: dict[str, Candidate] = {}
    for one in candidates:
        texts.setdefault(one.text, one)
    return list(texts.values())


def _shuffle(ids: list[str], seed: int, candidates: Sequence[Candidate]) -> None:
    """Shuffle in place, by seed and prompt, so that neighbours in a ring are not always the same indices."""
    prompt_id = candidates[0].prompt_id if candidates else ""
    random.Random(f"{seed}:{prompt_id}").shuffle(ids)  # noqa: S311 - a design, not a secret


def _round_robin(ids: list[str]) -> list[IdPair]:
    """Every pair once; each candidate is named first in half of its pairs, or as near as n allows."""
    pairs = combinations(range(len(ids)), 2)
    return [(ids[i], ids[j]) if (i + j) % 2 else (ids[j], ids[i]) for i, j in pairs]


def _ring(ids: list[str]) -> list[IdPair]:
    if len(ids) < 3:
        return [(ids[0], ids[1])] if len(ids) == 2 else []
    return list(zip(ids, [*ids[1:], ids[0]], strict=True))


def _anchor(ordered: list[Candidate], rewards: Mapping[str, Reward] | None, anchor: str | None) -> Candidate | None:
    if anchor is not None:
        named = next((one for one in ordered if one.id == anchor), None)
        if named is None:
            raise InputError(f"expected the anchor among the candidates, got {anchor!r}, which is not one of them")
        return named
    rated = [one for one in ordered if rewards is not None and one.id in rewards]
    if rewards is not None and rated:
        return max(rated, key=lambda one: rewards[one.id].value)
    return ordered[0] if ordered else None


def _against(anchor: Candidate | None, ordered: list[Candidate]) -> list[IdPair]:
    if anchor is None:
        return []
    others = [one.id for one in _distinct(ordered) if one.text != anchor.text]
    return [(anchor.id, other) if n % 2 == 0 else (other, anchor.id) for n, other in enumerate(others)]


def _within_ties(ordered: list[Candidate], rewards: Mapping[str, Reward] | None, seed: int) -> list[IdPair]:
    if rewards is None:
        raise InputError("expected rewards with the design 'ties', got none: rate the candidates first")
    levels: dict[float, list[Candidate]] = defaultdict(list)
    for one in ordered:
        if one.id in rewards:
            levels[rating_level(rewards[one.id])].append(one)
    pairs: list[IdPair] = []
    for level in sorted(levels, reverse=True):
        ids = [one.id for one in _distinct(levels[level])]
        _shuffle(ids, seed, ordered)
        pairs.extend(_ring(ids))
    return pairs
