"""Eval-R and labelled ratings: exact Best-of-N, agreement, and the released and shared files."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from statistics import fmean

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from judge_training.correlation import correlations_within, kendall, pearson, spearman
from judge_training.eval_r import best_of_n, evaluate_eval_r
from judge_training.rated_sets import rated_responses, read_rated_set, read_scores
from judge_training.rating_agreement import RatedResponse, rating_agreement
from judge_training.score_sheets import eval_r_headline, eval_r_sheets
from recipes.filter.prepare_qlora import prepare
from rewards.columns import ColumnMap
from rewards.errors import InputError
from rewards.intervals import Interval
from rewards.jsonl import write_records
from rewards.types import Judgment, Rating, Unparsed
from tests.judge_training.data.release_files import write_release


def responses(rows: list[tuple[str, float, float | None, int]]) -> list[RatedResponse]:
    return [
        RatedResponse(id=f"c{n}", prompt_id=prompt, reference=gold, judge=judge, characters=size)
        for n, (prompt, gold, judge, size) in enumerate(rows)
    ]


def value(one: Interval | None) -> float:
    assert one is not None
    return one.value


def brute(rows: list[RatedResponse], n: int, key) -> float:
    """Mean over all subsets of n of the mean reference of the subset's best."""
    worth = []
    for subset in combinations(rows, n):
        best = max(map(key, subset))
        worth.append(fmean(one.reference for one in subset if key(one) == best))
    return fmean(worth)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 10), st.integers(1, 4), st.integers(1, 30)), min_size=2, max_size=7))
def test_best_of_n_is_the_mean_over_all_subsets(rows: list[tuple[int, int, int]]) -> None:
    group = responses([("p", gold, judge, size) for gold, judge, size in rows])
    result = best_of_n(group, sizes=(1, 2, len(group)), resamples=2)
    for point in result.points:
        n = point.n or len(group)
        assert value(point.judge) == pytest.approx(brute(group, n, lambda one: one.judge))
        assert value(point.longest) == pytest.approx(brute(group, n, lambda one: one.characters))
        assert value(point.oracle) == pytest.approx(brute(group, n, lambda one: one.reference))
        assert value(point.random) == pytest.approx(fmean(one.reference for one in group))
        assert value(point.random) <= value(point.oracle) + 1e-9


def test_numbers_by_hand_and_a_prompt_counts_where_it_has_enough() -> None:
    group = responses([("p", 1, 3, 1), ("p", 5, 2, 2), ("p", 9, 1, 3), ("q", 4, 1, 1), ("q", 8, 2, 2)])
    result = best_of_n(group, sizes=(2, 3, 32), resamples=20)
    assert [(point.n, point.prompts) for point in result.points] == [(2, 2), (3, 1), (None, 2)]
    three, everything = result.points[1:]
    assert (value(three.judge), value(three.longest), value(three.oracle), value(three.random)) == (1, 9, 9, 5)
    assert value(everything.judge) == (1 + 8) / 2
    assert value(everything.gain) == (1 + 8) / 2 - (5 + 6) / 2
    assert value(everything.captured) == pytest.approx(-1.0 / 3.0)
    assert (result.smallest, result.largest) == (2, 3)


def test_mistake_01_unread_judgments_are_in_no_number_and_counted() -> None:
    rows = [("p", 1.0, 1.0, 9), ("p", 5.0, 5.0, 5), ("p", 10.0, None, 1)]
    result = evaluate_eval_r(responses(rows), resamples=20)
    assert result.selection.left_out == result.agreement.unparsed == 1
    assert result.agreement.n == 2
    last = result.selection.points[-1]
    assert (value(last.oracle), value(last.random)) == (5.0, 3.0)  # over the same two responses as the judge
    with pytest.raises(InputError, match="got none of 1"):
        best_of_n(responses([("p", 1.0, None, 1)]))


