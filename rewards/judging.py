"""Candidates to judgments: ask a judge about many items and keep every answer in a file as it comes.

The file is the state. Starting again skips what it holds, except outcomes that a dead or slow server
caused: those are taken out and asked again. The failure budget counts what was read from the file too, so
a run that was stopped by it is not stopped later merely for having been resumed, nor let through.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from tqdm import tqdm

from rewards.budget import FailureBudget, failure_reason
from rewards.jsonl import AppendLog, read_records, write_records
from rewards.judges.base import CompareItem, Judge, RateItem
from rewards.types import TRANSIENT_REASONS, Comparison, Judgment, Unparsed

AnswerT = TypeVar("AnswerT", Judgment, Comparison)


def rate_to_file(
    judge: Judge, items: Sequence[RateItem], path: Path, *, limit: float = 0.05, minimum: int = 20
) -> list[Judgment]:
    """Rate every item that the file does not hold yet; returns all judgments of the items, in the items' order.

    Raises FailureBudgetError when more than `limit` of the judgments fail (looked at from `minimum` on).
    """
    wanted = {Judgment.rating_id(item.candidate.id): item for item in items}
    done = _keep_final(path, Judgment, lambda judgment: [judgment])
    missing = [item for name, item in wanted.items() if name not in done]
    new = _collect(judge.rate(missing), path, list(done.values()), len(missing), "rating", limit, minimum)
    return _in_order(wanted, done, new)


def compare_to_file(
    judge: Judge,
    items: Sequence[CompareItem],
    path: Path,
    *,
    both_orders: bool = True,
    limit: float = 0.05,
    minimum: int = 20,
) -> list[Comparison]:
    """Compare every item that the file does not hold yet; returns all comparisons of the items, in their order."""
    wanted = {Judgment.verdict_id(item.first.id, item.second.id): item for item in items}
    done = _keep_final(path, Comparison, lambda comparison: comparison.judgments)
    missing = [item for name, item in wanted.items() if name not in done]
    answers = judge.compare(missing, both_orders=both_orders)
    new = _collect(answers, path, list(done.values()), len(missing), "comparing", limit, minimum)
    return _in_order(wanted, done, new)


def _keep_final(
    path: Path, kind: type[AnswerT], judgments: Callable[[AnswerT], Iterable[Judgment]]
) -> dict[str, AnswerT]:
    """What the file holds by id, after taking out answers that may come out differently when asked again."""
    if not path.exists():
        return {}
    read = list(read_records(path, kind))
    final = [answer for answer in read if not any(_is_transient(judgment) for judgment in judgments(answer))]
    if len(final) < len(read):
        write_records(path, final)
    return {answer.id: answer for answer in final}


def _is_transient(judgment: Judgment) -> bool:
    return isinstance(judgment.outcome, Unparsed) and judgment.outcome.reason in TRANSIENT_REASONS


def _collect(
    answers: Iterator[AnswerT], path: Path, before: list[AnswerT], total: int, verb: str, limit: float, minimum: int
) -> dict[str, AnswerT]:
    budget = FailureBudget(limit, minimum)
    for answer in before:
        budget.note(failure_reason(answer))
    new: dict[str, AnswerT] = {}
    with AppendLog(path) as log, tqdm(total=total, desc=verb, unit="it", disable=not total) as bar:
        for answer in budget.watch(answers):
            log.write(answer)
            new[answer.id] = answer
            bar.update()
    return new


def _in_order(wanted: Iterable[str], done: dict[str, AnswerT], new: dict[str, AnswerT]) -> list[AnswerT]:
    both = done | new
    return [both[name] for name in wanted]
