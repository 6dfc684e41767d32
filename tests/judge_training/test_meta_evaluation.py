"""Meta-evaluation: Eval-P on the released files, labels of one's own, and what bad files are told."""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, kendalltau, spearmanr
from sklearn.metrics import cohen_kappa_score

from judge_training.agreement import JudgedPair, pair_agreement
from judge_training.eval_p import compare_items, evaluate_eval_p, read_eval_p
from judge_training.labels import PairLabel, RatingLabel, read_labels
from judge_training.meta_evaluation import (
    EvalP,
    evaluate_labels,
    evaluate_pairs,
    evaluate_ratings,
)
from judge_training.score_sheets import rating_sheet
from judge_training.sheets import pair_sheet, summary_rows
from rewards.errors import InputError, MissingFileError
from rewards.intervals import Interval, bootstrap, wilson
from rewards.jsonl import write_records
from rewards.types import (
    Candidate,
    Comparison,
    Judgment,
    Rating,
    Unparsed,
    Verdict,
    Winner,
)
from rewards.verdicts import resolve

WINNERS: tuple[Winner, ...] = ("first", "second", "tie")


def percent(share: Interval | None) -> float:
    assert share is not None
    assert share.low <= share.value <= share.high
    return round(100 * share.value, 2)


# ---------------------------------------------------------------- the released files


@pytest.fixture(scope="module")
def release(shared_data: Path) -> Path:
    return shared_data / "auto-j" / "data"


@pytest.fixture(scope="module")
def released(release: Path) -> EvalP:
    return evaluate_eval_p(
        release / "test" / "testdata_pairwise.jsonl",
        release / "outputs" / "pairwise_example_output.jsonl",
        release / "outputs" / "pairwise_exchange_example_output.jsonl",
    )


@pytest.mark.shared_data
class TestReleasedFiles:
    def test_agreement_and_consistency_are_the_published_ones(self, released: EvalP) -> None:
        assert released.n == released.asked_both == 1392
        assert percent(released.agreement) == 54.96
        assert percent(released.consistency) == 83.41
        assert percent(released.accuracy) == 59.99
        assert released.unparsed == released.unmatched == 0

    def test_groups(self, released: EvalP) -> None:
        assert {one.name: (percent(one.agreement), percent(one.consistency)) for one in released.groups} == {
            "Summarization": (45.83, 73.61),
            "Exam Questions": (38.89, 69.44),
            "Code": (47.50, 75.83),
            "Rewriting": (49.17, 74.17),
            "Creative Writing": (59.72, 87.04),
            "Functional Writing": (61.67, 81.67),
            "General Communication": (55.21, 92.36),
            "NLP Tasks": (57.58, 86.36),
        }
        assert sum(one.n for one in released.groups) == 1392
        assert [one.n for one in released.scenarios] == [24] * 58

    def test_abstaining_on_flips(self, released: EvalP) -> None:
        assert released.decided_accuracy is not None
        assert released.decided_accuracy.n == 1019
        assert percent(released.decided_accuracy) == 78.90
        assert percent(released.abstention.accuracy) == 85.45
        assert percent(released.abstention.coverage) == 85.67
        assert percent(released.abstention.flipped_accuracy) == 42.96

    def test_position_ties_and_length(self, released: EvalP) -> None:
        assert (released.second_both_times, released.first_both_times) == (121, 55)
        assert released.first_preference is not None
        assert released.first_preference.high < 0.5
        assert percent(released.human_ties) == 26.80
        assert percent(released.judge_ties) == 4.09
        assert percent(released.judge_longer) == 74.44
        assert percent(released.human_longer) == 71.77

    def test_intervals_are_there_and_kappa_is_scikit_learns(self, released: EvalP, release: Path) -> None:
        labels = [pair.label for pair in read_eval_p(release / "test" / "testdata_pairwise.jsonl")]
        lines = (release / "outputs" / "pairwise_example_output.jsonl").read_text().splitlines()
        verdicts = [WINNERS[json.loads(line)["output"]] for line in lines]
        assert released.first_order_kappa is not None
        assert released.first_order_kappa.value == pytest.approx(cohen_kappa_score(labels, verdicts))
        assert released.agreement is not None
        exact = binomtest(765, 1392).proportion_ci(0.95, method="wilson")
        assert (released.agreement.low, released.agreement.high) == pytest.approx((exact.low, exact.high))
        assert sum(sum(row.values()) for row in released.confusion.values()) == 1392

    def test_json_both_ways_and_tables(self, released: EvalP) -> None:
        assert EvalP.model_validate_json(released.to_json()) == released
        assert ("agreement", "54.96", "52.33 to 57.55") in summary_rows(released)
        tables = {table.title: table for table in pair_sheet("Eval-P", released).tables}
        first = ("Summarization", "72", "45.83 [34.8, 57.3]", "73.61 [62.4, 82.4]", "56.94 [45.4, 67.7]")
        assert tables["By group"].rows[0] == first
        assert len(tables["By scenario"].rows) == 58

    def test_floors_and_the_abstention_curve(self, released: EvalP) -> None:
        assert percent(released.longer_agreement) == 52.95
        assert percent(released.random_agreement) == 36.60
        (curve,) = released.abstention_curves  # the release has no probabilities
        assert curve.by == "consistency"
        assert [(percent(point.coverage), percent(point.accuracy)) for point in curve.points] == [
            (100.0, 78.90),
            (85.67, 85.45),
        ]

    def test_gpt_4_prefers_auto_js_critiques(self, release: Path) -> None:
        lines = (release / "outputs" / "gpt-4-Eval_auto-j_vs_chatgpt.jsonl").read_text().splitlines()
        rows = [json.loads(line) for line in lines]
        wins = sum(row["output"].startswith("B:" if row["meta"]["exchange"] else "A:") for row in rows)
        assert percent(wilson(wins, len(rows))) == 73.71

    def test_ratings_of_the_released_critiques(self, release: Path) -> None:
        def last_ratings(path: Path, field: str) -> list[str | None]:
            found = [re.findall(r"Rating: \[\[([\d.]+)]]", json.loads(line)[field]) for line in path.open()]
            return [one[-1] if one else None for one in found]

        written = Counter(last_ratings(release / "outputs" / "critique_example_output.jsonl", "output"))
        assert written == {"1": 1, "2": 7, "3": 15, "4": 58, "5": 47, "6": 96, "7": 7, None: 1}
        counts = [count for rating, count in written.items() if rating is not None]
        ties = sum(count * (count - 1) for count in counts) / (231 * 230)
        assert round(ties, 2) == 0.28
        training = set(last_ratings(release / "training" / "single_traindata.jsonl", "target_output"))
        assert {"5.5", "6.5", "10"} <= training


