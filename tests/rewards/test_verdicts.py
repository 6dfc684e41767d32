"""Verdicts: both orders, win rates, Bradley-Terry with ties, order agreement."""

from __future__ import annotations

import itertools
import random

import choix
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import approx_fprime, minimize

from rewards.bradley_terry import TIE_MEDIAN, TIE_SPREAD, Outcomes, fit_davidson, hessian, objective
from rewards.designs import pairs_for
from rewards.errors import DisconnectedComparisonsError, InputError
from rewards.types import (
    Abstained,
    Candidate,
    Comparison,
    Judgment,
    Rating,
    Reward,
    Unparsed,
    Unscored,
    Verdict,
    VerdictProbabilities,
    Winner,
)
from rewards.verdicts import (
    break_ties,
    fit_bradley_terry,
    order_agreement,
    resolve,
    rewards_from_comparisons,
    win_rates,
)

WINNERS: tuple[Winner, ...] = ("first", "second", "tie")


def asked(
    first: str,
    second: str,
    winner: Winner | None,
    *,
    prompt: str = "p",
    probabilities: tuple[float, float, float] | None = None,
) -> Judgment:
    given_probabilities = (
        None
        if probabilities is None
        else VerdictProbabilities(first=probabilities[0], second=probabilities[1], tie=probabilities[2])
    )
    return Judgment(
        id=Judgment.verdict_id(first, second),
        prompt_id=prompt,
        candidate_ids=(first, second),
        outcome=Unparsed(reason="no_verdict")
        if winner is None
        else Verdict(winner=winner, probabilities=given_probabilities),
    )


def compared(first: str, second: str, winner: Winner | None, *, prompt: str = "p") -> Comparison:
    """A comparison asked once; None abstains."""
    return resolve(asked(first, second, winner, prompt=prompt), None)


def people(names: str, prompt: str = "p") -> list[Candidate]:
    return [Candidate(id=name, prompt_id=prompt, text=f"text of {name}") for name in names]


def values(scored: list[Reward | Unscored] | tuple[Reward | Unscored, ...]) -> dict[str, float]:
    return {one.candidate_id: one.value for one in scored if isinstance(one, Reward)}


class TestResolve:
    def test_mistake_04_the_second_order_is_swapped_before_it_is_compared(self) -> None:
        flipped = {"first": "second", "second": "first", "tie": "tie"}
        for first, second in itertools.product(WINNERS, WINNERS):
            outcome = resolve(asked("a", "b", first), asked("b", "a", second)).outcome
            if flipped[second] == first:
                assert isinstance(outcome, Verdict)
                assert outcome.winner == first
            else:
                assert outcome == Abstained(reason="orders_disagree")

    @pytest.mark.parametrize("winner", WINNERS)
    def test_mistake_04_swapping_a_comparison_flips_its_label(self, winner: Winner) -> None:
        whole = resolve(asked("a", "b", winner), None)
        swapped = whole.swap()
        assert (swapped.first_id, swapped.second_id) == ("b", "a")
        assert isinstance(swapped.outcome, Verdict)
        assert swapped.outcome.winner == {"first": "second", "second": "first", "tie": "tie"}[winner]
        assert swapped.swap() == whole
        # The rewards are of the candidates, so naming the pair from the other side changes nothing.
        assert win_rates([swapped], people("ab")) == win_rates([whole], people("ab"))

    def test_unread_judgment_abstains(self) -> None:
        for first, second in ((None, "first"), ("first", None), (None, None)):
            comparison = resolve(asked("a", "b", first), asked("b", "a", second))
            assert comparison.outcome == Abstained(reason="unparsed")
        assert resolve(asked("a", "b", None), None).outcome == Abstained(reason="unparsed")

    def test_probabilities_are_averaged_after_the_swap(self) -> None:
        comparison = resolve(
            asked("a", "b", "first", probabilities=(0.7, 0.2, 0.1)),
            asked("b", "a", "first", probabilities=(0.5, 0.4, 0.1)),
        )
        assert comparison.outcome == Abstained(reason="orders_disagree")
        assert comparison.probabilities is not None
        assert comparison.probabilities.first == pytest.approx(0.55)
        assert comparison.probabilities.second == pytest.approx(0.35)

    def test_probabilities_need_every_order(self) -> None:
        with_one = resolve(asked("a", "b", "first", probabilities=(1, 0, 0)), asked("b", "a", "second"))
        assert with_one.probabilities is None
        assert with_one.outcome == Verdict(winner="first")

    def test_judgments_are_kept_as_asked(self) -> None:
        both = (asked("a", "b", "first"), asked("b", "a", "first"))
        assert resolve(*both).judgments == both

    def test_bad_input(self) -> None:
        rating = Judgment(id="r", prompt_id="p", candidate_ids=("a",), outcome=Rating(value=3))
        with pytest.raises(InputError, match="of two candidates"):
            resolve(rating, None)
        with pytest.raises(InputError, match="against itself"):
            resolve(asked("a", "a", "tie"), None)
        for second in (asked("a", "b", "first"), asked("b", "c", "first"), asked("b", "a", "first", prompt="q")):
            with pytest.raises(InputError, match="exchanged order"):
                resolve(asked("a", "b", "first"), second)


