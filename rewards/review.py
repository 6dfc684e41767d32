"""What a person should look at: cases that a judge should not decide alone, and a sample of judgments to read.

An item is a line of JSON with everything needed to decide (the conversation, the responses, what the judge wrote)
and an empty `label` for a person to fill: a rating on the judge's scale, or `first`, `second` or `tie`. Labelled
lines are read by `autoj evaluate-judge pairs --labels`. No response and no pair stands in a file twice, so that
a label is never asked for twice; of several reasons the first of `REASONS` is given.

It does not change a reward: what to do with a doubtful case is decided by whoever reads it.
"""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Annotated, Final, Literal, TypeVar

from pydantic import Field, TypeAdapter, ValidationError

from rewards.errors import InputError, MissingFileError
from rewards.scenario_labels import is_outside
from rewards.types import (
    Abstained,
    Candidate,
    Comparison,
    Id,
    Judgment,
    Message,
    Prompt,
    Rating,
    Record,
    Reward,
    Unparsed,
    Unscored,
    Verdict,
    Winner,
)

REASONS: Final = (
    "unparsed",  # the judge gave no rating
    "unscored",  # there is no reward for another reason
    "comparison_failed",  # the judge gave no verdict
    "orders_disagree",  # the verdict depends on the order
    "high_variance",  # the judge's ratings of one response are spread out
    "close_call",  # the two best responses have nearly the same reward
    "outside_scenarios",  # the best response to a prompt unlike those that judges of this kind learn from
)
"""Why a case is put aside, the most telling first; the first two go on with `:` and their own reason."""
_TAIL = 0.1
"""Share of the cases that counts as high variance or as a close call when no limit is given."""


class _Item(Record):
    """What all items have."""

    reason: str
    """Why it was put aside, or which stratum of the sample it stands for."""
    detail: str = ""
    """What the judge said, in words."""
    prompt_id: Id
    messages: tuple[Message, ...]
    scenario: str | None = None
    critiques: tuple[str, ...] = ()
    """What the judge wrote."""
    judgment_ids: tuple[Id, ...] = ()

    @property
    def title(self) -> str:
        """The item in a line."""
        return " · ".join(part for part in (self.reason, self.detail, self.scenario, self.prompt_id) if part)

    def _turns(self) -> list[tuple[str, str]]:
        return [(message.role, message.content) for message in self.messages]

    def _critiques(self) -> list[tuple[str, str]]:
        return [("judge", critique) for critique in self.critiques if critique]


class ReviewedRating(_Item):
    """One response."""

    kind: Literal["rating"] = "rating"
    candidate_id: Id
    response: str
    label: float | None = None
    """A person's rating, on the judge's scale."""

    def texts(self) -> list[tuple[str, str]]:
        """Everything to read, each text with its title."""
        return [*self._turns(), ("response", self.response), *self._critiques()]


class ReviewedComparison(_Item):
    """Two responses."""

    kind: Literal["comparison"] = "comparison"
    first_id: Id
    second_id: Id
    first_response: str
    second_response: str
    label: Winner | None = None
    """The response that a person prefers."""

    def texts(self) -> list[tuple[str, str]]:
        """Everything to read, each text with its title."""
        responses = [("first response", self.first_response), ("second response", self.second_response)]
        return [*self._turns(), *responses, *self._critiques()]


ReviewItem = ReviewedRating | ReviewedComparison
REVIEW_ITEM: Final[TypeAdapter[ReviewItem]] = TypeAdapter(
    Annotated[ReviewedRating | ReviewedComparison, Field(discriminator="kind")]
)
ItemT = TypeVar("ItemT")


def read_review(path: Path) -> list[ReviewItem]:
    """Read a file of items back, labelled or not; the last line may lack its newline, as editors leave it.

    Raises MissingFileError, and InputError with the line for what is no item.
    """
    if not path.is_file():
        raise MissingFileError(f"expected a file of review items at {path}, found none")
    items = []
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), start=1):
        if line.strip():
            try:
                items.append(REVIEW_ITEM.validate_json(line))
            except ValidationError as error:
                first = error.errors(include_url=False)[0]
                raise InputError(f"{path}, line {number}: {first['loc']}: {first['msg']}") from error
    return items