# ---------------------------------------------------------------- Eval-P files made here


def data_file(folder: Path, labels: list[int]) -> Path:
    rows = [
        {
            "scenario": "open_question",
            "label": label,
            "prompt": f"q{n}",
            "response 1": "short",
            "response 2": "longer one",
        }
        for n, label in enumerate(labels)
    ]
    return lines_file(folder / "data.jsonl", rows)


def lines_file(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def outputs_file(path: Path, outputs: list[int | None]) -> Path:
    return lines_file(path, [{"output": output} for output in outputs])


def asked(first: str, second: str, winner: Winner | None, prompt: str) -> Judgment:
    return Judgment(
        id=Judgment.verdict_id(first, second),
        prompt_id=prompt,
        candidate_ids=(first, second),
        outcome=Unparsed(reason="no_verdict") if winner is None else Verdict(winner=winner),
    )


def compared(first: str, second: str, one: Winner | None, two: Winner | None, prompt: str = "p") -> Comparison:
    """A comparison from the verdicts as they were given in each order."""
    return resolve(asked(first, second, one, prompt), asked(second, first, two, prompt))


LABELS = [0, 1, 2, 0, 1, 2]
FIRST: list[int | None] = [0, 1, 2, 0, 0, None]
SWAPPED: list[int | None] = [1, 0, 2, 0, 0, 1]


def test_the_same_predictions_by_line_by_id_and_as_comparisons(tmp_path: Path) -> None:
    data = data_file(tmp_path, LABELS)
    first, swapped = outputs_file(tmp_path / "a.jsonl", FIRST), outputs_file(tmp_path / "b.jsonl", SWAPPED)
    by_line = evaluate_eval_p(data, first, swapped)
    assert by_line.agreement is not None
    assert by_line.consistency is not None
    # Lines 1 to 3 agree and are right, 4 and 5 flip (first both times), 6 could not be read.
    assert (by_line.agreement.value, by_line.consistency.value) == (0.5, 0.5)
    assert (by_line.unparsed, by_line.first_both_times, by_line.second_both_times) == (1, 2, 0)

    def named(outputs: list[int | None], name: str) -> Path:
        rows = [{"id": f"eval-p-{n:04d}", "output": output} for n, output in enumerate(outputs, start=1)]
        random.Random(1).shuffle(rows)
        return lines_file(tmp_path / name, rows)

    assert evaluate_eval_p(data, named(FIRST, "c.jsonl"), named(SWAPPED, "d.jsonl")) == by_line

    comparisons = []
    for item, one, two in zip(compare_items(read_eval_p(data)), FIRST, SWAPPED, strict=True):
        verdicts = [None if winner is None else WINNERS[winner] for winner in (one, two)]
        comparisons.append(compared(item.first.id, item.second.id, verdicts[0], verdicts[1], item.prompt.id))
    comparisons = [one.swap() if n % 2 else one for n, one in enumerate(reversed(comparisons))]
    write_records(tmp_path / "e.jsonl", comparisons)
    assert evaluate_eval_p(data, tmp_path / "e.jsonl") == by_line


def test_mistake_01_unread_verdict_is_counted_and_is_never_a_tie(tmp_path: Path) -> None:
    data = data_file(tmp_path, [2, 2])
    nothing = outputs_file(tmp_path / "a.jsonl", [None, None])
    result = evaluate_eval_p(data, nothing, nothing)
    assert result.unparsed == 2
    assert result.agreement is not None
    assert result.agreement.value == 0.0
    assert result.judge_ties is None
    assert result.kappa is None
    assert result.confusion["tie"] == {"first": 0, "second": 0, "tie": 0, "abstained": 2}


def test_mistake_04_exchanged_outputs_are_swapped_before_they_are_compared(tmp_path: Path) -> None:
    data = data_file(tmp_path, [0, 1])
    first = outputs_file(tmp_path / "a.jsonl", [0, 1])
    right = evaluate_eval_p(data, first, outputs_file(tmp_path / "b.jsonl", [1, 0]))
    wrong = evaluate_eval_p(data, first, first)
    assert (percent(right.agreement), percent(right.consistency)) == (100.0, 100.0)
    assert (percent(wrong.agreement), percent(wrong.consistency)) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("predictions", "message"),
    [
        ([{"output": 0}], "one prediction for each of the 2 pairs of the data, got 1"),
        ([{"output": 0}, {"output": 3}], "line 2: 'output': expected 0"),
        ([{"output": 0}, {"output": True}], "got True"),
        ([{"output": 0}, {"verdict": 1}], "line 2: expected 'output', got verdict"),
        (
            [{"id": "eval-p-0001", "output": 0}, {"id": "eval-p-0001", "output": 0}],
            "line 2: expected an id of its own",
        ),
        ([{"id": "eval-p-0001", "output": 0}, {"output": 0}], "line 2: expected an id of its own"),
        ([{"id": "eval-p-0001", "output": 0}, {"id": "x", "output": 0}], "got none for eval-p-0002"),
        ([{"judgments": []}], "line 1"),
        ([compared("eval-p-0001:1", "eval-p-0001:2", "tie", "tie").model_dump()], "expected no second file"),
    ],
)
def test_bad_predictions(tmp_path: Path, predictions: list[dict], message: str) -> None:
    good = outputs_file(tmp_path / "good.jsonl", [0, 1])
    with pytest.raises(InputError, match=message):
        evaluate_eval_p(data_file(tmp_path, [0, 1]), lines_file(tmp_path / "bad.jsonl", predictions), good)


