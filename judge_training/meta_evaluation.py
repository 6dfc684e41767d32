"""Judging the judge: its judgments against people's, on Eval-P or on labels of one's own.

Everything goes by id. A label of a pair counts whichever way round the comparison names it. What was labelled and
not judged is counted beside the numbers and never in them. How results are shown is in `sheets`.

This module asks no judge: judge first, then evaluate what was written.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from judge_training.agreement import JudgedPair, PairAgreement, pair_agreement
from judge_training.eval_p import EvalP, evaluate_eval_p, longer_text, probabilities_in_order, verdicts_in_order
from judge_training.labels import PairLabel, RatingLabel, read_labels
from judge_training.rating_agreement import RatedResponse, RatingAgreement, rating_agreement
from rewards.errors import InputError
from rewards.jsonl import read_records
from rewards.types import Candidate, Comparison, Judgment, Rating, Record

__all__ = [
    "EvalP",
    "LabelAgreement",
    "PairAgreement",
    "RatingAgreement",
    "evaluate_eval_p",
    "evaluate_labels",
    "evaluate_pairs",
    "evaluate_ratings",
]


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
        judgments = read_records(judgments_path, Judgment)
        ratings = evaluate_ratings(labels.ratings, judgments, candidates=candidates)
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
        probabilities=probabilities_in_order(comparison, ids),
        longer=longer_text(first.text, second.text) if first and second else None,
        scenario=scenarios.get(comparison.prompt_id),
    )


def evaluate_ratings(
    labels: Sequence[RatingLabel],
    judgments: Iterable[Judgment],
    *,
    candidates: Mapping[str, Candidate] | None = None,
) -> RatingAgreement:
    """Measure ratings (expected where the judge gave a distribution) against a person's.

    `candidates` by id give the lengths. Raises InputError when a response is labelled twice, judged twice although
    labelled, or when no labelled response was judged.
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
    responses = [
        _rated(judged[name], label, (candidates or {}).get(name)) for name, label in labelled.items() if name in judged
    ]
    return rating_agreement(responses, unmatched=len(labelled) - len(judged))


def _rated(judgment: Judgment, label: float, candidate: Candidate | None) -> RatedResponse:
    outcome = judgment.outcome
    return RatedResponse(
        id=judgment.candidate_ids[0],
        prompt_id=judgment.prompt_id,
        reference=label,
        judge=outcome.score if isinstance(outcome, Rating) else None,
        characters=None if candidate is None else len(candidate.text),
    )
