"""The prompts that ship: how many, for what, how long, and that they are nobody's benchmark."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from judge_training.scenarios import scenario_names
from recipes.bundled import bundled_prompts
from rewards.errors import InputError
from rewards.types import Prompt


@pytest.fixture(scope="module")
def prompts() -> list[Prompt]:
    return bundled_prompts()


def test_at_least_two_prompts_for_each_of_the_58_scenarios(prompts: list[Prompt]):
    counts = Counter(prompt.scenario for prompt in prompts)
    assert set(counts) == set(scenario_names())
    assert min(counts.values()) >= 2
    assert len(prompts) >= 116


def test_ids_and_texts_are_unique(prompts: list[Prompt]):
    assert len({prompt.id for prompt in prompts}) == len(prompts)
    assert len({_normal(_last(prompt)) for prompt in prompts}) == len(prompts)


def test_prompts_are_short_enough_for_a_small_model(prompts: list[Prompt]):
    words = [sum(len(message.content.split()) for message in prompt.messages) for prompt in prompts]
    assert max(words) <= 150
    assert sum(count <= 80 for count in words) > 0.8 * len(words)


def test_some_prompts_have_a_system_message_or_several_turns(prompts: list[Prompt]):
    assert sum(prompt.messages[0].role == "system" for prompt in prompts) >= 3
    assert sum(any(message.role == "assistant" for message in prompt.messages) for prompt in prompts) >= 3


@pytest.mark.parametrize(
    "scenario", ["post_summarization", "text_summarization", "reading_comprehension", "explaining_code"]
)
def test_a_prompt_about_a_text_brings_the_text(prompts: list[Prompt], scenario: str):
    texts = [_last(prompt) for prompt in prompts if prompt.scenario == scenario]
    assert all("\n\n" in text for text in texts)


@given(limit=st.integers(1, 116), seed=st.integers(0, 5))
def test_a_subset_is_balanced_and_always_the_same(limit: int, seed: int):
    chosen = bundled_prompts(limit=limit, seed=seed)
    assert len(chosen) == len({prompt.id for prompt in chosen}) == limit
    counts = Counter(prompt.scenario for prompt in chosen)
    assert max(counts.values()) - min(counts[name] for name in scenario_names()) <= 1
    assert chosen == bundled_prompts(limit=limit, seed=seed)


def test_seeds_differ():
    assert len({tuple(prompt.id for prompt in bundled_prompts(limit=8, seed=seed)) for seed in range(5)}) == 5


@pytest.mark.parametrize("limit", [0, -1, 10_000])
def test_a_limit_out_of_range_is_refused(limit: int):
    with pytest.raises(InputError, match="expected a limit of 1 to"):
        bundled_prompts(limit=limit)


@pytest.mark.shared_data
def test_no_prompt_stands_in_an_evaluation_set(prompts: list[Prompt], shared_data: Path):
    theirs = list(_evaluation_prompts(shared_data))
    assert len(theirs) > 2000
    ours = [message.content for prompt in prompts for message in prompt.messages if message.role == "user"]
    assert {_normal(text) for text in ours} & {_normal(text) for text in theirs} == set()
    # Nor a long piece of one: ten words in a row.
    assert {run for text in ours for run in _runs(text)} & {run for text in theirs for run in _runs(text)} == set()


def _evaluation_prompts(folder: Path) -> Iterator[str]:
    for name in ("testdata_pairwise", "testdata_critique"):
        for row in _rows(folder / "auto-j" / "data" / "test" / f"{name}.jsonl"):
            yield str(row["prompt"])
    for row in _rows(folder / "mt-bench" / "question.jsonl"):
        turns = row["turns"]
        assert isinstance(turns, list)
        yield from turns
    for row in _rows(folder / "alpaca-eval" / "prompts.jsonl"):
        yield str(row["instruction"])


def _rows(path: Path) -> Iterator[dict[str, object]]:

    with path.open(encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)


def _last(prompt: Prompt) -> str:
    return prompt.messages[-1].content


def _normal(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.casefold()))


def _runs(text: str) -> Iterator[tuple[str, ...]]:
    words = _normal(text).split()
    for start in range(len(words) - 9):
        yield tuple(words[start : start + 10])