class TestWinRates:
    def test_wins_and_half_ties_over_decided(self) -> None:
        comparisons = [
            compared("a", "b", "first"),
            compared("c", "a", "tie"),
            compared("b", "c", None),
            compared("d", "a", None),
        ]
        scored = win_rates(comparisons, people("abcde"))
        assert values(scored) == {"a": 0.75, "b": 0.0, "c": 0.5}
        reasons = {one.candidate_id: one.reason for one in scored if isinstance(one, Unscored)}
        assert reasons == {"d": "all_abstained", "e": "not_compared"}
        assert isinstance(scored[0], Reward)
        assert scored[0].judgment_ids == ("compare:a|b", "compare:c|a", "compare:d|a")

    def test_same_text_is_one_response(self) -> None:
        twins = [
            Candidate(id="a", prompt_id="p", text="same"),
            Candidate(id="b", prompt_id="p", text="same"),
            Candidate(id="c", prompt_id="p", text="other"),
        ]
        comparisons = [compared("a", "c", "first"), compared("b", "c", "second"), compared("a", "b", "first")]
        assert values(win_rates(comparisons, twins)) == {"a": 0.5, "b": 0.5, "c": 0.5}

    def test_soft_counts_probabilities(self) -> None:
        comparison = resolve(asked("a", "b", "first", probabilities=(0.6, 0.2, 0.2)), None)
        assert values(win_rates([comparison], people("ab"), soft=True)) == pytest.approx({"a": 0.7, "b": 0.3})
        with pytest.raises(InputError, match="expected probabilities"):
            win_rates([compared("a", "b", "first")], people("ab"), soft=True)

    def test_bad_input(self) -> None:
        with pytest.raises(InputError, match=r"'compare:a\|b' more than once"):
            win_rates([compared("a", "b", "first")] * 2, people("ab"))
        with pytest.raises(InputError, match="'b', which is not one of them"):
            win_rates([compared("a", "b", "first")], people("a"))
        with pytest.raises(InputError, match="which is not one of them"):
            win_rates([compared("a", "b", "first", prompt="q")], people("ab"))
        with pytest.raises(InputError, match="'a' more than once"):
            win_rates([], people("aa"))


def random_outcomes(seed: int, nodes: int = 5, count: int = 12) -> Outcomes:
    generator = np.random.default_rng(seed)
    first = generator.integers(nodes, size=count)
    return Outcomes(
        first=first.astype(np.intp),
        second=((first + generator.integers(1, nodes, size=count)) % nodes).astype(np.intp),
        weights=generator.dirichlet([1, 1, 1], size=count),
    )