def test_comparisons_must_cover_the_data_once(tmp_path: Path) -> None:
    data = data_file(tmp_path, [0, 1])
    one = compared("eval-p-0001:1", "eval-p-0001:2", "first", "second", "eval-p-0001")
    with pytest.raises(InputError, match="got none for 'eval-p-0002'"):
        evaluate_eval_p(data, lines_file(tmp_path / "a.jsonl", [one.model_dump()]))
    with pytest.raises(InputError, match="every pair once"):
        evaluate_eval_p(data, lines_file(tmp_path / "b.jsonl", [one.model_dump(), one.swap().model_dump()]))


def test_torn_last_comparison_counts_as_not_written(tmp_path: Path) -> None:
    one = compared("eval-p-0001:1", "eval-p-0001:2", "first", "second", "eval-p-0001")
    torn = lines_file(tmp_path / "a.jsonl", [one.model_dump()])
    with torn.open("a") as file:
        file.write(one.to_json()[:50])
    assert evaluate_eval_p(data_file(tmp_path, [0]), torn).n == 1


def test_bad_data(tmp_path: Path) -> None:
    good = outputs_file(tmp_path / "good.jsonl", [0])
    row = {"scenario": "open_question", "label": 0, "prompt": "q", "response 1": "a", "response 2": "b"}
    for change, message in (
        ({"label": 4}, "line 1: 'label': expected 0"),
        ({"label": "0"}, "got '0'"),
        ({"response 2": None}, "line 1: expected text in 'response 2'"),
        ({"scenario": "no such scenario"}, "no such scenario"),
    ):
        with pytest.raises(InputError, match=message):
            evaluate_eval_p(lines_file(tmp_path / "data.jsonl", [row | change]), good, good)
    with pytest.raises(InputError, match="empty file"):
        evaluate_eval_p(lines_file(tmp_path / "data.jsonl", []), good, good)
    with pytest.raises(MissingFileError, match="found none"):
        evaluate_eval_p(tmp_path / "nowhere.jsonl", good, good)
    with pytest.raises(InputError, match="expected a second file"):
        evaluate_eval_p(data_file(tmp_path, [0]), good)
    (tmp_path / "torn.jsonl").write_text('{"output": 0}\n{"outp')
    with pytest.raises(InputError, match="line 2: expected a JSON object"):
        evaluate_eval_p(data_file(tmp_path, [0, 0]), tmp_path / "torn.jsonl", good)
    (tmp_path / "latin.jsonl").write_bytes(b'{"output": "\xe9"}\n')
    with pytest.raises(InputError, match="line 1: expected a JSON object"):
        evaluate_eval_p(data_file(tmp_path, [0]), tmp_path / "latin.jsonl", good)


