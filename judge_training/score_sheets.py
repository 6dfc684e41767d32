"""What evaluations of ratings say, as sheets: labelled ratings, Eval-R, systems, calibration."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import JsonValue

from judge_training import figures
from judge_training.calibration import Calibration, Reliability
from judge_training.correlation import Correlations
from judge_training.eval_r import EvalR, Selection
from judge_training.evaluation_page import Figure, Sheet, Tile
from judge_training.rating_agreement import RatingAgreement
from judge_training.system_level import SystemLevel
from judge_training.tables import (
    Measured,
    Table,
    correlation_table,
    count_row,
    measures,
    number_cell,
    number_row,
    rounded,
    rounded_percent,
    share_cell,
    share_row,
)
from rewards.intervals import Interval


def _number_tiles(*named: tuple[str, Interval | None]) -> tuple[Tile, ...]:
    return tuple(
        Tile(f"{one.value:.3f}", label, f"{one.low:.3f} to {one.high:.3f}") for label, one in named if one is not None
    )


def _spearman(one: Correlations | None) -> Interval | None:
    return None if one is None else one.spearman


# Ratings


def rating_sheet(title: str, result: RatingAgreement) -> Sheet:
    """Ratings against labels."""
    return Sheet(
        title=title,
        headline=rating_headline(result),
        tiles=_number_tiles(
            ("Spearman", result.spearman),
            ("Spearman within a prompt", _spearman(result.within)),
            ("… of length", _spearman(result.length_within)),
            ("mean absolute difference", result.mae),
        ),
        tables=_rating_tables(result),
        notes=("Differences, exact agreement and kappa mean something only where both are on one scale.",),
    )


def rating_headline(result: RatingAgreement) -> dict[str, JsonValue]:
    """The main numbers of ratings for JSON."""
    return {
        "n": result.n,
        "unparsed": result.unparsed,
        "pearson": rounded(result.pearson),
        "spearman": rounded(result.spearman),
        "kendall": rounded(result.kendall),
        "spearman_within_prompt": rounded(_spearman(result.within)),
        "length_spearman": rounded(_spearman(result.length)),
        "length_spearman_within_prompt": rounded(_spearman(result.length_within)),
        "mean_absolute_difference": rounded(result.mae),
        "bias": rounded(result.bias),
        "kappa": rounded(result.kappa),
        "exact": rounded_percent(result.exact),
        "pairs_in_order": rounded_percent(result.pair_accuracy),
        "longer_at_equal": rounded_percent(result.longer_at_equal),
    }


def rating_rows(result: RatingAgreement) -> list[Measured]:
    """The numbers of ratings, without the correlations."""
    return [
        count_row("responses", result.n),
        count_row("not read", result.unparsed),
        count_row("not judged", result.unmatched),
        number_row("mean absolute difference", result.mae),
        number_row("judge less reference", result.bias),
        share_row("same rating, in whole points", result.exact),
        number_row("kappa, quadratically weighted", result.kappa),
        share_row("two answers in the right order", result.pair_accuracy),
        share_row("floor: the longer is the better", result.length_pair_accuracy),
        share_row("longer rated higher where the reference is equal", result.longer_at_equal),
    ]


def _rating_tables(result: RatingAgreement) -> tuple[Table, ...]:
    pooled = Correlations(n=result.n, pearson=result.pearson, spearman=result.spearman, kendall=result.kendall)
    return (
        measures("Ratings", rating_rows(result), "50% is what a coin gets into the right order."),
        correlation_table(
            "Correlation with the reference",
            [
                ("judge, all responses", pooled),
                ("judge, within a prompt", result.within),
                ("floor: length, all responses", result.length),
                ("floor: length, within a prompt", result.length_within),
            ],
            "n: responses, or prompts in which there is a correlation. A judge that rates at random has 0.",
        ),
    )


# Eval-R


def eval_r_sheets(title: str, result: EvalR) -> list[Sheet]:
    """The whole set, and each of its parts."""
    sheets = [_eval_r_sheet(title, result, "selection")]
    return sheets + [
        _eval_r_sheet(f"{title}: {part.name}", part, f"selection-{number}")
        for number, part in enumerate(result.parts, start=1)
    ]


def _eval_r_sheet(title: str, result: EvalR, identifier: str) -> Sheet:
    last = result.selection.points[-1]
    return Sheet(
        title=title,
        headline=eval_r_headline(result),
        tiles=_number_tiles(
            ("best of all, by the judge", last.judge),
            ("at random", last.random),
            ("longest", last.longest),
            ("oracle", last.oracle),
            ("Spearman within a prompt", _spearman(result.agreement.within)),
        ),
        tables=(*_selection_tables(result.selection), *_rating_tables(result.agreement)),
        figures=(Figure("Best of N", lambda: figures.selection(identifier, result.selection)),),
    )


def eval_r_headline(result: EvalR) -> dict[str, JsonValue]:
    """The main numbers of Eval-R for JSON: ratings in reference points, by N ("all" takes every response)."""
    points: dict[str, JsonValue] = {
        "all" if point.n is None else str(point.n): {
            "judge": rounded(point.judge),
            "random": rounded(point.random),
            "longest": rounded(point.longest),
            "oracle": rounded(point.oracle),
            "captured": rounded_percent(point.captured),
            "prompts": point.prompts,
        }
        for point in result.selection.points
    }
    parts: dict[str, JsonValue] = {part.name: eval_r_headline(part) for part in result.parts}
    return {"best_of_n": points, **rating_headline(result.agreement), "parts": parts}


def _selection_tables(selection: Selection) -> tuple[Table, Table]:
    sizes = ["all" if point.n is None else str(point.n) for point in selection.points]
    rows = [
        (size, str(point.prompts), *map(number_cell, (point.judge, point.random, point.longest, point.oracle)))
        for size, point in zip(sizes, selection.points, strict=True)
    ]
    gains = [
        (size, *map(number_cell, (point.gain, point.over_longest)), share_cell(point.captured))
        for size, point in zip(sizes, selection.points, strict=True)
    ]
    fewest, most = selection.smallest, selection.largest
    many = str(fewest) if fewest == most else f"{fewest} to {most}"
    return (
        Table(
            "Best of N, in reference points",
            ("N", "prompts", "judge", "at random", "longest", "oracle"),
            tuple(rows),
            f"Unbiased estimate from {many} responses a prompt; {selection.left_out} not read and left out.",
        ),
        Table(
            "Gain of choosing by the judge",
            ("N", "over random", "over longest", "of the oracle's gain, %"),
            tuple(gains),
            "Paired by prompt.",
        ),
    )


# Systems


def system_sheet(title: str, result: SystemLevel) -> Sheet:
    """Systems against a leaderboard."""
    rows = tuple(
        (one.name, f"{one.leaderboard:g}", str(one.score.n), number_cell(one.score, 3), number_cell(one.length, 0))
        for one in result.systems
    )
    judge = result.judge
    return Sheet(
        title=title,
        headline={
            "systems": len(result.systems),
            "prompts": result.prompts,
            **{name: rounded(value) for name, value in _three(judge)},
            **{f"length_{name}": rounded(value) for name, value in _three(result.length)},
            "not_on_leaderboard": list(result.not_on_leaderboard),
            "skipped": dict(result.skipped),
        },
        tiles=_number_tiles(
            ("Spearman", judge.spearman),
            ("Pearson", judge.pearson),
            ("Kendall", judge.kendall),
            ("Spearman of mean length", _spearman(result.length)),
        ),
        tables=(
            correlation_table(
                f"{len(result.systems)} systems, {result.prompts} prompts",
                [("judge", judge), ("floor: mean length", result.length), ("judge less length", result.gain)],
                "Intervals draw prompts; the systems and the leaderboard are taken as given.",
            ),
            Table("Systems", ("system", "leaderboard", "prompts", "mean score", "mean characters"), rows),
        ),
        figures=(Figure("Mean score against the leaderboard", lambda: figures.systems(result.systems)),),
        notes=(f"Not on the leaderboard: {', '.join(result.not_on_leaderboard)}.",)
        if result.not_on_leaderboard
        else (),
    )


def _three(one: Correlations | None) -> Iterable[tuple[str, Interval | None]]:
    found = one or Correlations(n=0, pearson=None, spearman=None, kendall=None)
    yield from (("pearson", found.pearson), ("spearman", found.spearman), ("kendall", found.kendall))


# Calibration


def calibration_sheet(title: str, result: Calibration) -> Sheet:
    """How far what is said can be taken at its word, and what the map gains."""
    rating = result.kind == "rating"
    after = result.after
    rows = [
        count_row("labels", result.before.n),
        number_row("expected calibration error", result.before.ece),
        number_row("… with the map, unseen prompts", None if after is None else after.ece),
        number_row("mean squared error", result.before.error),
        number_row("… with the map, unseen prompts", None if after is None else after.error),
        number_row("… of always saying the same", result.constant_error),
        number_row("gain of the map", result.gain),
        number_row("gain over always saying the same", result.gain_over_constant),
        count_row("knots of the map", len(result.map.x)),
    ]
    notes = ["The map is fitted on all labels; what it gains is measured on prompts left out, fold by fold."]
    if result.certain:
        notes.append("The verdicts have no probabilities: each counts as said with certainty.")
    return Sheet(
        title=title,
        headline={
            "labels": result.before.n,
            "ece": rounded(result.before.ece),
            "ece_calibrated": None if after is None else rounded(after.ece),
            "error": rounded(result.before.error),
            "error_calibrated": None if after is None else rounded(after.error),
            "gain": rounded(result.gain),
            "gain_over_constant": rounded(result.gain_over_constant),
        },
        tiles=_number_tiles(
            ("expected calibration error", result.before.ece),
            ("… with the map", None if after is None else after.ece),
            ("gain in squared error", result.gain),
        ),
        tables=(
            measures("Calibration", rows),
            _reliability_table("As the judge says it", result.before, rating=rating),
            *((_reliability_table("With the map, unseen prompts", after, rating=rating),) if after else ()),
        ),
        figures=(
            Figure("Reliability", lambda: figures.reliability(result.before, after, rating=rating)),
            Figure("The map", lambda: figures.calibration_map(result.map)),
        ),
        notes=tuple(notes),
    )


def _reliability_table(title: str, one: Reliability, *, rating: bool) -> Table:
    rows = tuple(
        (f"{each.low:.3g} to {each.high:.3g}", str(each.n), f"{each.said:.3f}", number_cell(each.came, 3))
        for each in one.bins
    )
    came = "mean reference rating" if rating else "share right"
    return Table(title, ("said", "n", "mean said", came), rows)
