"""What a data set consists of and what was left out of it, counted: the data card.

It is made from the examples themselves, after everything was done to them, so that it cannot claim what is not so.
As JSON for machines, as Markdown for a repository, as a table for a terminal.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from pydantic import Field

from judge_training.data.decontaminate import normalized
from judge_training.examples import JudgeExample
from judge_training.scenarios.names import group_of, scenario_names
from rewards.protocol.view import query_text
from rewards.types import Record

if TYPE_CHECKING:
    from rich.table import Table

NONE = "(none)"


class Lengths(Record):
    """How long texts are, in characters."""

    shortest: int
    median: int
    p90: int
    """Nine in ten are at most this long."""
    longest: int


class PartCard(Record):
    """Counts of one part (train, valid) of a data set."""

    examples: int
    prompts: int
    """Different prompts, by their words."""
    kinds: dict[str, int]
    sources: dict[str, int]
    groups: dict[str, int]
    scenarios: dict[str, int]
    labels: dict[str, int]
    """Of pairs: first, second, tie; those that wait for a teacher under "(none)"."""
    ratings: dict[str, int]
    """Of single responses, lowest first; those that wait for a teacher under "(none)"."""
    with_critique: int
    human_labelled: int
    agree_with_people: int
    """Of those, how many have the same label to learn."""
    longer_preferred: int
    shorter_preferred: int
    """Pairs with a winner, by whether it is the longer response; pairs of equal length are in neither."""
    prompt_characters: Lengths | None
    response_characters: Lengths | None
    critique_characters: Lengths | None


class DataCard(Record):
    """A data set: its parts, how they came about, and what was dropped."""

    parts: dict[str, PartCard]
    dropped: dict[str, dict[str, int]] = Field(default_factory=dict)
    """Rows or examples left out, by step and reason, in the order of the steps."""
    settings: dict[str, str] = Field(default_factory=dict)
    """What was asked for."""


def card_of(examples: Sequence[JudgeExample]) -> PartCard:
    """Count one part."""
    pairs = [one for one in examples if one.kind == "pairwise"]
    singles = [one for one in examples if one.kind == "single"]
    known = [one for one in pairs if one.human_label is not None]
    longer = [_longer_won(one) for one in pairs]
    return PartCard(
        examples=len(examples),
        prompts=len({normalized(query_text(one.prompt, "conversation")) for one in examples}),
        kinds=_counts(one.kind for one in examples),
        sources=_counts(one.source for one in examples),
        groups=_counts(_group(one.scenario) for one in examples),
        scenarios=_counts(one.scenario or NONE for one in examples),
        labels={label: sum(one.label == label for one in pairs) for label in ("first", "second", "tie")}
        | ({NONE: missing} if (missing := sum(one.label is None for one in pairs)) else {}),
        ratings=_ratings(singles),
        with_critique=sum(bool(one.critique) for one in examples),
        human_labelled=len(known),
        agree_with_people=sum(one.label == one.human_label for one in known),
        longer_preferred=longer.count(True),
        shorter_preferred=longer.count(False),
        prompt_characters=_lengths(query_text(one.prompt, "conversation") for one in examples),
        response_characters=_lengths(response for one in examples for response in one.responses),
        critique_characters=_lengths(one.critique for one in examples if one.critique),
    )


def card_rows(card: DataCard) -> list[tuple[str, ...]]:
    """The card as rows of a table: a name and one value for every part."""
    parts = list(card.parts.values())
    rows: list[tuple[str, ...]] = [
        ("examples", *(str(part.examples) for part in parts)),
        ("prompts", *(str(part.prompts) for part in parts)),
        ("with a critique", *(str(part.with_critique) for part in parts)),
        ("labelled by people", *(str(part.human_labelled) for part in parts)),
        ("… same label", *(str(part.agree_with_people) for part in parts)),
        ("longer response wins", *(_share(part.longer_preferred, part.shorter_preferred) for part in parts)),
        *_spread("kind", [part.kinds for part in parts]),
        *_spread("label", [part.labels for part in parts]),
        *_spread("rating", [part.ratings for part in parts]),
        *_spread("source", [part.sources for part in parts]),
        *_spread("group", [part.groups for part in parts]),
        ("characters of a prompt", *(_median(part.prompt_characters) for part in parts)),
        ("characters of a response", *(_median(part.response_characters) for part in parts)),
        ("characters of a critique", *(_median(part.critique_characters) for part in parts)),
    ]
    return rows


def card_table(card: DataCard) -> Table:
    """The card as a table for a terminal, what was dropped below."""
    from rich.table import Table

    table = Table(title="data card")
    table.add_column("")
    for name in card.parts:
        table.add_column(name, justify="right")
    for row in card_rows(card):
        table.add_row(*row)
    for step, reason, count in dropped_rows(card):
        table.add_row(f"dropped, {step}: {reason}", count)
    return table


def card_markdown(card: DataCard) -> str:
    """The card as Markdown, with every scenario."""
    names = list(card.parts)
    scenarios = _spread("scenario", [part.scenarios for part in card.parts.values()])
    lines = ["# Data card", "", *_markdown(["", *names], [*card_rows(card), *scenarios])]
    if card.dropped:
        lines += ["", "## Dropped", "", *_markdown(["step", "reason", "count"], dropped_rows(card))]
    if card.settings:
        lines += ["", "## Settings", "", *_markdown(["setting", "value"], list(card.settings.items()))]
    return "\n".join(lines) + "\n"


def dropped_rows(card: DataCard) -> list[tuple[str, str, str]]:
    """Rows (step, reason, count)."""
    return [(step, reason, str(count)) for step, reasons in card.dropped.items() for reason, count in reasons.items()]


def _counts(names: Iterable[str]) -> dict[str, int]:
    """Most frequent first, the alphabet's order among equals."""
    return dict(sorted(Counter(names).items(), key=lambda item: (-item[1], item[0])))


def _ratings(singles: Sequence[JudgeExample]) -> dict[str, int]:
    counts = Counter(one.rating for one in singles)
    waiting = counts.pop(None, 0)
    ratings = {f"{value:g}": counts[value] for value in sorted(value for value in counts if value is not None)}
    return ratings | ({NONE: waiting} if waiting else {})


def _group(scenario: str | None) -> str:
    if scenario is None:
        return NONE
    return group_of(scenario) if scenario in scenario_names() else "(own)"


def _longer_won(example: JudgeExample) -> bool | None:
    first, second = len(example.responses[0]), len(example.responses[-1])
    if example.label not in {"first", "second"} or first == second:
        return None
    return (first > second) == (example.label == "first")


def _lengths(texts: Iterable[str]) -> Lengths | None:
    sizes = sorted(map(len, texts))
    if not sizes:
        return None
    last = len(sizes) - 1
    return Lengths(
        shortest=sizes[0], median=sizes[round(0.5 * last)], p90=sizes[round(0.9 * last)], longest=sizes[last]
    )


def _median(lengths: Lengths | None) -> str:
    return (
        "–" if lengths is None else f"{lengths.median} (90% ≤ {lengths.p90}, {lengths.shortest} to {lengths.longest})"
    )


def _share(longer: int, shorter: int) -> str:
    return "–" if longer + shorter == 0 else f"{100 * longer / (longer + shorter):.1f}%"


def _spread(what: str, parts: Sequence[Mapping[str, int]]) -> list[tuple[str, ...]]:
    names = dict.fromkeys(name for part in parts for name in part)
    return [(f"{what} {name}", *(str(part.get(name, 0)) for part in parts)) for name in names]


def _markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"

    return [line(head), line(["---"] * len(head)), *map(line, rows)]