# ---------------------------------------------------------------- labels of one's own


def test_labels_of_both_kinds_come_back_from_a_review_file(tmp_path: Path) -> None:
    path = lines_file(
        tmp_path / "review.jsonl",
        [
            {"first_id": "b", "second_id": "a", "label": "first", "why": "orders_disagree", "critique": "…"},
            {"first_id": "a", "second_id": "c", "label": None},
            {"candidate_id": "a", "label": 4, "text": "anything {else}"},
            {"candidate_id": "b"},
        ],
    )
    labels = read_labels(path)
    assert labels.pairs == (PairLabel(first_id="b", second_id="a", label="first"),)
    assert labels.ratings == (RatingLabel(candidate_id="a", label=4.0),)
    assert labels.unlabelled == 2

    write_records(tmp_path / "comparisons.jsonl", [compared("a", "b", "second", "first")])
    rated = Judgment(id="rate:a", prompt_id="p", candidate_ids=("a",), outcome=Rating(value=6, expected=5.5))
    write_records(tmp_path / "judgments.jsonl", [rated])
    result = evaluate_labels(
        path, comparisons_path=tmp_path / "comparisons.jsonl", judgments_path=tmp_path / "judgments.jsonl"
    )
    assert result.pairs is not None
    assert result.ratings is not None
    assert percent(result.pairs.agreement) == 100.0  # the person and both orders say b
    assert result.ratings.bias is not None
    assert result.ratings.bias.value == 1.5
    assert result.ratings.spearman is None
    assert result.unlabelled == 2
    with pytest.raises(InputError, match="expected a file of comparisons"):
        evaluate_labels(path, judgments_path=tmp_path / "judgments.jsonl")
    with pytest.raises(InputError, match="expected a file of judgments"):
        evaluate_labels(path, comparisons_path=tmp_path / "comparisons.jsonl")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"first_id": "a", "second_id": "b", "label": "better"}], "got 'better'"),
        ([{"first_id": "a", "second_id": "b", "label": 1}], "got 1"),
        ([{"first_id": "a", "second_id": "a", "label": "tie"}], "different"),
        ([{"first_id": "a", "label": "tie"}], "first_id and second_id"),
        ([{"first_id": "a", "second_id": "b", "candidate_id": "a", "label": 1}], "candidate_id for a rating"),
        ([{"label": 1}], "none of them"),
        ([{"candidate_id": 7, "label": 1}], "candidate_id=7"),
        ([{"candidate_id": "a", "label": "5"}], "as a number, got '5'"),
        ([{"candidate_id": "a", "label": True}], "as a number, got True"),
        ([{"candidate_id": "a", "label": float("nan")}], "as a number, got nan"),
        ([{"candidate_id": "a", "label": 1}, {"candidate_id": "a", "label": 2}], "line 2: .*labelled once"),
        (
            [{"first_id": "a", "second_id": "b", "label": "tie"}, {"first_id": "b", "second_id": "a", "label": "tie"}],
            "line 2: .*labelled once",
        ),
        ([{"candidate_id": "a"}], "got none on 1 lines"),
        ([], "got none on 0 lines"),
    ],
)
def test_bad_labels(tmp_path: Path, rows: list[dict], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_labels(lines_file(tmp_path / "labels.jsonl", rows))


def test_pairs_by_scenario_and_length_with_what_is_missing_counted() -> None:
    labels = [
        PairLabel(first_id="a", second_id="b", label="first"),
        PairLabel(first_id="c", second_id="d", label="tie"),
        PairLabel(first_id="e", second_id="f", label="second"),
        PairLabel(first_id="x", second_id="y", label="second"),
    ]
    comparisons = [
        compared("b", "a", "second", "first", "p1"),
        compared("c", "d", "tie", "first", "p2"),
        compared("e", "f", "first", None, "p3"),
        compared("n", "m", "first", "first", "p4"),
    ]
    texts = {
        name: Candidate(id=name, prompt_id="p", text="x" * size)
        for name, size in zip("abcd", (9, 2, 3, 3), strict=True)
    }
    result = evaluate_pairs(labels, comparisons, candidates=texts, scenarios={"p1": "chitchat", "p2": "poem"})
    assert (result.n, result.unmatched, result.unparsed) == (3, 1, 1)
    assert result.agreement is not None
    assert result.agreement.value == pytest.approx(1 / 3)
    assert [(one.name, one.n, percent(one.agreement)) for one in result.scenarios] == [
        ("chitchat", 1, 100.0),
        ("poem", 1, 0.0),
    ]
    assert result.judge_longer is not None
    assert (result.judge_longer.value, result.judge_longer.n) == (1.0, 1)
    assert evaluate_pairs(labels, [one.swap() for one in reversed(comparisons)], candidates=texts).confusion == (
        result.confusion
    )


def test_one_order_has_accuracy_and_no_consistency() -> None:
    once = resolve(asked("b", "a", "first", "p"), None)
    result = evaluate_pairs([PairLabel(first_id="a", second_id="b", label="second")], [once])
    assert (result.agreement, result.consistency, result.asked_both) == (None, None, 0)
    assert percent(result.accuracy) == 100.0
    assert ("agreement", "–", "") in summary_rows(result)


def test_pairs_that_cannot_be_matched() -> None:
    label = PairLabel(first_id="a", second_id="b", label="first")
    both = compared("a", "b", "first", "second")
    with pytest.raises(InputError, match="labelled once"):
        evaluate_pairs([label, PairLabel(first_id="b", second_id="a", label="first")], [both])
    with pytest.raises(InputError, match="second one in"):
        evaluate_pairs([label], [both, both.swap()])
    with pytest.raises(InputError, match="is it the same run"):
        evaluate_pairs([label], [compared("c", "d", "first", "second")])


def test_ratings_against_people() -> None:
    generator = np.random.default_rng(0)
    people = generator.integers(1, 8, size=40).astype(float)
    judge = np.clip(people + generator.normal(0, 1.5, size=40), 1, 10)
    labels = [RatingLabel(candidate_id=f"c{n}", label=value) for n, value in enumerate(people)]
    labels += [RatingLabel(candidate_id="gone", label=3), RatingLabel(candidate_id="broken", label=3)]
    judgments = [
        Judgment(id=f"j{n}", prompt_id=f"p{n // 4}", candidate_ids=(f"c{n}",), outcome=Rating(value=5, expected=value))
        for n, value in enumerate(judge)
    ]
    broken = Judgment(id="jb", prompt_id="p", candidate_ids=("broken",), outcome=Unparsed(reason="cut_off"))
    result = evaluate_ratings(labels, [broken, *reversed(judgments), asked("c1", "c2", "first", "p")])
    assert (result.n, result.unparsed, result.unmatched) == (40, 1, 1)
    for measured, expected in (
        (result.spearman, spearmanr(judge, people).statistic),
        (result.kendall, kendalltau(judge, people).statistic),
        (result.mae, np.abs(judge - people).mean()),
        (result.bias, (judge - people).mean()),
    ):
        assert measured is not None
        assert measured.value == pytest.approx(expected)
        assert measured.low < measured.value < measured.high
    assert result.within is not None
    assert result.within.n == 10
    tables = {table.title: table for table in rating_sheet("Ratings", result).tables}
    assert [row[0] for row in tables["Correlation with the reference"].rows] == [
        "judge, all responses",
        "judge, within a prompt",
    ]


def test_mistake_01_unread_rating_is_in_no_number() -> None:
    labels = [RatingLabel(candidate_id="a", label=5)]
    broken = Judgment(id="j", prompt_id="p", candidate_ids=("a",), outcome=Unparsed(reason="cut_off"))
    result = evaluate_ratings(labels, [broken])
    assert (result.n, result.unparsed) == (0, 1)
    assert result.spearman is result.kendall is result.mae is result.bias is None
    with pytest.raises(InputError, match="got none"):
        evaluate_ratings(labels, [])
    with pytest.raises(InputError, match="second one in"):
        evaluate_ratings(labels, [broken, broken])
    with pytest.raises(InputError, match="more than once"):
        evaluate_ratings(labels * 2, [broken])


# ---------------------------------------------------------------- the numbers themselves


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(*[st.sampled_from(WINNERS)] * 3), min_size=2, max_size=40))
def test_shares_and_kappa_are_what_they_are_said_to_be(rows: list[tuple[Winner, Winner, Winner]]) -> None:
    pairs = [
        JudgedPair(id=f"i{n}", prompt_id=f"p{n}", label=label, first_order=one, second_order=two)
        for n, (label, one, two) in enumerate(rows)
    ]
    result = pair_agreement(pairs, resamples=20)
    assert result.agreement is not None
    assert result.consistency is not None
    assert result.accuracy is not None
    assert result.agreement.value <= result.consistency.value
    assert result.agreement.value <= result.accuracy.value
    assert result.agreement.value == pytest.approx(np.mean([label == one == two for label, one, two in rows]))
    if len({winner for row in rows for winner in row[:2]}) == 1:
        assert result.first_order_kappa is None  # 0 / 0, which scikit-learn warns of
        return
    expected = cohen_kappa_score([row[0] for row in rows], [row[1] for row in rows], labels=list(WINNERS))
    assert result.first_order_kappa is not None
    assert result.first_order_kappa.value == pytest.approx(expected)


