"""The numbers of a report, counted from the files of a run folder in one pass over each.

Any file may be missing; what it would have told is then None. A big run does not fill the memory: records are
read one at a time, and what must be joined (which prompt, how long) is joined for the first JOIN_LIMIT
candidates and prompts only, which the report says.
"""

from __future__ import annotations

import json
from array import array
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from pydantic import JsonValue, TypeAdapter

from rewards.budget import failure_reason
from rewards.certificate import JudgeCertificate
from rewards.intervals import Interval, bootstrap
from rewards.jsonl import read_records
from rewards.judges.base import JudgeCard
from rewards.scenario_labels import is_outside
from rewards.types import Candidate, Comparison, Judgment, Pair, Prompt, Rating, Reward, Scored, Unscored
from rewards.verdicts import OrderAgreement, order_agreement
from rl.guard import GuardPoint
from rl.metrics import Series, series
from rl.results import BestOfNCurve, Evaluation, RoundRecord
from rl.run_folder import RunFolder, StageRecord

JOIN_LIMIT = 200_000
"""Candidates and prompts whose scenario and length are kept in memory."""
CORRELATION_LIMIT = 20_000
"""Candidates behind the correlation of reward and length."""
DEFAULT_BUDGET = 0.05
NO_SCENARIO = "(no scenario)"
OUTSIDE = "(outside the scenarios)"
"""Row of the prompts that a classifier found to be none of the scenarios."""

JSON_OBJECT: TypeAdapter[dict[str, JsonValue]] = TypeAdapter(dict[str, JsonValue])
SCORED: TypeAdapter[Reward | Unscored] = TypeAdapter(Scored)


@dataclass
class Moments:
    """A running mean."""

    n: int = 0
    total: float = 0.0

    def add(self, value: float) -> None:
        """Count one value."""
        self.n += 1
        self.total += value

    @property
    def mean(self) -> float | None:
        """The mean, None of nothing."""
        return self.total / self.n if self.n else None


@dataclass
class Lengths:
    """Mean length of some texts."""

    characters: Moments = field(default_factory=Moments)
    tokens: Moments = field(default_factory=Moments)

    def add(self, text: str, tokens: int | None = None) -> None:
        """Count one text."""
        self.characters.add(len(text))
        if tokens is not None:
            self.tokens.add(tokens)


@dataclass
class Scenario:
    """What is known of the prompts of one scenario."""

    prompts: int = 0
    candidates: int = 0
    failed: int = 0
    pairs: int = 0
    reward: Moments = field(default_factory=Moments)
    characters: Moments = field(default_factory=Moments)


@dataclass
class Ratings:
    """judgments.jsonl: how many ratings, which, and why the others could not be read."""

    total: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    values: Counter[float] = field(default_factory=Counter)
    mean: Moments = field(default_factory=Moments)
    variance: Moments = field(default_factory=Moments)

    def add(self, judgment: Judgment) -> None:
        """Count one judgment."""
        self.total += 1
        reason = failure_reason(judgment)
        if reason is not None:
            self.failures[reason] += 1
        if isinstance(judgment.outcome, Rating):
            self.values[judgment.outcome.value] += 1
            self.mean.add(judgment.outcome.score)
            if judgment.outcome.variance is not None:
                self.variance.add(judgment.outcome.variance)


@dataclass
class Comparisons:
    """comparisons.jsonl: agreement of the orders, outcomes, failures."""

    total: int
    failures: Counter[str]
    outcomes: Counter[str]
    """decided, tie, orders_disagree, unparsed."""
    agreement: OrderAgreement


@dataclass
class Rewards:
    """rewards.jsonl."""

    values: array[float] = field(default_factory=lambda: array("d"))
    unscored: Counter[str] = field(default_factory=Counter)
    parts: dict[str, Moments] = field(default_factory=dict)
    length_correlation: Interval | None = None
    """Spearman correlation of reward and length within a prompt (both less the prompt's mean)."""

    @property
    def mean(self) -> float | None:
        """Mean reward."""
        return float(np.mean(self.values)) if self.values else None

    @property
    def deviation(self) -> float | None:
        """Standard deviation of the rewards."""
        return float(np.std(self.values)) if self.values else None


@dataclass(frozen=True)
class CountView:
    """How many came in, stayed, and went for which reason (commonest first)."""

    input: int
    kept: int
    dropped: dict[str, int]


@dataclass(frozen=True)
class ManifestView:
    """One manifest: its accounts by what they count (rows, prompts, pairs) and its other values."""

    counts: dict[str, CountView]
    facts: dict[str, str | int | float]


