"""Which prompts a report shows in full, and everything that is known of them.

Shown are the prompts behind preference pairs first, then those put aside for review, then the rest in the order
of the file, up to a limit. A first pass over the files finds the ids, a second one keeps only what belongs to
them. All texts are cut here, so that a response of a megabyte cannot make a page that no browser opens; the
judgments behind a shown pair are never cut away, so that every pair can be traced to its critiques.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, JsonValue

from rewards.jsonl import read_records
from rewards.types import Abstained, Candidate, Comparison, Judgment, Message, Pair, Prompt, Rating, Reward
from rl.report_summary import JSON_OBJECT, SCORED
from rl.run_folder import RunFolder

RecordT = TypeVar("RecordT", bound=BaseModel)

PROMPTS = 40
CANDIDATES = 16
COMPARISONS = 24
PAIRS = 24
TURNS = 12
TEXT = 4_000
"""Characters of a prompt's turn or a response that are shown."""
CRITIQUE = 3_000
EVALUATED = 12
"""Held-out prompts shown with both policies' responses."""


@dataclass(frozen=True)
class Cut:
    """A text as it is shown, and how long it really is."""

    text: str
    length: int

    @property
    def is_cut(self) -> bool:
        """Whether the shown text is not all."""
        return len(self.text) < self.length


def cut(text: str, limit: int) -> Cut:
    """The first `limit` characters of a text."""
    return Cut(text[:limit], len(text))


def anchor(kind: str, identifier: str) -> str:
    """An id for the page, the same for the same record whatever characters its id has."""
    return f"{kind}-{hashlib.sha256(identifier.encode('utf-8', 'surrogatepass')).hexdigest()[:16]}"


@dataclass(frozen=True)
class JudgmentView:
    """One judgment."""

    id: str
    outcome: str
    """In words: the rating, the winner, or why there is none."""
    failed: bool
    critique: Cut
    order: str = ""
    """Of a comparison: which candidate was shown first."""


@dataclass
class CandidateView:
    """One response with what was said of it."""

    id: str
    number: int
    source: str
    text: Cut
    finish_reason: str | None
    tokens: int | None
    marks: list[str] = field(default_factory=list)
    """selected, chosen, rejected."""
    reward: float | None = None
    parts: dict[str, float] = field(default_factory=dict)
    unscored: str | None = None
    rating: Rating | None = None
    judgment: JudgmentView | None = None


@dataclass(frozen=True)
class ComparisonView:
    """Two responses compared."""

    id: str
    first: str
    second: str
    outcome: str
    abstained: bool
    judgments: tuple[JudgmentView, ...]


@dataclass(frozen=True)
class PairView:
    """A preference pair, with the judgments it comes from and whether each is on the page."""

    id: str
    chosen: str
    rejected: str
    margin: float
    judgments: tuple[tuple[str, bool], ...]


@dataclass
class PromptView:
    """A prompt with everything known of it."""

    id: str
    scenario: str | None
    messages: list[tuple[str, Cut]]
    turns: int
    candidates: dict[str, CandidateView] = field(default_factory=dict)
    candidate_count: int = 0
    comparisons: list[ComparisonView] = field(default_factory=list)
    comparison_count: int = 0
    pairs: list[PairView] = field(default_factory=list)
    pair_count: int = 0

    @property
    def question(self) -> str:
        """The beginning of the last turn, for a headline."""
        return " ".join(self.messages[-1][1].text.split())[:140] if self.messages else ""

    def name(self, candidate_id: str) -> str:
        """How a candidate is called on the page."""
        view = self.candidates.get(candidate_id)
        return f"#{view.number}" if view else candidate_id


def browse(run: RunFolder, limit: int = PROMPTS) -> list[PromptView]:
    """The prompts of the run that are shown, in the order of their file."""
    wanted = _choose(run, limit)
    pairs, pair_counts = _pairs(run.pairs, wanted)
    views = _prompts(run.prompts, wanted)
    for pair in pairs:
        views.setdefault(pair.prompt_id, _prompt_view(pair.prompt_id, pair.scenario, pair.messages))
    for identifier in wanted:
        views.setdefault(identifier, PromptView(identifier, None, [], 0))
    keep = {name for pair in pairs for name in (pair.chosen_id, pair.rejected_id)}
    selected = _selected(run.selected, wanted)
    _add_candidates(views, run.candidates, keep | selected)
    _add_rewards(views, run.rewards)
    _add_ratings(views, run.judgments)
    traced = {name for pair in pairs for name in pair.judgment_ids}
    _add_comparisons(views, run.comparisons, traced)
    _add_marks(views, pairs, selected)
    for identifier, count in pair_counts.items():
        views[identifier].pair_count = count
    return list(views.values())


