"""How far a judge's numbers can be taken at their word, and the map that makes them so.

*Reliability*: what the judge said against what came true, in bins of equal size, and the expected calibration error
(the mean distance of the two, Naeini et al. 2015; it is above zero by chance alone, so read it with its interval).
Of verdicts, what is said is the probability of the likelier response, ties aside; verdicts without probabilities
are taken as certain. Of ratings, it is the rating itself, against the mean human one.

*The map*: isotonic regression from human labels (scikit-learn), kept as a `CalibrationMap`. Probabilities are fitted
together with their exchanged selves, so that the map knows no position. What it gains is measured on prompts it was
not fitted to: whole prompts are left out, fold by fold. Labels of ties say nothing of who wins and are left out.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from judge_training.agreement import JudgedPair
from judge_training.rating_agreement import RatedResponse
from rewards.calibration import CalibrationKind, CalibrationMap
from rewards.errors import InputError
from rewards.intervals import RESAMPLES, Interval, bootstrap
from rewards.types import Record

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

BINS = 10
FOLDS = 5
_LEAST = 20


class ReliabilityBin(Record):
    """Judgments that said about the same."""

    n: int
    low: float
    high: float
    said: float
    """Mean of what the judge said."""
    came: Interval
    """Share of right verdicts, or mean human rating."""


class Reliability(Record):
    """What was said against what came true."""

    n: int
    bins: tuple[ReliabilityBin, ...]
    ece: Interval
    """Expected calibration error: mean over the bins, weighted by their size, of |came - said|."""
    error: Interval
    """Mean squared difference of what was said and each label (the Brier score, of verdicts)."""


class Calibration(Record):
    """A judge's calibration, the map from labels, and what the map gains on prompts it has not seen."""

    kind: CalibrationKind
    certain: bool = False
    """Whether the verdicts had no probabilities and were taken as certain."""
    before: Reliability
    after: Reliability | None
    """With the map fitted on other prompts; None with too few prompts to leave some out."""
    constant_error: Interval | None
    """Mean squared error of always saying the mean of the other prompts' labels."""
    gain: Interval | None
    """Error before less error after, paired."""
    gain_over_constant: Interval | None
    folds: int
    map: CalibrationMap
    """Fitted on all labels."""


def calibrate_verdicts(
    pairs: Sequence[JudgedPair], *, judge: str = "", labels: str = "", resamples: int = RESAMPLES, seed: int = 0
) -> Calibration:
    """Calibration of verdict probabilities on labelled pairs.

    Raises InputError with fewer than 20 pairs where people name a winner and the judge can be read.
    """
    decided = [one for one in pairs if one.label != "tie"]
    certain = not any(one.probabilities is not None for one in decided)
    told = [(one, share) for one in decided if (share := _first_share(one, certain=certain)) is not None]
    _check_enough(len(told), "pairs with a winner that the judge decided")
    said = [share for _, share in told]
    came = [float(one.label == "first") for one, _ in told]
    prompts = [one.prompt_id for one, _ in told]
    found = _calibrate("probability", said, came, prompts, judge=judge, labels=labels, resamples=resamples, seed=seed)
    return found.model_copy(update={"certain": certain})


