"""Floors without a model: the longer response wins, a coin, always the first, always the second.

What a judge must beat before anything else about it is interesting. `random` draws one of the three verdicts for
each order on its own, from a digest of seed and ids, so it is the same on every machine and in every batch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

from rewards.errors import InputError
from rewards.judges.base import CompareItem, JudgeCard, RateItem
from rewards.judges.cache import Reading
from rewards.judges.rivals.asking import compare_with, digest_of, rate_with
from rewards.types import Comparison, Judgment, Rating, Verdict, Winner

Rule = Literal["longer", "random", "first", "second"]

_VERDICTS: tuple[Winner, ...] = ("first", "second", "tie")


class BaselineJudge:
    """A `Judge` by rule. `longer` rates by characters and `random` from 0 to 1; the other two only compare."""

    def __init__(self, rule: Rule, *, seed: int = 0) -> None:
        self._rule: Rule = rule
        self._seed = seed

    @property
    def card(self) -> JudgeCard:
        """What identifies the rule."""
        return JudgeCard(
            name=f"baseline: {self._rule}",
            digest=digest_of("baseline", self._rule, str(self._seed)),
            backend="baseline",
            mode="direct",
            protocol=self._rule,
            trained=False,
            warnings=("a rule and no judgment of quality",),
        )

    def rate(self, items: Iterable[RateItem]) -> Iterator[Judgment]:
        """A rating of each response; raises InputError for a rule that only compares."""
        if self._rule in ("first", "second"):
            raise InputError(f"expected a rule that rates one response (longer, random), got {self._rule}")
        return rate_with(self._ratings, items, self.card.digest)

    def compare(self, items: Iterable[CompareItem], *, both_orders: bool = True) -> Iterator[Comparison]:
        """A comparison of each pair."""
        return compare_with(self._verdicts, items, self.card.digest, both_orders=both_orders)

    def _ratings(self, items: Sequence[RateItem]) -> Iterator[tuple[int, Reading]]:
        for index, item in enumerate(items):
            candidate = item.candidate
            value = float(len(candidate.text)) if self._rule == "longer" else self._draw(candidate.id)
            yield index, Reading(outcome=Rating(value=value))

    def _verdicts(self, items: Sequence[CompareItem]) -> Iterator[tuple[int, Reading]]:
        for index, item in enumerate(items):
            yield index, Reading(outcome=Verdict(winner=self._winner(item)))

    def _winner(self, item: CompareItem) -> Winner:
        if self._rule == "random":
            return _VERDICTS[int(3 * self._draw(item.first.id, item.second.id))]
        if self._rule != "longer":
            return self._rule
        first, second = len(item.first.text), len(item.second.text)
        return "tie" if first == second else "first" if first > second else "second"

    def _draw(self, *ids: str) -> float:
        """A number in [0, 1) from the seed and the ids, in their order."""
        digest = hashlib.sha256("\0".join((str(self._seed), *ids)).encode("utf-8")).digest()
        return int.from_bytes(digest[:6], "big") / 2**48