def test_parts_are_measured_apart() -> None:
    group = [
        one.model_copy(update={"part": part})
        for part, sign in (("good", 1), ("bad", -1))
        for one in (
            RatedResponse(id=f"{part}{p}{n}", prompt_id=f"p{p}", reference=n, judge=sign * n, characters=n)
            for p in range(4)
            for n in range(1, 5)
        )
    ]
    result = evaluate_eval_r(group, resamples=20)
    assert [part.name for part in result.parts] == ["good", "bad"]
    good, bad = result.parts
    assert value(good.selection.points[-1].judge) == 4.0
    assert value(bad.selection.points[-1].judge) == 1.0
    assert bad.agreement.within is not None
    assert value(bad.agreement.within.spearman) == pytest.approx(-1.0)
    assert len(eval_r_sheets("set", result)) == 3
    assert set(eval_r_headline(result)["parts"]) == {"good", "bad"}  # type: ignore[arg-type]


def test_agreement_of_ratings_against_the_libraries() -> None:
    generator = np.random.default_rng(1)
    gold = generator.integers(1, 8, size=60)
    judge = np.clip(gold + generator.integers(-2, 3, size=60), 1, 10)
    rows = [(f"p{n // 6}", float(gold[n]), float(judge[n]), int(generator.integers(1, 99))) for n in range(60)]
    result = rating_agreement(responses(rows), resamples=100)
    assert value(result.kappa) == pytest.approx(cohen_kappa_score(gold, judge, weights="quadratic"))
    assert value(result.pearson) == pytest.approx(np.corrcoef(gold, judge)[0, 1])
    assert value(result.exact) == pytest.approx(np.mean(gold == judge))
    order = [
        0.5 + 0.5 * np.sign((judge[a] - judge[b]) * (gold[a] - gold[b]))
        for p in range(10)
        for a, b in combinations(range(6 * p, 6 * p + 6), 2)
        if gold[a] != gold[b]
    ]
    assert value(result.pair_accuracy) == pytest.approx(np.mean(order), abs=0.02)  # mean of means


def test_a_taste_for_length_shows_where_the_reference_sees_no_difference() -> None:
    rows = [(f"p{p}", 5.0, float(size), size) for p in range(5) for size in (10, 20, 30)]
    assert value(rating_agreement(responses(rows), resamples=100).longer_at_equal) == 1.0
    level = [(prompt, gold, 3.0, size) for prompt, gold, _, size in rows]
    assert value(rating_agreement(responses(level), resamples=20).longer_at_equal) == 0.5
    assert rating_agreement(responses(rows), resamples=100).pair_accuracy is None  # no pair with different references


def test_within_a_prompt_is_not_pooled() -> None:
    # Within each prompt the judge is exactly wrong; over all it looks right, for it knows the easy prompt.
    a = np.array([1.0, 2.0, 3.0, 11.0, 12.0, 13.0])
    b = np.array([3.0, 2.0, 1.0, 13.0, 12.0, 11.0])
    assert spearman(a, b) > 0.5
    within = correlations_within(a, b, ["p"] * 3 + ["q"] * 3)
    assert within.n == 2
    assert value(within.spearman) == pytest.approx(-1.0)
    constant = np.ones(3)
    assert np.isnan([pearson(constant, a[:3]), spearman(a[:3], constant), kendall(constant, constant)]).all()


def judgments(scores: dict[str, float | None]) -> list[Judgment]:
    return [
        Judgment(
            id=Judgment.rating_id(name),
            prompt_id="p",
            candidate_ids=(name,),
            outcome=Unparsed(reason="no_verdict") if score is None else Rating(value=score),
        )
        for name, score in scores.items()
    ]


