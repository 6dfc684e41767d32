"""A judge's ratings against reference ratings of the same responses.

Differences (mean absolute, bias, exact agreement, kappa) mean something only on one scale; correlations need none.
Length stands beside the judge as the floor: a judge that does not beat the number of characters has read nothing.
Two numbers tell what a judge does to a policy trained on it: how often it puts two answers to one prompt into the
right order, and how often it rates the longer one higher where the reference sees no difference.

Intervals are bootstrapped over prompts. A judgment that could not be read is counted and in no number.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from judge_training.correlation import Correlations, correlations, correlations_within, mean_interval, positions_by
from rewards.intervals import RESAMPLES, Interval, bootstrap
from rewards.types import Id, Record

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


class RatedResponse(Record):
    """One response with its reference rating and the judge's."""

    id: Id
    prompt_id: str
    reference: float
    judge: float | None
    """The judge's (expected) rating; None when it could not be read."""
    characters: int | None = None
    """Length of the response; None where the text is not known."""
    part: str | None = None
    """What the set is also measured by: a base model, a file."""


class RatingAgreement(Record):
    """A judge's ratings against people's, with bootstrap intervals over prompts."""

    n: int
    unparsed: int
    """Labelled responses whose judgment could not be read; in no other number."""
    unmatched: int
    """Labelled responses that were not judged; in no other number."""
    spearman: Interval | None
    """Rank correlation; None when either side is constant."""
    kendall: Interval | None
    """Kendall's tau-b."""
    mae: Interval | None
    """Mean absolute difference, in rating points."""
    bias: Interval | None
    """Mean of judge less person, in rating points."""
    pearson: Interval | None = None
    exact: Interval | None = None
    """Share of responses with the same rating, both rounded to whole points."""
    kappa: Interval | None = None
    """Quadratically weighted (Cohen 1968), of ratings rounded to whole points."""
    within: Correlations | None = None
    """Mean over prompts of the correlation within a prompt."""
    length: Correlations | None = None
    """The reference with the length in characters: the floor."""
    length_within: Correlations | None = None
    pair_accuracy: Interval | None = None
    """Of two answers to a prompt with different references, how often the judge rates the better one higher (a tie
    of the judge counts half); mean over prompts."""
    length_pair_accuracy: Interval | None = None
    """The same for "the longer is better"."""
    longer_at_equal: Interval | None = None
    """Of two answers to a prompt with equal references, how often the judge rates the longer one higher: 0.5 is no
    taste for length."""


def rating_agreement(
    responses: Sequence[RatedResponse], *, unmatched: int = 0, resamples: int = RESAMPLES
) -> RatingAgreement:
    """Measure rated responses; what is not defined on them is None."""
    import numpy as np

    read = [one for one in responses if one.judge is not None]
    prompts = [one.prompt_id for one in read]
    people = np.array([one.reference for one in read])
    judge = np.array([one.judge for one in read], dtype=np.float64)
    pooled = correlations(judge, people, prompts, resamples=resamples)
    sizes = [one.characters for one in read]
    length = np.array(sizes, dtype=np.float64) if read and None not in sizes else None
    difference = judge - people
    whole = np.rint(judge) == np.rint(people)
    return RatingAgreement(
        n=len(read),
        unparsed=len(responses) - len(read),
        unmatched=unmatched,
        pearson=pooled.pearson,
        spearman=pooled.spearman,
        kendall=pooled.kendall,
        mae=bootstrap(lambda at: float(np.abs(difference[at]).mean()), prompts, resamples=resamples),
        bias=bootstrap(lambda at: float(difference[at].mean()), prompts, resamples=resamples),
        exact=bootstrap(lambda at: float(whole[at].mean()), prompts, resamples=resamples),
        kappa=_weighted_kappa(judge, people, prompts, resamples),
        within=correlations_within(judge, people, prompts, resamples=resamples),
        length=None if length is None else correlations(length, people, prompts, resamples=resamples),
        length_within=None if length is None else correlations_within(length, people, prompts, resamples=resamples),
        pair_accuracy=_pairs_right(judge, people, prompts, resamples),
        length_pair_accuracy=None if length is None else _pairs_right(length, people, prompts, resamples),
        longer_at_equal=None if length is None else _longer_at_equal(judge, people, length, prompts, resamples),
    )


def _weighted_kappa(judge: Floats, people: Floats, prompts: Sequence[str], resamples: int) -> Interval | None:
    import numpy as np

    ours, theirs = np.rint(judge), np.rint(people)

    def statistic(at: NDArray[np.intp]) -> float:
        a, b = ours[at], theirs[at]
        # Mean squared difference of the pairs observed, over that of all pairs: 1 - this is the weighted kappa.
        chance = float(a.var() + b.var() + (a.mean() - b.mean()) ** 2)
        return float("nan") if chance < 1e-12 else 1 - float(((a - b) ** 2).mean()) / chance

    return bootstrap(statistic, prompts, resamples=resamples)


def _pairs_right(judge: Floats, people: Floats, prompts: Sequence[str], resamples: int) -> Interval | None:
    """How often pairs within a prompt stand in the reference's order, mean over prompts with any such pair."""
    import numpy as np

    shares = []
    for at in positions_by(prompts).values():
        order = np.sign(np.subtract.outer(people[at], people[at]))
        better = order > 0
        if better.any():
            shares.append(float((0.5 + 0.5 * np.sign(np.subtract.outer(judge[at], judge[at]))[better]).mean()))
    return mean_interval(np.array(shares), resamples=resamples)


def _longer_at_equal(
    judge: Floats, people: Floats, length: Floats, prompts: Sequence[str], resamples: int
) -> Interval | None:
    import numpy as np

    shares = []
    for at in positions_by(prompts).values():
        equal = np.subtract.outer(people[at], people[at]) == 0
        longer = equal & (np.subtract.outer(length[at], length[at]) > 0)
        if longer.any():
            shares.append(float((0.5 + 0.5 * np.sign(np.subtract.outer(judge[at], judge[at]))[longer]).mean()))
    return mean_interval(np.array(shares), resamples=resamples)
