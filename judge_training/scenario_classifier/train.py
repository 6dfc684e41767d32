"""Training a scenario classifier: a multinomial logistic regression.

Everything that is chosen is chosen on the training texts alone, by cross-validation: how strongly to regularise
(`COSTS`), the temperature, and the limits of "outside". Folds depend on the texts' order and on no clock or thread,
so that the same texts give the same classifier. A linear support vector machine was as often right on held-out texts,
but less often as sure as it should be. The classes are balanced in the loss: a scenario counts, not how often it is
asked for.
"""

from __future__ import annotations

import warnings
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pydantic import JsonValue

from judge_training.scenario_classifier.features import KINDS, Kind, Vocabulary, terms
from judge_training.scenario_classifier.model import Card, Limits, ScenarioClassifier, softmax
from judge_training.scenario_classifier.texts import LabelledText, digest_of
from rewards.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from scipy.sparse import csr_matrix

COSTS: Final = (1.0, 3.0, 10.0)
"""Strengths that cross-validation chooses from; more is less regularisation."""
CHOOSING_FOLDS: Final = 3
CALIBRATING_FOLDS: Final = 5
"""More than for choosing, since scores grow with the number of texts learned from."""
TERMS: Final = 4000
"""Most terms of a kind, the commonest first."""
COVERAGE: Final = 0.95
_STEPS: Final = 60
_LOG_TEMPERATURES: Final = (-1.6, 3.0)
"""From 0.2: where every held-out text is right, the most probable temperature would be 0, and nothing ever unsure."""
_HALF: Final = 0.5
"""A text that belongs to a scenario rather than not, or of which most is known, is not outside on that account,
however sure and familiar the held-out texts were."""


def train_classifier(
    texts: Sequence[LabelledText],
    *,
    terms_per_kind: int = TERMS,
    min_texts: int = 2,
    coverage: float = COVERAGE,
    about: Mapping[str, JsonValue] | None = None,
) -> ScenarioClassifier:
    """Train on labelled texts.

    terms_per_kind: most terms of each kind; the file has 4 * 3 * terms * classes bytes at most. min_texts: a term
    counts from this many texts on. coverage: share of the held-out texts that stays inside the scenarios. `about` is
    kept in the card. Raises InputError when fewer than two scenarios have two texts.
    """
    labels = [text.scenario for text in texts]
    if sum(count > 1 for count in Counter(labels).values()) < 2:
        raise InputError("expected at least two scenarios with two texts each to learn from, got fewer")
    learner = _Learner(terms_per_kind, min_texts)
    trials = {cost: one.accuracy for cost, one in learner.held_out(texts, COSTS, CHOOSING_FOLDS).items()}
    cost = max(COSTS, key=lambda one: (trials[one], -one))
    chosen = learner.held_out(texts, (cost,), CALIBRATING_FOLDS)[cost]
    temperature = fit_temperature(chosen.scores, chosen.targets)
    confidence = softmax(chosen.scores / temperature).max(axis=1)
    fitted = learner.learn([text.text for text in texts]).fit(labels, cost)
    facts: dict[str, JsonValue] = {
        "texts": len(texts),
        "digest": digest_of(texts),
        "cost": cost,
        "cross_validation": {str(one): round(accuracy, 4) for one, accuracy in trials.items()},
        "held_out": len(chosen.targets),
    }
    return fitted.classifier(
        temperature, outside_limits(confidence, chosen.familiarity, coverage), facts | dict(about or {})
    )


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Scores of texts by classifiers that did not learn from them."""

    scores: NDArray[np.float64]
    """[texts, classes]"""
    targets: NDArray[np.intp]
    """[texts]"""
    familiarity: NDArray[np.float64]

    @property
    def accuracy(self) -> float:
        """Share of the texts whose best score is their own scenario's."""
        return float((self.scores.argmax(axis=1) == self.targets).mean())


@dataclass(frozen=True, slots=True)
class Fitted:
    """Vocabulary and weights, before it is known how sure they may be."""

    vocabulary: Vocabulary
    classes: tuple[str, ...]
    weights: NDArray[np.float64]
    intercepts: NDArray[np.float64]

    def classifier(self, temperature: float, limits: Limits, trained_on: dict[str, JsonValue]) -> ScenarioClassifier:
        """The classifier, in the precision in which it is saved."""
        card = Card(
            classes=self.classes,
            temperature=temperature,
            limits=limits,
            vocabulary={kind: tuple(self.vocabulary.index[kind]) for kind in KINDS},
            trained_on=trained_on,
        )
        return ScenarioClassifier(
            card, self.vocabulary, self.weights.astype("float32"), self.intercepts.astype("float32")
        )


@dataclass(frozen=True, slots=True)
class _Learned:
    """A vocabulary, and the texts that it was learned from as rows."""

    vocabulary: Vocabulary
    matrix: csr_matrix

    def fit(self, labels: Sequence[str], cost: float) -> Fitted:
        """Weights for the labels of the texts."""
        import numpy as np
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression

        model = LogisticRegression(C=cost, class_weight="balanced", max_iter=_STEPS, tol=1e-3)
        with warnings.catch_warnings():
            # The weights are regularised and chosen by held-out accuracy: the last digits of the loss do not matter.
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(self.matrix, list(labels))
        weights, intercepts = model.coef_.T, model.intercept_
        if len(model.classes_) == 2:
            # scikit-learn keeps one score for two classes, that of the second against the first.
            weights, intercepts = np.hstack([-weights, weights]) / 2, np.array([-intercepts[0], intercepts[0]]) / 2
        return Fitted(self.vocabulary, tuple(map(str, model.classes_)), weights, intercepts)


