"""What a teacher is to judge: examples that `autoj` wrote, or any file of pairs or of responses.

An example that has a critique and a verdict is judged already and is counted, not asked about. A pair that people
labelled but nobody explained is what collection is for: its label is the people's, and no longer the verdict.

No scenario is guessed and no text is changed here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import JsonValue, ValidationError

from judge_training.examples import ExampleKind, JudgeExample, read_examples
from rewards.columns import ColumnMap
from rewards.errors import InputError
from rewards.inputs import CandidateRow, OnBad, PairRow, Tally, stream_candidates, stream_pairs
from rewards.rows import stream_rows

DataKind = Literal["examples", "pairs", "responses"]


@dataclass(frozen=True, slots=True)
class Unjudged:
    """The examples to judge, and what was left out while they were read."""

    examples: tuple[JudgeExample, ...]
    skipped: dict[str, int]


def read_unjudged(
    path: Path,
    kind: DataKind | None = None,
    *,
    columns: ColumnMap | None = None,
    labelled: bool = True,
    source: str | None = None,
    on_bad: OnBad = "skip",
    limit: int | None = None,
) -> Unjudged:
    """Read a file of examples (known by themselves), of pairs, or of single responses; the first `limit` of them.

    labelled: pairs need a column with people's label. source: name of the data set, else the file's.
    Raises InputError when the kind of file is neither said nor seen, when nothing is left to judge, and when an id
    stands for two examples; MissingFileError when there is no file.
    """
    chosen = kind or ("examples" if _holds_examples(path) else None)
    if chosen is None:
        raise InputError(
            f"expected examples that autoj wrote in {path}, or to be told what else it holds; say --kind pairs "
            "(two responses a row) or --kind responses (one)"
        )
    tally = Tally()
    name = source or path.name.split(".")[0]
    found: Iterator[JudgeExample]
    if chosen == "examples":
        found = (_unjudged(example) for example in read_examples(path) if _waits(example, tally))
    elif chosen == "pairs":
        rows = stream_pairs(path, columns=columns, on_bad=on_bad, labelled=labelled, tally=tally, keep_empty=True)
        found = (_from_pair(row, name) for row in rows)
    else:
        candidates = stream_candidates(path, columns=columns, on_bad=on_bad, tally=tally, keep_empty=True)
        found = (_from_candidate(row, name) for row in candidates)
    examples = _first(found, limit)
    if not examples:
        counts = ", ".join(f"{reason} {count}" for reason, count in tally.skipped.items()) or "no rows"
        raise InputError(f"expected examples to judge in {path}, got none ({counts})")
    return Unjudged(tuple(examples), dict(tally.skipped))


def _holds_examples(path: Path) -> bool:
    for _, row in stream_rows(path):
        try:
            JudgeExample.model_validate(row)
        except ValidationError:
            return False
        return True
    return False


def _first(examples: Iterator[JudgeExample], limit: int | None) -> list[JudgeExample]:
    chosen: list[JudgeExample] = []
    ids: Counter[str] = Counter()
    for example in examples:
        if limit is not None and len(chosen) >= limit:
            break
        ids[example.id] += 1
        chosen.append(example)
    twice = [name for name, count in ids.items() if count > 1]
    if twice:
        raise InputError(f"expected every example's id once, got {twice[0]!r} {ids[twice[0]]} times; make ids unique")
    return chosen


def _waits(example: JudgeExample, tally: Tally) -> bool:
    judged = example.judged and bool(example.critique.strip())
    if judged:
        tally.count("already_judged", f"{example.id} has a critique and a verdict")
    return not judged


def _unjudged(example: JudgeExample) -> JudgeExample:
    """The same without a verdict: a bare label is the people's, a bare rating is kept as a column."""
    rating: dict[str, JsonValue] = {} if example.rating is None else {"given_rating": example.rating}
    return example.model_copy(
        update={
            "label": None,
            "rating": None,
            "critique": "",
            "human_label": example.human_label or example.label,
            "columns": {**example.columns, **rating},
        }
    )


def _from_pair(row: PairRow, source: str) -> JudgeExample:
    return JudgeExample(
        id=row.id,
        kind="pairwise",
        prompt=row.prompt,
        responses=(row.first.text, row.second.text),
        scenario=row.prompt.scenario,
        source=source,
        human_label=row.label,
        columns=_with_writers(row.columns, {"generator_1": row.first.source, "generator_2": row.second.source}),
    )


def _from_candidate(row: CandidateRow, source: str) -> JudgeExample:
    kind: ExampleKind = "single"
    given: dict[str, JsonValue] = {} if row.reward is None else {"given_rating": row.reward}
    return JudgeExample(
        id=row.candidate.id,
        kind=kind,
        prompt=row.prompt,
        responses=(row.candidate.text,),
        scenario=row.prompt.scenario,
        source=source,
        columns=_with_writers({**row.columns, **given}, {"generator": row.candidate.source}),
    )


def _with_writers(columns: dict[str, JsonValue], writers: dict[str, str | None]) -> dict[str, JsonValue]:
    return {**columns, **{name: writer for name, writer in writers.items() if writer is not None}}