class TestBradleyTerry:
    @pytest.mark.parametrize("tie", [None, 0.7])
    def test_gradient_and_hessian_are_those_of_the_objective(self, tie: float | None) -> None:
        outcomes = random_outcomes(1)
        x = np.random.default_rng(2).normal(size=6)

        def value(at: np.ndarray) -> float:
            return objective(at, outcomes, prior=0.8, tie=tie)[0]

        def gradient(at: np.ndarray) -> np.ndarray:
            return objective(at, outcomes, prior=0.8, tie=tie)[1]

        numeric = [approx_fprime(x, lambda at, k=k: gradient(at)[k], 1e-6) for k in range(6)]
        assert gradient(x) == pytest.approx(approx_fprime(x, value, 1e-6), abs=1e-4)
        assert hessian(x, outcomes, prior=0.8, tie=tie) == pytest.approx(np.array(numeric), abs=1e-4)

    def test_maximises_the_posterior_written_out_plainly(self) -> None:
        outcomes = random_outcomes(3)

        def posterior(x: np.ndarray) -> float:
            strengths, nu = np.exp(x[:5]), np.exp(x[5])
            total = -((x[:5] ** 2).sum()) / (2 * 1.3**2) - (x[5] - np.log(TIE_MEDIAN)) ** 2 / (2 * TIE_SPREAD**2)
            for a, b, (won, lost, tied) in zip(outcomes.first, outcomes.second, outcomes.weights, strict=True):
                middle = nu * np.sqrt(strengths[a] * strengths[b])
                whole = strengths[a] + strengths[b] + middle
                total += won * np.log(strengths[a] / whole) + lost * np.log(strengths[b] / whole)
                total += tied * np.log(middle / whole)
            return float(total)

        fit = fit_davidson(5, outcomes, prior=1.3, tie=None)
        plain = minimize(
            lambda x: -posterior(x),
            np.zeros(6),
            method="Nelder-Mead",
            options={"maxiter": 20000, "maxfev": 20000, "xatol": 1e-9, "fatol": 1e-12, "adaptive": True},
        )
        assert fit.strengths == pytest.approx(plain.x[:5], abs=1e-4)
        assert fit.tie == pytest.approx(np.exp(plain.x[5]), abs=1e-4)

    @pytest.mark.parametrize("prior", [0.5, 1.0, 3.0])
    def test_without_ties_it_is_choix(self, prior: float) -> None:
        names = "abcdef"
        wins = [(0, 1), (0, 2), (1, 2), (3, 0), (4, 3), (5, 4), (2, 5), (1, 5), (0, 4)]
        comparisons = [compared(names[won], names[lost], "first") for won, lost in wins]
        fit = fit_bradley_terry(comparisons, people(names), prior=prior, tie=0.0)
        expected = choix.opt_pairwise(6, wins, alpha=1 / (2 * prior**2), tol=1e-10)
        assert list(values(fit.scored).values()) == pytest.approx(list(expected), abs=1e-6)
        assert fit.tie == 0.0

    def test_candidate_that_never_loses_stays_finite(self) -> None:
        comparisons = [compared("a", name, "first") for name in "bcdefgh"]
        strengths = values(fit_bradley_terry(comparisons, people("abcdefgh"), prior=5.0).scored)
        assert strengths["a"] == max(strengths.values()) < 25
        assert len({strengths[name] for name in "bcdefgh"}) == 1

    def test_ties_pull_together_and_raise_the_tie_parameter(self) -> None:
        names = "abcd"
        pairs = list(itertools.combinations(names, 2))
        tied = fit_bradley_terry([compared(one, two, "tie") for one, two in pairs], people(names))
        decided = fit_bradley_terry([compared(one, two, "first") for one, two in pairs], people(names))
        assert set(values(tied.scored).values()) == {0.0}
        assert tied.tie > TIE_MEDIAN > decided.tie > 0
        assert list(values(decided.scored)) == sorted(names, key=lambda n: -values(decided.scored)[n])

    def test_variance_shrinks_with_evidence(self) -> None:
        once = fit_bradley_terry([compared("a", "b", "first")], people("ab")).scored[0]
        twice = fit_bradley_terry([compared("a", "b", "first"), compared("b", "a", "second")], people("ab")).scored[0]
        assert isinstance(once, Reward)
        assert isinstance(twice, Reward)
        assert once.variance is not None
        assert twice.variance is not None
        assert 0 < twice.variance < once.variance < 1.0  # the prior's variance

    def test_disconnected_graph_is_refused_with_its_parts(self) -> None:
        comparisons = [compared("a", "b", "first"), compared("c", "d", "first"), compared("b", "c", None)]
        with pytest.raises(DisconnectedComparisonsError) as caught:
            fit_bradley_terry(comparisons, people("abcde"))
        assert caught.value.components == (("a", "b"), ("c", "d"), ("e",))
        assert "{a, b}; {c, d}; {e}" in str(caught.value)
        assert isinstance(caught.value, InputError)

    def test_identical_texts_connect_and_get_the_same_reward(self) -> None:
        candidates = [*people("abc"), Candidate(id="d", prompt_id="p", text="text of b")]
        comparisons = [compared("a", "b", "first"), compared("d", "c", "first")]
        strengths = values(fit_bradley_terry(comparisons, candidates).scored)
        assert strengths["a"] > strengths["b"] == strengths["d"] > strengths["c"]

    def test_nothing_to_compare_is_unscored(self) -> None:
        alone = fit_bradley_terry([], people("a")).scored
        twins = [Candidate(id=name, prompt_id="p", text="same") for name in "ab"]
        assert [one.reason for one in alone if isinstance(one, Unscored)] == ["not_compared"]
        assert [one.kind for one in fit_bradley_terry([compared("a", "b", "first")], twins).scored] == ["unscored"] * 2
        assert fit_bradley_terry([], []).scored == ()

    def test_soft_follows_the_probabilities(self) -> None:
        sure = resolve(asked("a", "b", "first", probabilities=(0.95, 0.03, 0.02)), None)
        unsure = resolve(asked("a", "b", "first", probabilities=(0.45, 0.40, 0.15)), None)
        strong = values(fit_bradley_terry([sure], people("ab"), soft=True).scored)["a"]
        weak = values(fit_bradley_terry([unsure], people("ab"), soft=True).scored)["a"]
        hard = values(fit_bradley_terry([unsure], people("ab")).scored)["a"]
        assert 0 < weak < strong < hard

    def test_bad_input(self) -> None:
        with pytest.raises(InputError, match="finite standard deviation"):
            fit_bradley_terry([], people("ab"), prior=0)
        with pytest.raises(InputError, match="tie >= 0"):
            fit_bradley_terry([], people("ab"), tie=-1)
        with pytest.raises(InputError, match="no ties with tie=0"):
            fit_bradley_terry([compared("a", "b", "tie")], people("ab"), tie=0)
        with pytest.raises(InputError, match="one prompt, got several"):
            fit_bradley_terry([], [*people("ab"), *people("cd", prompt="q")])


