"""Prompts, candidates and labelled pairs as people have them, read into our records.

Rows stream: `stream_prompts`, `stream_candidates` and `stream_pairs` hold one row at a time (and the ids seen, to
find duplicates), and the `read_*` functions collect them. A row that cannot be used is skipped and counted by its
reason, with the place of the first few, or is an error when `on_bad` says so. Ids come from the data or are a hash
of the content, so that the order of rows does not matter; the same id with other content is always an error, since
nothing downstream could tell the two apart.

What columns are called is in `columns.py`, what one row says in `row_parts.py`, what a cell may hold in `values.py`,
and what files look like in `rows.py`. Records that autoj itself wrote are read with `rewards.jsonl.read_records`; of
those, `read_responses` takes the candidates of a run.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

from pydantic import Field, JsonValue

from rewards.columns import ColumnMap, Columns, Kind, holds_pairs, resolve_columns
from rewards.errors import InputError, MissingFileError
from rewards.jsonl import read_records
from rewards.judges.base import CompareItem, RateItem
from rewards.row_parts import (
    digest,
    filled,
    other_columns,
    read_candidate,
    read_label,
    read_name,
    read_prompt,
    read_response,
    turns,
)
from rewards.rows import Problem, Row, number_rows, stream_rows
from rewards.types import Candidate, Id, Prompt, Record, Winner
from rewards.values import BadValue, completion, id_value, number_value

Source = Path | str | Iterable[Mapping[str, Any] | str]
"""A data file, or rows in memory (dictionaries, or plain strings as prompts)."""

OnBad = Literal["skip", "error"]
RecordT = TypeVar("RecordT")
CANDIDATES_FILE, PROMPTS_FILE = "candidates.jsonl", "prompts.jsonl"
"""Names of both in a run folder."""
_SHOWN = 5
_PEEKED = 64


class CandidateRow(Record):
    """A candidate with its prompt, and what else its row held."""

    prompt: Prompt
    candidate: Candidate
    reward: float | None = None
    """The number that the row gave it, if any."""
    columns: dict[str, JsonValue] = Field(default_factory=dict)
    """The row's other columns. (The prompt's own stay empty here, so that it is equal in all its rows.)"""

    @property
    def item(self) -> RateItem:
        """The same as a question to a judge."""
        return RateItem(prompt=self.prompt, candidate=self.candidate)


class PairRow(Record):
    """Two responses to a prompt, and which one is better."""

    id: Id
    prompt: Prompt
    first: Candidate
    second: Candidate
    label: Winner | None = None
    """The label in the order (first, second); None when unlabelled pairs were asked for."""
    columns: dict[str, JsonValue] = Field(default_factory=dict)
    """The row's other columns."""

    @property
    def item(self) -> CompareItem:
        """The same as a question to a judge."""
        return CompareItem(prompt=self.prompt, first=self.first, second=self.second)


@dataclass(slots=True)
class Tally:
    """What was skipped while rows were streamed."""

    skipped: Counter[str] = field(default_factory=Counter)
    first_problems: list[str] = field(default_factory=list)

    def count(self, reason: str, message: str) -> None:
        """Count a row under a reason and keep the first messages."""
        self.skipped[reason] += 1
        if len(self.first_problems) < _SHOWN:
            self.first_problems.append(message)


@dataclass(frozen=True, slots=True)
class ReadResult(Generic[RecordT]):
    """Everything read, and what was not."""

    records: tuple[RecordT, ...]
    skipped: dict[str, int]
    """Rows skipped, by reason."""
    first_problems: tuple[str, ...]
    """The first few of them, with file and line."""


def read_prompts(source: Source, *, columns: ColumnMap | None = None, on_bad: OnBad = "skip") -> ReadResult[Prompt]:
    """All prompts of a file or of rows in memory.

    A conversation that ends in an answer is a prompt without that answer. Raises InputError when nothing can be
    used, when a column is not found, and when an id stands for two prompts; MissingFileError when there is no file.
    """
    tally = Tally()
    return _collect(stream_prompts(source, columns=columns, on_bad=on_bad, tally=tally), tally, source)


def read_candidates(
    source: Source, *, columns: ColumnMap | None = None, on_bad: OnBad = "skip", keep_empty: bool = False
) -> ReadResult[CandidateRow]:
    """All candidates of a file, one a row, each with its prompt; errors as for `read_prompts`.

    `keep_empty` keeps responses without any text instead of counting them as empty_response.
    """
    tally = Tally()
    rows = stream_candidates(source, columns=columns, on_bad=on_bad, keep_empty=keep_empty, tally=tally)
    return _collect(rows, tally, source)


