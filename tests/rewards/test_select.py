"""Selection: what is kept, what is dropped for which reason, and that the counts add up."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from rewards.manifest import Count
from rewards.scored_table import ScoredTable
from rewards.select import Selected, select
from rewards.select_settings import SelectSettings
from tests.scored_records import records, row, table, write_lines

THREE = {"p": [("one", 1.0), ("two", 3.0), ("three", 2.0)], "q": [("four", 0.5), ("five", None), ("six", 0.25)]}


def kept(scored: ScoredTable, **values: object) -> list[str]:
    return [item.candidate_id for item in select(scored, SelectSettings(**values)).rows()]


def test_best_of_n_takes_the_highest_reward_of_each_prompt():
    selection = select(table(THREE), SelectSettings())
    assert [(item.candidate_id, item.rank) for item in selection.rows()] == [("p/1", 1), ("q/0", 1)]
    manifest = selection.manifest
    assert (manifest.rows.input, manifest.rows.kept) == (6, 2)
    assert manifest.rows.dropped == {"not_best": 3, "unscored:timeout": 1}
    assert manifest.prompts == Count(input=2, kept=2)
    assert manifest.mean_reward == pytest.approx((2.0 + 0.375) / 2)
    assert manifest.mean_reward_kept == pytest.approx(1.75)


def test_selected_record_carries_prompt_text_and_judgments():
    first = next(iter(select(table(THREE, scenario="chitchat"), SelectSettings()).rows()))
    assert first.messages[0].content == "Question p?"
    assert (first.text, first.reward, first.scenario) == ("two", 3.0, "chitchat")
    assert first.judgment_ids == ("rate:p/1",)
    assert Selected.model_validate_json(first.to_json()) == first


def test_top_k_keeps_the_best_in_order():
    assert kept(table(THREE), method="top_k", k=2) == ["p/1", "p/2", "q/0", "q/2"]


def test_threshold_includes_its_value_and_prompts_can_go():
    selection = select(table(THREE), SelectSettings(method="threshold", threshold=2.0))
    assert [item.candidate_id for item in selection.rows()] == ["p/1", "p/2"]
    assert selection.manifest.prompts == Count(input=2, kept=1, dropped={"below_threshold": 1})


def test_threshold_combines_with_best_of_n():
    assert kept(table(THREE), method="best_of_n", threshold=2.5) == ["p/1"]


def test_top_fraction_is_of_all_usable_rows():
    assert kept(table(THREE), method="top_fraction", fraction=0.4) == ["p/1", "p/2"]
    assert kept(table({"p": [(f"t{i}", float(i)) for i in range(30)]}), method="top_fraction", fraction=0.1) == [
        "p/29",
        "p/28",
        "p/27",
    ]


def test_quota_keeps_the_highest_rewards_of_each_scenario(tmp_path):
    rows = [row(f"p{i}/0", float(i), scenario="a" if i < 4 else None) for i in range(6)]
    scored = ScoredTable.from_file(write_lines(tmp_path / "scored.jsonl", rows))
    selection = select(scored, SelectSettings(per_scenario_quota=1))
    assert [item.candidate_id for item in selection.rows()] == ["p3/0", "p5/0"]
    assert selection.manifest.rows.dropped == {"over_quota": 4}


def test_unscored_is_never_selected_even_alone():
    selection = select(table({"p": [("a", None)], "q": [("b", -5.0)]}), SelectSettings())
    assert [item.candidate_id for item in selection.rows()] == ["q/0"]
    assert selection.manifest.prompts.dropped == {"unscored:timeout": 1}


def test_ties_depend_on_seed_and_ids_and_not_on_position():
    prompts, candidates, scored = records({f"p{i}": [("x", 1.0), ("y", 1.0), ("z", 1.0)] for i in range(40)})
    backwards = ScoredTable.from_records(prompts, candidates[::-1], scored[::-1])
    forwards = ScoredTable.from_records(prompts, candidates, scored)
    assert sorted(kept(forwards)) == sorted(kept(backwards))
    picks = {name[-1] for name in kept(forwards)}
    assert picks == {"0", "1", "2"}
    assert sorted(kept(forwards, seed=1)) != sorted(kept(forwards))


def test_duplicate_ids_keep_one_copy_and_no_contradiction(tmp_path):
    rows = [row("p/a", 3.0), row("p/a", 3.0), row("p/b", 5.0, "B"), row("p/b", 4.0, "B"), row("p/c", 1.0, "C")]
    selection = select(ScoredTable.from_file(write_lines(tmp_path / "s.jsonl", rows)), SelectSettings())
    assert [item.candidate_id for item in selection.rows()] == ["p/a"]
    assert selection.manifest.rows.dropped == {"conflicting_id": 2, "duplicate_id": 1, "not_best": 1}


def test_same_id_in_two_prompts_is_two_candidates(tmp_path):
    rows = [row("p/0", 1.0) | {"candidate_id": "0"}, row("q/0", 2.0) | {"candidate_id": "0"}]
    selection = select(ScoredTable.from_file(write_lines(tmp_path / "s.jsonl", rows)), SelectSettings())
    assert selection.manifest.rows == Count(input=2, kept=2)


def test_duplicate_texts_keep_the_higher_reward():
    selection = select(
        table({"p": [("same", 1.0), ("same", 2.0), ("other", 0.0)]}), SelectSettings(method="top_k", k=3)
    )
    assert [item.candidate_id for item in selection.rows()] == ["p/1", "p/2"]
    assert selection.manifest.rows.dropped == {"duplicate_text": 1}


def test_near_duplicates_within_and_across_prompts():
    long = "the quick brown fox jumps over the lazy dog near the old river bank at dawn today"
    groups = {"p": [(long, 1.0), (long + " again", 2.0), ("nothing alike at all here", 0.0)], "q": [(long + "!", 0.5)]}
    within = select(table(groups), SelectSettings(method="top_k", k=9, near_duplicates=0.8))
    assert [item.candidate_id for item in within.rows()] == ["p/1", "p/2", "q/0"]
    everywhere = SelectSettings(method="top_k", k=9, near_duplicates=0.8, near_duplicates_across_prompts=True)
    across = select(table(groups), everywhere)
    assert [item.candidate_id for item in across.rows()] == ["p/1", "p/2"]
    assert across.manifest.rows.dropped == {"near_duplicate": 2}
    assert across.manifest.prompts.dropped == {"near_duplicate": 1}


def test_a_text_repeated_in_every_prompt_stays_once():
    groups = {f"p{i}": [("I am sorry, but I cannot help with that request today.", i / 1000)] for i in range(600)}
    everywhere = SelectSettings(near_duplicates=0.9, near_duplicates_across_prompts=True)
    selection = select(table(groups), everywhere)
    assert [item.candidate_id for item in selection.rows()] == ["p599/0"]
    assert selection.manifest.prompts.dropped == {"near_duplicate": 599}


def test_nothing_at_all():
    selection = select(
        ScoredTable.from_records([], [], []), SelectSettings(near_duplicates=0.5, near_duplicates_across_prompts=True)
    )
    assert list(selection.rows()) == []
    assert selection.manifest.rows == Count(input=0, kept=0)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"method": "top_k"}, "value for k"),
        ({"method": "top_fraction"}, "value for fraction"),
        ({"method": "threshold"}, "value for threshold"),
        ({"method": "best_of_n", "k": 2}, "no k"),
        ({"near_duplicates_across_prompts": True}, "near_duplicates"),
        ({"threshold": float("nan")}, "finite"),
        ({"treshold": 1.0}, "treshold"),
    ],
)
def test_settings_that_make_no_sense_are_refused(values, message):
    with pytest.raises(ValidationError, match=message):
        SelectSettings(**values)


def test_manifest_digest_follows_the_settings():
    first, again, other = (select(table(THREE), SelectSettings(seed=seed)).manifest for seed in (0, 0, 1))
    assert first == again
    assert first.settings_digest != other.settings_digest


def test_a_manifest_that_does_not_add_up_cannot_be_made():
    with pytest.raises(ValidationError, match="kept \\+ dropped"):
        Count(input=3, kept=1, dropped={"x": 1})


SETTINGS = st.one_of(
    st.builds(SelectSettings, seed=st.integers(0, 3), threshold=st.none() | st.floats(-1, 1)),
    st.builds(SelectSettings, method=st.just("top_k"), k=st.integers(1, 3), near_duplicates=st.none() | st.just(0.7)),
    st.builds(SelectSettings, method=st.just("threshold"), threshold=st.floats(-1, 1)),
    st.builds(
        SelectSettings, method=st.just("top_fraction"), fraction=st.floats(0.01, 1), per_scenario_quota=st.just(2)
    ),
)
REWARD = st.none() | st.sampled_from([-1.0, 0.0, 0.5, 1.0])
CANDIDATES = st.lists(st.tuples(st.sampled_from(["", " ", "a", "b", "a b c d", "{b}"]), REWARD), max_size=5)


@settings(max_examples=60, deadline=None)
@given(groups=st.dictionaries(st.sampled_from("pqrs"), CANDIDATES, max_size=4), chosen=SETTINGS, shuffle=st.randoms())
def test_counts_add_up_and_order_does_not_matter(groups, chosen, shuffle: random.Random):
    prompts, candidates, scored = records(groups)
    selection = select(ScoredTable.from_records(prompts, candidates, scored), chosen)
    rows = list(selection.rows())
    manifest = selection.manifest
    assert manifest.rows.kept == len(rows) == len({item.candidate_id for item in rows})
    assert manifest.rows.input == len(candidates)
    assert manifest.prompts.input == sum(bool(group) for group in groups.values())
    assert manifest.prompts.kept == len({item.prompt_id for item in rows})
    rewards = {(item.candidate_id): item for item in scored}
    assert all(item.text.strip() and rewards[item.candidate_id].kind == "reward" for item in rows)
    shuffle.shuffle(candidates)
    again = select(ScoredTable.from_records(prompts, candidates, scored), chosen)
    assert again.manifest == manifest
    assert {item.candidate_id for item in again.rows()} == {item.candidate_id for item in rows}