verdict_lists = st.lists(st.sampled_from(WINNERS), min_size=6, max_size=6)


@settings(max_examples=30, deadline=None)
@given(verdict_lists, st.permutations("wxyz"), st.randoms(use_true_random=False), st.floats(0.3, 10))
def test_strengths_do_not_depend_on_names_order_or_direction(
    winners: list[Winner], renamed: list[str], shuffle: random.Random, prior: float
) -> None:
    pairs = list(itertools.combinations("abcd", 2))
    comparisons = [compared(one, two, winner) for (one, two), winner in zip(pairs, winners, strict=True)]
    strengths = values(fit_bradley_terry(comparisons, people("abcd"), prior=prior).scored)
    assert sum(strengths.values()) == pytest.approx(0, abs=1e-6)

    name = dict(zip("abcd", renamed, strict=True))
    other = [
        compared(name[c.first_id], name[c.second_id], winner) for c, winner in zip(comparisons, winners, strict=True)
    ]
    other = [one.swap() if shuffle.random() < 0.5 else one for one in other]
    shuffle.shuffle(other)
    again = values(fit_bradley_terry(other, people("".join(renamed)), prior=prior).scored)
    assert {one: again[name[one]] for one in strengths} == pytest.approx(strengths, abs=1e-6)


@settings(max_examples=30, deadline=None)
@given(verdict_lists, st.integers(0, 5))
def test_one_more_win_never_lowers_the_winner(winners: list[Winner], changed: int) -> None:
    pairs = list(itertools.combinations("abcd", 2))

    def strength(given_winners: list[Winner]) -> float:
        comparisons = [compared(one, two, winner) for (one, two), winner in zip(pairs, given_winners, strict=True)]
        fit = fit_bradley_terry(comparisons, people("abcd"), tie=0.5)
        return values(fit.scored)[pairs[changed][0]]

    by_outcome = [strength([*winners[:changed], one, *winners[changed + 1 :]]) for one in ("second", "tie", "first")]
    assert by_outcome[0] < by_outcome[1] < by_outcome[2]


