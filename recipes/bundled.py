"""The prompts that ship with autoj: two for each of the 58 scenarios, written for this project.

They make the quickstart and the tiny recipes run offline, so they are short, carry the text they speak of, and
some have a system message or several turns. They are no benchmark: a hundred prompts rank no models, and being
public they will end up in training data.
"""

from __future__ import annotations

from importlib.resources import files

from recipes.splitting import choose_prompts
from rewards.errors import InputError
from rewards.types import Prompt


def bundled_prompts(*, limit: int | None = None, seed: int = 0) -> list[Prompt]:
    """The bundled prompts: all in the order of the scenarios, or `limit` of them spread over the scenarios.

    The same limit and seed give the same prompts, and a smaller limit gives the first of a larger one's. Raises
    InputError for a limit below 1 or above the number of prompts.
    """
    text = (files("recipes") / "data" / "prompts.jsonl").read_text(encoding="utf-8")
    prompts = [Prompt.model_validate_json(line) for line in text.split("\n") if line]
    if limit is None:
        return prompts
    if not 1 <= limit <= len(prompts):
        raise InputError(f"expected a limit of 1 to {len(prompts)} bundled prompts, got {limit}")
    return choose_prompts(prompts, limit=limit, held_out=0, seed=seed)[0]
