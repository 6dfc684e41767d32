"""The pictures of a run's report, as inline SVG (`rewards.pictures`).

They hold numbers and fixed words only, never text that a model wrote.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup

from rewards.pictures import ACCENT, BAD, INK, MUTED, SECOND, Picture
from rl.results import BestOfNCurve, Estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_POINTS = 400
"""Points of a line that are drawn; longer series are averaged in bins."""


def reward_histogram(values: Sequence[float]) -> Markup:
    """How many candidates have which reward."""
    data = np.asarray(values, dtype=float)
    with Picture("rewards", "Histogram of rewards", 5.2, 2.7) as picture:
        axes = picture.axes()
        low, high = float(data.min()), float(data.max())
        bins = np.linspace(low, high, 31).tolist() if high > low else [low - 0.5, low + 0.5]
        axes.hist(data, bins=bins, color=ACCENT, rwidth=0.92)
        axes.axvline(float(data.mean()), color=SECOND, linestyle="--", label=f"mean {data.mean():.3g}")
        axes.set_xlabel("reward")
        axes.set_ylabel("candidates")
        axes.grid(visible=False, axis="x")
        _whole_numbers(axes)
        axes.margins(y=0.1)
        axes.legend(loc="upper left")
    return picture.svg


def _whole_numbers(axes: Axes) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.yaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))


def rating_bars(counts: Sequence[tuple[float, int]]) -> Markup:
    """How often the judge gave which rating; `counts` in the order of the scale."""
    with Picture("ratings", "How often each rating was given", 5.2, 2.7) as picture:
        axes = picture.axes()
        ratings = [rating for rating, _ in counts]
        width = 0.86 * min((b - a for a, b in pairwise(ratings)), default=1.0)
        bars = axes.bar(ratings, [count for _, count in counts], width=width, color=ACCENT)
        if len(counts) <= 21:
            axes.bar_label(bars, fmt="{:.0f}", color=MUTED, fontsize=8.5, padding=1)
            axes.set_xticks(ratings, [f"{rating:g}" for rating in ratings])
        _whole_numbers(axes)
        axes.margins(y=0.1)
        axes.set_xlabel("rating")
        axes.set_ylabel("judgments")
        axes.grid(visible=False, axis="x")
    return picture.svg


def best_of_n(curve: BestOfNCurve) -> Markup:
    """Best-of-k with its interval, over one random candidate; KL in nats under each k."""
    with Picture("best-of-n", "Best-of-N curve with its interval and the random baseline", 5.8, 3.4) as picture:
        axes = picture.axes()
        ks = [point.k for point in curve.points]
        low, high = [p.reward.low for p in curve.points], [p.reward.high for p in curve.points]
        axes.fill_between(ks, low, high, color=ACCENT, alpha=0.18, linewidth=0, label=_level(curve.points[0].reward))
        marker = "o" if len(ks) <= 32 else None
        axes.plot(ks, [p.reward.value for p in curve.points], color=ACCENT, marker=marker, ms=4, label="best of k")
        axes.plot(ks, [p.random for p in curve.points], color=SECOND, linestyle="--", label="one at random")
        shown = [point for point in curve.points if point.k in _ticks(ks)]
        axes.set_xticks([p.k for p in shown], [f"{p.k}\n{p.kl:.2f}" for p in shown])
        axes.set_xlabel("k (below it: KL from the sampling policy, nats)")
        axes.set_ylabel("mean reward")
        axes.legend(loc="best")
    return picture.svg


def _ticks(ks: list[int]) -> set[int]:
    """At most about 12 values of k to write down: all of them, or the powers of two and the last."""
    if len(ks) <= 12:
        return set(ks)
    chosen = {k for k in ks if k & (k - 1) == 0}
    return {k for k in chosen if ks[-1] - k >= ks[-1] * 0.08} | {ks[-1]}


def _level(estimate: Estimate) -> str:
    return f"{estimate.level:.0%} interval"


@dataclass(frozen=True)
class Line:
    """One curve over training steps; None where a value was not finite."""

    name: str
    values: dict[int, float | None]


def training_curves(identifier: str, title: str, lines: Sequence[Line]) -> Markup:
    """Metrics over training steps, one panel each, side by side."""
    with Picture(f"training-{identifier}", title, 3.7 * len(lines), 2.6) as picture:
        for panel, line in enumerate(lines):
            axes = picture.axes(len(lines), panel)
            finite = {step: value for step, value in sorted(line.values.items()) if value is not None}
            x, y = _thin(np.array(list(finite), dtype=float), np.array(list(finite.values()), dtype=float))
            axes.plot(x, y, color=ACCENT, marker="o" if len(x) <= 40 else None, ms=3)
            for step in [step for step, value in line.values.items() if value is None][:50]:
                axes.axvline(step, color=BAD, linewidth=1)
            axes.set_title(line.name, fontsize=10, loc="left", color=INK)
            axes.set_xlabel("step")
    return picture.svg


def _thin(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if len(x) <= MAX_POINTS:
        return x, y
    groups = np.array_split(np.arange(len(x)), MAX_POINTS)
    return np.array([x[group].mean() for group in groups]), np.array([y[group].mean() for group in groups])


def interval_bar(identifier: str, title: str, estimate: Estimate, reference: float, words: str) -> Markup:
    """A share between 0 and 1 with its interval, against a reference line."""
    with Picture(identifier, title, 10.5, 1.15) as picture:
        axes = picture.axes()
        axes.axvline(reference, color=SECOND, linestyle="--", linewidth=1.4)
        axes.plot([estimate.low, estimate.high], [0, 0], color=ACCENT, linewidth=5, alpha=0.35, solid_capstyle="round")
        axes.plot([estimate.value], [0], "o", color=ACCENT, ms=8)
        axes.set_xlim(-0.01, 1.01)
        axes.set_ylim(-1, 1)
        axes.set_yticks([])
        axes.set_xticks(np.linspace(0, 1, 11), [f"{share:.0%}" for share in np.linspace(0, 1, 11)])
        axes.spines["left"].set_visible(False)
        axes.annotate(words, (reference, 0.62), xytext=(5, 0), textcoords="offset points", color=MUTED, fontsize=9)
    return picture.svg
