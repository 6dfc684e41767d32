"""Measuring one judge for its certificate: asks it about everything given and puts the numbers together.

Measured are the sets that are given (Eval-P, labelled pairs, rated responses), a small bundled set without labels
(whether answers can be read, both orders, speed), and the first set of attacks. Answers about the given sets are kept
in the folder and not asked again; the bundled set is asked each time, without a cache, since its speed is measured.

It measures and passes no sentence: whether the numbers are good enough is the reader's to say. Failures stop nothing
here, since they are a result. Reading a certificate is `rewards.certificate`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path

from pydantic import BaseModel, JsonValue

from judge_training import eval_p as eval_p_set
from judge_training import pair_sets, rated_sets
from judge_training.attacks import (
    CONTROL,
    AttackCase,
    AttackResult,
    attack_cases,
    attack_results,
    attack_success,
    read_attacks,
)
from judge_training.calibration import Calibration, calibrate_ratings, calibrate_verdicts
from judge_training.evaluation_page import Sheet, Tile
from judge_training.rating_agreement import rating_agreement
from judge_training.score_sheets import calibration_sheet, rating_sheet
from judge_training.sheets import pair_set_sheet, pair_sheet
from judge_training.tables import Table, count_row, measures, number_cell, percent, share_cell, share_row
from rewards.certificate import Measure
from rewards.columns import ColumnMap
from rewards.errors import InputError
from rewards.inputs import read_candidates
from rewards.intervals import Interval, wilson
from rewards.judges.base import CompareItem, RateItem
from rewards.judges.generative import GenerativeJudge
from rewards.judging import compare_to_file, rate_to_file
from rewards.protocol.spec import JudgeProtocol
from rewards.types import Candidate, Comparison, Judgment, Record, Unparsed
from rewards.verdicts import OrderAgreement, order_agreement


class BundledResult(Record):
    """A judge on a small set without labels."""

    ratings: int
    comparisons: int
    orders: OrderAgreement | None
    """None where the judge cannot compare."""
    seconds: float
    judgments_per_second: float


class ParseRate(Record):
    """How many answers could be read, of everything asked but the attacks; empty responses are not asked about."""

    ratings: Interval | None
    verdicts: Interval | None
    all: Interval | None


class AttackResults(Record):
    """What the attacks gained, by kind."""

    kinds: tuple[AttackResult, ...]
    raised: Interval | None
    """Share of all attacked responses, without the controls, that are rated higher."""


@dataclass(slots=True)
class Measured:
    """Everything measured so far."""

    headline: list[Measure] = field(default_factory=list)
    details: dict[str, JsonValue] = field(default_factory=dict)
    sheets: list[Sheet] = field(default_factory=list)
    judgments: list[Judgment] = field(default_factory=list)
    """What the parse rate is counted from."""
    judgments_per_second: float | None = None

    def add(self, name: str, sheet: Sheet, result: BaseModel, *numbers: tuple[str, Interval | None]) -> None:
        """Note an evaluation with its headline numbers (shares, or correlations when so named)."""
        self.sheets.append(sheet)
        self.details[name] = result.model_dump(mode="json")
        self.headline += [
            Measure(name=label, value=value, share="Spearman" not in label)
            for label, value in numbers
            if value is not None
        ]


def check_sets(
    eval_p: Path | None,
    pairs: Path | None,
    ratings: Path | None,
    *,
    pairs_columns: ColumnMap,
    ratings_columns: ColumnMap,
) -> None:
    """Read every set that is given, so that a file that cannot be used is said before hours of asking, not after."""
    if eval_p is not None:
        eval_p_set.read_eval_p(eval_p)
    if pairs is not None:
        pair_sets.read_pair_set(pairs, columns=pairs_columns)
    if ratings is not None and not rated_sets.read_rated_set(ratings, columns=ratings_columns).reference:
        raise InputError(
            f"{ratings}: expected reference ratings, got none; name their column with --ratings-columns.reward"
        )


def measure_eval_p(found: Measured, judge: GenerativeJudge, path: Path, folder: Path, limit: int | None) -> None:
    """Eval-P: agreement, consistency, abstention, position, length, calibration."""
    pairs = eval_p_set.take_pairs(eval_p_set.read_eval_p(path), limit)
    kept = folder / "eval_p.jsonl"
    comparisons = compare_to_file(judge, eval_p_set.compare_items(pairs), kept, limit=1.0)
    found.judgments += _judgments(comparisons)
    result = eval_p_set.evaluate_comparisons(pairs, kept)
    found.add(
        "eval_p",
        pair_sheet("Eval-P", result),
        result,
        ("agreement on Eval-P", result.agreement),
        ("consistency on Eval-P", result.consistency),
    )
    by_id = eval_p_set.Comparisons(kept)
    digest = judge.card.digest
    _calibrate(
        found, "eval_p", "Eval-P", lambda: calibrate_verdicts([by_id.judged(one) for one in pairs], judge=digest)
    )


def measure_pairs(
    found: Measured, judge: GenerativeJudge, path: Path, folder: Path, limit: int | None, columns: ColumnMap
) -> None:
    """Labelled pairs: the same numbers, and how far people agree with each other."""
    labelled = pair_sets.read_pair_set(path, columns=columns, limit=limit)
    comparisons = compare_to_file(judge, pair_sets.compare_items(labelled), folder / "pairs.jsonl", limit=1.0)
    found.judgments += _judgments(comparisons)
    result = pair_sets.evaluate_pair_set(labelled, comparisons)
    found.add(
        "pairs",
        pair_set_sheet(f"Pairs of {path.name}", result),
        result,
        (f"agreement on {path.name}", result.agreement.agreement),
        (f"consistency on {path.name}", result.agreement.consistency),
    )
    judged, _ = pair_sets.judged_pairs(labelled, comparisons)
    digest = judge.card.digest
    _calibrate(found, "pairs", path.name, lambda: calibrate_verdicts(judged, judge=digest, labels=path.name))


def measure_ratings(
    found: Measured, judge: GenerativeJudge, path: Path, folder: Path, limit: int | None, columns: ColumnMap
) -> None:
    """Rated responses: correlations, differences, taste for length, calibration."""
    rated = rated_sets.read_rated_set(path, columns=columns)
    prompts = set(list(dict.fromkeys(item.prompt.id for item in rated.items))[:limit])
    rated = replace(rated, items=tuple(item for item in rated.items if item.prompt.id in prompts))
    judgments = rate_to_file(judge, rated.items, folder / "ratings.jsonl", limit=1.0)
    found.judgments += judgments
    responses, unmatched = rated_sets.rated_responses(rated, rated_sets.scores_of(judgments))
    result = rating_agreement(responses, unmatched=unmatched)
    found.add(
        "ratings",
        rating_sheet(f"Ratings of {path.name}", result),
        result,
        (f"Spearman on {path.name}", result.spearman),
        (f"Spearman within a prompt on {path.name}", None if result.within is None else result.within.spearman),
    )
    digest = judge.card.digest
    _calibrate(found, "ratings", path.name, lambda: calibrate_ratings(responses, judge=digest, labels=path.name))


def _calibrate(found: Measured, name: str, title: str, calibrate: Callable[[], Calibration]) -> None:
    """Add a calibration, where there are labels enough for one."""
    try:
        result = calibrate()
    except InputError as error:
        found.details[f"{name}_calibration"] = f"none: {error}"
        return
    label = f"calibration error on {title}"
    numbers = [(label, result.before.ece)] if result.kind == "probability" else []
    found.add(f"{name}_calibration", calibration_sheet(f"Calibration on {title}", result), result, *numbers)


def measure_bundled(found: Measured, judge: GenerativeJudge, path: Path) -> None:
    """The small set: both orders, and how fast the judge is."""
    items = read_items(path)
    pairs = [] if judge.protocol.pairwise is None else pairs_of(items)
    started = time.perf_counter()
    judgments = list(judge.rate(items))
    comparisons = list(judge.compare(pairs))
    seconds = time.perf_counter() - started
    asked = [*judgments, *_judgments(comparisons)]
    found.judgments += asked
    found.judgments_per_second = len(asked) / max(seconds, 1e-9)
    result = BundledResult(
        ratings=len(judgments),
        comparisons=len(comparisons),
        orders=order_agreement(comparisons) if comparisons else None,
        seconds=seconds,
        judgments_per_second=found.judgments_per_second,
    )
    agreement = None if result.orders is None else result.orders.agreement
    preference = None if result.orders is None else result.orders.first_preference
    rows = [
        count_row("ratings", result.ratings),
        count_row("comparisons in both orders", result.comparisons),
        share_row("same verdict in both orders", agreement),
        share_row("first shown, of the verdicts that flip", preference),
        ("judgments a second", f"{result.judgments_per_second:.2f}", ""),
    ]
    sheet = Sheet("Bundled responses", {}, (), (measures("Without labels", rows),))
    found.add("bundled", sheet, result, ("same verdict in both orders, bundled set", agreement))


def measure_attacks(
    found: Measured,
    judge: GenerativeJudge,
    path: Path,
    folder: Path,
    *,
    responses: int = 3,
    marks: tuple[str, str] | None = None,
) -> None:
    """The first set of attacks on the weaker responses of the small set, whose first response a prompt is the best."""
    cases = _cases(read_items(path), judge.protocol, responses, marks)
    ratings, pairs = _asked_about(cases)
    judgments = rate_to_file(judge, ratings, folder / "attack_ratings.jsonl", limit=1.0)
    comparisons = compare_to_file(judge, pairs, folder / "attack_comparisons.jsonl", limit=1.0)
    kinds = attack_results(cases, judgments, comparisons)
    result = AttackResults(kinds=tuple(kinds), raised=attack_success(kinds))
    control = next((one.rated for one in kinds if one.kind == CONTROL), None)
    found.add(
        "attacks",
        _attack_sheet(result),
        result,
        ("rating raised by an attack", result.raised),
        ("rating raised by a harmless sentence", control),
    )


def attack_items(
    items: Sequence[RateItem], protocol: JudgeProtocol, *, responses: int = 3
) -> tuple[list[RateItem], list[CompareItem]]:
    """The responses that `measure_attacks` has rated, and the pairs that it has compared."""
    return _asked_about(_cases(items, protocol, responses, None))


def _cases(
    items: Sequence[RateItem], protocol: JudgeProtocol, responses: int, marks: tuple[str, str] | None
) -> list[AttackCase]:
    better: dict[str, Candidate] = {}
    for item in items:
        better.setdefault(item.prompt.id, item.candidate)
    weak = [item for item in items if item.candidate.id != better[item.prompt.id].id]
    return attack_cases(read_attacks(), weak, better, protocol, responses=responses, marks=marks)


def _asked_about(cases: Sequence[AttackCase]) -> tuple[list[RateItem], list[CompareItem]]:
    """Every item of the cases once."""
    rated = {one.candidate.id: one for case in cases for one in (case.plain, case.attacked)}
    pairs = {
        (one.first.id, one.second.id): one
        for case in cases
        for one in (case.plain_pair, case.attacked_pair)
        if one is not None
    }
    return list(rated.values()), list(pairs.values())


def _attack_sheet(result: AttackResults) -> Sheet:
    rows = tuple(
        (
            one.kind.replace("_", " "),
            share_cell(one.rated),
            number_cell(one.rise),
            share_cell(one.compared),
            share_cell(one.moved),
            str(one.not_read),
        )
        for one in result.kinds
    )
    head = (
        "attack",
        "rated higher, %",
        "mean rise, points",
        "wins both orders, %",
        "wins one order more, %",
        "not read",
    )
    return Sheet(
        title="Attacks",
        headline={},
        tiles=(),
        tables=(Table("What a text at the end of a weak response gains", head, rows),),
        notes=(
            "control: a harmless sentence, which also moves an expected rating a little; an attack has gained what it "
            "has over this. Comparisons: of those that the response does not win in both orders without the attack.",
        ),
    )


def finish(found: Measured) -> None:
    """Add what is counted over everything asked, and put it first."""
    ratings = [one for one in found.judgments if len(one.candidate_ids) == 1]
    verdicts = [one for one in found.judgments if len(one.candidate_ids) == 2]
    result = ParseRate(ratings=_read_share(ratings), verdicts=_read_share(verdicts), all=_read_share(found.judgments))
    rows = [
        share_row("ratings that could be read", result.ratings),
        share_row("verdicts that could be read", result.verdicts),
    ]
    shown = [*found.headline]
    found.details["parsing"] = result.model_dump(mode="json")
    if result.all is not None:
        found.headline.insert(0, Measure(name="answers that could be read", value=result.all))
    tiles = tuple(_tile(one) for one in [*found.headline[:1], *shown])
    found.sheets.insert(0, Sheet("Certificate", {}, tiles, (measures("Reading", rows),)))
    _draw_once(found.sheets)


def _tile(one: Measure) -> Tile:
    value = one.value
    if one.share:
        return Tile(f"{percent(value)}%", one.name, f"{100 * value.low:.1f} to {100 * value.high:.1f}")
    return Tile(f"{value.value:.3f}", one.name, f"{value.low:.3f} to {value.high:.3f}")


def _draw_once(sheets: list[Sheet]) -> None:
    """Keep a picture's first occurrence: pictures of several sets would have the same ids on one page."""
    drawn: set[str] = set()
    for place, sheet in enumerate(sheets):
        figures = tuple(one for one in sheet.figures if one.caption not in drawn)
        drawn.update(one.caption for one in figures)
        sheets[place] = replace(sheet, figures=figures)


def _read_share(judgments: Sequence[Judgment]) -> Interval | None:
    failed = [one.outcome.reason for one in judgments if isinstance(one.outcome, Unparsed)]
    empty = failed.count("empty_response")
    asked = len(judgments) - empty
    return wilson(asked - (len(failed) - empty), asked)


def _judgments(comparisons: Iterable[Comparison]) -> list[Judgment]:
    return [judgment for comparison in comparisons for judgment in comparison.judgments]


def read_items(path: Path) -> list[RateItem]:
    """The responses of a file as questions."""
    return [row.item for row in read_candidates(path).records]


def pairs_of(items: Sequence[RateItem]) -> list[CompareItem]:
    """Every two responses to a prompt."""
    return [
        CompareItem(prompt=one.prompt, first=one.candidate, second=other.candidate)
        for one, other in combinations(items, 2)
        if one.prompt.id == other.prompt.id
    ]
