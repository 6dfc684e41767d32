"""A scenario that a classifier gave to a prompt, and the prompts that it found to be outside the scenarios.

It stands in the prompt itself: `scenario`, and two columns that say who gave it and how sure they were. So every
stage after the reading (quotas, tables, review) sees it, and a prompt that came with a scenario can be told apart.
A classifier's label is never put in the place of one that was there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from rewards.types import Prompt, Reward, Unscored

SCENARIO_BY: Final = "scenario_by"
SCENARIO_CONFIDENCE: Final = "scenario_confidence"
CLASSIFIER: Final = "classifier"
OUTSIDE_NOTE: Final = "outside_scenarios"
"""Note on the reward of a response to a prompt outside the scenarios, where a judge is too sure of itself."""


def with_scenario(prompt: Prompt, scenario: str | None, confidence: float) -> Prompt:
    """The prompt with what a classifier says of it; `scenario` is None for a prompt outside the scenarios."""
    columns = prompt.columns | {SCENARIO_CONFIDENCE: round(confidence, 4), SCENARIO_BY: CLASSIFIER}
    return prompt.model_copy(update={"scenario": scenario, "columns": columns})


def is_classified(prompt: Prompt) -> bool:
    """Whether a classifier was asked about the prompt."""
    return prompt.columns.get(SCENARIO_BY) == CLASSIFIER


def is_outside(prompt: Prompt) -> bool:
    """Whether a classifier found the prompt to be outside the scenarios."""
    return prompt.scenario is None and is_classified(prompt)


def note_outside(scored: Sequence[Reward | Unscored], prompts: Iterable[Prompt]) -> list[Reward | Unscored]:
    """The same rewards, with a note on those of prompts outside the scenarios; no value is changed."""
    outside = {prompt.id for prompt in prompts if is_outside(prompt)}
    return [
        one.model_copy(update={"notes": (*one.notes, OUTSIDE_NOTE)})
        if isinstance(one, Reward) and one.prompt_id in outside
        else one
        for one in scored
    ]