@given(st.integers(0, 60).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_is_scipys(case: tuple[int, int]) -> None:
    count, n = case
    share = wilson(count, n)
    if n == 0:
        assert share is None
        return
    assert share is not None
    exact = binomtest(count, n).proportion_ci(0.95, method="wilson")
    assert (share.low, share.high) == pytest.approx((exact.low, exact.high), abs=1e-12)
    assert 0 <= share.low <= share.value <= share.high <= 1


def test_wilson_refuses_more_than_all() -> None:
    with pytest.raises(InputError, match="got 3 of 2"):
        wilson(3, 2)


def test_bootstrap_draws_whole_clusters() -> None:
    values = np.repeat(np.random.default_rng(3).normal(size=30), 20)
    clusters = [str(n // 20) for n in range(600)]

    def width(names: list[str]) -> float:
        interval = bootstrap(lambda positions: float(values[positions].mean()), names)
        assert interval is not None
        assert interval.value == pytest.approx(values.mean())
        return interval.high - interval.low

    # 600 copies of 30 numbers: taken as independent, the interval is too narrow by the root of 20.
    assert width(clusters) == pytest.approx(np.sqrt(20) * width([str(n) for n in range(600)]), rel=0.2)
    assert bootstrap(lambda positions: 1.0, []) is None
    assert bootstrap(lambda positions: float("nan"), ["a"]) is None


def test_a_part_of_eval_p_has_every_scenario_and_not_the_first_of_each() -> None:
    from judge_training.eval_p import EvalPPair, take_pairs

    pairs = [
        EvalPPair(
            id=f"{scenario}-{place}",
            scenario=scenario,
            prompt=f"prompt {scenario} {place}",
            response_1="a",
            response_2="b",
            label="tie" if place < 5 else "first",
        )
        for scenario in ("writing_song_lyrics", "translation", "ranking")
        for place in range(24)
    ]
    taken = take_pairs(pairs, 30)
    assert len(taken) == 30
    assert {
        scenario: sum(one.scenario == scenario for one in taken) for scenario in {one.scenario for one in pairs}
    } == {
        "writing_song_lyrics": 10,
        "translation": 10,
        "ranking": 10,
    }
    assert [one.id for one in taken] == [one.id for one in pairs if one in taken]
    assert sum(one.label == "tie" for one in taken) < 15
    assert take_pairs(pairs, None) == pairs
