"""`autoj evaluate-judge calibration`: how far a judge can be taken at its word, and the map that makes it so."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from recipes.commands.evaluate import asking
from recipes.commands.evaluate import ratings as rated
from recipes.commands.evaluate.ratings import RatingsArguments
from recipes.commands.evaluate.showing import show
from rewards.errors import InputError

if TYPE_CHECKING:
    from judge_training.calibration import Calibration


class CalibrationArguments(RatingsArguments):
    """Calibration against human labels, of verdicts on labelled pairs or of ratings; and the map, saved as JSON."""

    kind: Literal["pairs", "ratings"] = "pairs"
    """What the data holds."""
    comparisons: Path | None = None
    """Comparisons of the data's pairs; without it the judge is asked."""
    save: Path | None = None
    """Where to write the calibration map."""


def calibration(arguments: CalibrationArguments) -> None:
    """Run it."""
    from judge_training.score_sheets import calibration_sheet

    if arguments.map is not None:
        raise InputError("expected --save for the map to write, got --map, which puts one on ratings")
    found = _of_pairs(arguments) if arguments.kind == "pairs" else _of_ratings(arguments)
    if arguments.save is not None:
        found.map.save(arguments.save)
    show(
        arguments,
        [calibration_sheet(f"Calibration on {arguments.data.name}", found)],
        found,
        {"data": str(arguments.data), "labels": arguments.kind, "map": str(arguments.save or "")},
    )
    if arguments.save is not None and not arguments.as_json:
        print(f"map: {arguments.save}")


def _of_pairs(arguments: CalibrationArguments) -> Calibration:
    from judge_training.calibration import calibrate_verdicts
    from judge_training.pair_sets import compare_items, judged_pairs, read_pair_set
    from rewards.jsonl import read_records
    from rewards.types import Comparison

    labelled = read_pair_set(arguments.data, columns=arguments.columns, limit=arguments.limit)
    if arguments.comparisons is not None:
        comparisons = list(read_records(arguments.comparisons, Comparison))
    else:
        folder = arguments.output or Path("runs") / f"pairs-{arguments.data.name.partition('.')[0]}"
        digest = asking.data_digest([arguments.data], arguments.columns.model_dump_json())
        comparisons = asking.compare(arguments.judge, compare_items(labelled), folder, digest)
    judged, _ = judged_pairs(labelled, comparisons)
    digests = {judgment.judge for comparison in comparisons for judgment in comparison.judgments}
    return calibrate_verdicts(judged, judge=_one(digests), labels=arguments.data.name)


def _of_ratings(arguments: CalibrationArguments) -> Calibration:
    from judge_training.calibration import calibrate_ratings
    from judge_training.rated_sets import rated_responses

    found, scores, reference = rated.read(arguments)
    responses, _ = rated_responses(found, scores, reference)
    known = arguments.judgments is None and arguments.scores is None
    judge = asking.asked_digest(rated.folder(arguments)) if known else ""
    return calibrate_ratings(responses, judge=judge, labels=arguments.data.name)


def _one(digests: set[str]) -> str:
    """The digest of the one judge that was asked; "" where several answered."""
    return digests.pop() if len(digests) == 1 else ""
