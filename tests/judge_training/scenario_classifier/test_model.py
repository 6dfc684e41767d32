"""Features, training, saving and predicting, on small texts of our own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from judge_training.scenario_classifier import LabelledText, ScenarioClassifier, load_classifier, save_classifier
from judge_training.scenario_classifier.features import KINDS, terms
from judge_training.scenario_classifier.model import ARRAYS, CARD, softmax
from judge_training.scenario_classifier.train import (
    fit_temperature,
    folds,
    learn_vocabulary,
    outside_limits,
    train_classifier,
)
from rewards.errors import InputError, MissingFileError

SUBJECTS = ("the harbour", "a red kite", "old maps", "my garden", "the night train", "bees", "a lost glove", "winter")
OPENINGS = {
    "writing_email": "Write an email to my landlord about {}",
    "text_to_text_translation": "Translate this sentence about {} into French",
    "code_generation": "Write a Python function that counts {}",
    "chitchat": "Hello, do you like {}?",
}
TEXTS = [
    LabelledText(text=opening.format(subject), scenario=scenario)
    for scenario, opening in OPENINGS.items()
    for subject in SUBJECTS
]


@pytest.fixture(scope="module")
def classifier() -> ScenarioClassifier:
    return train_classifier(TEXTS, min_texts=1)


def test_what_was_learned_is_found_again_and_nonsense_is_outside(classifier: ScenarioClassifier) -> None:
    said = classifier.predict(["Write an email to the bank about a card", "qzx#7 vvkp 0x9f !!"])
    assert said[0].scenario == said[0].nearest == "writing_email"
    assert said[1].scenario is None
    assert said[1].nearest in OPENINGS
    assert said[1].familiarity < classifier.card.limits.familiarity


def test_predictions_equal_scikit_learns_own(tmp_path: Path) -> None:
    texts = [text.text for text in TEXTS]
    asked = [*texts, "Write a poem, then an email!", "", "Über 12 Züge", "qzx " * 50]
    vocabulary = learn_vocabulary(texts, most=500, min_texts=1)
    blocks, tests = [], []
    for kind in KINDS:
        vectorizer = TfidfVectorizer(
            analyzer=lambda text, kind=kind: terms(text)[kind], vocabulary=vocabulary.index[kind], sublinear_tf=True
        )
        blocks.append(vectorizer.fit_transform(texts).toarray())
        tests.append(vectorizer.transform(asked).toarray())
        assert np.allclose(vectorizer.idf_, vocabulary.idf[kind], atol=1e-12)
    assert np.abs(vocabulary.features(asked).matrix.toarray() - np.hstack(tests)).max() < 1e-9
    model = LogisticRegression(C=3.0).fit(np.hstack(blocks), [text.scenario for text in TEXTS])
    card = train_classifier(TEXTS, min_texts=1, terms_per_kind=500).card
    ours = ScenarioClassifier(
        card.model_copy(update={"temperature": 1.0, "vocabulary": {k: tuple(vocabulary.index[k]) for k in KINDS}}),
        vocabulary,
        model.coef_.T.astype("float32"),
        model.intercept_.astype("float32"),
    )
    save_classifier(ours, tmp_path)
    assert list(card.classes) == list(model.classes_)
    found = load_classifier(tmp_path).probabilities(asked)
    assert np.abs(found - model.predict_proba(np.hstack(tests))).max() < 1e-6


def test_a_saved_classifier_predicts_the_same_and_needs_no_scikit_learn(
    classifier: ScenarioClassifier, tmp_path: Path
) -> None:
    save_classifier(classifier, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {CARD, ARRAYS}
    texts = [text.text for text in TEXTS]
    assert load_classifier(tmp_path).predict(texts) == classifier.predict(texts)
    code = (
        "import sys; from pathlib import Path; from judge_training.scenario_classifier import load_classifier\n"
        f"load_classifier(Path({str(tmp_path)!r})).predict(['Hello'])\n"
        "print([name for name in ('sklearn', 'torch', 'transformers') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_training_twice_gives_the_same(classifier: ScenarioClassifier) -> None:
    again = train_classifier(TEXTS, min_texts=1)
    assert again.card == classifier.card
    assert np.array_equal(again.weights, classifier.weights)


def test_two_scenarios_are_enough_and_one_is_not() -> None:
    two = [text for text in TEXTS if text.scenario in ("chitchat", "code_generation")]
    assert train_classifier(two).predict(["Hello, do you like tea?"])[0].nearest == "chitchat"
    with pytest.raises(InputError, match="at least two scenarios"):
        train_classifier(two[:8])


def test_a_scenario_with_a_single_text_is_learned_and_never_held_out() -> None:
    alone = LabelledText(text="Rank these rivers by length", scenario="ranking")
    classifier = train_classifier([*TEXTS, alone], min_texts=1)
    assert classifier.predict([alone.text])[0].nearest == "ranking"
    assert classifier.card.trained_on["held_out"] == len(TEXTS)
    assert classifier.card.temperature > 0


def test_a_text_about_a_scenario_is_never_held_out() -> None:
    about = [LabelledText(text=f"Small talk {n}", scenario="chitchat", is_prompt=False) for n in range(4)]
    assert train_classifier([*TEXTS, *about]).card.trained_on["held_out"] == len(TEXTS)


def test_damaged_files_are_errors(classifier: ScenarioClassifier, tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=CARD):
        load_classifier(tmp_path)
    save_classifier(classifier, tmp_path)
    arrays = load_file(tmp_path / ARRAYS)
    save_file(arrays | {"weights": arrays["weights"][:-1].copy()}, tmp_path / ARRAYS)
    with pytest.raises(InputError, match="shapes"):
        load_classifier(tmp_path)
    card = json.loads((tmp_path / CARD).read_text())
    (tmp_path / CARD).write_text(json.dumps(card | {"temperature": 0}))
    with pytest.raises(InputError, match="cannot be read"):
        load_classifier(tmp_path)


# Parts


def test_the_temperature_makes_overconfident_scores_honest() -> None:
    rng = np.random.default_rng(0)
    honest = rng.normal(size=(4000, 5)) * 2
    targets = np.array([rng.choice(5, p=row) for row in softmax(honest)])
    assert fit_temperature(honest * 3, targets) == pytest.approx(3, rel=0.1)


@given(
    st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=20, max_size=200, unique=True),
    st.sampled_from([0.8, 0.9, 0.95, 1.0]),
)
@settings(max_examples=50, deadline=None)
def test_limits_keep_at_least_the_coverage_inside(pairs: list[tuple[float, float]], coverage: float) -> None:
    confidence, familiarity = (np.array(column) for column in zip(*pairs, strict=True))
    limits = outside_limits(confidence, familiarity, coverage)
    inside = (confidence >= limits.confidence) & (familiarity >= limits.familiarity)
    assert inside.mean() == pytest.approx(limits.coverage)
    assert limits.coverage >= coverage - 1e-9


def test_a_coverage_of_nothing_is_refused() -> None:
    with pytest.raises(InputError, match="coverage"):
        outside_limits(np.ones(3), np.ones(3), 0.0)


def test_folds_spread_every_scenario() -> None:
    places = folds(["a"] * 7 + ["b"] * 3 + ["c"], 3)
    assert [places[:7].count(fold) for fold in range(3)] == [3, 2, 2]
    assert sorted(places[7:10]) == [0, 1, 2]
    assert places[10] == -1


@given(st.text(max_size=300))
@settings(max_examples=100, deadline=None)
def test_any_text_has_a_prediction(classifier: ScenarioClassifier, text: str) -> None:
    said = classifier.predict([text])[0]
    assert said.nearest in OPENINGS
    assert said.scenario in (None, said.nearest)


def test_no_texts_no_predictions(classifier: ScenarioClassifier) -> None:
    assert classifier.predict([]) == []
