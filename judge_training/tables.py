"""Tables of results as rows of text, for a terminal and for a page alike: every number with its interval.

Shares are in percent with two digits, as papers print them. What there is nothing to say of is a dash, never a zero.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from judge_training.correlation import Correlations
from rewards.intervals import Interval

NOTHING = "–"
MEASURES = ("measure", "value", "95% interval")

Measured = tuple[str, str, str]
"""Name, value and interval."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table: its title, the names of its columns, its rows, and a word on how to read it.

    `page_only` tables are too long or too wide for a terminal; they stand on the page, and their numbers in the JSON.
    """

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""
    page_only: bool = False


def measures(title: str, rows: Iterable[Measured], note: str = "") -> Table:
    """A table of single numbers."""
    return Table(title, MEASURES, tuple(rows), note)


def count_row(name: str, count: int) -> Measured:
    """A count, which has no interval."""
    return name, f"{count:,}", ""


def share_row(name: str, share: Interval | None) -> Measured:
    """A share in percent."""
    return name, percent(share), "" if share is None else f"{100 * share.low:.2f} to {100 * share.high:.2f}"


def number_row(name: str, number: Interval | None) -> Measured:
    """Any other number."""
    if number is None:
        return name, NOTHING, ""
    return name, f"{number.value:.3f}", f"{number.low:.3f} to {number.high:.3f}"


def percent(share: Interval | None) -> str:
    """A share in percent, without its interval."""
    return NOTHING if share is None else f"{100 * share.value:.2f}"


def share_cell(share: Interval | None) -> str:
    """A share in percent with its interval, for one cell."""
    return NOTHING if share is None else f"{100 * share.value:.2f} [{100 * share.low:.1f}, {100 * share.high:.1f}]"


def number_cell(number: Interval | None, digits: int = 2) -> str:
    """A number with its interval, for one cell."""
    if number is None:
        return NOTHING
    return f"{number.value:.{digits}f} [{number.low:.{digits}f}, {number.high:.{digits}f}]"


def correlation_table(title: str, rows: Sequence[tuple[str, Correlations | None]], note: str = "") -> Table:
    """Correlations side by side, one row each."""
    cells = [
        (name, str(one.n), *(number_cell(value, 3) for value in (one.pearson, one.spearman, one.kendall)))
        for name, one in rows
        if one is not None
    ]
    return Table(title, ("", "n", "Pearson", "Spearman", "Kendall"), tuple(cells), note)


def rounded_percent(share: Interval | None) -> float | None:
    """A share in percent with two digits, for JSON."""
    return None if share is None else round(100 * share.value, 2)


def rounded(number: Interval | None, digits: int = 3) -> float | None:
    """A number with a few digits, for JSON."""
    return None if number is None else round(number.value, digits)
