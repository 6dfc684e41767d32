"""The order in which an on-policy job meets its prompts, laid out for the whole run before it starts.

Design decision. Trainers shuffle anew in each pass over the data, and a run that goes on in its second pass would get
the first one's order again. A list of positions for all passes has no such state: a resumed run skips what is done.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Literal

import numpy as np

PromptOrder = Literal["balanced", "shuffled", "short_first"]


def prompt_order(
    scenarios: Sequence[str | None], lengths: Sequence[int], count: int, *, order: PromptOrder, seed: int
) -> list[int]:
    """Positions of `count` prompts, drawn pass by pass.

    scenarios, lengths: of each prompt, in its position. balanced: each pass goes round the scenarios and takes the
    next prompt of each, so that a batch has many scenarios and a large scenario comes last; shuffled: by chance;
    short_first: all passes together from short to long.
    """
    random = np.random.default_rng(seed)
    found: list[int] = []
    while len(found) < count and scenarios:
        shuffled = [int(position) for position in random.permutation(len(scenarios))]
        found += _by_turns(shuffled, scenarios) if order == "balanced" else shuffled
    found = found[:count]
    return sorted(found, key=lambda position: lengths[position]) if order == "short_first" else found


def _by_turns(positions: Sequence[int], scenarios: Sequence[str | None]) -> list[int]:
    """The positions, one of each scenario and then again, as long as each has some left."""
    turn: dict[str | None, int] = defaultdict(int)
    keyed = []
    for place, position in enumerate(positions):
        keyed.append((turn[scenarios[position]], place, position))
        turn[scenarios[position]] += 1
    return [position for _, _, position in sorted(keyed)]
