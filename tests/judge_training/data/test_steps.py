"""Each step on its own: language, votes, balance, test prompts, split."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from judge_training.data.balance import balance
from judge_training.data.decontaminate import decontaminate, normalized
from judge_training.data.english import is_english, keep_english
from judge_training.data.repeats import merge_repeats
from judge_training.data.split import split_examples
from rewards.errors import InputError
from rewards.types import Message, Prompt

from .made_up import pair, single

LONG = (
    "The old mill at the bend of the river was built by three brothers who had quarrelled about everything except "
    "the place where a wheel should stand and how many stones it would have to carry up the hill."
)


@pytest.mark.parametrize(
    ("text", "english"),
    [
        ("Write a poem about the sea.", True),
        ("hi", True),
        ("2+2?", True),
        ("def f(x): return x + 1", True),
        ("Translate into English: 你好", True),
        ("Is Nigeria a safe place?", True),
        ("Explain this:\n```\nfür = größe + straße  # Länge der Straße in Metern\n```", True),
        ("你好，请写一首关于大海的诗", False),
        ("Напиши стихотворение о море", False),
        ("Was ist die Hauptstadt von Frankreich?", False),
        ("Écris un poème sur la mer.", False),
        ("Escribe un contrato de arrendamiento para una casa", False),
    ],
)
def test_english(text, english):
    assert is_english(text) is english


def test_what_the_source_says_of_the_language_counts_first():
    says = [
        single(1, "hi", columns={"language": "German"}),
        single(2, "Écris un poème", columns={"language": "English"}),
    ]
    kept = keep_english([*says, single(3, "Was ist die Hauptstadt von Frankreich?"), single(4)])
    assert [one.id for one in kept.examples] == ["single-2", "single-4"]
    assert kept.dropped == {"not_english": 2}


def votes(*labels, query="Which?"):
    sides = [("a", "b") if number % 2 == 0 else ("b", "a") for number in range(len(labels))]
    return [
        pair(number, query, responses=side, label=label, human_label=label)
        for number, (side, label) in enumerate(zip(sides, labels, strict=True))
    ]


def test_votes_on_one_pair_are_counted_whatever_their_order():
    kept = merge_repeats(votes("first", "second", "second"))  # for a, for a (shown second), for b
    (one,) = kept.examples
    assert (one.responses, one.label, one.columns["votes"]) == (("a", "b"), "first", 3)
    assert kept.dropped == {"voted_again": 2}
    assert merge_repeats(votes("first", "first")).dropped == {"votes_are_even": 2}
    assert merge_repeats(votes("tie", "tie")).examples[0].label == "tie"


def test_judgments_with_critiques_are_no_votes():
    one, other = single(1), single(1, critique="Another view.", rating=4.0)
    kept = merge_repeats([one, other, one, pair(1), pair(1, critique="Response 1 is right.")])
    assert [each.id for each in kept.examples] == ["single-1", "single-1-2", "pair-1", "pair-1-2"]
    assert kept.dropped == {"same_example_again": 1}


def scenario_pairs(**counts):
    number = 0
    for label, count in counts.items():
        for _ in range(count):
            number += 1
            yield pair(number, label=label, scenario="planning")


def test_labels_take_turns_under_the_cap():
    examples = list(scenario_pairs(first=30, second=5, tie=2))
    kept = balance(examples, pairs_per_scenario=12)
    assert Counter(one.label for one in kept.examples) == {"first": 5, "second": 5, "tie": 2}
    assert kept.dropped == {"over_scenario_cap": 25}
    plain = Counter(one.label for one in balance(examples, pairs_per_scenario=12, labels=False).examples)
    assert plain["first"] > 5
    assert balance(examples).examples == tuple(examples)


@given(st.integers(1, 40), st.integers(1, 40), st.randoms())
def test_a_larger_cap_keeps_what_a_smaller_one_kept(small, large, random):
    small, large = sorted((small, large))
    examples = list(scenario_pairs(first=9, second=14, tie=3)) + [single(n, scenario="chitchat") for n in range(8)]
    shuffled = random.sample(examples, len(examples))

    def ids(cap, given):
        return {one.id for one in balance(given, pairs_per_scenario=cap, singles_per_scenario=cap).examples}

    assert ids(small, examples) <= ids(large, examples)
    assert ids(small, examples) == ids(small, shuffled)
    assert len(ids(small, examples)) == min(small, 26) + min(small, 8)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Write a Poem!", "write a  poem"),
        ("ﬁrst, café", "First café"),
        ("a\n\nb\tc", "A b c."),
        ("“Quoted” — text…", "quoted text"),
        ("Ｗｈｙ？", "why"),
    ],
)
def test_prompts_are_compared_by_their_words(one, other):
    assert normalized(one) == normalized(other)


@given(st.text())
def test_normalizing_twice_changes_nothing(text):
    assert normalized(normalized(text)) == normalized(text)


def test_only_symbols_stay_apart():
    assert normalized("?!") != normalized("...") != ""


def test_prompts_of_the_tests_go_whatever_their_wording():
    tests = {"eval_p": ["Name a River?!"], "eval_c": [f"Summarize: {LONG}"]}
    examples = [
        single(1, "name a river"),
        single(2, f"Please write a summary of this. {LONG}"),
        single(3, "Name a mountain."),
        single(4, "Summarize: the mill."),
        pair(5, "NAME A RIVER"),
    ]
    kept = decontaminate(examples, tests)
    assert [one.id for one in kept.examples] == ["single-3", "single-4"]
    assert kept.dropped == {"prompt_in_eval_p": 2, "prompt_overlaps_eval_c": 1}
    whole = decontaminate(examples, tests, ngram=None)
    assert [one.id for one in whole.examples] == ["single-2", "single-3", "single-4"]
    assert decontaminate(examples, {}).examples == tuple(examples)


def test_a_later_turn_that_is_a_test_prompt_counts_too():
    texts = (("user", "Hello"), ("assistant", "Hi"), ("user", "Name a river."))
    messages = tuple(Message(role=role, content=text) for role, text in texts)
    example = single(1, prompt=Prompt(id="p", messages=messages))
    assert decontaminate([example], {"t": ["name a river"]}).dropped == {"prompt_in_t": 1}


@given(st.lists(st.tuples(st.integers(0, 30), st.sampled_from(["planning", "chitchat", None])), max_size=60),
       st.floats(0, 0.9), st.integers(0, 3))  # fmt: skip
def test_no_prompt_is_on_both_sides(items, share, seed):
    examples = [
        (single if place % 2 else pair)(place, f"Question {prompt}", scenario=scenario)
        for place, (prompt, scenario) in enumerate(items)
    ]
    train, valid = split_examples(examples, valid_share=share, seed=seed)
    sides = [{one.prompt.messages[0].content for one in side} for side in (train, valid)]
    assert not sides[0] & sides[1]
    assert sorted(one.id for one in train + valid) == sorted(one.id for one in examples)
    assert split_examples(examples, valid_share=share, seed=seed) == (train, valid)


def test_scenarios_are_split_in_proportion():
    examples = [single(n, scenario=("planning" if n < 60 else "chitchat")) for n in range(100)]
    _, valid = split_examples(examples, valid_share=0.1)
    assert Counter(one.scenario for one in valid) == {"planning": 6, "chitchat": 4}
    rare = [single(n, scenario=f"own {n}") for n in range(100)]
    assert len(split_examples(rare, valid_share=0.1)[1]) == 10
    assert split_examples(examples, valid_share=0)[1] == ()
    with pytest.raises(InputError, match="share"):
        split_examples(examples, valid_share=1)