def read_responses(
    path: Path, *, columns: ColumnMap | None = None, on_bad: OnBad = "skip"
) -> ReadResult[CandidateRow]:
    """All candidates of a file with one response a row, or with two (preference data, whose labels are not read).

    Of pairs every response of a prompt is one candidate, however many pairs it is in; errors as for `read_prompts`.
    Candidates that autoj sampled are read as they are, with the prompts from the file beside them; a run folder
    stands for its candidates.
    """
    path = path / CANDIDATES_FILE if path.is_dir() else path
    names, _ = _peek(stream_rows(path), _place(path))
    if columns in (None, ColumnMap()) and _is_own(names):
        return ReadResult(tuple(_own_candidates(path)), {}, ())
    if not holds_pairs(names, columns or ColumnMap()):
        return read_candidates(path, columns=columns, on_bad=on_bad)
    pairs = read_pairs(path, columns=columns, on_bad=on_bad, labelled=False)
    found: dict[str, CandidateRow] = {}
    counts = Counter[str]()
    for pair in pairs.records:
        for one in (pair.first, pair.second):
            if one.id not in found:
                numbered = one.model_copy(update={"index": counts[pair.prompt.id]})
                found[one.id] = CandidateRow(prompt=pair.prompt, candidate=numbered)
                counts[pair.prompt.id] += 1
    return ReadResult(tuple(found.values()), pairs.skipped, pairs.first_problems)


def _is_own(names: Collection[str]) -> bool:
    """Whether rows with these columns are records of ours, without the prompt."""
    return {"id", "prompt_id", "text"} <= set(names) <= set(Candidate.model_fields)


def _own_candidates(path: Path) -> Iterator[CandidateRow]:
    """Each candidate that autoj wrote, empty ones too, with its prompt."""
    beside = path.with_name(PROMPTS_FILE)
    if not beside.is_file():
        raise MissingFileError(
            f"expected the prompts of the candidates in {path} beside them, in {beside}, found none; autoj sample "
            "writes both: put that file there, or give a file that has the prompt in every row"
        )
    prompts = {prompt.id: prompt for prompt in read_records(beside, Prompt)}
    for candidate in read_records(path, Candidate):
        if candidate.prompt_id not in prompts:
            raise InputError(
                f"expected the prompt {candidate.prompt_id!r} of candidate {candidate.id!r} in {beside}, found none; "
                "both files must be of the same run"
            )
        yield CandidateRow(prompt=prompts[candidate.prompt_id], candidate=candidate)


def read_pairs(
    source: Source,
    *,
    columns: ColumnMap | None = None,
    on_bad: OnBad = "skip",
    keep_empty: bool = False,
    labelled: bool = True,
) -> ReadResult[PairRow]:
    """All pairs of a file with their labels; errors as for `read_prompts`.

    A pair that occurs again is another label of it and is kept, with an id of its own. With `labelled=False` no
    label column is needed or read.
    """
    tally = Tally()
    rows = stream_pairs(source, columns=columns, on_bad=on_bad, keep_empty=keep_empty, labelled=labelled, tally=tally)
    return _collect(rows, tally, source)


def stream_prompts(
    source: Source, *, columns: ColumnMap | None = None, on_bad: OnBad = "skip", tally: Tally | None = None
) -> Iterator[Prompt]:
    """The prompts of `read_prompts`, one at a time; what is skipped is counted in `tally`."""
    seen = _Seen("prompt")

    def build(row: Row, use: Columns, where: str) -> Prompt:
        prompt = read_prompt(row, use)
        prompt = prompt.model_copy(update={"columns": other_columns(row, use)})
        seen.check(prompt.id, digest(*turns(prompt.messages)), where)
        return prompt

    return _stream(source, build, kind="prompts", columns=columns, on_bad=on_bad, tally=tally)


def stream_candidates(
    source: Source,
    *,
    columns: ColumnMap | None = None,
    on_bad: OnBad = "skip",
    keep_empty: bool = False,
    tally: Tally | None = None,
) -> Iterator[CandidateRow]:
    """The candidates of `read_candidates`, one at a time; what is skipped is counted in `tally`."""
    prompts, candidates, counts = _Seen("prompt"), _Seen("candidate"), Counter[str]()

    def build(row: Row, use: Columns, where: str) -> CandidateRow:
        prompt = read_prompt(row, use)
        text = filled(read_response(row, use, prompt), use.response or use.prompt, keep_empty=keep_empty)
        candidate = read_candidate(prompt, text, read_name(row, use.source))
        if use.candidate_id:
            candidate = candidate.model_copy(update={"id": id_value(row.get(use.candidate_id), use.candidate_id)})
        reward = number_value(row.get(use.reward), use.reward) if use.reward else None
        others = other_columns(row, use)
        prompts.check_same(prompt.id, digest(*turns(prompt.messages)), where)
        candidates.check(candidate.id, digest(prompt.id, candidate.source or "", text), where)
        candidate = candidate.model_copy(update={"index": counts[prompt.id]})
        counts[prompt.id] += 1
        return CandidateRow(prompt=prompt, candidate=candidate, reward=reward, columns=others)

    return _stream(source, build, kind="candidates", columns=columns, on_bad=on_bad, tally=tally)


