"""How good a scenario classifier is, on labelled texts that it did not learn from.

Every number has its interval, and stands beside two floors: always the commonest scenario, and the scenario whose
description has most words in common with the text. Scenarios count as predicted before the limits of "outside" are
applied; what these cost and gain is reported apart (`inside`, `inside_accuracy`, `noticed`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from judge_training.scenario_classifier.model import Prediction, ScenarioClassifier
from judge_training.scenario_classifier.outside import mixed_words, outside_texts
from judge_training.scenario_classifier.texts import LabelledText
from judge_training.scenario_classifier.train import learn_vocabulary
from judge_training.scenarios import group_of, load_scenarios
from rewards.errors import InputError
from rewards.intervals import Interval, bootstrap, wilson
from rewards.types import Record

if TYPE_CHECKING:
    from numpy.typing import NDArray

BINS: Final = 10


class ScenarioScore(Record):
    """One scenario."""

    name: str
    n: int
    predicted: int
    precision: float | None
    """None when it was never predicted."""
    recall: float
    f1: float


class ClassifierEvaluation(Record):
    """What labelled texts show of a classifier."""

    n: int
    accuracy: Interval
    macro_f1: Interval
    """Mean F1 of the scenarios that the texts have; one that is never predicted counts 0."""
    group_accuracy: Interval
    """Share whose predicted scenario lies in the right one of the 8 groups."""
    calibration_error: Interval
    """Expected calibration error, 10 bins of equal width (Guo et al. 2017, arXiv 1706.04599)."""
    confidence: float
    """Mean confidence; above the accuracy the classifier is too sure of itself."""
    inside: Interval
    """Share of the texts that the limits leave inside the scenarios."""
    inside_accuracy: Interval | None
    """Accuracy on these."""
    majority: float
    """Floor: always the commonest scenario of these texts."""
    nearest_description: Interval
    """Floor: the scenario whose description is nearest by TF-IDF."""
    noticed: dict[str, Interval]
    """Share of texts from outside the scenarios that were found to be outside, by kind."""
    unseen: tuple[str, ...]
    """Scenarios of the texts that the classifier does not know."""
    scenarios: tuple[ScenarioScore, ...]


def evaluate_classifier(
    classifier: ScenarioClassifier, texts: Sequence[LabelledText], elsewhere: Sequence[LabelledText] = ()
) -> ClassifierEvaluation:
    """Evaluate on labelled texts; `elsewhere` are texts with another label, whose share found outside is reported.

    Raises InputError when there is nothing to evaluate on.
    """
    if not texts:
        raise InputError("expected labelled texts to evaluate on, got none")
    said = classifier.predict([text.text for text in texts])
    told = [text.scenario for text in texts]
    right = [one.nearest == label for one, label in zip(said, told, strict=True)]
    inside = [one.scenario is not None for one in said]
    return ClassifierEvaluation(
        n=len(texts),
        accuracy=_share(right),
        macro_f1=_macro_f1(told, [one.nearest for one in said]),
        group_accuracy=_share(
            [group_of(one.nearest) == group_of(label) for one, label in zip(said, told, strict=True)]
        ),
        calibration_error=_calibration(said, right),
        confidence=float(np.mean([one.confidence for one in said])),
        inside=_share(inside),
        inside_accuracy=wilson(sum(r and i for r, i in zip(right, inside, strict=True)), sum(inside)),
        majority=Counter(told).most_common(1)[0][1] / len(told),
        nearest_description=_share([a == b for a, b in zip(_nearest(texts), told, strict=True)]),
        noticed=_noticed(classifier, texts, elsewhere),
        unseen=tuple(sorted(set(told) - set(classifier.card.classes))),
        scenarios=_by_scenario(told, [one.nearest for one in said]),
    )


def _share(hits: Sequence[bool]) -> Interval:
    return _certain(wilson(sum(hits), len(hits)))


def _certain(interval: Interval | None) -> Interval:
    if interval is None:
        raise InputError("expected observations, got none")
    return interval


def _scores(told: NDArray[np.intp], said: NDArray[np.intp], count: int) -> tuple[NDArray[np.intp], ...]:
    """For each class: how often it is the label, is predicted, and both."""
    both = np.bincount(told[told == said], minlength=count)
    return np.bincount(told, minlength=count), np.bincount(said, minlength=count), both


def _numbered(told: Sequence[str], said: Sequence[str]) -> tuple[list[str], NDArray[np.intp], NDArray[np.intp]]:
    names = sorted({*told, *said})
    place = {name: number for number, name in enumerate(names)}
    return names, np.array([place[name] for name in told]), np.array([place[name] for name in said])


def _macro_f1(told: Sequence[str], said: Sequence[str]) -> Interval:
    names, labels, guesses = _numbered(told, said)

    def statistic(positions: NDArray[np.intp]) -> float:
        labelled, predicted, both = _scores(labels[positions], guesses[positions], len(names))
        there = labelled > 0
        return float((2 * both[there] / (labelled + predicted)[there]).mean())

    return _certain(bootstrap(statistic, [str(number) for number in range(len(told))]))


def _by_scenario(told: Sequence[str], said: Sequence[str]) -> tuple[ScenarioScore, ...]:
    names, labels, guesses = _numbered(told, said)
    rows = zip(names, *(counts.tolist() for counts in _scores(labels, guesses, len(names))), strict=True)
    scores = [
        ScenarioScore(
            name=name,
            n=int(n),
            predicted=int(predicted),
            precision=both / predicted if predicted else None,
            recall=both / n,
            f1=2 * both / (n + predicted),
        )
        for name, n, predicted, both in rows
        if n
    ]
    return tuple(sorted(scores, key=lambda one: (-one.n, one.name)))


def _calibration(said: Sequence[Prediction], right: Sequence[bool]) -> Interval:
    sure = np.array([one.confidence for one in said])
    hits = np.array(right, dtype=float)
    bins = np.minimum((sure * BINS).astype(int), BINS - 1)

    def statistic(positions: NDArray[np.intp]) -> float:
        gaps = np.bincount(bins[positions], weights=(sure - hits)[positions], minlength=BINS)
        return float(np.abs(gaps).sum() / len(positions))

    return _certain(bootstrap(statistic, [str(number) for number in range(len(said))]))


def _nearest(texts: Sequence[LabelledText]) -> list[str]:
    """The scenario whose name and description have the largest cosine with each text, by words."""
    scenarios = load_scenarios().scenarios
    about = [f"{one.name.replace('_', ' ')}: {one.description}" for one in scenarios]
    words = learn_vocabulary(about, most=100_000, min_texts=1)
    width = len(words.index["word"])
    known = words.features(about).matrix[:, :width]
    asked = words.features([text.text for text in texts]).matrix[:, :width]
    best = np.asarray((asked @ known.T).todense()).argmax(axis=1)
    return [scenarios[place].name for place in best]


def _noticed(
    classifier: ScenarioClassifier, inside: Sequence[LabelledText], elsewhere: Sequence[LabelledText]
) -> dict[str, Interval]:
    kinds = {name: list(texts) for name, texts in outside_texts().items()}
    kinds["words mixed up"] = list(mixed_words([text.text for text in inside]))
    for text in elsewhere:
        kinds.setdefault(f"label {text.scenario}", []).append(text.text)
    return {name: _share([one.scenario is None for one in classifier.predict(texts)]) for name, texts in kinds.items()}


def summary_rows(result: ClassifierEvaluation) -> list[tuple[str, str, str]]:
    """Rows (measure, value, 95% interval) for a table; shares in percent."""
    rows = [
        ("texts", str(result.n), ""),
        _row("accuracy", result.accuracy),
        _row("macro F1", result.macro_f1),
        _row("right group of the 8", result.group_accuracy),
        _row("floor: nearest description", result.nearest_description),
        ("floor: commonest scenario", f"{100 * result.majority:.1f}", ""),
        ("mean confidence", f"{100 * result.confidence:.1f}", ""),
        _row("expected calibration error", result.calibration_error),
        _row("left inside the scenarios", result.inside),
    ]
    if result.inside_accuracy is not None:
        rows.append(_row("accuracy inside", result.inside_accuracy))
    return rows + [_row(f"found outside: {kind}", share) for kind, share in result.noticed.items()]


def _row(name: str, share: Interval) -> tuple[str, str, str]:
    return name, f"{100 * share.value:.1f}", f"{100 * share.low:.1f} to {100 * share.high:.1f}"


def scenario_rows(result: ClassifierEvaluation) -> list[tuple[str, str, str, str, str]]:
    """Rows (scenario, texts, precision, recall, F1) for a table, in percent, most frequent first."""
    return [
        (
            one.name,
            str(one.n),
            "–" if one.precision is None else f"{100 * one.precision:.0f}",
            f"{100 * one.recall:.0f}",
            f"{100 * one.f1:.0f}",
        )
        for one in result.scenarios
    ]
