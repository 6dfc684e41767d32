"""What the rivals share: from a reading of each question to judgments, and from two orders to a comparison.

The same rules as in `GenerativeJudge`: items are taken in windows, an empty response is not asked about, both
orders are two questions like any other, and `rewards.verdicts.resolve` is the one place where they meet. A rival is
then only a function from items to readings. Nothing is cached here: what a run has judged is in its files.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import TypeVar

from rewards.judges.base import CompareItem, RateItem
from rewards.judges.cache import Reading
from rewards.types import Comparison, Judgment, Unparsed
from rewards.verdicts import resolve

ItemT = TypeVar("ItemT", RateItem, CompareItem)
Ask = Callable[[Sequence[ItemT]], Iterable[tuple[int, Reading]]]
"""Gives the reading of every item with its position, in any order."""

WINDOW = 256
_EMPTY = Reading(outcome=Unparsed(reason="empty_response", detail="there is no response to judge"))


def rate_with(ask: Ask[RateItem], items: Iterable[RateItem], judge: str) -> Iterator[Judgment]:
    """One judgment for every item, as it comes; `judge` is the judge's digest."""
    for window in windows(items, WINDOW):
        for index, reading in _asked(ask, window, lambda item: (item.candidate.text,)):
            item = window[index]
            yield Judgment(
                id=Judgment.rating_id(item.candidate.id),
                prompt_id=item.prompt.id,
                candidate_ids=(item.candidate.id,),
                judge=judge,
                **_said(reading),
            )


def compare_with(
    ask: Ask[CompareItem], items: Iterable[CompareItem], judge: str, *, both_orders: bool
) -> Iterator[Comparison]:
    """One comparison for every item, as it comes, in the item's order."""
    orders = 2 if both_orders else 1
    for window in windows(items, WINDOW // orders):
        asked = [order for item in window for order in (item, item.swap())[:orders]]
        waiting: dict[int, Judgment] = {}
        for index, reading in _asked(ask, asked, lambda item: (item.first.text, item.second.text)):
            waiting[index] = _verdict(asked[index], reading, judge)
            first = index - index % orders
            if all(first + order in waiting for order in range(orders)):
                mine = [waiting.pop(first + order) for order in range(orders)]
                yield resolve(mine[0], mine[1] if both_orders else None)


def windows(items: Iterable[ItemT], size: int) -> Iterator[list[ItemT]]:
    """The items in lists of at most `size`, read as they are needed."""
    iterator = iter(items)
    while window := list(islice(iterator, size)):
        yield window


def digest_of(*parts: str) -> str:
    """SHA-256 of what makes a judge this judge."""
    return hashlib.sha256("\n".join(parts).encode("utf-8")).hexdigest()


def _asked(
    ask: Ask[ItemT], items: Sequence[ItemT], texts: Callable[[ItemT], tuple[str, ...]]
) -> Iterator[tuple[int, Reading]]:
    full = [index for index, item in enumerate(items) if all(text.strip() for text in texts(item))]
    yield from ((index, _EMPTY) for index in range(len(items)) if index not in set(full))
    if full:
        yield from ((full[place], reading) for place, reading in ask([items[index] for index in full]))


def _verdict(item: CompareItem, reading: Reading, judge: str) -> Judgment:
    return Judgment(
        id=Judgment.verdict_id(item.first.id, item.second.id),
        prompt_id=item.prompt.id,
        candidate_ids=(item.first.id, item.second.id),
        judge=judge,
        **_said(reading),
    )


def _said(reading: Reading) -> dict[str, object]:
    return reading.model_dump(mode="python", exclude={"outcome"}) | {"outcome": reading.outcome}
