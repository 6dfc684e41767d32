"""Judging the judge: its judgments against people's, on Eval-P or on labels of one's own.

Everything goes by id. A label of a pair counts whichever way round the comparison names it. What was labelled and
not judged is counted beside the numbers and never in them. Results are records: `model_dump_json` is the JSON
of the command line, `summary_rows` and `slice_rows` are its tables.

This module asks no judge: judge first, then evaluate what was written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import JsonValue

from judge_training.agreement import JudgedPair, PairAgreement, Slice, pair_agreement
from judge_training.eval_p import EvalP, evaluate_eval_p, longer_text, verdicts_in_order
from judge_training.labels import PairLabel, RatingLabel, read_labels
from rewards.errors import InputError
from rewards.intervals import Interval, bootstrap
from rewards.jsonl import read_records
from rewards.types import Candidate, Comparison, Judgment, Rating, Record

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "EvalP",
    "LabelAgreement",
    "PairAgreement",
    "RatingAgreement",
    "evaluate_eval_p",
    "evaluate_labels",
    "evaluate_pairs",
    "evaluate_ratings",
    "slice_rows",
    "summary_rows",
]


class RatingAgreement(Record):
    """A judge's ratings against people's, with bootstrap intervals over prompts."""

    n: int
    unparsed: int
    """Labelled responses whose judgment could not be read; in no other number."""
    unmatched: int
    """Labelled responses that were not judged; in no other number."""
    spearman: Interval | None
    """Rank correlation; None when either side is constant."""
    kendall: Interval | None
    """Kendall's tau-b."""
    mae: Interval | None
    """Mean absolute difference, in rating points."""
    bias: Interval | None
    """Mean of judge less person, in rating points."""


class LabelAgreement(Record):
    """What a file of labels shows."""

    pairs: PairAgreement | None = None
    ratings: RatingAgreement | None = None
    unlabelled: int = 0
    """Lines that nobody labelled yet."""


def evaluate_labels(
    labels_path: Path,
    *,
    comparisons_path: Path | None = None,
    judgments_path: Path | None = None,
    candidates: Mapping[str, Candidate] | None = None,
    scenarios: Mapping[str, str] | None = None,
) -> LabelAgreement:
    """Evaluate a file of labels (see `labels`) against a run's comparisons and judgments.

    Raises InputError when the labels are of a kind whose file is not given, and as the functions below do.
    """
    labels = read_labels(labels_path)
    pairs = ratings = None
    if labels.pairs:
        if comparisons_path is None:
            raise InputError(f"{labels_path} labels pairs: expected a file of comparisons, got none")
        comparisons = read_records(comparisons_path, Comparison)
        pairs = evaluate_pairs(labels.pairs, comparisons, candidates=candidates, scenarios=scenarios)
    if labels.ratings:
        if judgments_path is None:
            raise InputError(f"{labels_path} labels responses: expected a file of judgments, got none")
        ratings = evaluate_ratings(labels.ratings, read_records(judgments_path, Judgment))
    return LabelAgreement(pairs=pairs, ratings=ratings, unlabelled=labels.unlabelled)


def evaluate_pairs(
    labels: Sequence[PairLabel],
    comparisons: Iterable[Comparison],
    *,
    candidates: Mapping[str, Candidate] | None = None,
    scenarios: Mapping[str, str] | None = None,
) -> PairAgreement:
    """Measure comparisons against labels of pairs.

    `candidates` by id give the lengths, `scenarios` by prompt id the table by scenario. Raises InputError when a pair
    is labelled twice, compared twice although labelled, or when no labelled pair was compared.
    """
    labelled: dict[frozenset[str], PairLabel] = {}
    for label in labels:
        key = frozenset((label.first_id, label.second_id))
        if key in labelled:
            raise InputError(f"expected every pair labelled once, got {sorted(key)} more than once")
        labelled[key] = label
    judged: dict[frozenset[str], JudgedPair] = {}
    for comparison in comparisons:
        key = frozenset((comparison.first_id, comparison.second_id))
        if key not in labelled:
            continue
        if key in judged:
            raise InputError(f"expected one comparison of a labelled pair, got a second one in {comparison.id!r}")
        judged[key] = _judged(labelled[key], comparison, candidates or {}, scenarios or {})
    if not judged:
        raise InputError(f"expected comparisons of the {len(labelled)} labelled pairs, got none; is it the same run?")
    # In the order of the labels, so that the bootstrap draws the same whatever the order of the comparisons.
    pairs = [judged[key] for key in labelled if key in judged]
    return pair_agreement(pairs, unmatched=len(labelled) - len(judged))


def _judged(
    label: PairLabel, comparison: Comparison, candidates: Mapping[str, Candidate], scenarios: Mapping[str, str]
) -> JudgedPair:
    ids = (label.first_id, label.second_id)
    first_order, second_order = verdicts_in_order(comparison.judgments, ids)
    first, second = (candidates.get(one) for one in ids)
    return JudgedPair(
        id=Judgment.verdict_id(*ids),
        prompt_id=comparison.prompt_id,
        label=label.label,
        first_order=first_order,
        second_order=second_order,
        asked_both=len(comparison.judgments) == 2,
        longer=longer_text(first.text, second.text) if first and second else None,
        scenario=scenarios.get(comparison.prompt_id),
    )


