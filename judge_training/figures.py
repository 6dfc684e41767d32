"""The pictures of meta-evaluation, as inline SVG (`rewards.pictures`): numbers with intervals, and fixed words.

Names of groups, systems and parts come from data; they are drawn as plain text, cut to a length that a picture holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from markupsafe import Markup

from judge_training.abstention import AbstentionCurve
from judge_training.calibration import Reliability
from judge_training.eval_r import Selection
from judge_training.system_level import SystemRow
from rewards.calibration import CalibrationMap
from rewards.intervals import Interval
from rewards.page import showable
from rewards.pictures import ACCENT, GOOD, GRID, INK, MUTED, SECOND, Picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_NAME = 34


@dataclass(frozen=True, slots=True)
class Bar:
    """One named number with its interval."""

    name: str
    value: Interval


def _short(name: str) -> str:
    text = showable(name).replace("\n", " ")
    return text if len(text) <= _NAME else text[: _NAME - 1] + "…"


def shares(
    identifier: str, title: str, bars: Sequence[Bar], *, reference: float | None = None, words: str = ""
) -> Markup:
    """Shares with their intervals, one below the other, and a line to compare them with."""
    with Picture(identifier, title, 6.2, 0.7 + 0.3 * len(bars)) as picture:
        axes = picture.axes()
        places = list(range(len(bars)))[::-1]
        for place, bar in zip(places, bars, strict=True):
            axes.plot([bar.value.low, bar.value.high], [place, place], color=ACCENT, linewidth=5, alpha=0.35)
            axes.plot([bar.value.value], [place], "o", color=ACCENT, ms=6)
        if reference is not None:
            axes.axvline(reference, color=SECOND, linestyle="--", linewidth=1.4, label=words)
            axes.legend(loc="lower left")
        axes.set_yticks(places, [_short(bar.name) for bar in bars])
        axes.set_ylim(-0.6, len(bars) - 0.4)
        axes.set_xlim(-0.01, 1.01)
        axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0%", "25%", "50%", "75%", "100%"])
        axes.grid(visible=False, axis="y")
    return picture.svg


def abstention(curves: Sequence[AbstentionCurve]) -> Markup:
    """Coverage against accuracy."""
    with Picture("abstention", "Accuracy against coverage", 6.2, 3.4) as picture:
        axes = picture.axes()
        for curve, colour in zip(curves, (ACCENT, SECOND), strict=False):
            x = [point.coverage.value for point in curve.points]
            y = [point.accuracy.value for point in curve.points]
            low, high = [p.accuracy.low for p in curve.points], [p.accuracy.high for p in curve.points]
            if len(x) > 2:
                axes.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
            else:
                axes.vlines(x, low, high, color=colour, linewidth=5, alpha=0.3)
            axes.plot(x, y, color=colour, marker="o", ms=4, label=f"by {curve.by}")
        _percent_axes(axes)
        axes.set_xlabel("pairs that are decided, of those where people name a winner")
        axes.set_ylabel("right")
        axes.legend(loc="best")
    return picture.svg


def _percent_axes(axes: Axes) -> None:
    from matplotlib.ticker import PercentFormatter

    axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))


def selection(identifier: str, result: Selection) -> Markup:
    """Best of N by the judge, between one at random and the oracle."""
    with Picture(identifier, "Best of N by the judge's rating", 6.2, 3.6) as picture:
        axes = picture.axes()
        points = result.points
        x = list(range(len(points)))
        low, high = [point.judge.low for point in points], [point.judge.high for point in points]
        axes.fill_between(x, low, high, color=ACCENT, alpha=0.18, linewidth=0, label="95% interval")
        axes.plot(x, [point.oracle.value for point in points], color=GOOD, linestyle=":", label="oracle")
        axes.plot(x, [point.judge.value for point in points], color=ACCENT, marker="o", ms=4, label="judge")
        longest = [point.longest for point in points]
        if None not in longest:
            axes.plot(x, [one.value for one in longest if one], color=SECOND, linestyle="--", label="longest")
        axes.plot(x, [point.random.value for point in points], color=MUTED, linestyle="--", label="at random")
        axes.set_xticks(x, ["all" if point.n is None else str(point.n) for point in points])
        axes.set_xlabel("N")
        axes.set_ylabel("reference rating")
        axes.legend(loc="best")
    return picture.svg


def systems(rows: Sequence[SystemRow]) -> Markup:
    """Systems by leaderboard and by the judge's mean score."""
    with Picture("systems", "Mean score of each system against the leaderboard", 6.2, 4.2) as picture:
        axes = picture.axes()
        for row in rows:
            axes.plot([row.leaderboard] * 2, [row.score.low, row.score.high], color=ACCENT, alpha=0.35, linewidth=3)
        axes.plot([row.leaderboard for row in rows], [row.score.value for row in rows], "o", color=ACCENT, ms=5)
        for row in rows if len(rows) <= 15 else ():
            at = (row.leaderboard, row.score.value)
            axes.annotate(_short(row.name), at, xytext=(5, -3), textcoords="offset points", fontsize=8, color=MUTED)
        axes.set_xlabel("leaderboard")
        axes.set_ylabel("mean score")
    return picture.svg


def reliability(before: Reliability, after: Reliability | None, *, rating: bool) -> Markup:
    """What was said against what came true, as it is and with the map."""
    with Picture("reliability", "What the judge says against what comes true", 5.2, 4.0) as picture:
        axes = picture.axes()
        shown = [one for one in (before, after) if one is not None]
        ends = [end for one in shown for each in one.bins for end in (each.said, each.came.value)]
        axes.plot([min(ends), max(ends)], [min(ends), max(ends)], color=GRID, linestyle="--", label="as said")
        for one, colour, name in zip(
            shown, (SECOND, ACCENT), ("as it is", "calibrated, unseen prompts"), strict=False
        ):
            x = [each.said for each in one.bins]
            axes.vlines(x, [b.came.low for b in one.bins], [b.came.high for b in one.bins], color=colour, alpha=0.4)
            axes.plot(x, [each.came.value for each in one.bins], color=colour, marker="o", ms=4, label=name)
        if not rating:
            _percent_axes(axes)
        axes.set_xlabel("the judge's rating" if rating else "the judge's probability of its verdict")
        axes.set_ylabel("mean reference rating" if rating else "verdicts that are right")
        axes.legend(loc="best")
    return picture.svg


def calibration_map(fitted: CalibrationMap) -> Markup:
    """The map's curve."""
    with Picture("map", "The calibration map", 5.2, 3.4) as picture:
        axes = picture.axes()
        axes.plot(fitted.x, fitted.y, color=ACCENT, marker="o" if len(fitted.x) <= 40 else None, ms=3)
        axes.plot([fitted.x[0], fitted.x[-1]], [fitted.x[0], fitted.x[-1]], color=GRID, linestyle="--")
        axes.set_xlabel("as the judge says it")
        axes.set_ylabel("calibrated")
        axes.tick_params(colors=INK)
    return picture.svg