def review_items(
    judgments: Iterable[Judgment],
    comparisons: Iterable[Comparison],
    rewards: Iterable[Reward | Unscored],
    candidates: Iterable[Candidate],
    prompts: Iterable[Prompt],
    *,
    variance_above: float | None = None,
    close_margin: float | None = None,
    limit: int = 200,
    seed: int = 0,
) -> list[ReviewItem]:
    """The cases to put aside, at most `limit`, taken from the reasons in turn and listed by reason.

    variance_above: a rating's variance (squared rating points) above which it is doubtful; without it, the tenth of
    the ratings with the largest ones. close_margin: difference of the two best rewards of a prompt below which it
    is a close call; without it, the tenth of the prompts with the smallest ones. Raises InputError for unknown ids.
    """
    judged, scored, compared = list(judgments), list(rewards), list(comparisons)
    texts = _Texts(prompts, candidates)
    by_id = {judgment.id: judgment for judgment in judged}
    found: Iterable[ReviewItem] = chain(
        (texts.rating(j, _stratum(j)) for j in judged if _is_failed_rating(j)),
        (texts.unscored(item, by_id) for item in scored if isinstance(item, Unscored)),
        (texts.comparison(c, _abstention(c)) for c in compared if isinstance(c.outcome, Abstained)),
        (texts.rating(j, "high_variance") for j in _doubtful(judged, variance_above)),
        _close_calls(scored, compared, texts, close_margin),
        _outside(judged, texts),
    )
    chosen = _in_turn(_once(found), lambda item: item.reason, limit=limit, seed=seed)
    return sorted(chosen, key=lambda item: (REASONS.index(item.reason.split(":", maxsplit=1)[0]), item.reason))


def inspection_sample(
    judgments: Iterable[Judgment],
    candidates: Iterable[Candidate],
    prompts: Iterable[Prompt],
    *,
    comparisons: Iterable[Comparison] = (),
    size: int = 50,
    seed: int = 0,
) -> list[ReviewItem]:
    """Judgments to read, at most `size`: as many of every rating level, verdict and reason of failure, and within
    these as many of every scenario, as there are. The judgments of `comparisons` are added to `judgments`.
    """
    texts = _Texts(prompts, candidates)
    asked = chain(judgments, (judgment for comparison in comparisons for judgment in comparison.judgments))
    items = [texts.judgment(judgment, _stratum(judgment)) for judgment in _shuffled(asked, seed, lambda j: j.id)]
    chosen = _in_turn(_once(items), lambda item: item.reason, limit=size, seed=seed)
    return sorted(chosen, key=lambda item: item.reason)


