"""Eval-R, AUTO-J's benchmark of selection: what the best of N by the judge's rating is worth by the reference's.

For every N the expected worth over all subsets of N of a prompt's responses (`rewards.expected_best`), so that no draw
is luck, beside three that bound it: one at random, the longest, and the reference's own choice (the oracle). Ratings
that tie share the choice. All four are over the same responses: one whose judgment could not be read is in none of
them, and is counted. A prompt counts at every N that it has responses for; the last row takes all that each has.

Intervals are bootstrapped over prompts, of differences paired.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from judge_training.correlation import mean_interval
from judge_training.rating_agreement import RatedResponse, RatingAgreement, rating_agreement
from rewards.errors import InputError
from rewards.intervals import RESAMPLES, Interval, bootstrap
from rewards.types import Record

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

SIZES = (2, 4, 8, 16, 32)


class SelectionPoint(Record):
    """Best of N, in reference rating points."""

    n: int | None
    """None: all responses of each prompt."""
    prompts: int
    judge: Interval
    random: Interval
    longest: Interval | None
    """None where lengths are not known."""
    oracle: Interval
    gain: Interval
    """Judge less random, paired."""
    over_longest: Interval | None
    """Judge less longest, paired."""
    captured: Interval | None
    """Gain over what the oracle gains; None where there is nothing to gain."""


class Selection(Record):
    """Best of N for each N."""

    points: tuple[SelectionPoint, ...]
    prompts: int
    smallest: int
    """Responses of the prompt that has the fewest."""
    largest: int
    left_out: int
    """Responses whose judgment could not be read."""


class EvalR(Record):
    """A judge against reference ratings: selection and agreement."""

    name: str
    selection: Selection
    agreement: RatingAgreement
    parts: tuple[EvalR, ...] = ()
    """The same for each part of the set, such as a base model."""


def evaluate_eval_r(
    responses: Sequence[RatedResponse],
    *,
    name: str = "all",
    sizes: Sequence[int] = SIZES,
    unmatched: int = 0,
    resamples: int = RESAMPLES,
) -> EvalR:
    """Measure rated responses; `sizes` are the N. Raises InputError when no judgment could be read."""
    names = dict.fromkeys(one.part for one in responses if one.part is not None)
    parts = [
        evaluate_eval_r(
            [one.model_copy(update={"part": None}) for one in responses if one.part == part],
            name=part,
            sizes=sizes,
            resamples=resamples,
        )
        for part in (names if len(names) > 1 else ())
        if any(one.part == part and one.judge is not None for one in responses)
    ]
    return EvalR(
        name=name,
        selection=best_of_n(responses, sizes=sizes, resamples=resamples),
        agreement=rating_agreement(responses, unmatched=unmatched, resamples=resamples),
        parts=tuple(parts),
    )


def best_of_n(
    responses: Sequence[RatedResponse], *, sizes: Sequence[int] = SIZES, resamples: int = RESAMPLES
) -> Selection:
    """What choosing by the judge's rating brings, for every N of `sizes` that a prompt has, and for all."""
    groups: dict[str, list[RatedResponse]] = {}
    for one in responses:
        if one.judge is not None:
            groups.setdefault(one.prompt_id, []).append(one)
    if not groups:
        raise InputError(f"expected judgments that could be read, got none of {len(responses)}")
    if any(size < 1 for size in sizes):
        raise InputError(f"expected N of at least 1, got {', '.join(map(str, sizes))}")
    curves = [_curves(group) for group in groups.values()]
    counts = [len(group) for group in groups.values()]
    points = [_point(size, [one[size - 1] for one in curves if len(one) >= size], resamples) for size in sizes]
    points.append(_point(None, [one[-1] for one in curves], resamples))
    return Selection(
        points=tuple(point for point in points if point is not None),
        prompts=len(groups),
        smallest=min(counts),
        largest=max(counts),
        left_out=len(responses) - sum(counts),
    )


def _curves(group: Sequence[RatedResponse]) -> Floats:
    """Worth of the best of k by (judge, random, longest, oracle), shape (k, 4); NaN where lengths are not known."""
    import numpy as np

    from rewards.expected_best import expected_best

    worth = np.array([one.reference for one in group])
    judge = np.array([one.judge for one in group], dtype=np.float64)
    sizes = [one.characters for one in group]
    length = np.full(len(group), np.nan) if None in sizes else np.array(sizes, dtype=np.float64)
    longest = length if None in sizes else expected_best(length, worth, len(group))
    random = np.full(len(group), worth.mean())
    columns = (expected_best(judge, worth, len(group)), random, longest, expected_best(worth, worth, len(group)))
    return np.stack(columns, axis=1)


def _point(size: int | None, rows: Sequence[Floats], resamples: int) -> SelectionPoint | None:
    """One N from the rows (judge, random, longest, oracle) of the prompts that have as many responses."""
    import numpy as np

    if not rows:
        return None
    judge, random, longest, oracle = np.stack(rows).T

    def captured(at: NDArray[np.intp]) -> float:
        room = float((oracle - random)[at].sum())
        return float((judge - random)[at].sum()) / room if room > 1e-9 else float("nan")

    return SelectionPoint(
        n=size,
        prompts=len(rows),
        judge=_told(judge, resamples),
        random=_told(random, resamples),
        longest=mean_interval(longest, resamples=resamples),
        oracle=_told(oracle, resamples),
        gain=_told(judge - random, resamples),
        over_longest=mean_interval(judge - longest, resamples=resamples),
        captured=bootstrap(captured, [str(number) for number in range(len(rows))], resamples=resamples),
    )


def _told(values: Floats, resamples: int) -> Interval:
    found = mean_interval(values, resamples=resamples)
    if found is None:
        raise InputError("expected a mean of some prompts, got none")
    return found