def evaluate_ratings(labels: Sequence[RatingLabel], judgments: Iterable[Judgment]) -> RatingAgreement:
    """Measure ratings (expected where the judge gave a distribution) against a person's.

    Raises InputError when a response is labelled twice, judged twice although labelled, or when no labelled
    response was judged.
    """
    labelled = {label.candidate_id: label.label for label in labels}
    if len(labelled) < len(labels):
        raise InputError("expected every response labelled once, got some more than once")
    judged: dict[str, Judgment] = {}
    for judgment in judgments:
        candidate_id = judgment.candidate_ids[0]
        if len(judgment.candidate_ids) != 1 or candidate_id not in labelled:
            continue
        if candidate_id in judged:
            raise InputError(f"expected one judgment of a labelled response, got a second one in {judgment.id!r}")
        judged[candidate_id] = judgment
    if not judged:
        raise InputError(f"expected judgments of the {len(labelled)} labelled responses, got none; same run?")
    rows = [
        (judged[candidate_id].prompt_id, label, outcome.score)
        for candidate_id, label in labelled.items()
        if candidate_id in judged and isinstance(outcome := judged[candidate_id].outcome, Rating)
    ]
    return _rating_agreement(rows, unparsed=len(judged) - len(rows), unmatched=len(labelled) - len(judged))


def _rating_agreement(rows: Sequence[tuple[str, float, float]], *, unparsed: int, unmatched: int) -> RatingAgreement:
    import numpy as np
    from scipy.stats import kendalltau, spearmanr

    prompts = [prompt for prompt, _, _ in rows]
    people = np.array([label for _, label, _ in rows])
    judge = np.array([score for _, _, score in rows])

    def correlation(
        measure: Callable[[NDArray[np.float64], NDArray[np.float64]], tuple[float, float]],
    ) -> Interval | None:
        def statistic(positions: NDArray[np.intp]) -> float:
            ours, theirs = judge[positions], people[positions]
            if np.ptp(ours) == 0 or np.ptp(theirs) == 0:
                return float("nan")
            return float(measure(ours, theirs)[0])

        return bootstrap(statistic, prompts)

    return RatingAgreement(
        n=len(rows),
        unparsed=unparsed,
        unmatched=unmatched,
        spearman=correlation(spearmanr),
        kendall=correlation(kendalltau),
        mae=bootstrap(lambda positions: float(np.abs(judge - people)[positions].mean()), prompts),
        bias=bootstrap(lambda positions: float((judge - people)[positions].mean()), prompts),
    )


def summary_rows(result: PairAgreement | RatingAgreement) -> list[tuple[str, str, str]]:
    """Rows (measure, value, 95% interval) for a table; shares in percent."""
    if isinstance(result, RatingAgreement):
        return [
            ("responses", str(result.n), ""),
            ("not read", str(result.unparsed), ""),
            ("not judged", str(result.unmatched), ""),
            _number_row("Spearman", result.spearman),
            _number_row("Kendall", result.kendall),
            _number_row("mean absolute difference", result.mae),
            _number_row("judge less person", result.bias),
        ]
    return [
        ("pairs", str(result.n), ""),
        ("not read", str(result.unparsed), ""),
        ("not judged", str(result.unmatched), ""),
        _share_row("agreement", result.agreement),
        _share_row("consistency", result.consistency),
        _share_row("first order right, three ways", result.accuracy),
        _number_row("kappa", result.kappa),
        _number_row("kappa, first order", result.first_order_kappa),
        _share_row("first order right, of pairs with a winner", result.decided_accuracy),
        _share_row("right when both orders name the same winner", result.abstention.accuracy),
        _share_row("… coverage", result.abstention.coverage),
        _share_row("first order right where the orders differ", result.abstention.flipped_accuracy),
        ("first shown wins both times", str(result.first_both_times), ""),
        ("second shown wins both times", str(result.second_both_times), ""),
        _share_row("ties, people", result.human_ties),
        _share_row("ties, judge", result.judge_ties),
        _share_row("longer preferred, people", result.human_longer),
        _share_row("longer preferred, judge", result.judge_longer),
    ]


def percentages(result: PairAgreement) -> dict[str, JsonValue]:
    """The headline shares in percent with two digits, as papers print them; None where there is nothing to divide."""
    return {
        "pairs": result.n,
        "agreement": _rounded(result.agreement),
        "consistency": _rounded(result.consistency),
        "first_order_accuracy": _rounded(result.accuracy),
        "abstention": {
            "accuracy": _rounded(result.abstention.accuracy),
            "coverage": _rounded(result.abstention.coverage),
        },
        "groups": {
            one.name: {"agreement": _rounded(one.agreement), "consistency": _rounded(one.consistency)}
            for one in result.groups
        },
    }


def _rounded(share: Interval | None) -> float | None:
    return None if share is None else round(100 * share.value, 2)


def slice_rows(slices: Sequence[Slice]) -> list[tuple[str, str, str, str, str]]:
    """Rows (name, pairs, agreement, consistency, first order right) for a table; shares in percent."""
    return [
        (one.name, str(one.n), _percent(one.agreement), _percent(one.consistency), _percent(one.accuracy))
        for one in slices
    ]


def _percent(share: Interval | None) -> str:
    return "–" if share is None else f"{100 * share.value:.2f}"


def _share_row(name: str, share: Interval | None) -> tuple[str, str, str]:
    return name, _percent(share), "" if share is None else f"{100 * share.low:.2f} to {100 * share.high:.2f}"


def _number_row(name: str, number: Interval | None) -> tuple[str, str, str]:
    if number is None:
        return name, "–", ""
    return name, f"{number.value:.3f}", f"{number.low:.3f} to {number.high:.3f}"