class _Texts:
    """Conversations and responses by id, and items made of them."""

    def __init__(self, prompts: Iterable[Prompt], candidates: Iterable[Candidate]) -> None:
        self._prompts = {prompt.id: prompt for prompt in prompts}
        self._candidates = {(candidate.prompt_id, candidate.id): candidate for candidate in candidates}

    def prompt(self, prompt_id: str) -> Prompt:
        """The prompt of an id."""
        if prompt_id not in self._prompts:
            raise InputError(f"expected the prompt of every judgment, got none with the id {prompt_id!r}")
        return self._prompts[prompt_id]

    def _response(self, prompt_id: str, candidate_id: str) -> str:
        if (prompt_id, candidate_id) not in self._candidates:
            raise InputError(f"expected every judged candidate, got none with the id {candidate_id!r}")
        return self._candidates[prompt_id, candidate_id].text

    def _rated(
        self, prompt_id: str, candidate_id: str, reason: str, detail: str, judgments: Sequence[Judgment]
    ) -> ReviewedRating:
        prompt = self.prompt(prompt_id)
        return ReviewedRating(
            reason=reason,
            detail=_with_note(detail, prompt),
            prompt_id=prompt_id,
            messages=prompt.messages,
            scenario=prompt.scenario,
            critiques=tuple(judgment.critique for judgment in judgments),
            judgment_ids=tuple(judgment.id for judgment in judgments),
            candidate_id=candidate_id,
            response=self._response(prompt_id, candidate_id),
        )

    def two(
        self, prompt_id: str, ids: tuple[str, str], reason: str, detail: str, judgments: Sequence[Judgment]
    ) -> ReviewedComparison:
        """An item of two responses."""
        prompt = self.prompt(prompt_id)
        return ReviewedComparison(
            reason=reason,
            detail=_with_note(detail, prompt),
            prompt_id=prompt_id,
            messages=prompt.messages,
            scenario=prompt.scenario,
            critiques=tuple(judgment.critique for judgment in judgments),
            judgment_ids=tuple(judgment.id for judgment in judgments),
            first_id=ids[0],
            second_id=ids[1],
            first_response=self._response(prompt_id, ids[0]),
            second_response=self._response(prompt_id, ids[1]),
        )

    def rating(self, judgment: Judgment, reason: str) -> ReviewedRating:
        """An item of the response that a judgment rates."""
        return self._rated(judgment.prompt_id, judgment.candidate_ids[0], reason, _said(judgment), [judgment])

    def judgment(self, judgment: Judgment, reason: str) -> ReviewItem:
        """An item of the one or two responses of a judgment."""
        if len(judgment.candidate_ids) == 1:
            return self.rating(judgment, reason)
        return self.two(judgment.prompt_id, judgment.candidate_ids, reason, _said(judgment), [judgment])

    def unscored(self, item: Unscored, judgments: Mapping[str, Judgment]) -> ReviewedRating:
        """An item of a candidate without a reward."""
        known = [judgments[name] for name in item.judgment_ids if name in judgments]
        return self._rated(item.prompt_id, item.candidate_id, f"unscored:{item.reason}", "", known)

    def comparison(self, comparison: Comparison, reason: str) -> ReviewedComparison:
        """An item of a comparison with the judgments of its orders."""
        ids = (comparison.first_id, comparison.second_id)
        said = "; ".join(f"{' then '.join(j.candidate_ids)}: {_said(j)}" for j in comparison.judgments)
        return self.two(comparison.prompt_id, ids, reason, said, comparison.judgments)


def _with_note(detail: str, prompt: Prompt) -> str:
    """What is said of an item, and whether its prompt is one that the judge may not know how to judge."""
    return "; ".join(part for part in (detail, "prompt outside the scenarios" if is_outside(prompt) else "") if part)


def _said(judgment: Judgment) -> str:
    outcome = judgment.outcome
    if isinstance(outcome, Unparsed):
        return f"no verdict ({outcome.reason})" + (f": {outcome.detail}" if outcome.detail else "")
    if isinstance(outcome, Verdict):
        return f"prefers {outcome.winner}" if outcome.winner != "tie" else "tie"
    spread = "" if outcome.variance is None else f", variance {outcome.variance:.2f}"
    return f"rating {outcome.score:.2f}{spread}"


def _is_failed_rating(judgment: Judgment) -> bool:
    return len(judgment.candidate_ids) == 1 and isinstance(judgment.outcome, Unparsed)


def _doubtful(judgments: Sequence[Judgment], variance_above: float | None) -> list[Judgment]:
    """The ratings whose variance is above a limit, or among the largest tenth."""
    spread = [(j.outcome.variance, j) for j in judgments if isinstance(j.outcome, Rating) and j.outcome.variance]
    if variance_above is not None:
        return [judgment for variance, judgment in spread if variance > variance_above]
    least = -_tail([-variance for variance, _ in spread])
    return [judgment for variance, judgment in spread if variance >= least]


def _abstention(comparison: Comparison) -> str:
    disagree = isinstance(comparison.outcome, Abstained) and comparison.outcome.reason == "orders_disagree"
    return "orders_disagree" if disagree else "comparison_failed"


