"""`autoj evaluate-judge eval-r` and `ratings`: ratings against reference ratings."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from recipes.commands.evaluate import asking
from recipes.commands.evaluate.showing import Judging, show
from rewards.columns import ColumnMap
from rewards.errors import InputError

if TYPE_CHECKING:
    from judge_training.rated_sets import RatedSet, Scores


class RatingsArguments(Judging):
    """Responses with reference ratings: how far the judge's agree."""

    data: Path
    """Rated responses: testdata_selection.jsonl of the AUTO-J release, or any table of candidates."""
    columns: ColumnMap = ColumnMap()
    """Names of the data's columns, where they are not the usual ones; the reference rating is columns.reward."""
    reference: Path | None = None
    """A file of judgments whose ratings are the reference, instead of the data's own."""
    judgments: Path | None = None
    """The judge's ratings; without it (and --scores) the judge is asked."""
    scores: str | None = None
    """A column of the data that holds a judge's ratings (in testdata_selection.jsonl: autoj)."""
    part: str | None = None
    """A column of the data to measure by as well, such as the base model."""
    map: Path | None = None
    """A calibration map to put on the judge's ratings."""
    limit: int | None = Field(default=None, ge=1)
    """Use the responses to this many prompts only."""


class EvalRArguments(RatingsArguments):
    """Eval-R: Best-of-N by the judge's rating, scored by the reference, and the correlation of the two."""

    sizes: tuple[int, ...] = (2, 4, 8, 16, 32)
    """The N of Best-of-N; all responses of each prompt come last."""


def ratings(arguments: RatingsArguments) -> None:
    """Run it."""
    from judge_training.rated_sets import rated_responses
    from judge_training.rating_agreement import rating_agreement
    from judge_training.score_sheets import rating_sheet

    rated, scores, reference = read(arguments)
    if reference is None and not rated.reference:
        _say_no_reference(arguments)
        return
    responses, unmatched = rated_responses(rated, scores, reference)
    result = rating_agreement(responses, unmatched=unmatched)
    show(arguments, [rating_sheet(f"Ratings of {arguments.data.name}", result)], result, about(arguments))


def eval_r(arguments: EvalRArguments) -> None:
    """Run it."""
    from judge_training.eval_r import evaluate_eval_r
    from judge_training.rated_sets import rated_responses
    from judge_training.score_sheets import eval_r_sheets

    rated, scores, reference = read(arguments)
    if reference is None and not rated.reference:
        _say_no_reference(arguments)
        return
    responses, unmatched = rated_responses(rated, scores, reference)
    result = evaluate_eval_r(responses, sizes=arguments.sizes, unmatched=unmatched)
    title = f"Best of N on {arguments.data.name}"
    show(arguments, eval_r_sheets(title, result), result, about(arguments))


def read(arguments: RatingsArguments) -> tuple[RatedSet, Scores, Scores | None]:
    """The set, the judge's ratings of it (asked now where none are given), and the reference where it is a file."""
    from judge_training.rated_sets import read_scores, scores_of

    if arguments.judgments is not None and arguments.scores is not None:
        raise InputError("expected --judgments or --scores, got both")
    rated = rated_set(arguments)
    reference = None if arguments.reference is None else read_scores(arguments.reference)
    if arguments.scores is not None:
        scores: Scores = rated.given
    elif arguments.judgments is not None:
        scores = read_scores(arguments.judgments)
    else:
        digest = asking.data_digest([arguments.data], arguments.columns.model_dump_json())
        scores = scores_of(asking.rate(arguments.judge, rated.items, folder(arguments), digest))
    return rated, _mapped(scores, arguments.map), reference


def rated_set(arguments: RatingsArguments) -> RatedSet:
    """The responses, those to the first `limit` prompts."""
    from judge_training.rated_sets import read_rated_set

    rated = read_rated_set(arguments.data, columns=arguments.columns, given=arguments.scores, part=arguments.part)
    return rated if arguments.limit is None else _limited(rated, arguments.limit)


def folder(arguments: RatingsArguments) -> Path:
    """Where the judge's answers are kept."""
    return arguments.output or Path("runs") / f"ratings-{arguments.data.name.partition('.')[0]}"


def _limited(rated: RatedSet, limit: int) -> RatedSet:
    from dataclasses import replace

    kept = set(list(dict.fromkeys(item.prompt.id for item in rated.items))[:limit])
    return replace(rated, items=tuple(item for item in rated.items if item.prompt.id in kept))


def _mapped(scores: Scores, path: Path | None) -> Scores:
    from rewards.calibration import CalibrationMap

    if path is None:
        return scores
    curve = CalibrationMap.load(path)
    if curve.kind != "rating":
        raise InputError(f"{path}: expected a calibration map of ratings, got one of kind {curve.kind!r}")
    return {name: None if value is None else curve.apply(value) for name, value in scores.items()}


def _say_no_reference(arguments: RatingsArguments) -> None:
    if arguments.judgments is not None or arguments.scores is not None:
        raise InputError(
            f"{arguments.data}: expected reference ratings, got none; name their column with --columns.reward, or "
            "give a reference judge's ratings with --reference"
        )
    print(
        f"{arguments.data} holds no reference ratings. The judge's are in {folder(arguments) / asking.JUDGMENTS}: "
        "give them as --reference to measure another judge against this one."
    )


def about(arguments: RatingsArguments) -> dict[str, str]:
    """What a page says of where the numbers come from."""
    judged = arguments.judgments or arguments.scores or folder(arguments) / asking.JUDGMENTS
    return {
        "data": str(arguments.data),
        "judge's ratings": str(judged),
        "judge": asking.who(Path(judged).parent) if arguments.scores is None else "",
        "reference": str(arguments.reference or arguments.columns.reward or ""),
        "calibration map": str(arguments.map or ""),
    }
