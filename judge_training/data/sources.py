"""The data sets that AUTO-J was built from, and AlpacaEval, each read in the schema that it has on the hub.

A source is a place on the hub and a function from one of its rows to an example; files in the same schema (jsonl,
json, csv, parquet, or a folder of them) are read without the hub. Rows stream, and a row that cannot be used is
counted under its reason. What a source lets people vote on more than once comes out more than once; `repeats.py`
counts the votes. No language is filtered here, except that what a row says of its own language is kept.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from judge_training.data.alpaca_eval import alpaca_annotation, alpaca_output
from judge_training.data.arena import arena_pair, mt_bench_pair
from judge_training.data.hub import PARQUET, HubPlace, hub_rows
from judge_training.data.openai_feedback import summary_pair, webgpt_pair
from judge_training.data.preferences import SafeLabel, gptj_pair, safe_rlhf_pair, shp_pair
from judge_training.examples import JudgeExample
from rewards.errors import InputError, MissingFileError
from rewards.inputs import ReadResult, Tally
from rewards.judges.config import Settings
from rewards.row_parts import digest
from rewards.rows import Problem, Row, number_rows, stream_rows
from rewards.values import BadValue

SourceName = Literal[
    "chatbot_arena",
    "mt_bench",
    "openai_summary",
    "openai_webgpt",
    "stanford_shp",
    "synthetic_gptj",
    "pku_safe_rlhf",
    "alpaca_eval_outputs",
    "alpaca_eval_annotations",
]
LANGUAGE = "language"
"""Column of an example with the language that its source names."""

_ALPACA = "tatsu-lab/alpaca_eval"
_ENDINGS = (".jsonl", ".json", ".csv", ".parquet", ".jsonl.gz", ".json.gz", ".csv.gz")


class SourceOptions(Settings):
    """What may be chosen of the sources' labels."""

    shp_min_score_ratio: float = Field(default=2.0, ge=1.0)
    """How many times the votes of the other comment the better one must have (SHP)."""
    safe_rlhf_label: SafeLabel = "better"
    """Which label of PKU-SafeRLHF to learn: the more helpful response, the safer one, or only where they agree."""


@dataclass(frozen=True, slots=True)
class Source:
    """A data set: where it is on the hub, and what one of its rows says."""

    hub: HubPlace
    read: Callable[[Row], JudgeExample]


def known_sources(options: SourceOptions | None = None) -> dict[SourceName, Source]:
    """Every source by its name."""
    chosen = options or SourceOptions()
    shp = partial(shp_pair, min_score_ratio=chosen.shp_min_score_ratio)
    safe = partial(safe_rlhf_pair, rule=chosen.safe_rlhf_label)
    summaries = HubPlace("openai/summarize_from_feedback", revision=PARQUET, files="comparisons/train/*.parquet")
    webgpt = HubPlace("openai/webgpt_comparisons", revision=PARQUET, files="default/train/*.parquet")
    outputs = HubPlace(_ALPACA, files="alpaca_eval_all_outputs.json", format="json")
    annotations = HubPlace(_ALPACA, files="alpaca_farm_human_annotations.json", format="json")
    return {
        "chatbot_arena": Source(HubPlace("lmsys/chatbot_arena_conversations"), arena_pair),
        "mt_bench": Source(HubPlace("lmsys/mt_bench_human_judgments", split="human"), mt_bench_pair),
        "openai_summary": Source(summaries, summary_pair),
        "openai_webgpt": Source(webgpt, webgpt_pair),
        "stanford_shp": Source(HubPlace("stanfordnlp/SHP"), shp),
        "synthetic_gptj": Source(HubPlace("Dahoas/synthetic-instruct-gptj-pairwise"), gptj_pair),
        "pku_safe_rlhf": Source(HubPlace("PKU-Alignment/PKU-SafeRLHF"), safe),
        "alpaca_eval_outputs": Source(outputs, alpaca_output),
        "alpaca_eval_annotations": Source(annotations, alpaca_annotation),
    }


def read_source(
    name: SourceName,
    rows: Path | Iterable[Mapping[str, Any]] | None,
    *,
    options: SourceOptions | None = None,
    sample: int | None = None,
    seed: int = 0,
) -> ReadResult[JudgeExample]:
    """The examples of a source, from a file, a folder of files, or rows in memory; None fetches it from the hub.

    `sample` keeps that many, drawn by a hash of their ids, and never holds more in memory. Raises InputError when no
    row can be used, MissingFileError when there is no file, and InputError when the hub cannot be reached.
    """
    tally = Tally()
    source = known_sources(options)[name]
    examples = _stream(source.read, _rows(source.hub if rows is None else rows), tally)
    if sample is not None:
        examples = iter(heapq.nsmallest(sample, examples, key=lambda one: digest(str(seed), one.id)))
    records = tuple(examples)
    if not records:
        counts = ", ".join(f"{reason} {count}" for reason, count in tally.skipped.items()) or "no rows at all"
        problem = f"; {tally.first_problems[0]}" if tally.first_problems else ""
        raise InputError(f"expected rows in the schema of {source.hub.hub_id}, got none to use ({counts}){problem}")
    return ReadResult(records, dict(tally.skipped), tuple(tally.first_problems))


def _rows(source: HubPlace | Path | Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, Row | Problem]]:
    """Every row with its place."""
    if isinstance(source, HubPlace):
        yield from ((f"{source.hub_id}, row {number}", row) for number, row in number_rows(hub_rows(source)))
    elif isinstance(source, Path):
        for path in _files(source):
            yield from ((f"{path}, row {number}", row) for number, row in stream_rows(path))
    else:
        yield from ((f"row {number}", row) for number, row in number_rows(source))


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    files = sorted(one for one in path.rglob("*") if one.is_file() and one.name.lower().endswith(_ENDINGS))
    if not files:
        raise MissingFileError(f"expected data files ({', '.join(_ENDINGS)}) in {path}, found none")
    return files


def _stream(
    read: Callable[[Row], JudgeExample], rows: Iterable[tuple[str, Row | Problem]], tally: Tally
) -> Iterator[JudgeExample]:
    for where, row in rows:
        if isinstance(row, Problem):
            tally.count(row.reason, f"{where}: {row.detail}")
            continue
        try:
            example = read(row)
        except BadValue as bad:
            tally.count(bad.reason, f"{where}: {bad.detail}")
            continue
        language = row.get(LANGUAGE)
        if isinstance(language, str):
            example = example.model_copy(update={"columns": {**example.columns, LANGUAGE: language}})
        yield example
