"""Which of the 58 scenarios a prompt belongs to, by a linear text classifier, or that it belongs to none."""

from judge_training.scenario_classifier.label import label_prompts, open_classifier
from judge_training.scenario_classifier.model import Prediction, ScenarioClassifier, load_classifier, save_classifier
from judge_training.scenario_classifier.texts import LabelledText, own_texts, read_labelled

__all__ = [
    "LabelledText",
    "Prediction",
    "ScenarioClassifier",
    "label_prompts",
    "load_classifier",
    "open_classifier",
    "own_texts",
    "read_labelled",
    "save_classifier",
]