def browse_evaluation(run: RunFolder, limit: int = EVALUATED) -> list[PromptView]:
    """The first held-out prompts with the responses of both policies and their comparison."""
    ids = dict.fromkeys(c.prompt_id for c in islice(_records(run.evaluation_comparisons, Comparison), limit))
    path = run.evaluation_prompts if run.evaluation_prompts.is_file() else run.prompts
    views = _prompts(path, set(ids))
    for identifier in ids:
        views.setdefault(identifier, PromptView(identifier, None, [], 0))
    _add_candidates(views, run.evaluation_candidates, set())
    _add_comparisons(views, run.evaluation_comparisons, set())
    for view in views.values():
        for comparison in view.comparisons:
            for name, mark in ((comparison.first, "trained"), (comparison.second, "start")):
                if name in view.candidates:
                    view.candidates[name].marks = [mark]
    return list(views.values())


def first_text(row: dict[str, JsonValue], *names: str) -> str | None:
    """The first of these keys that holds a string."""
    return next((value for name in names if isinstance(value := row.get(name), str)), None)


def _pairs(path: Path, wanted: set[str]) -> tuple[list[Pair], Counter[str]]:
    """The first PAIRS pairs of every wanted prompt, and how many each has."""
    counts: Counter[str] = Counter()
    kept = []
    for pair in _records(path, Pair):
        if pair.prompt_id in wanted:
            counts[pair.prompt_id] += 1
            if counts[pair.prompt_id] <= PAIRS:
                kept.append(pair)
    return kept, counts


def _selected(path: Path, wanted: set[str]) -> set[str]:
    """Ids of the selected candidates of the wanted prompts (of all, where rows name no prompt)."""
    rows = (row for row in objects(path) if row.get("prompt_id", None) is None or row["prompt_id"] in wanted)
    return {name for row in rows if (name := _candidate_id(row))}


def _candidate_id(row: dict[str, JsonValue]) -> str | None:
    """The candidate that a row of selected.jsonl names: `candidate_id`, a nested candidate's id, or its own id."""
    nested = row.get("candidate")
    if isinstance(nested, dict):
        return first_text(nested, "id")
    return first_text(row, "candidate_id", "id")


def _records(path: Path, kind: type[RecordT]) -> Iterator[RecordT]:
    return read_records(path, kind) if path.is_file() else iter(())


def objects(path: Path) -> Iterator[dict[str, JsonValue]]:
    """The lines of a file of JSON objects, none where there is no file."""
    return read_records(path, JSON_OBJECT) if path.is_file() else iter(())


