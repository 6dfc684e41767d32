"""The floors do what they are called."""

from __future__ import annotations

from collections import Counter

import pytest

from rewards.errors import InputError
from rewards.judges.rivals.baselines import BaselineJudge
from rewards.types import Abstained, Rating, Unparsed, Verdict
from tests.rewards.judges.rivals.tiny_rivals import pair, rate_item


def test_longer_wins_in_both_orders() -> None:
    judge = BaselineJudge("longer")
    outcomes = [one.outcome for one in judge.compare([pair("aaa", "a"), pair("a", "aaa"), pair("a", "b")])]
    assert outcomes == [Verdict(winner="first"), Verdict(winner="second"), Verdict(winner="tie")]
    [rated] = judge.rate([rate_item("four", "c")])
    assert rated.outcome == Rating(value=4.0)


@pytest.mark.parametrize("rule", ["first", "second"])
def test_a_position_abstains_when_asked_twice(rule: str) -> None:
    judge = BaselineJudge("first" if rule == "first" else "second")
    [both] = judge.compare([pair("a", "b")])
    assert both.outcome == Abstained(reason="orders_disagree")
    [once] = judge.compare([pair("a", "b")], both_orders=False)
    assert isinstance(once.outcome, Verdict)
    assert once.outcome.winner == rule
    with pytest.raises(InputError, match="rates"):
        judge.rate([rate_item("a", "c")])


def test_random_is_even_repeatable_and_depends_on_its_seed() -> None:
    items = [pair("a", "b", name=f"{index}-") for index in range(3000)]
    first, again, other = (list(BaselineJudge("random", seed=seed).compare(items)) for seed in (0, 0, 1))
    assert first == again
    assert first != other
    verdicts = Counter(
        judgment.outcome.winner for one in first for judgment in one.judgments if isinstance(judgment.outcome, Verdict)
    )
    assert all(abs(count / 6000 - 1 / 3) < 0.03 for count in verdicts.values())
    agreeing = sum(isinstance(one.outcome, Verdict) for one in first) / 3000
    assert abs(agreeing - 1 / 3) < 0.04, "each order is drawn on its own"


def test_an_empty_response_is_not_judged() -> None:
    [one] = BaselineJudge("longer").compare([pair("a", " ")])
    assert one.outcome == Abstained(reason="unparsed")
    assert all(isinstance(judgment.outcome, Unparsed) for judgment in one.judgments)


def test_every_comparison_comes_once_and_in_its_own_order() -> None:
    items = [pair("aa", "a", name=f"{index}-") for index in range(300)]
    found = {one.id: one for one in BaselineJudge("longer").compare(iter(items))}
    assert len(found) == 300
    assert {(one.first_id, one.second_id) for one in found.values()} == {(i.first.id, i.second.id) for i in items}
