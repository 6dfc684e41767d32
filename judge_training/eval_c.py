"""Eval-C, AUTO-J's benchmark of critiques: two critiques of the same response, and which of them a judge prefers.

Design decisions. A critique's source is one of the data's own ("autoj", in `critiques`) or a file of critiques. The
release's files have no ids and belong together by line, which is checked by their counts; a file with ids goes by
them. A comparison is GPT-4's, released ("A: Feedback 1 is significantly better", with the order in which the two
were shown in `meta.exchange`), or asked now of any `Judge`, in both orders, as a comparison of two answers to a
question that holds the query and the response. The win rate is the paper's: wins over all, so that a tie, an
abstention and an answer that could not be read are no win.

Nothing of the release is in this repository; a user gives the files.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path

from pydantic import JsonValue

from judge_training.eval_p import longer_text, verdicts_in_order
from judge_training.json_lines import read_objects
from judge_training.scenarios.names import group_of, groups, scenario_names
from rewards.errors import InputError
from rewards.intervals import Interval, wilson
from rewards.jsonl import read_records
from rewards.judges.base import CompareItem
from rewards.protocol.render import choose_fence
from rewards.types import Candidate, Comparison, Id, Message, Prompt, Record, Verdict, Winner

_MARK = re.compile(r"\{\{(\w+)\}\}")
_LETTERS: dict[str, Winner] = {"a": "first", "b": "second", "c": "tie"}
_NAMED: dict[str, Winner] = {"1": "first", "2": "second", "neither": "tie", "both": "tie"}
_DECISION = re.compile(
    r"""^[\s>*_#\[("']*
    (?:(?:final\s+)?(?:answer|decision|verdict|choice)\s*(?:is)?\s*:?[\s*_]*)?
    (?:(?P<letter>[ABC])[)\].:\s*_-]+)?
    (?:feedback\s*(?P<number>[12])\s+is|(?P<neither>neither|both)(?:\s+of\s+them|\s+feedbacks?)?\s+(?:is|are))
    \s+(?:(?P<much>significantly|slightly|much|clearly|equally)\s+)?(?:better|good)\b""",
    re.IGNORECASE | re.VERBOSE,
)
_BARE = re.compile(r"^[\s>*_#\[(\"']*(?P<letter>[ABC])[\s)\].:*_\"']*$")


class CritiquedResponse(Record):
    """One line of the test data."""

    id: Id
    """"eval-c-" and the line's number, from 1, in four digits."""
    scenario: str
    prompt: str
    response: str
    critiques: dict[str, str]
    """By who wrote them."""


class ComparedCritiques(Record):
    """Two critiques of one response with a judge's verdicts, all in the order (first source, second source)."""

    id: Id
    scenario: str
    shown_first: Winner | None
    """The verdict with the first source's critique in the first place; None when not read or not asked so."""
    exchanged: Winner | None
    """The verdict with it in the second place, already swapped back; None likewise."""
    asked: int
    """Orders asked: 1 or 2."""
    longer: Winner

    @property
    def verdicts(self) -> list[Winner]:
        """The verdicts that could be read."""
        return [one for one in (self.shown_first, self.exchanged) if one is not None]

    @property
    def verdict(self) -> Winner | None:
        """The verdict of all orders asked; None when one could not be read or they disagree."""
        found = self.verdicts
        return found[0] if len(found) == self.asked and len(set(found)) == 1 else None


class WinSlice(Record):
    """The main numbers of a part."""

    name: str
    n: int
    win_rate: Interval | None
    loss_rate: Interval | None
    tie_rate: Interval | None
    consistency: Interval | None
    """Of those asked in both orders."""