def test_the_release_s_selection_file_with_a_reference_from_judgments(tmp_path: Path) -> None:
    path = write_release(tmp_path) / "data/test/testdata_selection.jsonl"
    rated = read_rated_set(path, given="autoj")
    ids = [item.candidate.id for item in rated.items]
    assert list(rated.given.values()) == [6.0, 4.0]
    assert set(rated.parts.values()) == {"own-7b"}
    assert rated.reference == {}
    write_records(tmp_path / "gpt4.jsonl", judgments({ids[0]: 2.0, ids[1]: 7.0}))
    found, unmatched = rated_responses(rated, rated.given, read_scores(tmp_path / "gpt4.jsonl"))
    assert unmatched == 0
    assert value(evaluate_eval_r(found, resamples=20).selection.points[0].judge) == 2.0
    with pytest.raises(InputError, match="none in common"):
        rated_responses(rated, rated.given)
    with pytest.raises(InputError, match="expected the ratings 'autoj'"):
        read_rated_set(path, given="gpt4")


def test_mistake_07_scores_meet_responses_by_id_in_any_order(tmp_path: Path) -> None:
    rows = [
        {
            "prompt_id": f"p{n // 3}",
            "prompt": f"q{n // 3}",
            "candidate_id": f"c{n}",
            "text": "x" * (n + 1),
            "reward": n % 3,
        }
        for n in range(9)
    ]
    write_records(tmp_path / "set.jsonl", rows)
    rated = read_rated_set(tmp_path / "set.jsonl", columns=ColumnMap(response="text"))
    scores: dict[str, float | None] = {f"c{n}": float(n % 3) for n in reversed(range(9))}
    write_records(tmp_path / "judgments.jsonl", judgments(scores))
    found, unmatched = rated_responses(rated, read_scores(tmp_path / "judgments.jsonl"))
    assert unmatched == 0
    assert value(evaluate_eval_r(found, resamples=20).agreement.pearson) == pytest.approx(1.0)
    del scores["c4"]
    assert rated_responses(rated, scores)[1] == 1
    with pytest.raises(InputError, match="a second one of 'c1'"):
        write_records(tmp_path / "twice.jsonl", judgments({"c1": 1.0}) * 2)
        read_scores(tmp_path / "twice.jsonl")


def test_columns_that_are_not_there(tmp_path: Path) -> None:
    row = {"prompt": "q", "response": "r", "reward": 1, "length": "long"}
    write_records(tmp_path / "set.jsonl", [row])
    with pytest.raises(InputError, match="expected a column 'judge', got none; other columns: length"):
        read_rated_set(tmp_path / "set.jsonl", given="judge")
    with pytest.raises(InputError, match="expected a finite number in 'length'"):
        read_rated_set(tmp_path / "set.jsonl", given="length")


@pytest.mark.shared_data
def test_floors_and_ceiling_of_the_qlora_responses(shared_data: Path, tmp_path: Path) -> None:
    write_records(tmp_path / "qlora.jsonl", prepare(shared_data / "qlora-vicuna80"))
    rated = read_rated_set(tmp_path / "qlora.jsonl", columns=ColumnMap(response="text"))
    lengths: dict[str, float | None] = {item.candidate.id: float(len(item.candidate.text)) for item in rated.items}
    found, unmatched = rated_responses(rated, lengths)
    assert (len(found), unmatched) == (1573, 0)
    result = evaluate_eval_r(found, resamples=50)
    sizes = {point.n: point for point in result.selection.points}
    assert [sizes[n].prompts for n in (2, 4, 8, 16, 32, None)] == [45] * 6
    last = sizes[None]
    assert [round(value(one), 2) for one in (last.random, last.oracle)] == [5.57, 9.15]
    # Where two answers are the longest, taking the first in the file gives 6.88; here they share the choice.
    by_prompt: dict[str, list[RatedResponse]] = {}
    for one in found:
        by_prompt.setdefault(one.prompt_id, []).append(one)
    first_longest = [max(group, key=lambda one: one.characters or 0).reference for group in by_prompt.values()]
    assert round(fmean(first_longest), 2) == 6.88
    assert [round(value(one), 2) for one in (last.judge, last.longest)] == [6.86, 6.86]
    assert value(sizes[2].oracle) < value(sizes[8].oracle) < value(sizes[32].oracle) < value(last.oracle)
    assert result.agreement.length_within is not None
    assert round(value(result.agreement.length_within.spearman), 2) == 0.60
