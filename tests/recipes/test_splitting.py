from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recipes.splitting import choose_prompts
from rewards.errors import InputError
from rewards.types import Message, Prompt


def prompt(name: str, text: str | None = None, scenario: str | None = None) -> Prompt:
    return Prompt(id=name, messages=(Message(role="user", content=text or name),), scenario=scenario)


@given(st.sets(st.text(min_size=1, max_size=5), min_size=4, max_size=30), st.integers(0, 3), st.integers())
def test_nothing_held_out_is_worked_on_and_order_does_not_matter(names: set[str], held_out: int, seed: int) -> None:
    prompts = [prompt(name) for name in sorted(names)]
    work, rest = choose_prompts(prompts, limit=None, held_out=held_out, seed=seed)
    assert len(rest) == held_out
    assert {p.id for p in work} | {p.id for p in rest} == names
    assert not {p.messages for p in work} & {p.messages for p in rest}
    assert choose_prompts(prompts[::-1], limit=None, held_out=held_out, seed=seed) == (work, rest)


def test_scenarios_are_balanced() -> None:
    prompts = [prompt(f"{scenario}{i}", scenario=scenario) for scenario in "abcd" for i in range(10)]
    work, rest = choose_prompts(prompts, limit=8, held_out=4, seed=3)
    assert Counter(p.scenario for p in work) == dict.fromkeys("abcd", 2)
    assert Counter(p.scenario for p in rest) == dict.fromkeys("abcd", 1)


def test_the_same_conversation_under_two_ids_is_used_once() -> None:
    work, rest = choose_prompts([prompt("a", "x"), prompt("b", "x"), prompt("c")], limit=None, held_out=1, seed=0)
    assert len(work) + len(rest) == 2


def test_too_few_prompts_say_so() -> None:
    with pytest.raises(InputError, match=r"more than 3 different prompts.*got 2"):
        choose_prompts([prompt("a"), prompt("b")], limit=None, held_out=3, seed=0)
