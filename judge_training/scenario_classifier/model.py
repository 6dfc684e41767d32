"""The classifier: a linear score for each scenario, how sure it is, and when it says "none of these".

Design decisions. What is saved is arrays (safetensors) and JSON, never a pickle, so that a classifier from somebody
else can be opened without running anything. Confidence is the softmax of the scores over a temperature that was
fitted on texts held out from training. A prompt is outside the scenarios when the classifier is not sure, or when
the prompt hardly consists of anything that it has ever seen; both limits are set on held-out texts so that a stated
share of them stays inside (`coverage`). The nearest scenario and the confidence are kept in any case.

It is a router, for quotas, criteria and tables. It sees words, not meaning, and changes no reward.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pydantic import Field, JsonValue, ValidationError

from judge_training.scenario_classifier.features import KINDS, Kind, Vocabulary
from rewards.errors import InputError, MissingFileError
from rewards.types import Record

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CARD = "classifier.json"
ARRAYS = "classifier.safetensors"
_BATCH: Final = 512


class Prediction(Record):
    """What a classifier says of one text."""

    scenario: str | None
    """None when the text is outside the scenarios."""
    nearest: str
    """The most probable scenario, whether or not the text is outside."""
    confidence: float = Field(ge=0.0, le=1.0)
    """Probability of the nearest scenario after temperature scaling."""
    familiarity: float = Field(ge=0.0, le=1.0)
    """Share of the text that consists of terms seen in training."""


class Limits(Record):
    """When a text is outside the scenarios."""

    confidence: float = Field(ge=0.0, le=1.0)
    """Least confidence of a text inside."""
    familiarity: float = Field(ge=0.0, le=1.0)
    """Least familiarity of a text inside."""
    coverage: float = Field(gt=0.0, le=1.0)
    """Share of the held-out texts of the scenarios that these limits leave inside."""


class Card(Record):
    """Everything of a classifier that is no array."""

    format: int = 1
    classes: tuple[str, ...] = Field(min_length=2)
    temperature: float = Field(gt=0.0)
    limits: Limits
    vocabulary: dict[Kind, tuple[str, ...]]
    """Terms of each kind, in the order of their columns."""
    trained_on: dict[str, JsonValue] = Field(default_factory=dict)
    """What it learned from: names, digest, counts, and the cross-validation that chose its settings."""


@dataclass(frozen=True, slots=True)
class ScenarioClassifier:
    """A linear classifier of texts."""

    card: Card
    vocabulary: Vocabulary
    weights: NDArray[np.float32]
    """[terms, classes]"""
    intercepts: NDArray[np.float32]
    """[classes]"""

    def scores(self, texts: Sequence[str]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Linear scores [texts, classes] and familiarity [texts]."""
        features = self.vocabulary.features(texts)
        return features.matrix @ self.weights + self.intercepts, features.familiarity

    def probabilities(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Probability of each class [texts, classes], after temperature scaling."""
        return softmax(self.scores(texts)[0] / self.card.temperature)

    def predict(self, texts: Sequence[str]) -> list[Prediction]:
        """The scenario of each text, or None, with its confidence."""
        return [
            one for start in range(0, len(texts), _BATCH) for one in self._predicted(texts[start : start + _BATCH])
        ]

    def _predicted(self, texts: Sequence[str]) -> list[Prediction]:
        scores, familiarity = self.scores(texts)
        probabilities = softmax(scores / self.card.temperature)
        best = probabilities.argmax(axis=1)
        return [
            self._prediction(int(place), float(row[place]), float(familiar))
            for place, row, familiar in zip(best, probabilities, familiarity, strict=True)
        ]

    def _prediction(self, place: int, confidence: float, familiarity: float) -> Prediction:
        nearest, limits = self.card.classes[place], self.card.limits
        inside = confidence >= limits.confidence and familiarity >= limits.familiarity
        return Prediction(
            scenario=nearest if inside else None,
            nearest=nearest,
            confidence=min(confidence, 1.0),
            familiarity=min(familiarity, 1.0),
        )


def softmax(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probabilities of scores [texts, classes], row by row."""
    import numpy as np

    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def save_classifier(classifier: ScenarioClassifier, folder: Path) -> None:
    """Write a classifier: its card as JSON and its arrays as safetensors."""
    from safetensors.numpy import save

    folder.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, NDArray[np.float64] | NDArray[np.float32]] = {
        "weights": classifier.weights,
        "intercepts": classifier.intercepts,
        **{f"idf.{kind}": classifier.vocabulary.idf[kind] for kind in KINDS},
    }
    (folder / ARRAYS).write_bytes(save(arrays))
    card = json.dumps(classifier.card.model_dump(mode="json"), ensure_ascii=False, separators=(",", ":"))
    (folder / CARD).write_text(card + "\n", encoding="utf-8")


def load_classifier(folder: Path) -> ScenarioClassifier:
    """Read a classifier. Raises MissingFileError without its files and InputError for files that do not fit."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    for name in (CARD, ARRAYS):
        if not (folder / name).is_file():
            raise MissingFileError(f"expected a scenario classifier ({CARD}, {ARRAYS}) in {folder}, found no {name}")
    try:
        card = Card.model_validate_json((folder / CARD).read_bytes())
        arrays = load_file(folder / ARRAYS)
    except (ValidationError, SafetensorError) as error:
        raise InputError(
            f"{folder}: expected a scenario classifier, got files that cannot be read: {error}"
        ) from error
    return _assembled(card, arrays, folder)


def _assembled(card: Card, arrays: Mapping[str, NDArray[np.float32]], folder: Path) -> ScenarioClassifier:
    if set(card.vocabulary) != set(KINDS):
        raise InputError(f"{folder}: expected terms of the kinds {', '.join(KINDS)}, got {', '.join(card.vocabulary)}")
    terms, classes = sum(map(len, card.vocabulary.values())), len(card.classes)
    expected = {"weights": (terms, classes), "intercepts": (classes,)}
    expected |= {f"idf.{kind}": (len(card.vocabulary[kind]),) for kind in KINDS}
    shapes = {name: array.shape for name, array in arrays.items()}
    if shapes != expected:
        raise InputError(f"{folder}: expected arrays of the shapes {expected}, got {shapes}; is it damaged?")
    return ScenarioClassifier(
        card=card,
        vocabulary=Vocabulary(
            index={kind: {term: place for place, term in enumerate(card.vocabulary[kind])} for kind in KINDS},
            idf={kind: arrays[f"idf.{kind}"].astype("float64") for kind in KINDS},
        ),
        weights=arrays["weights"],
        intercepts=arrays["intercepts"],
    )
