"""Which candidates can be used, and their order within a prompt: what selecting and pairing have in common.

A ranking is a polars frame without texts (see `scored_table`). A row is dropped by writing a reason on it, and
the first reason stays; nothing is removed from the frame, so that the counts come from one place.

Equal rewards are ordered by a hash of the seed and the ids, never by position: the same candidates in another
order give the same choice.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Final

import polars as pl

from rewards.manifest import Count
from rewards.near_duplicates import Shingles, band_count, band_keys, kept_apart, shingles, similar
from rewards.scored_table import ScoredTable

STAGES: Final = (
    "unreadable_text",
    "empty_response",
    "unscored",
    "conflicting_id",
    "duplicate_id",
    "duplicate_text",
    "near_duplicate",
    "below_threshold",
    "not_best",
    "below_fraction",
    "over_quota",
)
"""Reasons for dropping a candidate, in the order in which they are looked for."""


def drop(ranking: pl.DataFrame, condition: pl.Expr, reason: str) -> pl.DataFrame:
    """Drop the rows that meet the condition and have not been dropped yet."""
    given = pl.when(pl.col("reason").is_null() & condition.fill_null(False)).then(pl.lit(reason, dtype=pl.Categorical))
    return ranking.with_columns(given.otherwise(pl.col("reason")).alias("reason"))


def usable(ranking: pl.DataFrame) -> pl.DataFrame:
    """The rows that have not been dropped."""
    return ranking.filter(pl.col("reason").is_null())


def ranked(
    table: ScoredTable, *, seed: int, near_duplicates: float | None, across_prompts: bool = False
) -> pl.DataFrame:
    """The ranking of a table, best first within each prompt, with unusable rows and duplicates dropped.

    Adds the column rank: 0 for the best usable candidate of a prompt, and so on (without meaning on dropped rows).
    """
    ranking = _ordered(_drop_repeated_ids(table.ranking(seed=seed)))
    ranking = drop(ranking, ~pl.col("text").is_first_distinct(), "duplicate_text")
    if near_duplicates is not None:
        ranking = _drop_near_duplicates(ranking, table, near_duplicates, seed)
        if across_prompts:
            ranking = _drop_across_prompts(ranking, table, near_duplicates, seed)
    return with_rank(_ordered(ranking))


def _ordered(ranking: pl.DataFrame) -> pl.DataFrame:
    """By prompt; the usable rows first, by reward and then by key."""
    unusable = pl.col("reason").is_not_null()
    return ranking.sort("prompt", unusable, "reward", "key", descending=[False, False, True, False], nulls_last=True)


def with_rank(frame: pl.DataFrame) -> pl.DataFrame:
    """Number the rows of each prompt from 0, as `rank`, in a frame sorted by prompt."""
    place = pl.int_range(pl.len(), dtype=pl.UInt32)
    first = pl.col("prompt") != pl.col("prompt").shift(1)
    start = pl.when(first.fill_null(True)).then(place).forward_fill()
    return frame.with_columns((place - start).alias("rank"))


def _drop_repeated_ids(ranking: pl.DataFrame) -> pl.DataFrame:
    """Keep one of several equal rows with the same ids, and none of those that contradict each other."""
    repeated = usable(ranking).filter(pl.col("key").is_duplicated())
    if repeated.height == 0:
        return ranking
    versions = repeated.group_by("key").agg(
        pl.col("row").min().alias("keep"), versions=pl.struct("text", "reward").n_unique()
    )
    ranking = ranking.join(versions, on="key", how="left")
    ranking = drop(ranking, pl.col("versions") > 1, "conflicting_id")
    ranking = drop(ranking, pl.col("row") != pl.col("keep"), "duplicate_id")
    return ranking.drop("keep", "versions")


def with_places(wanted: pl.DataFrame) -> pl.DataFrame:
    """Number the prompts of `wanted` by their first row, as `place`."""
    first = wanted.group_by("prompt").agg(pl.col("row").min().alias("first")).sort("first").with_row_index("place")
    return wanted.join(first.select("prompt", "place"), on="prompt", how="left")


def _drop_near_duplicates(ranking: pl.DataFrame, table: ScoredTable, threshold: float, seed: int) -> pl.DataFrame:
    """Within each prompt, drop what is too similar to a candidate with a higher reward."""
    several = with_rank(_ordered(ranking)).filter(pl.col("reason").is_null())
    several = several.filter(pl.len().over("prompt") > 1).select("row", "key", "bytes", "prompt", "rank")
    lost: list[int] = []
    for chunk in table.texts(with_places(several), seed=seed):
        for group in chunk.sort("place", "rank").partition_by("place"):
            keep = kept_apart(group["text"].to_list(), threshold)
            lost += (row for row, stays in zip(group["row"], keep, strict=True) if not stays)
    return _drop_rows(ranking, lost)


def _drop_rows(ranking: pl.DataFrame, rows: list[int]) -> pl.DataFrame:
    lost = pl.Series(rows, dtype=ranking.schema["row"]).implode()
    return drop(ranking, pl.col("row").is_in(lost), "near_duplicate")


def _drop_across_prompts(ranking: pl.DataFrame, table: ScoredTable, threshold: float, seed: int) -> pl.DataFrame:
    """Drop what is too similar to a candidate with a higher reward, of whatever prompt.

    Holds the band keys of all usable rows (8 bytes a band, 8 to 128 bands) and the shingles of those that share one.
    """
    left = usable(ranking).select("row", "key", "bytes", "prompt", "reward")
    bands = _bands(left, table, threshold, seed)
    shared = bands.filter(pl.any_horizontal(pl.exclude("row").is_duplicated()))
    wanted = left.join(shared, on="row").sort("reward", "key", descending=[True, False])
    sets: dict[int, Shingles] = {}
    for chunk in table.texts(with_places(wanted.select("row", "key", "bytes", "prompt")), seed=seed):
        sets |= {row: shingles(text) for row, text in chunk.select("row", "text").iter_rows()}
    lost: list[int] = []
    # The rows kept so far, by band and key: however often a text is repeated, it is compared with one row.
    kept: dict[tuple[int, int], list[int]] = defaultdict(list)
    for row, *keys in wanted.select(shared.columns).iter_rows():
        others = {other for place in enumerate(keys) for other in kept.get(place, ())}
        if any(similar(sets[row], sets[other], threshold) for other in others):
            lost.append(row)
            continue
        for place in enumerate(keys):
            kept[place].append(row)
    return _drop_rows(ranking, lost)


def _bands(left: pl.DataFrame, table: ScoredTable, threshold: float, seed: int) -> pl.DataFrame:
    """The MinHash band keys of rows: the column row, then one column a band."""
    names = [f"band_{band}" for band in range(band_count(threshold))]
    parts = [pl.DataFrame(schema={"row": left.schema["row"]} | dict.fromkeys(names, pl.UInt64()))]
    for chunk in table.texts(with_places(left.drop("reward")), seed=seed):
        keys = band_keys((shingles(text) for text in chunk["text"]), threshold)
        parts.append(chunk.select("row").hstack(pl.DataFrame(keys, schema=names)))
    return pl.concat(parts)


def furthest(dropped: pl.DataFrame, stages: Sequence[str]) -> pl.DataFrame:
    """For each prompt, the reason that comes last in `stages` (null, something kept, comes after all).

    dropped: columns prompt and reason. A reason such as `unscored:timeout` stands at `unscored`.
    """
    reasons = dropped["reason"].drop_nulls().unique().cast(pl.String).sort().to_list()
    order = pl.DataFrame(
        {"reason": reasons, "stage": [stages.index(reason.split(":")[0]) for reason in reasons]},
        schema={"reason": pl.Categorical, "stage": pl.Int64},
    ).with_row_index("order")
    places = order.with_columns(pl.struct("stage", "order").rank("ordinal").alias("order")).select("reason", "order")
    last = (
        dropped.select("prompt", "reason")
        .join(places, on="reason", how="left")
        .group_by("prompt")
        .agg(pl.when(pl.col("reason").is_null().any()).then(None).otherwise(pl.col("order").max()).alias("order"))
    )
    return last.join(places, on="order", how="left").select("prompt", "reason")


def count(frame: pl.DataFrame) -> Count:
    """How many rows of a frame were kept, and dropped for which reason (most frequent first)."""
    tally = frame.group_by("reason").agg(pl.len()).with_columns(pl.col("reason").cast(pl.String))
    counts: dict[str | None, int] = dict(tally.sort("len", "reason", descending=[True, False]).iter_rows())
    kept = counts.pop(None, 0)
    return Count(input=frame.height, kept=kept, dropped={reason or "": number for reason, number in counts.items()})


def mean_rewards(candidates: pl.DataFrame, kept: pl.DataFrame) -> tuple[float | None, float | None]:
    """Over the prompts of `kept`, the mean reward of a random candidate and that of the kept ones."""
    if kept.height == 0:
        return None, None
    best = kept.group_by("prompt").agg(pl.col("reward").mean())
    random = candidates.join(best.select("prompt"), on="prompt", how="semi").group_by("prompt")
    # Sorting makes the sum, and so the manifest, the same in every run.
    return (
        _mean(random.agg(pl.col("reward").mean()).sort("prompt")["reward"]),
        _mean(best.sort("prompt")["reward"]),
    )


def _mean(values: pl.Series) -> float:
    return float(values.sum()) / len(values)
