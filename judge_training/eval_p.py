"""Eval-P, AUTO-J's benchmark of pairs: its files, and a judge's verdicts on them against people's labels.

Design decisions. The release has no ids: `testdata_pairwise.jsonl` and the files of predictions belong together by
line. Position is that format's own key, so it is used here and nowhere else, and only after the counts were
checked to match. Predictions may also name the pairs ("eval-p-0001", by line of the data), or be comparisons
that autoj wrote for `compare_items`, where everything goes by id.

Nothing of the release is in this repository; a user gives the files.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import JsonValue

from judge_training.agreement import JudgedPair, PairAgreement, pair_agreement, slices
from judge_training.json_lines import read_objects
from judge_training.scenarios.names import group_of, scenario_names
from rewards.errors import InputError
from rewards.jsonl import read_records
from rewards.judges.base import CompareItem
from rewards.row_parts import digest
from rewards.types import (
    Candidate,
    Comparison,
    Judgment,
    Message,
    Prompt,
    Record,
    Verdict,
    VerdictProbabilities,
    Winner,
)

_WINNERS: dict[int, Winner] = {0: "first", 1: "second", 2: "tie"}
_TEXTS = ("scenario", "prompt", "response 1", "response 2")


class EvalPPair(Record):
    """One line of the test data."""

    id: str
    """"eval-p-" and the line's number, from 1, in four digits."""
    scenario: str
    prompt: str
    response_1: str
    response_2: str
    label: Winner

    @property
    def candidate_ids(self) -> tuple[str, str]:
        """The ids of its two responses."""
        return f"{self.id}:1", f"{self.id}:2"


class EvalP(PairAgreement):
    """A judge on Eval-P; `groups` has the release's 8 groups of scenarios."""


def read_eval_p(path: Path) -> list[EvalPPair]:
    """The pairs of `testdata_pairwise.jsonl`.

    Raises MissingFileError, or InputError with the line for a missing text, an unknown scenario or a label other
    than 0 (response 1 is better), 1 (response 2) and 2 (tie).
    """
    pairs: list[EvalPPair] = []
    for number, row in read_objects(path):
        texts: dict[str, str] = {}
        for name in _TEXTS:
            value = row.get(name)
            if not isinstance(value, str):
                raise InputError(f"{path}, line {number}: expected text in {name!r}, got {value!r}")
            texts[name] = value
        label = _winner(row.get("label"), f"{path}, line {number}: 'label'")
        group_of(texts["scenario"])
        pairs.append(
            EvalPPair(
                id=f"eval-p-{len(pairs) + 1:04d}",
                scenario=texts["scenario"],
                prompt=texts["prompt"],
                response_1=texts["response 1"],
                response_2=texts["response 2"],
                label=label,
            )
        )
    if not pairs:
        raise InputError(f"{path}: expected the pairs of Eval-P, got an empty file")
    return pairs


def compare_items(pairs: Sequence[EvalPPair]) -> list[CompareItem]:
    """The questions to put to a judge, in both orders, to evaluate it on these pairs."""
    return [
        CompareItem(
            prompt=Prompt(id=one.id, messages=(Message(role="user", content=one.prompt),), scenario=one.scenario),
            first=Candidate(id=one.candidate_ids[0], prompt_id=one.id, text=one.response_1, index=0),
            second=Candidate(id=one.candidate_ids[1], prompt_id=one.id, text=one.response_2, index=1),
        )
        for one in pairs
    ]


def take_pairs(pairs: Sequence[EvalPPair], limit: int | None) -> list[EvalPPair]:
    """`limit` pairs, one of every scenario in turn, in their order; they keep their ids. All of them without a limit.

    Which of a scenario is drawn by a hash: the file has the ties of a scenario first.
    """
    if limit is None:
        return list(pairs)
    turns: dict[str, int] = {}
    placed: list[tuple[int, int, EvalPPair]] = []
    for pair in sorted(pairs, key=lambda one: digest("take", one.id, one.prompt)):
        turns[pair.scenario] = turns.get(pair.scenario, 0) + 1
        placed.append((turns[pair.scenario], len(placed), pair))
    taken = {pair.id for _, _, pair in sorted(placed, key=lambda one: one[:2])[:limit]}
    return [pair for pair in pairs if pair.id in taken]


def evaluate_eval_p(data_path: Path, predictions_path: Path, swapped_path: Path | None = None) -> EvalP:
    """Measure predictions on Eval-P.

    Predictions are {"output": 0 | 1 | 2 | null} a line, in the order of the data or with its "id"; null is a verdict
    that could not be read. `swapped_path` has the same for the exchanged order, each output as it was given (0 is
    the response shown first). Or predictions are comparisons of autoj, which hold both orders in one file.

    Raises MissingFileError, or InputError for a bad line, counts that differ, or a repeated, unknown or missing id.
    """
    pairs = read_eval_p(data_path)
    first = _read_predictions(predictions_path, pairs)
    if isinstance(first, Comparisons):
        if swapped_path is not None:
            raise InputError(f"expected no second file with comparisons, which hold both orders, got {swapped_path}")
        judged = [first.judged(one) for one in pairs]
    else:
        if swapped_path is None:
            raise InputError(f"expected a second file with the exchanged order beside {predictions_path}, got none")
        second = _read_predictions(swapped_path, pairs)
        if isinstance(second, Comparisons):
            raise InputError(f"{swapped_path}: expected predictions of the exchanged order, got comparisons")
        judged = [_judged(one, first[one.id], _swap(second[one.id])) for one in pairs]
    return _measured(judged)


