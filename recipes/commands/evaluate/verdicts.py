"""`autoj evaluate-judge eval-p` and `pairs`: verdicts against people's."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field, JsonValue

from recipes.commands.evaluate import asking
from recipes.commands.evaluate.showing import Judging, show
from rewards.columns import ColumnMap
from rewards.errors import InputError

if TYPE_CHECKING:
    from judge_training.evaluation_page import Sheet


class EvalPArguments(Judging):
    """Agreement and consistency on Eval-P, by group and scenario, with abstention and biases."""

    data: Path
    """testdata_pairwise.jsonl of the AUTO-J release."""
    predictions: Path | None = None
    """{"output": 0|1|2} a line, or comparisons of ours; without it the judge is asked."""
    swapped: Path | None = None
    """Predictions with the two responses exchanged."""
    limit: int | None = Field(default=None, ge=1)
    """Ask the judge about this many pairs only (every scenario in turn); the numbers are then of these."""


def eval_p(arguments: EvalPArguments) -> None:
    """Run it."""
    from judge_training.eval_p import (
        compare_items,
        evaluate_comparisons,
        evaluate_eval_p,
        read_eval_p,
        take_pairs,
    )
    from judge_training.sheets import pair_sheet

    path = arguments.predictions
    if path is None and arguments.swapped is not None:
        raise InputError("expected --predictions beside --swapped, got --swapped alone")
    if path is None:
        pairs = take_pairs(read_eval_p(arguments.data), arguments.limit)
        folder = eval_p_folder(arguments)
        asking.compare(arguments.judge, compare_items(pairs), folder, asking.data_digest([arguments.data]))
        path = folder / asking.COMPARISONS
        result = evaluate_comparisons(pairs, path)
    else:
        result = evaluate_eval_p(arguments.data, path, arguments.swapped)
    about = {"data": str(arguments.data), "predictions": str(path), "exchanged": str(arguments.swapped or "")}
    about["judge"] = asking.who(path.parent)
    show(arguments, [pair_sheet("Eval-P", result)], result, about)


def eval_p_folder(arguments: EvalPArguments) -> Path:
    """Where the judge's answers are kept."""
    return arguments.output or Path("runs/eval-p")


class PairsArguments(Judging):
    """Pairs with people's labels: a set of one's own (--data), or a run's review file (--labels and --run)."""

    data: Path | None = None
    """Labelled pairs in whatever columns (.jsonl, .json, .csv, .parquet)."""
    columns: ColumnMap = ColumnMap()
    """Names of the data's columns, where they are not the usual ones."""
    comparisons: Path | None = None
    """Comparisons of the data's pairs; without it the judge is asked."""
    limit: int | None = Field(default=None, ge=1)
    """Use only this many pairs of the data."""
    labels: Path | None = None
    """A review file with `label` added to its lines."""
    run: Path | None = None
    """The run folder that the review file came from."""


def pairs(arguments: PairsArguments) -> None:
    """Run it."""
    if arguments.data is not None and arguments.labels is None and arguments.run is None:
        _pair_set(arguments, arguments.data)
    elif arguments.data is None and arguments.labels is not None and arguments.run is not None:
        _review(arguments, arguments.labels, arguments.run)
    else:
        raise InputError("expected --data FILE, or --labels FILE and --run FOLDER, got neither or both")


def pairs_folder(arguments: PairsArguments, data: Path) -> Path:
    """Where the judge's answers are kept."""
    return arguments.output or Path("runs") / f"pairs-{data.name.partition('.')[0]}"


def _pair_set(arguments: PairsArguments, data: Path) -> None:
    from judge_training.pair_sets import compare_items, evaluate_pair_set, read_pair_set
    from judge_training.sheets import pair_set_sheet
    from rewards.jsonl import read_records
    from rewards.types import Comparison

    labelled = read_pair_set(data, columns=arguments.columns, limit=arguments.limit)
    folder = pairs_folder(arguments, data)
    if arguments.comparisons is not None:
        comparisons = list(read_records(arguments.comparisons, Comparison))
    else:
        digest = asking.data_digest([data], arguments.columns.model_dump_json())
        comparisons = asking.compare(arguments.judge, compare_items(labelled), folder, digest)
    result = evaluate_pair_set(labelled, comparisons)
    path = arguments.comparisons or folder / asking.COMPARISONS
    about = {"data": str(data), "comparisons": str(path), "judge": asking.who(path.parent)}
    show(arguments, [pair_set_sheet(f"Pairs of {data.name}", result)], result, about)


def _review(arguments: PairsArguments, labels: Path, folder: Path) -> None:
    from judge_training.meta_evaluation import evaluate_labels
    from judge_training.score_sheets import rating_sheet
    from judge_training.sheets import pair_sheet
    from rewards.jsonl import read_records
    from rewards.types import Candidate, Prompt
    from rl.run_folder import RunFolder

    run = RunFolder(folder)
    result = evaluate_labels(
        labels,
        comparisons_path=run.comparisons if run.comparisons.exists() else None,
        judgments_path=run.judgments if run.judgments.exists() else None,
        candidates={candidate.id: candidate for candidate in read_records(run.candidates, Candidate)},
        scenarios={prompt.id: prompt.scenario for prompt in read_records(run.prompts, Prompt) if prompt.scenario},
    )
    sheets: dict[str, Sheet] = {}
    if result.pairs is not None:
        sheets["pairs"] = pair_sheet("Pairs", result.pairs)
    if result.ratings is not None:
        sheets["ratings"] = rating_sheet("Ratings", result.ratings)
    headline: dict[str, JsonValue] = {name: sheet.headline for name, sheet in sheets.items()}
    headline["unlabelled"] = result.unlabelled
    about = {"labels": str(labels), "run": str(folder)}
    show(arguments, list(sheets.values()), result, about, headline=headline)
    if not arguments.as_json:
        print(f"{result.unlabelled} lines without a label")