class EvalC(Record):
    """One source's critiques against another's, as a judge compares them."""

    first: str
    second: str
    n: int
    asked_both: int
    wins: int
    losses: int
    ties: int
    abstained: int
    """Asked in both orders, with verdicts that differ."""
    unread: int
    """With a verdict that could not be read."""
    win_rate: Interval | None
    """Wins over all."""
    loss_rate: Interval | None
    tie_rate: Interval | None
    decided_win_rate: Interval | None
    """Wins over wins and losses."""
    consistency: Interval | None
    """Same verdict in both orders, of those asked in both."""
    first_shown_preferred: Interval | None
    """Of single verdicts that name a winner, those for the critique shown first: 0.5 without position bias when both
    orders are asked equally often."""
    longer_preferred: Interval | None
    """Of decided pairs of different length, those won by the longer critique."""
    first_longer: Interval | None
    """How often the first source's critique is the longer one: the win rate of "longer wins"."""
    groups: tuple[WinSlice, ...] = ()
    scenarios: tuple[WinSlice, ...] = ()


# Reading


def read_eval_c(path: Path) -> list[CritiquedResponse]:
    """The responses of `testdata_critique.jsonl`, with the critiques that it holds.

    Raises MissingFileError, or InputError with the line for a missing text or an unknown scenario.
    """
    found: list[CritiquedResponse] = []
    for number, row in read_objects(path):
        where = f"{path}, line {number}"
        texts = {name: _text(row.get(name), f"{where}: {name!r}") for name in ("scenario", "prompt", "response")}
        group_of(texts["scenario"])
        critiques = row.get("critiques", {})
        if not isinstance(critiques, dict):
            raise InputError(f"{where}: expected critiques by their writer in 'critiques', got {critiques!r}")
        written = {name: _text(text, f"{where}: the critique {name!r}") for name, text in critiques.items()}
        found.append(CritiquedResponse(id=f"eval-c-{len(found) + 1:04d}", critiques=written, **texts))
    if not found:
        raise InputError(f"{path}: expected the responses of Eval-C, got an empty file")
    return found


def read_critiques(rows: Sequence[CritiquedResponse], source: str) -> dict[str, str]:
    """The critiques of one source by the id of their response.

    `source` is a name in the data's `critiques`, or a file of {"output": critique} a line: in the order of the data,
    or with its "id". Raises InputError when a response has none.
    """
    if all(source in row.critiques for row in rows):
        return {row.id: row.critiques[source] for row in rows}
    path = Path(source)
    if not path.is_file():
        known = ", ".join(sorted({name for row in rows for name in row.critiques})) or "none"
        raise InputError(f"expected a source of critiques ({known}) or a file of them, got {source!r}")
    lines = list(read_objects(path))
    _check_count(len(lines), len(rows), path)
    found: dict[str, str] = {}
    for row, (number, line) in zip(rows, lines, strict=True):
        identity = _id_of(line, row.id, found, f"{path}, line {number}")
        found[identity] = _text(line.get("output"), f"{path}, line {number}: 'output'")
    _check_covered(rows, found, path)
    return found


def read_decision(text: str) -> Winner | None:
    """Which of two critiques an answer names: "A: Feedback 1 is significantly better", leniently.

    The decision must be a line of its own beginning; a letter must fit what it says; the same decision may come again
    and two different ones are none. A reason that mentions a feedback decides nothing.
    """
    decided: set[Winner | None] = set()
    for number, line in enumerate(text.strip().splitlines()):
        bare = _BARE.match(line) if number == 0 else None
        match = bare or _DECISION.match(line)
        if match:
            decided.add(_decision_of(match.groupdict()))
    return decided.pop() if len(decided) == 1 else None


def _decision_of(parts: Mapping[str, str | None]) -> Winner | None:
    letter, named = parts.get("letter"), parts.get("number") or parts.get("neither")
    told = {_LETTERS[letter.lower()]} if letter else set()
    if named:
        told.add(_NAMED[named.lower()])
    return told.pop() if len(told) == 1 else None