class TestManyPrompts:
    def test_mistake_01_disconnected_prompt_is_unscored_and_the_others_are_not_touched(self) -> None:
        candidates = [*people("abc"), *people("xyz", prompt="q")]
        comparisons = [
            compared("a", "b", "first"),
            compared("b", "c", "first"),
            compared("x", "y", "first", prompt="q"),
            compared("y", "z", None, prompt="q"),
        ]
        scored = rewards_from_comparisons(comparisons, candidates, method="bradley_terry")
        assert {one.candidate_id for one in scored if isinstance(one, Reward)} == set("abc")
        reasons = {one.candidate_id: one.reason for one in scored if isinstance(one, Unscored)}
        assert reasons == dict.fromkeys("xyz", "disconnected_comparisons")
        only = fit_bradley_terry(comparisons[:2], people("abc")).scored
        assert tuple(scored[:3]) == only

    def test_mistake_07_order_of_the_file_is_irrelevant(self) -> None:
        candidates = people("abcd")
        comparisons = [
            compared(one, two, "first" if one < two else "second") for one, two in pairs_for(candidates, "all")
        ]
        for method in ("win_rate", "bradley_terry"):
            forward = rewards_from_comparisons(comparisons, candidates, method=method)
            backward = rewards_from_comparisons(comparisons[::-1], candidates[::-1], method=method)
            assert forward == backward
            assert sorted(values(forward), key=lambda n: -values(forward)[n]) == list("abcd")

    def test_comparison_of_an_unknown_prompt_is_an_error(self) -> None:
        with pytest.raises(InputError, match="got none for prompt 'q'"):
            rewards_from_comparisons([compared("a", "b", "tie", prompt="q")], people("ab"), method="bradley_terry")

    def test_every_design_that_connects_can_be_fitted(self) -> None:
        candidates = people("abcdefg")
        for design in ("all", "circular", "anchor"):
            comparisons = [compared(one, two, "first") for one, two in pairs_for(candidates, design)]
            scored = rewards_from_comparisons(comparisons, candidates, method="bradley_terry")
            assert len(values(scored)) == 7


def rating(candidate_id: str, level: float) -> Reward:
    return Reward(candidate_id=candidate_id, prompt_id="p", value=level, parts={"rating": level})


def test_break_ties_orders_the_tied_and_nobody_else() -> None:
    scored = [rating("a", 6), rating("b", 6), rating("c", 5), rating("d", 7), rating("e", 6)]
    comparisons = [compared("a", "b", "second"), compared("c", "d", "first"), compared("a", "e", None)]
    missing = Unscored(candidate_id="f", prompt_id="p", reason="no_verdict")
    broken = break_ties([*scored, missing], comparisons, people("abcdef"), width=0.5)
    assert values(broken) == {"a": 5.75, "b": 6.25, "c": 5, "d": 7, "e": 6}
    assert missing in broken
    first = broken[0]
    assert isinstance(first, Reward)
    assert first.parts == {"rating": 6.0, "tie_break": -0.25}
    with pytest.raises(InputError, match="width > 0"):
        break_ties(scored, comparisons, people("abcde"), width=0)


def test_order_agreement_counts() -> None:
    orders: list[tuple[Winner | None, Winner | None]] = [
        ("first", "second"),  # agree: a
        ("second", "first"),  # agree: b
        ("tie", "tie"),  # agree
        ("first", "first"),  # first both times
        ("second", "second"),  # second both times
        ("second", "second"),
        ("first", "tie"),  # disagree, no position
        (None, "first"),
    ]
    comparisons = [
        resolve(asked(f"a{n}", f"b{n}", one), asked(f"b{n}", f"a{n}", two)) for n, (one, two) in enumerate(orders)
    ]
    comparisons[0] = comparisons[0].swap()
    comparisons.append(compared("x", "y", "first"))
    counted = order_agreement(comparisons)
    assert (counted.asked_both, counted.agreed, counted.disagreed, counted.unparsed) == (8, 3, 4, 1)
    assert (counted.first_both_times, counted.second_both_times, counted.asked_once) == (1, 2, 1)
    assert counted.agreement is not None
    assert counted.agreement.value == pytest.approx(3 / 7)
    assert 0 < counted.agreement.low < 3 / 7 < counted.agreement.high < 1
    assert counted.first_preference is not None
    assert counted.first_preference.value == pytest.approx(1 / 3)
    assert order_agreement([]).agreement is None