def evaluate_comparisons(pairs: Sequence[EvalPPair], path: Path) -> EvalP:
    """Measure the comparisons in a file on these pairs; errors as for `evaluate_eval_p`."""
    comparisons = Comparisons(path)
    return _measured([comparisons.judged(one) for one in pairs])


def _measured(judged: Sequence[JudgedPair]) -> EvalP:
    groups = slices(judged, {name: group_of(name) for name in scenario_names()})
    return EvalP.model_validate(pair_agreement(judged).model_dump() | {"groups": groups})


class Comparisons:
    """A judge's comparisons by the pair of candidates, in whichever order they are named."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._by_pair: dict[frozenset[str], Comparison] = {}
        for comparison in read_records(path, Comparison):
            key = frozenset((comparison.first_id, comparison.second_id))
            if key in self._by_pair:
                raise InputError(f"{path}: expected every pair once, got {comparison.id!r} more than once")
            self._by_pair[key] = comparison

    def judged(self, pair: EvalPPair) -> JudgedPair:
        """The pair with the verdicts of its comparison; raises InputError when there is none."""
        comparison = self._by_pair.get(frozenset(pair.candidate_ids))
        if comparison is None:
            raise InputError(f"{self._path}: expected a comparison of every pair, got none for {pair.id!r}")
        verdicts = verdicts_in_order(comparison.judgments, pair.candidate_ids)
        judged = _judged(pair, *verdicts, asked_both=len(comparison.judgments) == 2)
        return judged.model_copy(update={"probabilities": probabilities_in_order(comparison, pair.candidate_ids)})


def verdicts_in_order(
    judgments: Sequence[Judgment], candidate_ids: tuple[str, str]
) -> tuple[Winner | None, Winner | None]:
    """The verdicts of one or two judgments, in the order of `candidate_ids`, the one asked in that order first.

    A single judgment is taken as the first order, whichever way it was asked. None is a verdict that could not be
    read, or (second) was not asked.
    """
    verdicts: list[Winner | None] = []
    for judgment in sorted(judgments, key=lambda one: one.candidate_ids != candidate_ids):
        verdict = judgment.outcome if isinstance(judgment.outcome, Verdict) else None
        if verdict is not None and judgment.candidate_ids != candidate_ids:
            verdict = verdict.swap()
        verdicts.append(None if verdict is None else verdict.winner)
    return verdicts[0], verdicts[1] if len(verdicts) > 1 else None


def probabilities_in_order(comparison: Comparison, candidate_ids: tuple[str, str]) -> VerdictProbabilities | None:
    """The comparison's mean probabilities, in the order of `candidate_ids`."""
    given = comparison.probabilities
    if given is None or (comparison.first_id, comparison.second_id) == candidate_ids:
        return given
    return given.swap()


def longer_text(first: str, second: str) -> Winner:
    """Which of two texts has more characters."""
    return "tie" if len(first) == len(second) else "first" if len(first) > len(second) else "second"


def _judged(pair: EvalPPair, first: Winner | None, second: Winner | None, *, asked_both: bool = True) -> JudgedPair:
    return JudgedPair(
        id=pair.id,
        prompt_id=pair.prompt,
        label=pair.label,
        first_order=first,
        second_order=second,
        asked_both=asked_both,
        longer=longer_text(pair.response_1, pair.response_2),
        scenario=pair.scenario,
    )


def _read_predictions(path: Path, pairs: Sequence[EvalPPair]) -> dict[str, Winner | None] | Comparisons:
    _, head = next(read_objects(path), (1, {}))
    if "judgments" in head:
        return Comparisons(path)
    rows = list(read_objects(path))
    if len(rows) != len(pairs):
        raise InputError(
            f"{path}: expected one prediction for each of the {len(pairs)} pairs of the data, got {len(rows)}; "
            "the two files belong together line by line"
        )
    predictions: dict[str, Winner | None] = {}
    for pair, (number, row) in zip(pairs, rows, strict=True):
        identity = row.get("id", pair.id)
        if not isinstance(identity, str) or identity in predictions or ("id" in row) != ("id" in head):
            raise InputError(f"{path}, line {number}: expected an id of its own on every line or on none, got {row!r}")
        if "output" not in row:
            raise InputError(f"{path}, line {number}: expected 'output', got {', '.join(row) or 'nothing'}")
        output = row["output"]
        predictions[identity] = None if output is None else _winner(output, f"{path}, line {number}: 'output'")
    missing = sorted({one.id for one in pairs} - predictions.keys())
    if missing:
        raise InputError(f"{path}: expected a prediction for every pair, got none for {', '.join(missing[:5])}")
    return predictions


def _winner(value: JsonValue, where: str) -> Winner:
    if isinstance(value, bool) or not isinstance(value, int) or value not in _WINNERS:
        raise InputError(f"{where}: expected 0 (response 1), 1 (response 2) or 2 (tie), got {value!r}")
    return _WINNERS[value]


def _swap(winner: Winner | None) -> Winner | None:
    return None if winner is None else Verdict(winner=winner).swap().winner