def read_released(
    rows: Sequence[CritiquedResponse], path: Path, first: Mapping[str, str], second: Mapping[str, str]
) -> list[ComparedCritiques]:
    """Comparisons as the release has them: {"output": text, "meta": {"exchange": bool}} a line.

    In the order of the data, or with its "id". With exchange, the first source's critique was shown as Feedback 2.
    """
    lines = list(read_objects(path))
    _check_count(len(lines), len(rows), path)
    found: dict[str, ComparedCritiques] = {}
    by_id = {row.id: row for row in rows}
    for own, (number, line) in zip(rows, lines, strict=True):
        where = f"{path}, line {number}"
        identity = _id_of(line, own.id, found, where)
        meta = line.get("meta")
        exchange = meta.get("exchange") if isinstance(meta, dict) else None
        if not isinstance(exchange, bool):
            raise InputError(f"{where}: expected meta.exchange as true or false, got {exchange!r}")
        winner = read_decision(_text(line.get("output"), f"{where}: 'output'"))
        if winner is not None and exchange:
            winner = Verdict(winner=winner).swap().winner
        if identity not in by_id:
            raise InputError(f"{where}: expected the id of a response in the data, got {identity!r}")
        shown, swapped = (None, winner) if exchange else (winner, None)
        found[identity] = _compared(by_id[identity], shown, swapped, 1, first, second)
    return list(found.values())


def read_comparisons(
    rows: Sequence[CritiquedResponse], path: Path, first: Mapping[str, str], second: Mapping[str, str]
) -> list[ComparedCritiques]:
    """Comparisons of autoj (of `compare_items`), or the release's, whichever the file holds."""
    _, head = next(read_objects(path), (1, {}))
    if "judgments" not in head:
        return read_released(rows, path, first, second)
    by_pair = {frozenset((one.first_id, one.second_id)): one for one in read_records(path, Comparison)}
    found = []
    for row in rows:
        ids = candidate_ids(row)
        comparison = by_pair.get(frozenset(ids))
        if comparison is None:
            raise InputError(f"{path}: expected a comparison of the critiques of every response, got none of {row.id}")
        verdicts = verdicts_in_order(comparison.judgments, ids)
        found.append(_compared(row, *verdicts, len(comparison.judgments), first, second))
    return found


def _compared(
    row: CritiquedResponse,
    shown_first: Winner | None,
    exchanged: Winner | None,
    asked: int,
    first: Mapping[str, str],
    second: Mapping[str, str],
) -> ComparedCritiques:
    return ComparedCritiques(
        id=row.id,
        scenario=row.scenario,
        shown_first=shown_first,
        exchanged=exchanged,
        asked=asked,
        longer=longer_text(first[row.id], second[row.id]),
    )


# Asking


def candidate_ids(row: CritiquedResponse) -> tuple[str, str]:
    """The ids of the two critiques of a response, as candidates."""
    return f"{row.id}:first", f"{row.id}:second"


def compare_items(
    rows: Sequence[CritiquedResponse], first: Mapping[str, str], second: Mapping[str, str]
) -> list[CompareItem]:
    """The questions to put to a judge, in both orders: query and response, and the two critiques as answers."""
    return [
        CompareItem(
            prompt=Prompt(
                id=row.id,
                messages=(Message(role="user", content=critique_question(row.prompt, row.response)),),
                scenario=row.scenario,
            ),
            first=Candidate(id=candidate_ids(row)[0], prompt_id=row.id, text=first[row.id], index=0),
            second=Candidate(id=candidate_ids(row)[1], prompt_id=row.id, text=second[row.id], index=1),
        )
        for row in rows
    ]


def critique_question(query: str, response: str) -> str:
    """The query and the response as one question, about which two critiques are to be compared."""
    values = {"query": query, "response": response, "fence": choose_fence([query, response])}
    return "".join(values[piece] if index % 2 else piece for index, piece in enumerate(_pieces()))


