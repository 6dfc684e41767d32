"""Preference pairs: which are made, why others are not, and that the counts add up."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewards.errors import InputError
from rewards.manifest import Count
from rewards.pairing import PairSelection, make_pairs, pair_id
from rewards.scored_table import ScoredTable
from rewards.select_settings import PairSettings
from rewards.truncation import truncation_check
from rewards.types import Pair
from tests.scored_records import compared, records, row, table, write_lines

FOUR = {"p": [("mid", 2.0), ("worst", 0.0), ("best", 3.0), ("second", 2.5)]}


def sides(made: PairSelection) -> list[tuple[str, str]]:
    return [(pair.chosen, pair.rejected) for pair in made.rows()]


def pairs(groups, **values) -> PairSelection:
    return make_pairs(table(groups), PairSettings(**values))


def words(conversations, asks: bool) -> list[list[int]]:
    """A tokenizer of words."""
    texts = [" ".join(f"<{message.role}> {message.content}" for message in one) for one in conversations]
    return [[sum(word.encode()) for word in f"{text} {'<assistant>' if asks else '<end>'}".split()] for text in texts]


def test_best_worst_carries_ids_margin_and_judgments():
    (pair,) = pairs(FOUR).rows()
    assert (pair.chosen, pair.rejected, pair.margin) == ("best", "worst", 3.0)
    assert (pair.prompt_id, pair.chosen_id, pair.rejected_id) == ("p", "p/2", "p/1")
    assert pair.judgment_ids == ("rate:p/2", "rate:p/1")
    assert pair.messages[0].content == "Question p?"
    assert Pair.model_validate_json(pair.to_json()) == pair


def test_best_second_and_all():
    assert sides(pairs(FOUR, method="best_second")) == [("best", "second")]
    found = pairs(FOUR, method="all", min_margin=1.0)
    assert set(sides(found)) == {("best", "worst"), ("second", "worst"), ("mid", "worst"), ("best", "mid")}
    assert found.manifest.pairs == Count(input=6, kept=4, dropped={"below_margin": 2})
    assert [pair.margin for pair in found.rows()] == [3.0, 2.5, 2.0, 1.0]


def test_best_random_takes_any_worse_one_by_seed():
    found = {sides(pairs(FOUR, method="best_random", seed=seed))[0] for seed in range(20)}
    assert found == {("best", "worst"), ("best", "second"), ("best", "mid")}
    assert {sides(pairs(FOUR, method="best_random", min_margin=2.0, seed=seed))[0] for seed in range(5)} == {
        ("best", "worst")
    }


def test_mistake_02_all_candidates_tied_make_no_pair():
    for method in ("best_worst", "best_random", "best_second", "all"):
        found = pairs({"p": [("a", 1.0), ("b", 1.0), ("c", 1.0)]}, method=method)
        assert list(found.rows()) == []
        assert found.manifest.prompts == Count(input=1, kept=0, dropped={"all_tied": 1})
        assert found.manifest.rows.dropped == {"not_paired": 3}


def test_mistake_03_identical_after_truncation_is_dropped():
    groups = {
        "p": [("same words until here yes", 2.0), ("same words until here no", 1.0)],
        "q": [("early", 2.0), ("different", 1.0)],
    }
    check = truncation_check(words, max_length=8)
    found = make_pairs(table(groups), PairSettings(), same_after_truncation=check)
    assert sides(found) == [("early", "different")]
    assert found.manifest.prompts.dropped == {"same_after_truncation": 1}
    assert found.manifest.rows == Count(input=4, kept=2, dropped={"not_paired": 2})
    found = make_pairs(table(groups), PairSettings(), same_after_truncation=truncation_check(words, max_length=4))
    assert found.manifest.pairs == Count(input=2, kept=0, dropped={"too_long": 2})


def test_mistake_05_a_failed_judgment_never_becomes_the_rejected_side():
    groups = {"p": [("good", 3.0), ("judge failed", None), ("bad", 1.0)], "q": [("good", 3.0), ("judge failed", None)]}
    for method in ("best_worst", "best_random", "best_second", "all"):
        found = pairs(groups, method=method)
        assert sides(found) == [("good", "bad")]
        assert found.manifest.prompts.dropped == {"single_candidate": 1}
        assert found.manifest.rows.dropped == {"unscored:timeout": 2, "not_paired": 1}


def test_one_candidate_a_prompt_makes_no_pair():
    found = pairs({"p": [("a", 1.0)], "q": [("b", None)], "r": [("c", 1.0), ("c", 2.0)]})
    assert list(found.rows()) == []
    assert found.manifest.prompts.dropped == {"single_candidate": 2, "unscored:timeout": 1}


def test_length_matched():
    found = pairs(
        {"p": [("x" * 100, 2.0), ("y" * 50, 1.0)], "q": [("x" * 100, 2.0), ("y" * 90, 1.0)]}, length_matched=0.2
    )
    assert [pair.prompt_id for pair in found.rows()] == ["q"]
    assert found.manifest.prompts.dropped == {"length_mismatch": 1}


def test_length_in_tokens_where_both_are_counted(tmp_path):
    rows = [row("p/0", 2.0, "x" * 100, token_count=10), row("p/1", 1.0, "y" * 10, token_count=9)]
    scored = ScoredTable.from_file(write_lines(tmp_path / "s.jsonl", rows))
    assert make_pairs(scored, PairSettings(length_matched=0.2)).manifest.prompts.kept == 1


@pytest.mark.parametrize(
    ("said", "orders", "reason"),
    [
        ("first", 2, None),
        ("second", 2, "contradicted"),
        ("tie", 2, "compared_tied"),
        ("first", 1, "compared_once"),
        ("orders_disagree", 2, "order_disagreement"),
        ("unparsed", 2, "comparison_failed"),
    ],
)
def test_swap_consistent_needs_a_verdict_of_both_orders(said, orders, reason):
    for swapped in (False, True):
        comparison = compared("p", "p/2", "p/1", said, orders=orders)
        comparison = comparison.swap() if swapped else comparison
        found = make_pairs(table(FOUR), PairSettings(swap_consistent=True), comparisons=[comparison])
        assert found.manifest.prompts.dropped == ({} if reason is None else {reason: 1})
        if reason is None:
            (pair,) = found.rows()
            assert pair.judgment_ids == ("rate:p/2", "rate:p/1", "compare:p/2|p/1", "compare:p/1|p/2")


def test_swap_consistent_with_nothing_compared_or_two_opinions():
    consistent = PairSettings(swap_consistent=True)
    found = make_pairs(table(FOUR), consistent, comparisons=[compared("p", "p/0", "p/1", "first")])
    assert found.manifest.prompts.dropped == {"not_compared": 1}
    both = [compared("p", "p/2", "p/1", "first"), compared("p", "p/1", "p/2", "first")]
    assert make_pairs(table(FOUR), consistent, comparisons=both).manifest.prompts.dropped == {"order_disagreement": 1}
    with pytest.raises(InputError, match="comparisons in both orders"):
        make_pairs(table(FOUR), consistent)


def test_limit_of_pairs_takes_the_largest_margins():
    found = pairs(FOUR, method="all", max_pairs_per_prompt=2)
    assert sides(found) == [("best", "worst"), ("second", "worst")]
    assert found.manifest.pairs == Count(input=6, kept=2, dropped={"over_limit": 4})


def test_limit_counts_only_pairs_that_passed_the_other_checks():
    def best_is_worst(conversations, asks):
        return words([tuple(m.model_copy(update={"content": m.content.replace("best", "worst")}) for m in one)
                      for one in conversations], asks)  # fmt: skip

    check = truncation_check(best_is_worst, max_length=None)
    found = make_pairs(table(FOUR), PairSettings(method="all", max_pairs_per_prompt=1), same_after_truncation=check)
    assert sides(found) == [("second", "worst")]


def test_near_duplicates_leave_a_single_candidate():
    text = "a long enough answer with quite a few different words in it to compare them"
    found = pairs({"p": [(text, 2.0), (text + " too", 1.0)]}, near_duplicates=0.8)
    assert found.manifest.prompts.dropped == {"single_candidate": 1}
    assert found.manifest.rows.dropped == {"near_duplicate": 1, "not_paired": 1}


def test_braces_and_markers_are_just_text():
    groups = {"p": [("{response1} {0} %s [[10]]", 2.0), ("{{ }} <|im_end|> Rating: [[5]]", 1.0)]}
    assert sides(pairs(groups)) == [("{response1} {0} %s [[10]]", "{{ }} <|im_end|> Rating: [[5]]")]


def test_a_megabyte_is_one_response():
    groups = {"p": [("word " * 200_000, 2.0), ("word " * 200_000 + "end", 1.0), ("short", 0.0)]}
    (pair,) = pairs(groups, near_duplicates=0.9).rows()
    assert (len(pair.chosen), pair.rejected) == (1_000_000, "short")


def test_pairs_need_prompts(tmp_path):
    rows = [{"prompt_id": "p", "candidate_id": str(i), "text": f"t{i}", "reward": i} for i in range(2)]
    with pytest.raises(InputError, match="messages or prompt"):
        make_pairs(ScoredTable.from_file(write_lines(tmp_path / "s.jsonl", rows)), PairSettings())


def test_long_ids_make_an_id():
    assert pair_id("p", "a", "b") == "pair:p|a|b"
    assert len(pair_id("p" * 1000, "a", "b" * 1000)) < 1024


TEXTS = ["", "a", "b", "c d e f g h i", "c d e f g h i j", "{x}"]
CANDIDATES = st.lists(st.tuples(st.sampled_from(TEXTS), st.none() | st.sampled_from([0.0, 0.5, 1.0])), max_size=5)
SETTINGS = st.builds(
    PairSettings,
    method=st.sampled_from(["best_worst", "best_random", "best_second", "all"]),
    min_margin=st.sampled_from([0.1, 0.6]),
    length_matched=st.none() | st.just(0.5),
    near_duplicates=st.none() | st.just(0.7),
    max_pairs_per_prompt=st.none() | st.just(2),
    swap_consistent=st.booleans(),
)
SAID = st.sampled_from(["first", "second", "tie", "orders_disagree", "unparsed"])


@settings(max_examples=80, deadline=None)
@given(st.dictionaries(st.sampled_from("pqrs"), CANDIDATES, max_size=4), SETTINGS, st.data(), st.randoms())
def test_counts_add_up_and_order_does_not_matter(groups, chosen, data, shuffle: random.Random):
    prompts, candidates, scored = records(groups)
    comparisons = [
        compared(p, f"{p}/{i}", f"{p}/{j}", data.draw(SAID), orders=data.draw(st.integers(1, 2)))
        for p, group in groups.items()
        for i in range(len(group))
        for j in range(i)
        if data.draw(st.booleans())
    ]
    check = truncation_check(words, max_length=data.draw(st.integers(3, 9)))

    def made() -> PairSelection:
        scores = ScoredTable.from_records(prompts, candidates, scored)
        return make_pairs(scores, chosen, comparisons=comparisons, same_after_truncation=check)

    found = made()
    rows, manifest = list(found.rows()), found.manifest
    rewards = {item.candidate_id: item.value for item in scored if item.kind == "reward"}
    for pair in rows:
        assert pair.margin == rewards[pair.chosen_id] - rewards[pair.rejected_id] >= chosen.min_margin
    assert manifest.rows.input == len(candidates)
    assert manifest.rows.kept == len({name for pair in rows for name in (pair.chosen_id, pair.rejected_id)})
    assert manifest.prompts.input == sum(bool(group) for group in groups.values())
    assert manifest.prompts.kept == len({pair.prompt_id for pair in rows})
    assert manifest.pairs is not None
    assert manifest.pairs.kept == len(rows)
    shuffle.shuffle(candidates)
    assert made().manifest == manifest
    assert {pair.id for pair in made().rows()} == {pair.id for pair in rows}
