"""Prompts without a scenario get one; those that have one keep it.

The text that is classified is the first user turn, as in AUTO-J: what a conversation is about is said there.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from judge_training.scenario_classifier.model import ScenarioClassifier, load_classifier
from rewards.protocol.view import query_text
from rewards.scenario_labels import with_scenario
from rewards.types import Prompt

BUNDLED: Final = "bundled"
DEFAULT_FOLDER: Final = Path(__file__).parent / "default"


def open_classifier(name: str) -> ScenarioClassifier:
    """The classifier that ships (`bundled`, trained on our own texts), or the one in a folder."""
    return load_classifier(DEFAULT_FOLDER if name == BUNDLED else Path(name))


def label_prompts(prompts: Sequence[Prompt], classifier: ScenarioClassifier) -> list[Prompt]:
    """The prompts in their order; those without a scenario with the classifier's, or marked as outside."""
    asked = [prompt for prompt in prompts if prompt.scenario is None]
    said = classifier.predict([query_text(prompt, "first_turn") for prompt in asked])
    labelled = iter(
        [with_scenario(prompt, one.scenario, one.confidence) for prompt, one in zip(asked, said, strict=True)]
    )
    return [prompt if prompt.scenario is not None else next(labelled) for prompt in prompts]