def calibrate_ratings(
    responses: Sequence[RatedResponse],
    *,
    judge: str = "",
    labels: str = "",
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Calibration:
    """Calibration of ratings against reference ratings; raises InputError with fewer than 20 that could be read."""
    told = [(one, one.judge) for one in responses if one.judge is not None]
    _check_enough(len(told), "rated responses that the judge rated")
    said, came = [rating for _, rating in told], [one.reference for one, _ in told]
    prompts = [one.prompt_id for one, _ in told]
    return _calibrate("rating", said, came, prompts, judge=judge, labels=labels, resamples=resamples, seed=seed)


def fit_map(
    kind: CalibrationKind, said: Sequence[float], came: Sequence[float], *, judge: str = "", labels: str = ""
) -> CalibrationMap:
    """Isotonic regression of `came` on `said`, both of the same length."""
    from sklearn.isotonic import IsotonicRegression

    x, y = list(said), list(came)
    if kind == "probability":
        x, y = x + [1 - one for one in x], y + [1 - one for one in y]
    fitted = IsotonicRegression(out_of_bounds="clip").fit(x, y)
    knots_x, knots_y = fitted.X_thresholds_.tolist(), fitted.y_thresholds_.tolist()
    return CalibrationMap(kind=kind, x=tuple(knots_x), y=tuple(knots_y), n=len(said), judge=judge, labels=labels)


def _first_share(pair: JudgedPair, *, certain: bool) -> float | None:
    """Probability of the first response, ties aside; None where the judge says nothing of the two."""
    if certain:
        return None if pair.verdict in (None, "tie") else float(pair.verdict == "first")
    if pair.probabilities is None:
        return None
    decided = pair.probabilities.first + pair.probabilities.second
    return pair.probabilities.first / decided if decided > 0 else None


def _check_enough(count: int, what: str) -> None:
    if count < _LEAST:
        raise InputError(f"expected at least {_LEAST} {what} to calibrate on, got {count}")


def _calibrate(
    kind: CalibrationKind,
    said: list[float],
    came: list[float],
    prompts: list[str],
    *,
    judge: str,
    labels: str,
    resamples: int,
    seed: int,
) -> Calibration:
    import numpy as np

    x, y = np.array(said), np.array(came)
    folds = min(FOLDS, len(set(prompts)))
    after = constant = gain = over_constant = None
    if folds > 1:
        mapped, mean = _out_of_fold(kind, x, y, prompts, folds, seed)
        before_error, after_error, constant_error = (x - y) ** 2, (mapped - y) ** 2, (mean - y) ** 2
        after = reliability(kind, mapped, y, prompts, resamples=resamples)
        constant = _mean(constant_error, prompts, resamples)
        gain = _mean(before_error - after_error, prompts, resamples)
        over_constant = _mean(constant_error - after_error, prompts, resamples)
    return Calibration(
        kind=kind,
        before=reliability(kind, x, y, prompts, resamples=resamples),
        after=after,
        constant_error=constant,
        gain=gain,
        gain_over_constant=over_constant,
        folds=folds,
        map=fit_map(kind, said, came, judge=judge, labels=labels),
    )


def _out_of_fold(
    kind: CalibrationKind, x: Floats, y: Floats, prompts: list[str], folds: int, seed: int
) -> tuple[Floats, Floats]:
    """For every observation, what a map fitted on the other folds says, and the mean label there."""
    import numpy as np

    names = sorted(set(prompts))
    random.Random(seed).shuffle(names)  # noqa: S311 -- folds, not secrets
    fold_of = {name: place % folds for place, name in enumerate(names)}
    fold = np.array([fold_of[name] for name in prompts])
    mapped, mean = np.empty_like(y), np.empty_like(y)
    for number in range(folds):
        held, rest = fold == number, fold != number
        fitted = fit_map(kind, x[rest].tolist(), y[rest].tolist())
        mapped[held] = [fitted.apply(value) for value in x[held].tolist()]
        mean[held] = 0.5 if kind == "probability" else y[rest].mean()
    return mapped, mean


def reliability(
    kind: CalibrationKind,
    said: Floats,
    came: Floats,
    prompts: Sequence[str],
    *,
    bins: int = BINS,
    resamples: int = RESAMPLES,
) -> Reliability:
    """What was said against what came true, both of shape (n,), n at least 1.

    Of probabilities, the likelier response is looked at, whichever it is: confidence against the share of right ones.
    """
    import numpy as np

    x, y = said, came
    if kind == "probability":
        x = np.maximum(said, 1 - said)
        y = np.where(said == 0.5, 0.5, np.where(said > 0.5, came, 1 - came))
    place = _bins(x, bins)

    def ece(at: NDArray[np.intp]) -> float:
        sums = np.bincount(place[at], weights=(y - x)[at])
        return float(np.abs(sums).sum() / len(at))

    found = []
    for number in sorted(set(place.tolist())):
        inside = np.flatnonzero(place == number)
        names = [prompts[position] for position in inside.tolist()]
        found.append(
            ReliabilityBin(
                n=len(inside),
                low=float(x[inside].min()),
                high=float(x[inside].max()),
                said=float(x[inside].mean()),
                came=_mean(y[inside], names, resamples),
            )
        )
    return Reliability(
        n=len(x),
        bins=tuple(found),
        ece=_interval(ece, prompts, resamples),
        error=_mean((said - came) ** 2, prompts, resamples),
    )


def _bins(x: Floats, bins: int) -> NDArray[np.intp]:
    """Bins of about equal size; equal values are in one bin."""
    import numpy as np

    edges = np.unique(np.quantile(x, np.linspace(0, 1, bins + 1)[1:-1]))
    return np.searchsorted(edges, x, side="left")


def _mean(values: Floats, prompts: Sequence[str], resamples: int) -> Interval:
    return _interval(lambda at: float(values[at].mean()), prompts, resamples)


def _interval(statistic: Callable[[NDArray[np.intp]], float], prompts: Sequence[str], resamples: int) -> Interval:
    found = bootstrap(statistic, prompts, resamples=resamples)
    if found is None:
        raise InputError("expected numbers to calibrate on, got none")
    return found
