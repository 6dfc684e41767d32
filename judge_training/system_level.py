"""System level: does the mean score that a judge gives each system rank the systems as a leaderboard does?

Scores are one number for a response of a system to a prompt: a rating, or a win (1), tie (0.5), loss (0) against a
baseline; a preference from 1 to 2 as AlpacaEval has it serves as well, since only ranks and lines count. Beside the
judge stands the mean length of a system's responses, which ranks systems surprisingly well. The bootstrap draws
prompts, for all systems together; the leaderboard's own numbers, and the choice of systems, are taken as given, so an
interval says how far the ranking depends on the prompts, not on the systems.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from pydantic import Field

from judge_training.correlation import Correlations, kendall, mean_interval, pearson, spearman
from judge_training.system_scores import SystemScore
from rewards.errors import InputError
from rewards.intervals import RESAMPLES, Interval, bootstrap
from rewards.types import Record

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from judge_training.correlation import Measure

    Floats = NDArray[np.float64]

_LEAST = 3


class SystemRow(Record):
    """One system."""

    name: str
    leaderboard: float
    score: Interval
    """Mean over its prompts."""
    length: Interval | None
    """Mean length of its responses in characters."""


class SystemLevel(Record):
    """Systems as the judge scores them against a leaderboard."""

    systems: tuple[SystemRow, ...]
    """Best of the leaderboard first."""
    prompts: int
    judge: Correlations
    length: Correlations | None = None
    """The mean length with the leaderboard: the floor."""
    gain: Correlations | None = None
    """Judge less length, paired."""
    not_on_leaderboard: tuple[str, ...] = Field(default=())
    """Systems with scores that the leaderboard does not have; in no number."""
    skipped: dict[str, int] = Field(default_factory=dict)
    """Rows that could not be used, by reason."""


def evaluate_systems(
    scores: Iterable[SystemScore],
    leaderboard: Mapping[str, float],
    *,
    lengths: Iterable[SystemScore] | None = None,
    skipped: Mapping[str, int] | None = None,
    resamples: int = RESAMPLES,
) -> SystemLevel:
    """Rank the systems that have scores and stand on the leaderboard.

    lengths: the length in characters of each response (as its `score`); only those of prompts that have scores count,
    so that both are of the same prompts. Raises InputError with fewer than 3 systems, or when a system has a prompt
    twice.
    """
    by_system = _by_system(scores, "score")
    names = sorted((one for one in by_system if one in leaderboard), key=lambda one: (-leaderboard[one], one))
    if len(names) < _LEAST:
        raise InputError(
            f"expected at least {_LEAST} systems that have scores and stand on the leaderboard, got {len(names)}: "
            f"scored {', '.join(sorted(by_system)[:5])}; on the leaderboard {', '.join(sorted(leaderboard)[:5])}"
        )
    sizes = None if lengths is None else _by_system(lengths, "length")
    return _measured(names, by_system, sizes, leaderboard, dict(skipped or {}), resamples)


def _by_system(scores: Iterable[SystemScore], what: str) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for one in scores:
        row = found.setdefault(one.system, {})
        if one.prompt_id in row:
            raise InputError(f"expected one {what} of {one.system!r} for prompt {one.prompt_id!r}, got a second one")
        row[one.prompt_id] = one.score
    return found


def _measured(
    names: Sequence[str],
    by_system: Mapping[str, Mapping[str, float]],
    sizes: Mapping[str, Mapping[str, float]] | None,
    leaderboard: Mapping[str, float],
    skipped: dict[str, int],
    resamples: int,
) -> SystemLevel:
    import numpy as np

    prompts = sorted({prompt for name in names for prompt in by_system[name]})
    board = np.array([leaderboard[name] for name in names])
    table = _table([by_system[name] for name in names], prompts)
    length = _lengths(names, by_system, sizes, prompts) if sizes is not None else None

    def gain(measure: Measure) -> Interval | None:
        return bootstrap(
            lambda at: _ranked(table, at, board, measure) - _ranked(length, at, board, measure),
            prompts,
            resamples=resamples,
        )

    return SystemLevel(
        systems=tuple(_row(place, name, leaderboard, table, length, resamples) for place, name in enumerate(names)),
        prompts=len(prompts),
        judge=_correlations(table, board, prompts, resamples),
        length=None if length is None else _correlations(length, board, prompts, resamples),
        gain=None
        if length is None
        else Correlations(n=len(names), pearson=gain(pearson), spearman=gain(spearman), kendall=gain(kendall)),
        not_on_leaderboard=tuple(sorted(by_system.keys() - leaderboard.keys())),
        skipped=skipped,
    )


def _table(rows: Sequence[Mapping[str, float]], prompts: Sequence[str]) -> Floats:
    """Scores, shape (systems, prompts); NaN where a system has none."""
    import numpy as np

    return np.array([[row.get(prompt, np.nan) for prompt in prompts] for row in rows])


def _lengths(
    names: Sequence[str],
    by_system: Mapping[str, Mapping[str, float]],
    sizes: Mapping[str, Mapping[str, float]],
    prompts: Sequence[str],
) -> Floats:
    kept = []
    for name in names:
        row = {prompt: size for prompt, size in sizes.get(name, {}).items() if prompt in by_system[name]}
        if not row:
            raise InputError(f"expected lengths of the responses of every system, got none of {name!r}")
        kept.append(row)
    return _table(kept, prompts)


def _ranked(table: Floats | None, at: NDArray[np.intp], board: Floats, measure: Measure) -> float:
    """The correlation of the systems' means over some prompts with the leaderboard."""
    import numpy as np

    if table is None:
        return float("nan")
    drawn = table[:, at]
    counts = (~np.isnan(drawn)).sum(axis=1)
    if not counts.all():  # a system without any of the prompts drawn has no mean
        return float("nan")
    return measure(np.nansum(drawn, axis=1) / counts, board)


def _correlations(table: Floats, board: Floats, prompts: Sequence[str], resamples: int) -> Correlations:
    def one(measure: Measure) -> Interval | None:
        return bootstrap(lambda at: _ranked(table, at, board, measure), prompts, resamples=resamples)

    return Correlations(n=len(board), pearson=one(pearson), spearman=one(spearman), kendall=one(kendall))


def _row(
    place: int, name: str, leaderboard: Mapping[str, float], table: Floats, length: Floats | None, resamples: int
) -> SystemRow:
    score = _mean(table[place], resamples)
    if score is None:
        raise InputError(f"expected scores of {name!r}, got none")
    return SystemRow(
        name=name,
        leaderboard=leaderboard[name],
        score=score,
        length=None if length is None else _mean(length[place], resamples),
    )


def _mean(values: Floats, resamples: int) -> Interval | None:
    import numpy as np

    return mean_interval(values[~np.isnan(values)], resamples=resamples)