def _stratum(judgment: Judgment) -> str:
    outcome = judgment.outcome
    if isinstance(outcome, Unparsed):
        return f"unparsed:{outcome.reason}"
    return f"verdict {outcome.winner}" if isinstance(outcome, Verdict) else f"rating {math.floor(outcome.value):02d}"


def _tail(values: Sequence[float]) -> float:
    """The largest of the smallest tenth of the values (of one at least); minus infinity for no values."""
    ranked = sorted(values)
    return ranked[math.ceil(_TAIL * len(ranked)) - 1] if ranked else -math.inf


def _close_calls(
    scored: Iterable[Reward | Unscored], comparisons: Iterable[Comparison], texts: _Texts, close_margin: float | None
) -> Iterable[ReviewedComparison]:
    """The two best candidates of the prompts where their rewards are close."""
    rewards: dict[str, list[Reward]] = defaultdict(list)
    for item in scored:
        if isinstance(item, Reward):
            rewards[item.prompt_id].append(item)
    best = [
        sorted(group, key=lambda r: (-r.value, r.candidate_id))[:2] for group in rewards.values() if len(group) > 1
    ]
    widest = _tail([one.value - two.value for one, two in best])
    asked = {frozenset((c.first_id, c.second_id)): c for c in comparisons}
    for one, two in best:
        margin = one.value - two.value
        if margin <= widest if close_margin is None else margin < close_margin:
            comparison = asked.get(frozenset((one.candidate_id, two.candidate_id)))
            judgments = comparison.judgments if comparison else ()
            ids = (one.candidate_id, two.candidate_id)
            yield texts.two(one.prompt_id, ids, "close_call", f"reward {one.value:.3g} and {two.value:.3g}", judgments)


def _outside(judgments: Sequence[Judgment], texts: _Texts) -> Iterable[ReviewedRating]:
    """Of every prompt outside the scenarios, the response with the highest rating: a judge is too sure there."""
    best: dict[str, tuple[float, Judgment]] = {}
    for judgment in judgments:
        prompt_id, outcome = judgment.prompt_id, judgment.outcome
        if not isinstance(outcome, Rating) or not is_outside(texts.prompt(prompt_id)):
            continue
        if prompt_id not in best or outcome.score > best[prompt_id][0]:
            best[prompt_id] = (outcome.score, judgment)
    return (texts.rating(judgment, "outside_scenarios") for _, judgment in best.values())


def _once(items: Iterable[ReviewItem]) -> list[ReviewItem]:
    """The items without those of a response, or of two responses in any order, that came before."""
    found: dict[tuple[str, frozenset[str]], ReviewItem] = {}
    for item in items:
        ids = [item.candidate_id] if isinstance(item, ReviewedRating) else [item.first_id, item.second_id]
        found.setdefault((item.prompt_id, frozenset(ids)), item)
    return list(found.values())


def _shuffled(items: Iterable[ItemT], seed: int, name: Callable[[ItemT], str]) -> list[ItemT]:
    """The items in an order that depends on the seed and their names alone."""
    return sorted(items, key=lambda item: hashlib.blake2b(f"{seed}:{name(item)}".encode()).digest())


def _in_turn(
    items: Iterable[ReviewItem], group: Callable[[ReviewItem], str], *, limit: int, seed: int
) -> list[ReviewItem]:
    """At most `limit` items, one of every group in turn, and within a group one of every scenario in turn."""
    shuffled = _shuffled(items, seed, lambda item: f"{item.prompt_id}:{':'.join(item.judgment_ids)}")
    within: dict[tuple[str, str], int] = defaultdict(int)
    rounds = []
    for item in shuffled:
        stratum = (group(item), item.scenario or "")
        rounds.append((within[stratum], item))
        within[stratum] += 1
    rounds.sort(key=lambda pair: pair[0])
    turns: dict[str, int] = defaultdict(int)
    ordered = []
    for _, item in rounds:
        ordered.append((turns[group(item)], item))
        turns[group(item)] += 1
    ordered.sort(key=lambda pair: pair[0])
    return [item for _, item in ordered[:limit]]
