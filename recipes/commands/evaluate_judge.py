"""`autoj evaluate-judge WHAT`: a judge against people's labels, every number with its interval.

eval-p   agreement and consistency on AUTO-J's Eval-P: of predictions in files, or of a judge asked now
pairs    a run's comparisons and ratings against the labels that people added to its review file
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, TypeVar

import tyro
from pydantic import Field
from rich.console import Console
from rich.table import Table

from rewards.errors import InputError
from rewards.judges.config import JudgeSettings, Settings

USAGE = """usage: autoj evaluate-judge eval-p --data testdata_pairwise.jsonl --predictions FILE --swapped FILE [--json]
       autoj evaluate-judge eval-p --data testdata_pairwise.jsonl --output FOLDER [--judge.model NAME ...] [--json]
       autoj evaluate-judge pairs --labels review.jsonl --run RUN_FOLDER [--json]"""


class EvalPArguments(Settings):
    """Agreement and consistency on Eval-P, by group and scenario, with abstention and biases."""

    data: Path
    """testdata_pairwise.jsonl of the AUTO-J release."""
    predictions: Path | None = None
    """{"output": 0|1|2} a line, or comparisons of ours; without it the judge is asked."""
    swapped: Path | None = None
    """Predictions with the two responses exchanged."""
    judge: JudgeSettings = JudgeSettings()
    """Who judges, without predictions."""
    output: Path = Path("runs/eval-p")
    """Folder of the judge's comparisons, without predictions; started again it goes on where it stopped."""
    limit: int | None = Field(default=None, ge=1)
    """Ask the judge about this many pairs only (every scenario in turn); the numbers are then of these."""
    as_json: Annotated[bool, tyro.conf.arg(name="json")] = False
    """Print JSON instead of tables."""


class PairsArguments(Settings):
    """A run's comparisons and ratings against labels."""

    labels: Path
    """A review file with `label` added to its lines."""
    run: Path
    """The run folder that the review file came from."""
    as_json: Annotated[bool, tyro.conf.arg(name="json")] = False
    """Print JSON instead of tables."""


ArgumentsT = TypeVar("ArgumentsT", EvalPArguments, PairsArguments)


def main(arguments: list[str]) -> int:
    """Evaluate a judge."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE)
        return 0
    if arguments[0] == "eval-p":
        _eval_p(_parse(EvalPArguments, arguments[1:], "eval-p"))
    elif arguments[0] == "pairs":
        _pairs(_parse(PairsArguments, arguments[1:], "pairs"))
    else:
        raise InputError(f"expected eval-p or pairs, got {arguments[0]!r}")
    return 0


def _parse(kind: type[ArgumentsT], arguments: list[str], name: str) -> ArgumentsT:
    return tyro.cli(kind, args=arguments, prog=f"autoj evaluate-judge {name}", description=kind.__doc__)


def _eval_p(arguments: EvalPArguments) -> None:
    from judge_training.eval_p import evaluate_eval_p
    from judge_training.meta_evaluation import percentages, slice_rows, summary_rows

    if arguments.predictions is None and arguments.swapped is not None:
        raise InputError("expected --predictions beside --swapped, got --swapped alone")
    data, predictions = arguments.data, arguments.predictions
    if predictions is None:
        data, predictions = _ask(arguments)
    result = evaluate_eval_p(data, predictions, arguments.swapped)
    if arguments.as_json:
        print(json.dumps(percentages(result) | {"details": result.model_dump(mode="json")}, indent=2))
        return
    _print_summary("Eval-P", summary_rows(result))
    _print_slices("By group", slice_rows(result.groups))


def _ask(arguments: EvalPArguments) -> tuple[Path, Path]:
    """Put the pairs to a judge; returns the data and the comparisons."""
    from judge_training.eval_p import compare_items, limit_pairs, read_eval_p
    from rewards.judges.load import load_judge
    from rewards.judging import compare_to_file

    data = arguments.data
    if arguments.limit is not None:
        data = limit_pairs(arguments.data, arguments.output / "data.jsonl", arguments.limit)
    items = compare_items(read_eval_p(data))
    settings = arguments.judge
    judge = load_judge(settings.model_copy(update={"cache": settings.cache or arguments.output / "judgments.sqlite"}))
    path = arguments.output / "comparisons.jsonl"
    compare_to_file(judge, items, path, limit=1.0)
    return data, path


def _pairs(arguments: PairsArguments) -> None:
    from judge_training.meta_evaluation import evaluate_labels, slice_rows, summary_rows
    from rewards.jsonl import read_records
    from rewards.types import Candidate, Prompt
    from rl.run_folder import RunFolder

    run = RunFolder(arguments.run)
    result = evaluate_labels(
        arguments.labels,
        comparisons_path=run.comparisons if run.comparisons.exists() else None,
        judgments_path=run.judgments if run.judgments.exists() else None,
        candidates={candidate.id: candidate for candidate in read_records(run.candidates, Candidate)},
        scenarios={prompt.id: prompt.scenario for prompt in read_records(run.prompts, Prompt) if prompt.scenario},
    )
    if arguments.as_json:
        print(result.model_dump_json(indent=2))
        return
    if result.pairs is not None:
        _print_summary("Pairs", summary_rows(result.pairs))
        _print_slices("By scenario", slice_rows(result.pairs.scenarios))
    if result.ratings is not None:
        _print_summary("Ratings", summary_rows(result.ratings))
    print(f"{result.unlabelled} lines without a label")


def _print_summary(title: str, rows: list[tuple[str, str, str]]) -> None:
    table = Table("measure", "value", "95% interval", title=title)
    for row in rows:
        table.add_row(*row)
    Console().print(table)


def _print_slices(title: str, rows: list[tuple[str, str, str, str, str]]) -> None:
    if not rows:
        return
    table = Table(title, "pairs", "agreement", "consistency", "first order right")
    for row in rows:
        table.add_row(*row)
    Console().print(table)
