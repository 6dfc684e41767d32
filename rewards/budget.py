"""The failure budget: how many judgments may fail before a run is stopped.

Design decisions. A failed judgment is never a number, so it silently shrinks the data instead of poisoning it;
the budget makes that loud. It watches the stream of results and passes every one on before it complains, so that
the caller has kept all of them. An empty response is counted, but is no failure of the judge: it does not use up
the budget. Two orders that disagree are an answer, not a failure.

This module decides nothing about rewards and repairs nothing.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Generator, Iterable, Iterator
from typing import TypeVar

from rewards.errors import FailureBudgetError, InputError
from rewards.types import Abstained, Comparison, Judgment, Unparsed, UnparsedReason

ResultT = TypeVar("ResultT", Judgment, Comparison)

_ADVICE: dict[UnparsedReason, str] = {
    "no_verdict": "read some critiques (`autoj inspect`): the judge may not know this protocol; `mode: direct` reads "
    "the rating from token probabilities, where the backend has them",
    "off_scale": "check that the protocol's scale is the one the judge was trained on",
    "cut_off": "raise decoding.max_new_tokens",
    "refused": "the server's filter stops the judge; use another server or leave such prompts out",
    "prompt_too_long": "raise max_prompt_tokens, if the judge's context allows, or leave long responses out",
    "ambiguous_distribution": "use `mode: critique`, or a server that reports more alternatives",
    "timeout": "raise endpoint.timeout or lower endpoint.concurrency",
    "backend_error": "read the details of the failed judgments and the server's log",
}


def failure_reason(result: Judgment | Comparison) -> UnparsedReason | None:
    """Why a result has no rating or verdict, or None when it is one (an abstention of two read orders included)."""
    if isinstance(result, Judgment):
        return result.outcome.reason if isinstance(result.outcome, Unparsed) else None
    if not isinstance(result.outcome, Abstained) or result.outcome.reason != "unparsed":
        return None
    reasons = [judgment.outcome.reason for judgment in result.judgments if isinstance(judgment.outcome, Unparsed)]
    return reasons[0] if reasons else "no_verdict"


class FailureBudget:
    """At most this share of judgments may fail; once at least `minimum` were judged, more stops the run.

    limit: share of failures allowed, 0 to 1 (1 never stops).
    minimum: results before the share is looked at while the stream runs; at its end it counts whatever the number.
    window: look only at this many last results (None: at all); for a judge that may break in the middle of a
    long training run.
    """

    def __init__(self, limit: float = 0.05, minimum: int = 20, *, window: int | None = None) -> None:
        if not 0.0 <= limit <= 1.0:
            raise InputError(f"expected a failure budget between 0 and 1, got {limit}")
        if minimum < 1 or (window is not None and window < minimum):
            raise InputError(f"expected 1 <= minimum <= window, got minimum {minimum} and window {window}")
        self.limit = limit
        self.minimum = minimum
        self.counts: Counter[UnparsedReason] = Counter()
        """Results without a rating or verdict so far, by reason."""
        self.total = 0
        """Results so far."""
        self._judged: deque[UnparsedReason | None] = deque(maxlen=window)
        self._failed: Counter[UnparsedReason] = Counter()

    def watch(self, results: Iterable[ResultT], *, final: bool = True) -> Iterator[ResultT]:
        """Pass every result on, and raise FailureBudgetError as soon as too many of them failed.

        `final` says that the end of this stream is the end of the work, where the share counts whatever the number.
        """
        try:
            for result in results:
                self.note(failure_reason(result))
                yield result
                self.check(final=False)
        finally:
            # Now, and not when the error that holds this frame is forgotten: what was asked for ahead is called off.
            if isinstance(results, Generator):
                results.close()
        if final:
            self.check()

    def note(self, reason: UnparsedReason | None) -> None:
        """Count one result: the reason of its failure, or None."""
        self.total += 1
        if reason is not None:
            self.counts[reason] += 1
        if reason == "empty_response":
            return
        if self._judged.maxlen is not None and len(self._judged) == self._judged.maxlen:
            oldest = self._judged[0]
            if oldest is not None:
                self._failed[oldest] -= 1
        self._judged.append(reason)
        if reason is not None:
            self._failed[reason] += 1

    def check(self, *, final: bool = True) -> None:
        """Raise FailureBudgetError when too many results failed; before the end of the work, from `minimum` on."""
        judged, failed = len(self._judged), self._failed.total()
        if failed <= self.limit * judged or (not final and judged < self.minimum):
            return
        counts = sorted(((count, reason) for reason, count in self._failed.items() if count), reverse=True)
        listed = ", ".join(f"{reason} {count}" for count, reason in counts)
        commonest = counts[0][1]
        raise FailureBudgetError(
            f"expected at most {self.limit:.0%} of judgments to fail, but {failed} of {judged} did "
            f"({failed / judged:.0%}): {listed}. What was judged is kept. Most are {commonest}: "
            f"{_ADVICE.get(commonest, 'read the failed judgments')}"
        )
