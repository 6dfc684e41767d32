"""Any file or data set of judgments: pairs that people labelled, and rated responses with or without critiques.

Columns are found as everywhere in autoj (`rewards.columns`), or named by a `ColumnMap`: `label` and `label_values`
for pairs, `reward` for the rating. A critique that ends with its own verdict is taken apart, and the two ratings
must be the same. Rows of a Hugging Face data set are passed as they are, since they iterate as dictionaries.
"""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import JsonValue

from judge_training.data.row_values import BY_FIRST, BY_SECOND
from judge_training.data.swap import swap_example
from judge_training.data.verdict_line import split_rating, split_verdict
from judge_training.examples import JudgeExample, example_id
from rewards.columns import ColumnMap
from rewards.errors import InputError
from rewards.inputs import CandidateRow, OnBad, PairRow, ReadResult, Source, Tally, stream_candidates, stream_pairs
from rewards.protocol.spec import JudgeProtocol
from rewards.protocol.view import query_text
from rewards.row_parts import digest
from rewards.values import BadValue


def read_labelled_pairs(
    rows: Source,
    protocol: JudgeProtocol,
    *,
    source: str = "pairs",
    columns: ColumnMap | None = None,
    critique: str | None = None,
    human: bool = True,
    on_bad: OnBad = "skip",
) -> ReadResult[JudgeExample]:
    """Pairs with labels (ties too), and with a critique where `critique` names its column.

    The labels are people's unless `human` says otherwise. Where every label is the first response (columns called
    chosen and rejected), the order in which the two are shown is drawn from their content. Raises InputError when
    nothing can be used.
    """
    tally = Tally()
    pairs = stream_pairs(rows, columns=columns, on_bad=on_bad, tally=tally)
    read = _collect((_pair(row, protocol, source, critique, human=human) for row in pairs), tally, source)
    if any(example.label != "first" for example in read.records):
        return read
    return ReadResult(tuple(map(_drawn_order, read.records)), read.skipped, read.first_problems)


def read_ratings(
    rows: Source,
    protocol: JudgeProtocol,
    *,
    source: str = "ratings",
    columns: ColumnMap | None = None,
    critique: str | None = None,
    on_bad: OnBad = "skip",
) -> ReadResult[JudgeExample]:
    """Rated responses, and with a critique where `critique` names its column.

    The rating is the column that `columns.reward` names, or else the one in the critique; reasons of skipped rows:
    no_rating, off_scale (of the protocol), verdicts_differ, and those of `stream_candidates`. Raises InputError when
    nothing can be used.
    """
    tally = Tally()
    candidates = stream_candidates(rows, columns=columns, on_bad=on_bad, tally=tally)
    return _collect((_rated(row, protocol, source, critique) for row in candidates), tally, source)


def _collect(examples: Iterator[JudgeExample | BadValue], tally: Tally, source: str) -> ReadResult[JudgeExample]:
    records = []
    for example in examples:
        if isinstance(example, BadValue):
            tally.count(example.reason, f"{source}: {example.detail}")
        else:
            records.append(example)
    if not records:
        counts = ", ".join(f"{reason} {count}" for reason, count in tally.skipped.items())
        raise InputError(f"expected judgments in {source}, got none to use ({counts}); {tally.first_problems[0]}")
    return ReadResult(tuple(records), dict(tally.skipped), tuple(tally.first_problems))


def _pair(
    row: PairRow, protocol: JudgeProtocol, source: str, critique: str | None, *, human: bool
) -> JudgeExample | BadValue:
    label = row.label
    if label is None:
        return BadValue("null", f"pair {row.id}: expected a label, got none")
    texts, written = (row.first.text, row.second.text), ""
    if texts[0] == texts[1]:
        return BadValue("identical_responses", f"pair {row.id}: expected two different responses")
    others = dict(row.columns)
    try:
        if critique is not None and (text := _critique(others, critique)):
            written, said = _with_verdict(text, protocol)
            if said not in (None, label):
                raise BadValue("verdicts_differ", f"expected the label {label}, got {said} in the critique")
    except BadValue as bad:
        return bad
    authors: dict[str, JsonValue] = {BY_FIRST: row.first.source, BY_SECOND: row.second.source}
    query = query_text(row.prompt, protocol.view)
    return JudgeExample(
        id=example_id("pairwise", source, query, texts),
        kind="pairwise",
        prompt=row.prompt,
        responses=texts,
        scenario=row.prompt.scenario,
        source=source,
        label=label,
        critique=written,
        human_label=label if human else None,
        columns=others | {name: author for name, author in authors.items() if author is not None},
    )


def _drawn_order(example: JudgeExample) -> JudgeExample:
    turn = int(digest(example.source, *example.responses), 16) % 2
    return swap_example(example).model_copy(update={"id": example.id}) if turn else example


def _with_verdict(text: str, protocol: JudgeProtocol) -> tuple[str, str | None]:
    try:
        return split_verdict(text, protocol)
    except BadValue:
        return text.rstrip(), None


def _rated(row: CandidateRow, protocol: JudgeProtocol, source: str, critique: str | None) -> JudgeExample | BadValue:
    others, rating, written = dict(row.columns), row.reward, ""
    try:
        if critique is not None and (text := _critique(others, critique)):
            written, rating = _rating_of(text, rating, protocol)
    except BadValue as bad:
        return bad
    if rating is None:
        return BadValue("no_rating", f"response {row.candidate.id}: expected a rating, got none")
    if f"{rating:g}" not in protocol.scale.strings:
        return BadValue("off_scale", f"response {row.candidate.id}: expected a rating on the scale, got {rating:g}")
    query = query_text(row.prompt, protocol.view)
    if row.candidate.source is not None:
        others["response_by"] = row.candidate.source
    return JudgeExample(
        id=example_id("single", source, query, [row.candidate.text]),
        kind="single",
        prompt=row.prompt,
        responses=(row.candidate.text,),
        scenario=row.prompt.scenario,
        source=source,
        rating=rating,
        critique=written,
        columns=others,
    )


def _rating_of(text: str, rating: float | None, protocol: JudgeProtocol) -> tuple[str, float | None]:
    """The critique without a rating that it ends with, and the rating."""
    try:
        written, said = split_rating(text, protocol)
    except BadValue as bad:
        if bad.reason == "no_verdict":
            return text.rstrip(), rating
        raise
    if rating is not None and rating != said:
        raise BadValue("verdicts_differ", f"expected the rating {rating:g}, got {said:g} in the critique")
    return written, said


def _critique(columns: dict[str, JsonValue], name: str) -> str:
    """The critique's column, taken out of the others."""
    if name not in columns:
        raise BadValue("missing_column", f"expected a column {name!r} with the critique, got {', '.join(columns)}")
    text = columns.pop(name)
    if text is not None and not isinstance(text, str):
        raise BadValue("not_text", f"expected text in {name!r}, got {type(text).__name__}")
    return text or ""
