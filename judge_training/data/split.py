"""A part of the data set apart for validation: prompts it shares with none of the rest, scenarios in proportion.

All examples of a prompt (by its words, as in `decontaminate.py`) stay together, ratings and comparisons alike. Which
prompts go where is drawn by a hash, so it does not change when other data is added before or after.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from judge_training.data.decontaminate import normalized
from judge_training.examples import JudgeExample
from rewards.errors import InputError
from rewards.protocol.view import query_text
from rewards.row_parts import digest

Sides = tuple[tuple[JudgeExample, ...], tuple[JudgeExample, ...]]


def split_examples(examples: Sequence[JudgeExample], *, valid_share: float, seed: int = 0) -> Sides:
    """The examples to train on and those to validate on, each in their order.

    Validation gets this share of every scenario, as nearly as whole prompts allow; what a small scenario is owed is
    carried over to the next. Raises InputError for a share that is not in [0, 1).
    """
    if not 0 <= valid_share < 1:
        raise InputError(f"expected a share of validation from 0 to below 1, got {valid_share}")
    prompts: dict[str, list[JudgeExample]] = defaultdict(list)
    for example in examples:
        prompts[normalized(query_text(example.prompt, "conversation"))].append(example)
    strata: dict[str, list[tuple[str, int]]] = defaultdict(list)
    for prompt, members in prompts.items():
        strata[_scenario(members)].append((prompt, len(members)))
    valid: set[str] = set()
    owed = 0.0
    for scenario in sorted(strata):
        owed += valid_share * sum(size for _, size in strata[scenario])
        for prompt, size in sorted(strata[scenario], key=lambda item: digest(str(seed), item[0])):
            if owed >= size / 2 and valid_share > 0:
                valid.add(prompt)
                owed -= size
    held = {example.id for prompt in valid for example in prompts[prompt]}
    return (
        tuple(example for example in examples if example.id not in held),
        tuple(example for example in examples if example.id in held),
    )


def _scenario(members: list[JudgeExample]) -> str:
    """The scenario that most examples of a prompt have; the first in the alphabet among equals."""
    counts = Counter(example.scenario or "" for example in members)
    return min(counts, key=lambda name: (-counts[name], name))