@dataclass
class Summary:
    """Everything that the report's figures and tables show; None or empty where the run has no such file."""

    recipe: dict[str, JsonValue] | None = None
    judge: JudgeCard | None = None
    certificate: JudgeCertificate | None = None
    """The one found with the judge; it may be of another judge (see `certified`)."""
    stages: list[StageRecord] = field(default_factory=list)
    prompts: int | None = None
    candidates: int | None = None
    cut_off: int = 0
    """Candidates that ended at the token limit."""
    ratings: Ratings | None = None
    comparisons: Comparisons | None = None
    rewards: Rewards | None = None
    best_of_n: BestOfNCurve | None = None
    manifests: dict[str, ManifestView] = field(default_factory=dict)
    selected: int | None = None
    pairs: int | None = None
    margin: Moments = field(default_factory=Moments)
    rounds: list[RoundRecord] = field(default_factory=list)
    """Of a recipe with several rounds."""
    guard: list[GuardPoint] = field(default_factory=list)
    """Proxy and gold on held-out prompts, where the recipe names a gold judge."""
    evaluation: Evaluation | None = None
    series: Series = field(default_factory=dict)
    series_cut: bool = False
    lengths: dict[str, Lengths] = field(default_factory=dict)
    scenarios: dict[str, Scenario] = field(default_factory=dict)
    joined_all: bool = True
    """False when only the first JOIN_LIMIT prompts or candidates were joined."""

    @property
    def certified(self) -> bool:
        """Whether the certificate is of the judge that judged."""
        return self.certificate is not None and self.judge is not None and self.certificate.fits(self.judge)

    @property
    def budget(self) -> float:
        """The failure budget of the recipe, or the default."""
        recipe = self.recipe.get("recipe") if self.recipe else None
        failures = recipe.get("failures") if isinstance(recipe, dict) else None
        limit = failures.get("limit") if isinstance(failures, dict) else None
        return float(limit) if isinstance(limit, int | float) else DEFAULT_BUDGET


def summarise(run: RunFolder) -> Summary:
    """Read every file of a run folder once. Raises InputError for a file that is not what it should be."""
    summary = Summary(
        recipe=_object(run.recipe),
        judge=JudgeCard.model_validate_json(run.judge.read_bytes()) if run.judge.is_file() else None,
        certificate=JudgeCertificate.load(run.certificate) if run.certificate.is_file() else None,
        stages=list(run.finished().values()),
        best_of_n=BestOfNCurve.model_validate_json(run.best_of_n.read_bytes()) if run.best_of_n.is_file() else None,
        evaluation=Evaluation.model_validate_json(run.evaluation.read_bytes()) if run.evaluation.is_file() else None,
        manifests=_manifests(run.manifest),
        rounds=list(read_records(run.rounds, RoundRecord)) if run.rounds.is_file() else [],
        guard=list(read_records(run.guard, GuardPoint)) if run.guard.is_file() else [],
    )
    scenario_of = _read_prompts(run.prompts, summary)
    lengths = _read_candidates(run.candidates, summary, scenario_of)
    _read_judgments(run.judgments, summary, scenario_of)
    summary.comparisons = _read_comparisons(run.comparisons)
    _read_rewards(run.rewards, summary, scenario_of, lengths)
    _read_chosen(run, summary, scenario_of)
    if run.metrics.is_file():
        summary.series, summary.series_cut = series(run.metrics)
    return summary


def _object(path: Path) -> dict[str, JsonValue] | None:
    return JSON_OBJECT.validate_python(json.loads(path.read_bytes())) if path.is_file() else None


def _manifests(path: Path) -> dict[str, ManifestView]:
    """The manifests of the file by name; a file that is one manifest itself goes by its kind."""
    found = _object(path) or {}
    if "kept" in found or "rows" in found:
        found = {str(found.get("kind", "selected")): found}
    return {name: _manifest_view(value) for name, value in found.items() if isinstance(value, dict)}


def _manifest_view(manifest: dict[str, JsonValue]) -> ManifestView:
    """Every account of (input, kept, dropped) in a manifest, itself included, and its plain facts."""
    own = {"rows": _count_view(manifest)} | {
        name: _count_view(value) for name, value in manifest.items() if isinstance(value, dict)
    }
    facts = {name: value for name, value in manifest.items() if isinstance(value, str | int | float)}
    return ManifestView(
        counts={name: value for name, value in own.items() if value is not None},
        facts={name: value for name, value in facts.items() if name not in {"input", "kept"}},
    )


def _count_view(value: dict[str, JsonValue]) -> CountView | None:
    before, kept, dropped = value.get("input"), value.get("kept"), value.get("dropped", {})
    if not isinstance(before, int) or not isinstance(kept, int) or not isinstance(dropped, dict):
        return None
    reasons = {name: number for name, number in dropped.items() if isinstance(number, int) and number > 0}
    return CountView(before, kept, dict(sorted(reasons.items(), key=lambda item: -item[1])))


def _read_prompts(path: Path, summary: Summary) -> dict[str, str]:
    scenario_of: dict[str, str] = {}
    if path.is_file():
        summary.prompts = 0
        for prompt in read_records(path, Prompt):
            summary.prompts += 1
            name = OUTSIDE if is_outside(prompt) else prompt.scenario or NO_SCENARIO
            summary.scenarios.setdefault(name, Scenario()).prompts += 1
            if len(scenario_of) < JOIN_LIMIT:
                scenario_of[prompt.id] = name
            else:
                summary.joined_all = False
    return scenario_of


