"""Ratings that are asked for before all the responses are there: each leaves as soon as its response has ended.

Design decisions. While a policy still writes the long responses of a batch, a judge behind a server can already rate
the short ones. So a question may be asked early and is answered in a thread; when the batch is complete, `rate` gives
the answers that are there or on their way and asks for what is missing, through the same threads, so that the bound on
requests at once is one bound. Who asks early may be wrong: a question that never comes up costs a judgment and changes
nothing, and one that was not asked early is asked then. Equal questions are asked once.

For judges that wait for a server. One in the process would compete with the policy for the same device.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from rewards.judges.base import Judge, RateItem
from rewards.types import Judgment

_Key = tuple[str, str]
"""A prompt's id and a response's text."""


class EarlyRatings:
    """A judge's ratings, some of them asked for in advance. `most` bounds the questions under way at once."""

    def __init__(self, judge: Judge, most: int) -> None:
        self._judge = judge
        self._pool = ThreadPoolExecutor(max_workers=most, thread_name_prefix="early-rating")
        self._asked: dict[_Key, Future[Judgment]] = {}

    def ask(self, item: RateItem) -> None:
        """Have a response rated; `rate` will ask for it under the same prompt and text."""
        key = _key(item)
        if key not in self._asked:
            self._asked[key] = self._pool.submit(self._rate_one, item)

    def rate(self, items: Iterable[RateItem]) -> Iterator[Judgment]:
        """One judgment for every item, in the order of the items; what was asked early and is not among them is lost.

        Raises what the judge raises.
        """
        wanted = list(items)
        for item in wanted:
            self.ask(item)
        asked, self._asked = self._asked, {}
        try:
            for item in wanted:
                yield _renamed(asked[_key(item)].result(), item)
        finally:
            # After an error nobody wants the rest, and the process must not wait for it when it ends.
            for future in asked.values():
                future.cancel()

    def _rate_one(self, item: RateItem) -> Judgment:
        [judgment] = self._judge.rate([item])
        return judgment


def _key(item: RateItem) -> _Key:
    return item.prompt.id, item.candidate.text


def _renamed(judgment: Judgment, item: RateItem) -> Judgment:
    """The judgment under the ids of the item, which may be another of equal text."""
    return judgment.model_copy(
        update={
            "id": Judgment.rating_id(item.candidate.id),
            "prompt_id": item.prompt.id,
            "candidate_ids": (item.candidate.id,),
        }
    )