def _choose(run: RunFolder, limit: int) -> set[str]:
    """Ids of the prompts to show: half for pairs, a quarter for review, then the file's order."""
    chosen: dict[str, None] = {}
    reviewed = (name for row in objects(run.review) if (name := first_text(row, "prompt_id")))
    sources: list[tuple[Iterable[str], int]] = [
        ((pair.prompt_id for pair in _records(run.pairs, Pair)), limit // 2),
        (reviewed, limit * 3 // 4),
        ((prompt.id for prompt in _records(run.prompts, Prompt)), limit),
        ((candidate.prompt_id for candidate in _records(run.candidates, Candidate)), limit),
        ((pair.prompt_id for pair in _records(run.pairs, Pair)), limit),
    ]
    for ids, most in sources:
        for identifier in ids:
            if len(chosen) >= most:
                break
            chosen[identifier] = None
    return set(chosen)


def _prompts(path: Path, wanted: set[str]) -> dict[str, PromptView]:
    return {
        prompt.id: _prompt_view(prompt.id, prompt.scenario, prompt.messages)
        for prompt in _records(path, Prompt)
        if prompt.id in wanted
    }


def _prompt_view(identifier: str, scenario: str | None, messages: tuple[Message, ...]) -> PromptView:
    shown = [(message.role, cut(message.content, TEXT)) for message in messages[-TURNS:]]
    return PromptView(identifier, scenario, list(shown), len(messages))


def _add_candidates(views: dict[str, PromptView], path: Path, keep: set[str]) -> None:
    for candidate in _records(path, Candidate):
        view = views.get(candidate.prompt_id)
        if view is None:
            continue
        number, view.candidate_count = view.candidate_count, view.candidate_count + 1
        if len(view.candidates) < CANDIDATES or candidate.id in keep:
            view.candidates[candidate.id] = CandidateView(
                id=candidate.id,
                number=number,
                source=candidate.source or "",
                text=cut(candidate.text, TEXT),
                finish_reason=candidate.finish_reason,
                tokens=candidate.token_count,
            )


def _add_rewards(views: dict[str, PromptView], path: Path) -> None:
    scored = read_records(path, SCORED) if path.is_file() else ()
    for one in scored:
        view = views[one.prompt_id].candidates.get(one.candidate_id) if one.prompt_id in views else None
        if view is None:
            continue
        if isinstance(one, Reward):
            view.reward, view.parts = one.value, one.parts
        else:
            view.unscored = one.reason


def _add_ratings(views: dict[str, PromptView], path: Path) -> None:
    for judgment in _records(path, Judgment):
        prompt = views.get(judgment.prompt_id)
        view = prompt.candidates.get(judgment.candidate_ids[0]) if prompt else None
        if view is not None:
            view.rating = judgment.outcome if isinstance(judgment.outcome, Rating) else None
            view.judgment = _judgment_view(judgment)


def _add_comparisons(views: dict[str, PromptView], path: Path, traced: set[str]) -> None:
    for comparison in _records(path, Comparison):
        view = views.get(comparison.prompt_id)
        if view is None:
            continue
        if any(shown.id == comparison.id for shown in view.comparisons):
            continue
        view.comparison_count += 1
        names = {comparison.id} | {judgment.id for judgment in comparison.judgments}
        if len(view.comparisons) < COMPARISONS or names & traced:
            view.comparisons.append(_comparison_view(comparison, view))


def _comparison_view(comparison: Comparison, view: PromptView) -> ComparisonView:
    first, second = view.name(comparison.first_id), view.name(comparison.second_id)
    outcome = comparison.outcome
    if isinstance(outcome, Abstained):
        words = "the two orders disagree" if outcome.reason == "orders_disagree" else "a judgment could not be read"
    else:
        words = {"first": f"{first} is better", "second": f"{second} is better", "tie": "tie"}[outcome.winner]
    judgments = tuple(
        _judgment_view(one, view.name(one.candidate_ids[0]), view.name(one.candidate_ids[-1]))
        for one in comparison.judgments
    )
    return ComparisonView(
        comparison.id, comparison.first_id, comparison.second_id, words, isinstance(outcome, Abstained), judgments
    )


def _judgment_view(judgment: Judgment, first: str = "", second: str = "") -> JudgmentView:
    outcome = judgment.outcome
    if outcome.kind == "unparsed":
        words = f"not readable: {outcome.reason}" + (f" ({outcome.detail[:200]})" if outcome.detail else "")
    elif outcome.kind == "rating":
        words = f"rating {outcome.value:g}"
    else:
        winners = {"first": f"{first} (shown first) wins", "second": f"{second} (shown second) wins", "tie": "tie"}
        words = winners[outcome.winner]
    order = f"{first} first, {second} second" if first else ""
    return JudgmentView(judgment.id, words, outcome.kind == "unparsed", cut(judgment.critique, CRITIQUE), order)


def _add_marks(views: dict[str, PromptView], pairs: list[Pair], selected: set[str]) -> None:
    for view in views.values():
        for candidate in view.candidates.values():
            if candidate.id in selected:
                candidate.marks.append("selected")
    shown = {judgment.id for view in views.values() for judgment in _judgments_of(view)}
    for pair in pairs:
        view = views[pair.prompt_id]
        for name, mark in ((pair.chosen_id, "chosen"), (pair.rejected_id, "rejected")):
            side = view.candidates.get(name)
            if side is not None and mark not in side.marks:
                side.marks.append(mark)
        judgments = tuple((name, name in shown) for name in pair.judgment_ids)
        view.pairs.append(PairView(pair.id, pair.chosen_id, pair.rejected_id, pair.margin, judgments))


def _judgments_of(view: PromptView) -> Iterator[JudgmentView]:
    yield from (one.judgment for one in view.candidates.values() if one.judgment is not None)
    for comparison in view.comparisons:
        yield from comparison.judgments