@dataclass(frozen=True, slots=True)
class _Learner:
    terms_per_kind: int
    min_texts: int

    def learn(self, texts: Sequence[str]) -> _Learned:
        """The vocabulary of the texts; in single precision, which is that of the saved weights."""
        vocabulary = learn_vocabulary(texts, most=self.terms_per_kind, min_texts=self.min_texts)
        return _Learned(vocabulary, vocabulary.features(texts).matrix.astype("float32"))

    def held_out(self, texts: Sequence[LabelledText], costs: Sequence[float], count: int) -> dict[float, HeldOut]:
        """For each cost, scores of every prompt by the classifier of the other folds.

        A text that is the only one of its scenario is learned from and never held out.
        """
        import numpy as np

        classes = sorted({text.scenario for text in texts})
        fold_of = folds([text.scenario for text in texts], count)
        scores: dict[float, list[NDArray[np.float64]]] = {cost: [] for cost in costs}
        targets: list[int] = []
        familiarity: list[float] = []
        for fold in range(count):
            taught = [text for text, place in zip(texts, fold_of, strict=True) if place != fold]
            tested = [text for text, place in zip(texts, fold_of, strict=True) if place == fold and text.is_prompt]
            if not tested:
                continue
            learned = self.learn([text.text for text in taught])
            features = learned.vocabulary.features([text.text for text in tested])
            for cost in costs:
                fitted = learned.fit([text.scenario for text in taught], cost)
                scores[cost].append(_in_columns(fitted, features.matrix, classes))
            targets += [classes.index(text.scenario) for text in tested]
            familiarity += features.familiarity.tolist()
        if not targets:
            raise InputError("expected prompts that can be held out, got none with another of its scenario")
        return {
            cost: HeldOut(np.concatenate(parts), np.array(targets, dtype=np.intp), np.array(familiarity))
            for cost, parts in scores.items()
        }


def _in_columns(fitted: Fitted, matrix: csr_matrix, classes: Sequence[str]) -> NDArray[np.float64]:
    """Scores [texts, classes]; minus infinity for a class that the fold did not have."""
    import numpy as np

    scores = np.full((matrix.shape[0], len(classes)), -np.inf)
    scores[:, [classes.index(name) for name in fitted.classes]] = matrix @ fitted.weights + fitted.intercepts
    return scores


def folds(labels: Sequence[str], count: int) -> list[int]:
    """A fold for each text, every scenario spread over the folds; -1 (never held out) for the only one of its kind."""
    sizes = Counter(labels)
    seen: dict[str, int] = defaultdict(int)
    places = []
    for label in labels:
        # Another fold to start with in each scenario, so that the first fold does not get all the small ones.
        start = list(sizes).index(label)
        places.append((seen[label] + start) % count if sizes[label] > 1 else -1)
        seen[label] += 1
    return places


def learn_vocabulary(texts: Sequence[str], *, most: int, min_texts: int) -> Vocabulary:
    """The commonest terms of each kind that occur in `min_texts` texts or more, with idf = 1 + ln((1+n) / (1+df)).

    The formula is scikit-learn's smoothed one.
    """
    import numpy as np

    frequencies: dict[Kind, Counter[str]] = {kind: Counter() for kind in KINDS}
    for text in texts:
        for kind, found in terms(text).items():
            frequencies[kind].update(set(found))
    index: dict[Kind, dict[str, int]] = {}
    idf: dict[Kind, NDArray[np.float64]] = {}
    for kind, counts in frequencies.items():
        common = sorted((term for term in counts if counts[term] >= min_texts), key=lambda term: (-counts[term], term))
        chosen = sorted(common[:most])
        index[kind] = {term: place for place, term in enumerate(chosen)}
        idf[kind] = 1 + np.log((1 + len(texts)) / (1 + np.array([counts[term] for term in chosen], dtype=float)))
    return Vocabulary(index=index, idf=idf)


def fit_temperature(scores: NDArray[np.float64], targets: NDArray[np.intp]) -> float:
    """The temperature that makes held-out targets most probable (Guo et al. 2017, arXiv 1706.04599)."""
    import numpy as np
    from scipy.optimize import minimize_scalar

    rows = np.arange(len(targets))

    def loss(log_temperature: float) -> float:
        probabilities = softmax(scores / np.exp(log_temperature))
        return float(-np.log(np.maximum(probabilities[rows, targets], 1e-12)).mean())

    return float(np.exp(minimize_scalar(loss, bounds=_LOG_TEMPERATURES, method="bounded").x))


def outside_limits(confidence: NDArray[np.float64], familiarity: NDArray[np.float64], coverage: float) -> Limits:
    """Limits that leave `coverage` of held-out texts inside; half of the others are lost to each of the two."""
    import numpy as np

    if not 0 < coverage <= 1:
        raise InputError(f"expected a coverage above 0 and at most 1, got {coverage}")
    least_familiar = min(_HALF, float(np.quantile(familiarity, (1 - coverage) / 2, method="lower")))
    familiar = familiarity >= least_familiar
    left = max(0.0, 1 - coverage / float(familiar.mean()))
    least_sure = min(_HALF, float(np.quantile(confidence[familiar], left, method="lower")))
    inside = familiar & (confidence >= least_sure)
    return Limits(confidence=least_sure, familiarity=least_familiar, coverage=float(inside.mean()))