def _read_candidates(path: Path, summary: Summary, scenario_of: dict[str, str]) -> dict[str, int]:
    lengths: dict[str, int] = {}
    if path.is_file():
        summary.candidates = 0
        total = summary.lengths.setdefault("candidates", Lengths())
        for candidate in read_records(path, Candidate):
            summary.candidates += 1
            summary.cut_off += candidate.finish_reason == "length"
            total.add(candidate.text, candidate.token_count)
            if len(lengths) < JOIN_LIMIT:
                lengths[candidate.id] = len(candidate.text)
            else:
                summary.joined_all = False
            scenario = summary.scenarios.get(scenario_of.get(candidate.prompt_id, ""))
            if scenario:
                scenario.candidates += 1
                scenario.characters.add(len(candidate.text))
    return lengths


def _read_judgments(path: Path, summary: Summary, scenario_of: dict[str, str]) -> None:
    if path.is_file():
        summary.ratings = Ratings()
        for judgment in read_records(path, Judgment):
            summary.ratings.add(judgment)
            scenario = summary.scenarios.get(scenario_of.get(judgment.prompt_id, ""))
            if scenario and failure_reason(judgment):
                scenario.failed += 1


def _read_comparisons(path: Path) -> Comparisons | None:
    if not path.is_file():
        return None
    failures: Counter[str] = Counter()
    outcomes: Counter[str] = Counter()

    def counted() -> Iterator[Comparison]:
        for comparison in read_records(path, Comparison):
            reason = failure_reason(comparison)
            if reason:
                failures[reason] += 1
            outcome = comparison.outcome
            outcomes[outcome.reason if outcome.kind == "abstained" else _decided(outcome.winner)] += 1
            yield comparison

    agreement = order_agreement(counted())
    return Comparisons(outcomes.total(), failures, outcomes, agreement)


def _decided(winner: str) -> str:
    return "tie" if winner == "tie" else "decided"


def _read_rewards(path: Path, summary: Summary, scenario_of: dict[str, str], lengths: dict[str, int]) -> None:
    if not path.is_file():
        return
    rewards = summary.rewards = Rewards()
    joined: list[tuple[str, int, float]] = []
    for scored in read_records(path, SCORED):
        if isinstance(scored, Unscored):
            rewards.unscored[scored.reason] += 1
            continue
        rewards.values.append(scored.value)
        for name, part in scored.parts.items():
            rewards.parts.setdefault(name, Moments()).add(part)
        scenario = summary.scenarios.get(scenario_of.get(scored.prompt_id, ""))
        if scenario:
            scenario.reward.add(scored.value)
        length = lengths.get(scored.candidate_id)
        if length is not None and len(joined) < CORRELATION_LIMIT:
            joined.append((scored.prompt_id, length, scored.value))
    rewards.length_correlation = _length_correlation(joined)


def _length_correlation(joined: list[tuple[str, int, float]]) -> Interval | None:
    """Spearman correlation of length and reward, both less their prompt's mean; bootstrap over prompts."""
    prompts = [prompt for prompt, _, _ in joined]
    if len(set(prompts)) < 2 or len(set(prompts)) == len(prompts):
        return None
    _, groups = np.unique(np.array(prompts, dtype=object), return_inverse=True)
    sizes = np.bincount(groups)
    columns = []
    for position in (1, 2):
        values = np.array([row[position] for row in joined], dtype=float)
        columns.append(values - (np.bincount(groups, weights=values) / sizes)[groups])
    length, reward = columns

    def spearman(chosen: np.ndarray) -> float:
        return _pearson(_ranks(length[chosen]), _ranks(reward[chosen]))

    return bootstrap(spearman, prompts, resamples=200)


def _ranks(values: np.ndarray) -> np.ndarray:
    """Ranks with ties shared; values that differ by rounding only are one."""
    _, inverse, counts = np.unique(values.round(9), return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(counts) - (counts - 1) / 2)[inverse])


def _pearson(x: np.ndarray, y: np.ndarray) -> float:
    x, y = x - x.mean(), y - y.mean()
    scale = float(np.sqrt((x @ x) * (y @ y)))
    return float(x @ y) / scale if scale > 0 else float("nan")


def _read_chosen(run: RunFolder, summary: Summary, scenario_of: dict[str, str]) -> None:
    if run.selected.is_file():
        summary.selected = sum(1 for _ in read_records(run.selected, JSON_OBJECT))
    if run.pairs.is_file():
        summary.pairs = 0
        chosen = summary.lengths.setdefault("chosen", Lengths())
        rejected = summary.lengths.setdefault("rejected", Lengths())
        for pair in read_records(run.pairs, Pair):
            summary.pairs += 1
            summary.margin.add(pair.margin)
            chosen.add(pair.chosen)
            rejected.add(pair.rejected)
            if summary.scenarios:
                name = pair.scenario or scenario_of.get(pair.prompt_id, NO_SCENARIO)
                summary.scenarios.setdefault(name, Scenario()).pairs += 1