def stream_pairs(
    source: Source,
    *,
    columns: ColumnMap | None = None,
    on_bad: OnBad = "skip",
    keep_empty: bool = False,
    labelled: bool = True,
    tally: Tally | None = None,
) -> Iterator[PairRow]:
    """The pairs of `read_pairs`, one at a time; what is skipped is counted in `tally`."""
    prompts, pairs, repeats = _Seen("prompt"), _Seen("pair"), Counter[str]()

    def build(row: Row, use: Columns, where: str) -> PairRow:
        prompt = read_prompt(row, use)
        texts = [
            filled(completion(row.get(name), name, prompt.messages), name, keep_empty=keep_empty)
            for name in (use.response_1, use.response_2)
        ]
        label = read_label(row, use, texts) if labelled else None
        first = read_candidate(prompt, texts[0], read_name(row, use.source_1))
        second = read_candidate(prompt, texts[1], read_name(row, use.source_2)).model_copy(update={"index": 1})
        content = digest(prompt.id, first.id, second.id, label or "")
        others = other_columns(row, use)
        prompts.check_same(prompt.id, digest(*turns(prompt.messages)), where)
        if use.candidate_id:
            pair_id = id_value(row.get(use.candidate_id), use.candidate_id)
            pairs.check(pair_id, content, where)
        else:
            repeats[content] += 1
            pair_id = f"pair-{content}" + (f"-{repeats[content]}" if repeats[content] > 1 else "")
        return PairRow(id=pair_id, prompt=prompt, first=first, second=second, label=label, columns=others)

    return _stream(source, build, kind="pairs", columns=columns, on_bad=on_bad, tally=tally, labelled=labelled)


# Rows to records


def _stream(
    source: Source,
    build: Callable[[Row, Columns, str], RecordT],
    *,
    kind: Kind,
    columns: ColumnMap | None,
    on_bad: OnBad,
    tally: Tally | None,
    labelled: bool = True,
) -> Iterator[RecordT]:
    tally = tally if tally is not None else Tally()
    place = _place(source)
    rows = stream_rows(Path(source)) if isinstance(source, Path | str) else number_rows(source)
    names, rows = _peek(rows, place)
    use = resolve_columns(names, columns or ColumnMap(), kind, labelled=labelled)
    for number, row in rows:
        where = f"{place} {number}"
        try:
            if isinstance(row, Problem):
                raise BadValue(row.reason, row.detail)
            record = build(row, use, where)
        except _Duplicate as duplicate:
            tally.count("duplicate", f"{where}: {duplicate}")
        except BadValue as bad:
            if on_bad == "error":
                raise InputError(f"{where}: {bad.detail}") from bad
            tally.count(bad.reason, f"{where}: {bad.detail}")
        else:
            yield record


def _place(source: Source) -> str:
    if not isinstance(source, Path | str):
        return "row"
    path = Path(source)
    by_row = any(suffix.lower() in (".json", ".parquet") for suffix in path.suffixes[-2:])
    return f"{path}, {'row' if by_row else 'line'}"


def _peek(
    rows: Iterator[tuple[int, Row | Problem]], place: str
) -> tuple[list[str], Iterator[tuple[int, Row | Problem]]]:
    """The column names of the first rows, and all the rows."""
    head: list[tuple[int, Row | Problem]] = []
    names: dict[str, None] = {}
    for number, row in rows:
        head.append((number, row))
        if not isinstance(row, Problem):
            names |= dict.fromkeys(row)
        if names and len(head) >= _PEEKED:
            break
    if not head:
        where = place.rpartition(",")[0] or "memory"
        raise InputError(f"expected at least one row in {where}, got none; check that it is the right file")
    if not names:
        number, problem = head[0]
        detail = problem.detail if isinstance(problem, Problem) else "a row without columns"
        raise InputError(f"expected rows with named columns, got none in {len(head)} rows; {place} {number}: {detail}")
    return list(names), itertools.chain(head, rows)


def _collect(rows: Iterator[RecordT], tally: Tally, source: Source) -> ReadResult[RecordT]:
    records = tuple(rows)
    if not records:
        where = _place(source).rpartition(",")[0] or "memory"
        counts = ", ".join(f"{reason} {count}" for reason, count in tally.skipped.items())
        raise InputError(f"expected rows that can be used in {where}, got none ({counts}); {tally.first_problems[0]}")
    return ReadResult(records, dict(tally.skipped), tuple(tally.first_problems))


class _Duplicate(Exception):
    """A row that was there before; control flow, never seen by a caller."""


class _Seen:
    """The ids of one kind of record, with their content and where they stood."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._seen: dict[str, tuple[str, str]] = {}

    def check(self, identity: str, content: str, where: str) -> None:
        """Raise _Duplicate for the same content again and InputError for other content under the same id."""
        earlier = self.check_same(identity, content, where)
        if earlier is not None:
            raise _Duplicate(f"the same {self._what} as in {earlier}")

    def check_same(self, identity: str, content: str, where: str) -> str | None:
        """Where the id stood before, if it did; InputError for other content under the same id."""
        known, earlier = self._seen.setdefault(identity, (content, where))
        if known != content:
            raise InputError(
                f"expected {self._what} ids to be unique, got {identity!r} with different content in {earlier} and in "
                f"{where}; correct the data, or name another column with columns.id or columns.candidate_id"
            )
        return None if earlier == where else earlier
