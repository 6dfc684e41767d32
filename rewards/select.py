"""Choosing candidates by their rewards: best-of-n, top-k, a threshold, the top fraction, a quota per scenario.

The table is in `scored_table` and its order in `ranking`. Which of two candidates with equal rewards is chosen
depends on the seed and on their ids alone. A candidate without a reward is left out and counted, never ranked
low. Pairs are in `pairing`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import polars as pl
from pydantic import NonNegativeInt, PositiveInt, ValidationError

from rewards.errors import InputError
from rewards.manifest import Manifest, settings_digest
from rewards.ranking import STAGES, count, drop, furthest, mean_rewards, ranked, usable, with_places
from rewards.scored_table import ScoredTable
from rewards.select_settings import SelectSettings
from rewards.types import Id, Message, Record, Text


class Selected(Record):
    """A candidate that was kept."""

    prompt_id: Id
    candidate_id: Id
    messages: tuple[Message, ...]
    """The prompt's conversation; empty when the input had none."""
    text: Text
    reward: float
    rank: PositiveInt
    """1 for the highest reward among the usable candidates of its prompt."""
    scenario: str | None = None
    source: str | None = None
    token_count: NonNegativeInt | None = None
    judgment_ids: tuple[Id, ...] = ()


@dataclass(frozen=True, slots=True)
class Selection:
    """What was kept, with its account; the texts are read when the rows are asked for."""

    manifest: Manifest
    _table: ScoredTable
    _kept: pl.DataFrame
    _seed: int

    def rows(self) -> Iterator[Selected]:
        """The kept candidates, prompts in the order of the input, best first within a prompt."""
        for chunk in self._table.texts(self._kept, seed=self._seed):
            for row in chunk.sort("place", "rank").iter_rows(named=True):
                yield _selected(row, self._table.origin)


def select(scored: ScoredTable, settings: SelectSettings) -> Selection:
    """Keep candidates by their rewards. Raises InputError for a table that cannot be ranked."""
    ranking = ranked(
        scored,
        seed=settings.seed,
        near_duplicates=settings.near_duplicates,
        across_prompts=settings.near_duplicates_across_prompts,
    )
    candidates = usable(ranking).select("prompt", "reward")
    ranking = _apply(ranking, settings)
    kept = usable(ranking)
    mean_reward, mean_reward_kept = mean_rewards(candidates, kept)
    manifest = Manifest(
        kind="selection",
        origin=scored.origin,
        settings=settings.model_dump(mode="json"),
        settings_digest=settings_digest(settings),
        rows=count(ranking),
        prompts=count(furthest(ranking, STAGES)),
        mean_reward=mean_reward,
        mean_reward_kept=mean_reward_kept,
    )
    wanted = with_places(kept.select("row", "key", "bytes", "prompt", pl.col("rank") + 1))
    return Selection(manifest, scored, wanted.drop("prompt"), settings.seed)


def _apply(ranking: pl.DataFrame, settings: SelectSettings) -> pl.DataFrame:
    """Drop what the method does not keep."""
    if settings.threshold is not None:
        ranking = drop(ranking, pl.col("reward") < settings.threshold, "below_threshold")
    if settings.method in {"best_of_n", "top_k"}:
        ranking = drop(ranking, pl.col("rank") >= (settings.k or 1), "not_best")
    if settings.fraction is not None:
        ranking = _drop_below_fraction(ranking, settings.fraction)
    if settings.per_scenario_quota is not None:
        ranking = _drop_over_quota(ranking, settings.per_scenario_quota)
    return ranking


def _drop_below_fraction(ranking: pl.DataFrame, fraction: float) -> pl.DataFrame:
    best = usable(ranking).select("row", "reward", "key").sort("reward", "key", descending=[True, False])
    # The small subtraction keeps 0.1 of 30 at 3: binary fractions put the product just above.
    kept = best["row"].head(math.ceil(fraction * best.height - 1e-9)).implode()
    return drop(ranking, ~pl.col("row").is_in(kept), "below_fraction")


def _drop_over_quota(ranking: pl.DataFrame, quota: int) -> pl.DataFrame:
    best = usable(ranking).select("row", "reward", "key", "scenario").sort("reward", "key", descending=[True, False])
    kept = best.group_by("scenario", maintain_order=True).head(quota)["row"].implode()
    return drop(ranking, ~pl.col("row").is_in(kept), "over_quota")


def _selected(row: dict[str, Any], origin: str) -> Selected:
    fields = Selected.model_fields
    try:
        return Selected.model_validate({name: row[name] for name in fields if row[name] is not None} | _turns(row))
    except ValidationError as error:
        raise unusable_row(row, origin, error) from error


def _turns(row: dict[str, Any]) -> dict[str, Any]:
    return {"messages": row["messages"] or ()}


def unusable_row(row: dict[str, Any], origin: str, error: ValidationError) -> InputError:
    """The error for a row whose columns do not make a record."""
    first = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    return InputError(f"{origin}, row {row['row'] + 1}: {where}: {first['msg']}")
