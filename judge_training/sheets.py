"""What evaluations of verdicts say, as sheets: Eval-P, labelled pairs, Eval-C. Those of ratings are in `score_sheets`.

`headline` of a sheet keeps the names that the command's JSON has at its top level.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pydantic import JsonValue

from judge_training import figures
from judge_training.abstention import AbstentionCurve
from judge_training.agreement import PairAgreement, Slice
from judge_training.eval_c import EvalC, WinSlice
from judge_training.evaluation_page import Figure, Sheet, Tile
from judge_training.pair_sets import PairSetResult
from judge_training.tables import (
    Measured,
    Table,
    count_row,
    measures,
    number_row,
    percent,
    rounded,
    rounded_percent,
    share_cell,
    share_row,
)
from rewards.intervals import Interval

_BARS = 60
"""Parts that a picture holds."""

# Pairs


def pair_sheet(title: str, result: PairAgreement) -> Sheet:
    """Eval-P, or any labelled pairs."""
    tables = [measures("All pairs", summary_rows(result)), *_curve_tables(result.abstention_curves)]
    if result.groups:
        tables += _slice_tables("By group", result.groups, page_only=False)
    if result.scenarios:
        tables += _slice_tables("By scenario", result.scenarios, page_only=bool(result.groups))
    return Sheet(
        title=title,
        headline=percentages(result),
        tiles=tuple(
            _tiles(
                ("agreement", result.agreement),
                ("consistency", result.consistency),
                ("right when both orders agree", result.abstention.accuracy),
                ("of pairs decided", result.abstention.coverage),
                ("“longer wins” is right", result.human_longer),
            )
        ),
        tables=tuple(tables),
        figures=tuple(_pair_figures(result)),
        notes=(
            "Agreement: the same verdict in both orders, and the human label. Consistency: the same verdict in both "
            "orders. Length, position and abstention are of pairs where a winner is named.",
        ),
    )


def pair_set_sheet(title: str, result: PairSetResult) -> Sheet:
    """Labelled pairs with what was left out, and how far people agree with each other."""
    sheet = pair_sheet(title, result.agreement)
    rows = [share_row("two people give the same label", result.people)]
    rows += [count_row(f"left out: {reason.replace('_', ' ')}", n) for reason, n in result.skipped.items()]
    people: dict[str, JsonValue] = {"people_agreement": rounded_percent(result.people)}
    skipped: dict[str, JsonValue] = {"skipped": dict(result.skipped)}
    return Sheet(
        title=title,
        headline=sheet.headline | people | skipped,
        tiles=sheet.tiles,
        tables=(*sheet.tables, measures("Labels", rows)),
        figures=sheet.figures,
        notes=sheet.notes,
    )


def _tiles(*named: tuple[str, Interval | None]) -> Iterable[Tile]:
    for label, share in named:
        if share is not None:
            yield Tile(f"{percent(share)}%", label, f"{100 * share.low:.1f} to {100 * share.high:.1f}")


def summary_rows(result: PairAgreement) -> list[Measured]:
    """The numbers of all pairs."""
    soft = [
        share_row("likeliest verdict of both orders right, three ways", result.soft_agreement),
        share_row("likelier response right, of pairs with a winner", result.soft_decided_accuracy),
    ]
    return [
        count_row("pairs", result.n),
        count_row("not read", result.unparsed),
        count_row("not judged", result.unmatched),
        share_row("agreement", result.agreement),
        share_row("consistency", result.consistency),
        share_row("first order right, three ways", result.accuracy),
        share_row("floor: “longer wins” right, three ways", result.longer_agreement),
        share_row("floor: a coin right, three ways", result.random_agreement),
        number_row("kappa", result.kappa),
        number_row("kappa, first order", result.first_order_kappa),
        share_row("first order right, of pairs with a winner", result.decided_accuracy),
        share_row("right when both orders name the same winner", result.abstention.accuracy),
        share_row("… coverage", result.abstention.coverage),
        share_row("first order right where the orders differ", result.abstention.flipped_accuracy),
        *(soft if result.soft_agreement is not None else ()),
        count_row("first shown wins both times", result.first_both_times),
        count_row("second shown wins both times", result.second_both_times),
        share_row("first shown, of these two", result.first_preference),
        share_row("ties, people", result.human_ties),
        share_row("ties, judge", result.judge_ties),
        share_row("longer preferred, people", result.human_longer),
        share_row("longer preferred, judge", result.judge_longer),
    ]


def percentages(result: PairAgreement) -> dict[str, JsonValue]:
    """The headline shares in percent with two digits, as papers print them; None where there is nothing to divide."""
    return {
        "pairs": result.n,
        "agreement": rounded_percent(result.agreement),
        "consistency": rounded_percent(result.consistency),
        "first_order_accuracy": rounded_percent(result.accuracy),
        "abstention": {
            "accuracy": rounded_percent(result.abstention.accuracy),
            "coverage": rounded_percent(result.abstention.coverage),
        },
        "kappa": rounded(result.kappa),
        "longer_wins": rounded_percent(result.human_longer),
        "groups": {
            one.name: {"agreement": rounded_percent(one.agreement), "consistency": rounded_percent(one.consistency)}
            for one in result.groups
        },
    }


def _slice_tables(title: str, slices: Sequence[Slice], *, page_only: bool) -> list[Table]:
    """The main numbers of each part, and what abstaining and biases are there."""
    main = [(one.name, str(one.n), *map(share_cell, (one.agreement, one.consistency, one.accuracy))) for one in slices]
    more = [
        (
            one.name,
            *map(share_cell, (one.kept_accuracy, one.coverage)),
            *map(share_cell, (one.first_preference, one.judge_longer, one.human_longer)),
        )
        for one in slices
    ]
    head = (
        "name",
        "right when both orders agree",
        "coverage",
        "first shown preferred",
        "longer, judge",
        "longer, people",
    )
    return [
        Table(title, ("name", "pairs", "agreement", "consistency", "first order right"), tuple(main), "", page_only),
        Table(f"{title}: abstention, position, length", head, tuple(more), "", page_only=True),
    ]


def _curve_tables(curves: Sequence[AbstentionCurve]) -> list[Table]:
    return [
        Table(
            f"Abstaining by {curve.by}",
            ("coverage", "right", "margin from"),
            tuple(
                (
                    share_cell(point.coverage),
                    share_cell(point.accuracy),
                    "" if point.threshold is None else f"{point.threshold:.3f}",
                )
                for point in curve.points
            ),
            "Of pairs where people name a winner.",
        )
        for curve in curves
    ]


def _pair_figures(result: PairAgreement) -> Iterable[Figure]:
    slices = (result.groups or result.scenarios)[:_BARS]
    yield from _by_part("Agreement", [(one.name, one.agreement) for one in slices], result.agreement)
    yield from _by_part("Consistency", [(one.name, one.consistency) for one in slices], result.consistency)
    if result.abstention_curves:
        yield Figure("Accuracy against coverage", lambda: figures.abstention(result.abstention_curves))
    biases = _bars(
        ("first shown preferred (of flips)", result.first_preference),
        ("longer preferred, judge", result.judge_longer),
        ("longer preferred, people", result.human_longer),
    )
    if biases:
        yield Figure(
            "Position and length",
            lambda: figures.shares("bias", "Position and length", biases, reference=0.5, words="no preference"),
        )


def _bars(*named: tuple[str, Interval | None]) -> list[figures.Bar]:
    return [figures.Bar(name, value) for name, value in named if value is not None]


def _by_part(name: str, parts: Sequence[tuple[str, Interval | None]], whole: Interval | None) -> Iterable[Figure]:
    """A share of every part, against that of all."""
    bars = _bars(*parts)
    if bars:
        title = f"{name} by group"
        reference = None if whole is None else whole.value
        identifier = "by-" + name.lower().replace(" ", "-")
        yield Figure(title, lambda: figures.shares(identifier, title, bars, reference=reference, words="all"))


# Critiques


def eval_c_sheet(result: EvalC) -> Sheet:
    """Eval-C."""
    rows = [
        count_row("responses", result.n),
        count_row("asked in both orders", result.asked_both),
        count_row("not read", result.unread),
        count_row("abstained (orders differ)", result.abstained),
        share_row(f"win rate of {result.first}", result.win_rate),
        share_row(f"win rate of {result.second}", result.loss_rate),
        share_row("ties", result.tie_rate),
        share_row("wins of wins and losses", result.decided_win_rate),
        share_row("consistency", result.consistency),
        share_row("critique shown first preferred", result.first_shown_preferred),
        share_row("longer critique preferred", result.longer_preferred),
        share_row(f"floor: {result.first} is the longer one", result.first_longer),
    ]
    return Sheet(
        title=f"Eval-C: critiques of {result.first} against {result.second}",
        headline={
            "responses": result.n,
            "win_rate": rounded_percent(result.win_rate),
            "loss_rate": rounded_percent(result.loss_rate),
            "tie_rate": rounded_percent(result.tie_rate),
            "decided_win_rate": rounded_percent(result.decided_win_rate),
            "consistency": rounded_percent(result.consistency),
            "longer_preferred": rounded_percent(result.longer_preferred),
            "longer_wins": rounded_percent(result.first_longer),
            "groups": {one.name: {"win_rate": rounded_percent(one.win_rate)} for one in result.groups},
        },
        tiles=tuple(
            _tiles(
                ("win rate", result.win_rate),
                ("consistency", result.consistency),
                ("longer critique preferred", result.longer_preferred),
                (f"{result.first} is longer", result.first_longer),
            )
        ),
        tables=(
            measures("All responses", rows),
            _win_table("By group", result.groups, page_only=False),
            _win_table("By scenario", result.scenarios, page_only=True),
        ),
        figures=tuple(_by_part("Win rate", [(one.name, one.win_rate) for one in result.groups], result.win_rate)),
        notes=("Win rate: wins over all; a tie, an abstention and an answer that cannot be read are no win.",),
    )


def _win_table(title: str, slices: Sequence[WinSlice], *, page_only: bool) -> Table:
    rows = tuple(
        (one.name, str(one.n), *map(share_cell, (one.win_rate, one.loss_rate, one.tie_rate, one.consistency)))
        for one in slices
    )
    head = ("name", "responses", "win rate", "loss rate", "ties", "consistency")
    return Table(title, head, rows, "", page_only)
