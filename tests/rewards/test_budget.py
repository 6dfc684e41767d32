"""The failure budget: loud, late enough, and never in the way of what was judged."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewards.budget import FailureBudget, failure_reason
from rewards.errors import FailureBudgetError, InputError
from rewards.types import Abstained, Comparison, Judgment, Outcome, Rating, Unparsed, UnparsedReason, Verdict


def judgment(outcome: Outcome, name: str = "c") -> Judgment:
    return Judgment(id=f"rate:{name}", prompt_id="p", candidate_ids=(name,), outcome=outcome)


def comparison(*outcomes: Verdict | Unparsed, end: Verdict | Abstained) -> Comparison:
    judgments = tuple(Judgment(id="x", prompt_id="p", candidate_ids=("a", "b"), outcome=one) for one in outcomes)
    return Comparison(id="x", prompt_id="p", first_id="a", second_id="b", outcome=end, judgments=judgments)


GOOD = judgment(Rating(value=5))


def bad(reason: UnparsedReason = "no_verdict") -> Judgment:
    return judgment(Unparsed(reason=reason))


def test_stops_after_the_minimum_and_keeps_what_was_judged() -> None:
    kept: list[Judgment] = []
    budget = FailureBudget(limit=0.05, minimum=20)
    with pytest.raises(FailureBudgetError) as raised:
        for result in budget.watch([*[bad()] * 3, *[GOOD] * 100]):
            kept.append(result)
    assert len(kept) == 20
    assert "3 of 20" in str(raised.value)
    assert "no_verdict 3" in str(raised.value)
    assert budget.counts == {"no_verdict": 3}


def test_at_the_end_the_share_counts_whatever_the_number() -> None:
    kept: list[Judgment] = []
    with pytest.raises(FailureBudgetError, match="1 of 3"):
        kept.extend(FailureBudget().watch([GOOD, bad("timeout"), GOOD]))
    assert len(list(FailureBudget().watch([GOOD, bad(), GOOD], final=False))) == 3


@given(st.lists(st.booleans(), max_size=200), st.floats(0.0, 1.0))
def test_passes_exactly_when_the_share_stays_within_the_limit(failed: list[bool], limit: float) -> None:
    stream = [bad() if one else GOOD for one in failed]
    over = any(sum(failed[:end]) > limit * end for end in range(1, len(failed) + 1) if end >= 20 or end == len(failed))
    try:
        passed = len(list(FailureBudget(limit).watch(stream)))
    except FailureBudgetError:
        assert over
    else:
        assert not over
        assert passed == len(failed)


def test_mistake_01_a_judge_that_writes_garbage_is_stopped_within_the_first_results() -> None:
    stream = [GOOD if number % 10 == 0 else bad() for number in range(1280)]
    seen = 0
    with pytest.raises(FailureBudgetError, match="mode: direct"):
        for _ in FailureBudget().watch(stream):
            seen += 1
    assert seen == 20


def test_an_empty_response_is_counted_but_is_no_failure_of_the_judge() -> None:
    budget = FailureBudget()
    assert len(list(budget.watch([bad("empty_response")] * 50 + [GOOD] * 2))) == 52
    assert budget.counts == {"empty_response": 50}
    assert budget.total == 52


def test_orders_that_disagree_are_an_answer() -> None:
    disagree = comparison(Verdict(winner="first"), Verdict(winner="first"), end=Abstained(reason="orders_disagree"))
    failed = comparison(Verdict(winner="tie"), Unparsed(reason="refused"), end=Abstained(reason="unparsed"))
    assert failure_reason(disagree) is None
    assert failure_reason(failed) == "refused"
    assert len(list(FailureBudget().watch([disagree] * 50))) == 50
    with pytest.raises(FailureBudgetError, match="refused"):
        list(FailureBudget().watch([disagree] * 10 + [failed] * 10))


def test_a_window_notices_a_judge_that_breaks_late() -> None:
    stream = [GOOD] * 10_000 + [bad("backend_error")] * 50
    assert len(list(FailureBudget().watch(stream))) == 10_050
    seen = 0
    with pytest.raises(FailureBudgetError):
        for _ in FailureBudget(window=100).watch(stream):
            seen += 1
    assert seen == 10_006


def test_a_window_forgets_old_failures() -> None:
    budget = FailureBudget(limit=0.5, minimum=10, window=10)
    list(budget.watch([GOOD, bad()] * 5 + [GOOD] * 20))
    with pytest.raises(FailureBudgetError, match="6 of 10"):
        list(budget.watch([bad()] * 6))


@pytest.mark.parametrize("limit", [-0.1, 1.1])
def test_refuses_a_share_that_is_none(limit: float) -> None:
    with pytest.raises(InputError):
        FailureBudget(limit)


def test_refuses_a_window_below_the_minimum() -> None:
    with pytest.raises(InputError):
        FailureBudget(window=10)
