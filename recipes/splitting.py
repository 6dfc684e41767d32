"""Which prompts are worked on and which are held out: balanced over scenarios, and the same every time.

A prompt's place depends on the seed and its own id only, so adding prompts to a file moves no other prompt's
rank inside its scenario.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence

from rewards.errors import InputError
from rewards.types import Prompt


def choose_prompts(
    prompts: Iterable[Prompt], *, limit: int | None, held_out: int, seed: int
) -> tuple[list[Prompt], list[Prompt]]:
    """`limit` prompts to work on and `held_out` others, both spread over the scenarios.

    A conversation that occurs under two ids is used once, so that no held-out prompt was worked on. Raises
    InputError when there are not enough prompts.
    """
    ordered = _spread(list({prompt.messages: prompt for prompt in prompts}.values()), seed)
    if len(ordered) <= held_out:
        raise InputError(
            f"expected more than {held_out} different prompts, so that {held_out} can be held out for the "
            f"evaluation, got {len(ordered)}; lower evaluate.prompts or give more prompts"
        )
    end = len(ordered) - held_out if limit is None else min(limit, len(ordered) - held_out)
    return ordered[:end], ordered[end : end + held_out]


def _spread(prompts: Sequence[Prompt], seed: int) -> list[Prompt]:
    """One prompt of every scenario, then the second of every scenario, and so on, each round shuffled by the seed."""
    groups: dict[str | None, list[Prompt]] = defaultdict(list)
    for prompt in sorted(prompts, key=lambda prompt: _draw(seed, prompt.id)):
        groups[prompt.scenario].append(prompt)
    ranked = [(rank, _draw(seed, prompt.id), prompt) for group in groups.values() for rank, prompt in enumerate(group)]
    return [prompt for _, _, prompt in sorted(ranked, key=lambda row: row[:2])]


def _draw(seed: int, name: str) -> str:
    return hashlib.sha256(f"{seed}\0{name}".encode()).hexdigest()