@cache
def _pieces() -> tuple[str, ...]:
    text = files("judge_training").joinpath("critique_question.txt").read_text(encoding="utf-8")
    return tuple(_MARK.split(text.rstrip("\n")))


# Measuring


def evaluate_eval_c(compared: Sequence[ComparedCritiques], *, first: str, second: str) -> EvalC:
    """Measure comparisons of the critiques of two sources, named `first` and `second`."""
    both = [one for one in compared if one.asked == 2]
    unread = [one for one in compared if len(one.verdicts) < one.asked]
    abstained = [one for one in compared if len(one.verdicts) == one.asked and one.verdict is None]
    counts = {winner: sum(one.verdict == winner for one in compared) for winner in ("first", "second", "tie")}
    decided = [one for one in compared if one.verdict in ("first", "second") and one.longer != "tie"]
    # Seen from the place shown: the first source stood first in `shown_first` and second in `exchanged`.
    shown = [one.shown_first == "first" for one in compared if one.shown_first in ("first", "second")]
    shown += [one.exchanged == "second" for one in compared if one.exchanged in ("first", "second")]
    main = _slice("all", compared)
    return EvalC(
        first=first,
        second=second,
        n=len(compared),
        asked_both=len(both),
        wins=counts["first"],
        losses=counts["second"],
        ties=counts["tie"],
        abstained=len(abstained),
        unread=len(unread),
        win_rate=main.win_rate,
        loss_rate=main.loss_rate,
        tie_rate=main.tie_rate,
        decided_win_rate=wilson(counts["first"], counts["first"] + counts["second"]),
        consistency=main.consistency,
        first_shown_preferred=wilson(sum(shown), len(shown)),
        longer_preferred=wilson(sum(one.verdict == one.longer for one in decided), len(decided)),
        first_longer=wilson(sum(one.longer == "first" for one in compared), len(compared)),
        groups=_slices(compared, {name: group_of(name) for name in scenario_names()}, groups()),
        scenarios=_slices(compared, {name: name for name in scenario_names()}, scenario_names()),
    )


def _slices(
    compared: Sequence[ComparedCritiques], name_of: Mapping[str, str], names: Sequence[str]
) -> tuple[WinSlice, ...]:
    parts: dict[str, list[ComparedCritiques]] = {name: [] for name in names}
    for one in compared:
        parts[name_of[one.scenario]].append(one)
    return tuple(_slice(name, part) for name, part in parts.items() if part)


def _slice(name: str, part: Sequence[ComparedCritiques]) -> WinSlice:
    both = [one for one in part if one.asked == 2]

    def share(winner: Winner) -> Interval | None:
        return wilson(sum(one.verdict == winner for one in part), len(part))

    return WinSlice(
        name=name,
        n=len(part),
        win_rate=share("first"),
        loss_rate=share("second"),
        tie_rate=share("tie"),
        consistency=wilson(sum(one.verdict is not None for one in both), len(both)),
    )


# Cells


def _text(value: JsonValue, where: str) -> str:
    if not isinstance(value, str):
        raise InputError(f"{where}: expected text, got {value!r}")
    return value


def _check_count(got: int, expected: int, path: Path) -> None:
    if got != expected:
        raise InputError(
            f"{path}: expected one line for each of the {expected} responses of the data, got {got}; "
            "the two files belong together line by line"
        )


def _id_of(line: Mapping[str, JsonValue], own: str, found: Mapping[str, object], where: str) -> str:
    identity = line.get("id", own)
    if not isinstance(identity, str) or identity in found:
        raise InputError(f"{where}: expected an id of its own, got {identity!r}")
    return identity


def _check_covered(rows: Sequence[CritiquedResponse], found: Mapping[str, str], path: Path) -> None:
    missing = [row.id for row in rows if row.id not in found]
    if missing:
        raise InputError(f"{path}: expected a critique of every response, got none of {', '.join(missing[:5])}")
