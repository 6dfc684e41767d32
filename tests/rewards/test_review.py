"""What is put aside for a person, and the sample of judgments to read."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from pydantic import TypeAdapter

from judge_training.labels import read_labels
from rewards.errors import InputError
from rewards.jsonl import write_records
from rewards.review import ReviewedComparison, ReviewedRating, inspection_sample, read_review, review_items
from rewards.types import Judgment, Outcome, Rating, Unparsed, Verdict
from tests.scored_records import compared, records

OUTCOME: TypeAdapter[Outcome] = TypeAdapter(Outcome)


def judged(candidate_id: str, outcome: Outcome) -> Judgment:
    return Judgment(
        id=Judgment.rating_id(candidate_id),
        prompt_id=candidate_id.split("/", maxsplit=1)[0],
        candidate_ids=(candidate_id,),
        outcome=outcome,
        critique=f"On {candidate_id}.",
    )


def rating(candidate_id: str, value: float, variance: float | None = None) -> Judgment:
    return judged(candidate_id, Rating(value=value, variance=variance))


@pytest.fixture
def case():
    groups = {"p": [("a", 0.9), ("b", 0.89), ("c", None)], "q": [("d", 0.9), ("e", 0.1), ("f {x}", 0.2)]}
    prompts, candidates, scored = records(groups, scenario="chitchat")
    judgments = [
        rating("p/0", 9.0, 0.1),
        rating("p/1", 9.0, 4.0),
        judged("p/2", Unparsed(reason="timeout")),
        rating("q/0", 9.0, 0.2),
        rating("q/1", 2.0),
    ]
    comparisons = [compared("q", "q/0", "q/1", "orders_disagree"), compared("q", "q/1", "q/2", "unparsed")]
    return judgments, comparisons, scored, candidates, prompts


def test_failures_abstentions_variance_and_close_calls(case):
    items = review_items(*case)
    assert [item.reason for item in items] == [
        "unparsed:timeout",
        "comparison_failed",
        "orders_disagree",
        "high_variance",
        "close_call",
    ]
    failed, _, abstained, spread, close = items
    assert isinstance(failed, ReviewedRating)
    assert (failed.candidate_id, failed.response, failed.scenario, failed.label) == ("p/2", "c", "chitchat", None)
    assert failed.critiques == ("On p/2.",)
    assert isinstance(abstained, ReviewedComparison)
    assert len(abstained.judgment_ids) == 2
    assert isinstance(spread, ReviewedRating)
    assert spread.candidate_id == "p/1"
    assert isinstance(close, ReviewedComparison)
    assert (close.first_id, close.second_id, close.detail) == ("p/0", "p/1", "reward 0.9 and 0.89")
    assert ("first response", "a") in close.texts()
    assert "close_call" in close.title


def test_limits_are_settings(case):
    def reasons(**values):
        return Counter(item.reason for item in review_items(*case, **values))

    assert reasons(variance_above=0.05)["high_variance"] == 3
    assert reasons(variance_above=5.0)["high_variance"] == 0
    assert reasons(close_margin=0.001)["close_call"] == 0
    assert reasons(close_margin=0.9)["close_call"] == 2
    assert len(review_items(*case, limit=2)) == 2


def test_limit_takes_from_every_reason_in_turn():
    prompts, candidates, scored = records({f"p{i}": [("a", None), ("b", 1.0)] for i in range(30)})
    judgments = [judged(f"p{i}/0", Unparsed(reason="timeout")) for i in range(30)]
    comparisons = [compared("p0", "p0/0", "p0/1", "orders_disagree")]
    items = review_items(judgments, comparisons, scored, candidates, prompts, limit=4)
    assert Counter(item.reason for item in items) == {"unparsed:timeout": 3, "orders_disagree": 1}
    assert items == review_items(judgments[::-1], comparisons, scored[::-1], candidates, prompts, limit=4)


def test_nothing_stands_twice_and_unscored_without_a_judgment_is_there(case):
    _, comparisons, scored, candidates, prompts = case
    items = review_items([], [*comparisons, comparisons[0].swap()], scored, candidates, prompts)
    assert Counter(item.reason for item in items)["orders_disagree"] == 1
    assert items[0].reason == "unscored:timeout"


def test_labels_of_a_person_come_back(case, tmp_path):
    path = tmp_path / "review.jsonl"
    items = review_items(*case)
    write_records(path, items)
    assert read_review(path) == items
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert all(row["label"] is None for row in rows)
    rows[0]["label"] = 4
    rows[2]["label"] = "second"
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    assert [item.label for item in read_review(path)] == [4.0, None, "second", None, None]
    labels = read_labels(path)
    assert [(label.candidate_id, label.label) for label in labels.ratings] == [("p/2", 4.0)]
    assert [(label.first_id, label.second_id, label.label) for label in labels.pairs] == [("q/0", "q/1", "second")]
    assert labels.unlabelled == 3


def test_a_file_that_is_no_review_says_the_line(tmp_path):
    (tmp_path / "r.jsonl").write_text('{"kind": "rating"}\n', encoding="utf-8")
    with pytest.raises(InputError, match="line 1"):
        read_review(tmp_path / "r.jsonl")


def test_unknown_ids_are_refused(case):
    judgments, _, _, candidates, prompts = case
    with pytest.raises(InputError, match="p/2"):
        review_items(judgments, [], [], candidates[:2], prompts)
    with pytest.raises(InputError, match="'p'"):
        review_items(judgments, [], [], candidates, prompts[1:])


def test_inspection_sample_is_stratified():
    prompts, candidates, _ = records({f"p{i}": [("a", 1.0), ("b", 0.0)] for i in range(40)})
    prompts = [prompt.model_copy(update={"scenario": f"s{i % 4}"}) for i, prompt in enumerate(prompts)]
    judgments = [rating(f"p{i}/0", 5.0 if i < 36 else 9.0) for i in range(39)]
    judgments.append(judged("p39/0", Unparsed(reason="cut_off")))
    pair = compared("p0", "p0/0", "p0/1", "first")
    verdicts = [j.model_copy(update={"outcome": Verdict(winner="first")}) for j in pair.judgments]
    pair = pair.model_copy(update={"judgments": tuple(verdicts)})
    sample = inspection_sample(judgments, candidates, prompts, comparisons=[pair], size=13, seed=3)
    assert Counter(item.reason for item in sample) == {
        "rating 05": 8,
        "rating 09": 3,
        "unparsed:cut_off": 1,
        "verdict first": 1,
    }
    fives = Counter(item.scenario for item in sample if item.reason == "rating 05")
    assert set(fives.values()) == {2}
    assert sample == inspection_sample(judgments[::-1], candidates, prompts, comparisons=[pair], size=13, seed=3)
    assert sample != inspection_sample(judgments, candidates, prompts, comparisons=[pair], size=13, seed=4)
    everything = inspection_sample(judgments, candidates, prompts, size=500)
    assert len(everything) == len(judgments)
