"""Preference pairs from rewards: which two responses of a prompt, and why a prompt gives none.

Design decision. Pairs are proposed and checked on numbers alone; texts are read for the check with the trainer's
tokenizer, where one is asked for, and for the records. Every check writes its reason on the pair that fails it,
so that the manifest accounts for every candidate, every prompt and every proposed pair.

A candidate without a reward is on neither side of a pair: a judge that failed says nothing about a response.
Tied candidates make no pair. A pair is not replaced by the next best one when it fails a check.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

import polars as pl
from pydantic import ValidationError

from rewards.errors import InputError
from rewards.manifest import Manifest, settings_digest
from rewards.ranking import STAGES, count, drop, furthest, mean_rewards, ranked, usable, with_places, with_rank
from rewards.scored_table import ScoredTable, row_key
from rewards.select import unusable_row
from rewards.select_settings import PairMethod, PairSettings
from rewards.truncation import PairCheck, TruncationProblem
from rewards.types import Abstained, Comparison, Pair

PAIR_STAGES: Final = (
    "tied",
    "below_margin",
    "length_mismatch",
    "not_compared",
    "compared_once",
    "comparison_failed",
    "order_disagreement",
    "compared_tied",
    "contradicted",
    "too_long",
    "same_after_truncation",
    "over_limit",
)
"""Reasons for dropping a pair, in the order in which they are looked for."""
_SIDE: Final = ("row", "key", "reward", "rank", "length", "characters", "bytes")
_CHECKED_AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class PairSelection:
    """The pairs that passed every check, with their account; the texts are read when the rows are asked for."""

    manifest: Manifest
    _table: ScoredTable
    _kept: pl.DataFrame
    _seed: int

    def rows(self) -> Iterator[Pair]:
        """The pairs, prompts in the order of the input, the largest margin first within a prompt."""
        return _records(self._table, self._kept, self._seed)


def make_pairs(
    scored: ScoredTable,
    settings: PairSettings,
    *,
    comparisons: Iterable[Comparison] | None = None,
    same_after_truncation: PairCheck | None = None,
) -> PairSelection:
    """Preference pairs of scored candidates.

    comparisons: needed by `swap_consistent` and otherwise not used. same_after_truncation: a check with the
    trainer's tokenizer (`truncation.truncation_check`). With the method `all`, every proposed pair is held in
    memory as about 100 bytes of numbers. Raises InputError for a table without prompts or one that cannot be ranked.
    """
    if not scored.has_messages:
        raise InputError(f"{scored.origin}: expected a column messages or prompt to make pairs of, found neither")
    ranking = ranked(scored, seed=settings.seed, near_duplicates=settings.near_duplicates)
    candidates = usable(ranking).select("prompt", *_SIDE)
    pairs = _propose(candidates, settings.method, settings.min_margin)
    pairs = drop(pairs, pl.col("margin") <= 0, "tied")
    pairs = drop(pairs, pl.col("margin") < settings.min_margin, "below_margin")
    if settings.length_matched is not None:
        pairs = drop(pairs, _length_difference() > settings.length_matched, "length_mismatch")
    if settings.swap_consistent:
        if comparisons is None:
            raise InputError("expected comparisons in both orders for swap_consistent pairs, got none")
        pairs = _drop_unconfirmed(pairs, comparisons, settings.seed)
    if same_after_truncation is not None:
        pairs = _drop_without_signal(pairs, scored, same_after_truncation, settings.seed)
    if settings.max_pairs_per_prompt is not None:
        pairs = _drop_over_limit(pairs, settings.max_pairs_per_prompt)
    kept = usable(pairs)
    return PairSelection(_manifest(scored.origin, settings, ranking, pairs), scored, kept, settings.seed)


def _propose(candidates: pl.DataFrame, method: PairMethod, min_margin: float) -> pl.DataFrame:
    """The pairs of a method, by number: the columns of _SIDE for chosen and rejected, margin, and reason."""
    chosen = candidates.rename({name: f"chosen_{name}" for name in _SIDE})
    rejected = candidates.rename({name: f"rejected_{name}" for name in _SIDE})
    if method != "all":
        chosen = chosen.filter(pl.col("chosen_rank") == 0)
    if method == "best_worst":
        rejected = rejected.group_by("prompt", maintain_order=True).last()
    if method == "best_second":
        rejected = rejected.filter(pl.col("rejected_rank") == 1)
    lower = pl.col("chosen_rank") < pl.col("rejected_rank")
    pairs = chosen.lazy().join(rejected.lazy(), on="prompt").filter(lower).collect(engine="streaming")
    pairs = pairs.with_columns(
        (pl.col("chosen_reward") - pl.col("rejected_reward")).alias("margin"),
        pl.lit(None, dtype=pl.Categorical).alias("reason"),
    )
    if method == "best_random":
        worse = pl.col("margin") >= min_margin
        pairs = pairs.sort(~worse, "rejected_key").group_by("prompt", maintain_order=True).first()
    return pairs.sort("prompt", "margin", "chosen_key", "rejected_key", descending=[False, True, False, False])


def _length_difference() -> pl.Expr:
    """Difference of the two lengths as a share of the longer one, in tokens where both are counted."""
    counted = pl.col("chosen_length").is_not_null() & pl.col("rejected_length").is_not_null()

    def length(side: str) -> pl.Expr:
        return pl.when(counted).then(pl.col(f"{side}_length")).otherwise(pl.col(f"{side}_characters")).cast(pl.Float64)

    longest = pl.max_horizontal(length("chosen"), length("rejected"), pl.lit(1.0))
    return (length("chosen") - length("rejected")).abs() / longest


def _drop_unconfirmed(pairs: pl.DataFrame, comparisons: Iterable[Comparison], seed: int) -> pl.DataFrame:
    """Drop what no comparison confirms; adds the column comparison_judgment_ids."""
    keys = pl.col("chosen_key"), pl.col("rejected_key")
    pairs = pairs.with_columns(low=pl.min_horizontal(*keys), high=pl.max_horizontal(*keys))
    pairs = pairs.join(_verdicts(comparisons, seed), on=["low", "high"], how="left", maintain_order="left")
    expected = pl.when(keys[0] < keys[1]).then(pl.lit("low")).otherwise(pl.lit("high"))
    verdict = pl.col("verdict")
    pairs = drop(pairs, verdict.is_null(), "not_compared")
    for reason in ("compared_once", "comparison_failed", "order_disagreement", "compared_tied"):
        pairs = drop(pairs, verdict == reason, reason)
    return drop(pairs, verdict != expected, "contradicted").drop("low", "high", "verdict")


def _verdicts(comparisons: Iterable[Comparison], seed: int) -> pl.DataFrame:
    """What was said of each two candidates, by their keys, the lower key first."""
    found: dict[tuple[int, int], tuple[str, list[str]]] = {}
    for comparison in comparisons:
        first = row_key(comparison.prompt_id, comparison.first_id, seed)
        second = row_key(comparison.prompt_id, comparison.second_id, seed)
        verdict = _verdict(comparison if first < second else comparison.swap())
        ids = [judgment.id for judgment in comparison.judgments]
        place = (min(first, second), max(first, second))
        if place in found:
            earlier, earlier_ids = found[place]
            verdict = verdict if verdict == earlier else "order_disagreement"
            ids = list(dict.fromkeys(earlier_ids + ids))
        found[place] = (verdict, ids)
    rows = [(*place, *said) for place, said in found.items()]
    schema: dict[str, pl.DataType] = {
        "low": pl.UInt64(),
        "high": pl.UInt64(),
        "verdict": pl.String(),
        "comparison_judgment_ids": pl.List(pl.String),
    }
    return pl.DataFrame(rows, schema=schema, orient="row")


def _verdict(comparison: Comparison) -> str:
    """`low` or `high` for a winner that both orders agree on, else the reason why it confirms nothing."""
    if isinstance(comparison.outcome, Abstained):
        return "order_disagreement" if comparison.outcome.reason == "orders_disagree" else "comparison_failed"
    if len(comparison.judgments) < 2:
        return "compared_once"
    return {"first": "low", "second": "high", "tie": "compared_tied"}[comparison.outcome.winner]


def _drop_without_signal(pairs: pl.DataFrame, table: ScoredTable, check: PairCheck, seed: int) -> pl.DataFrame:
    """Drop what the trainer would cut to nothing or to the same tokens."""
    left = _placed(usable(pairs))
    records = _records(table, left, seed)
    problems: list[TruncationProblem | None] = []
    while batch := list(islice(records, _CHECKED_AT_ONCE)):
        problems += check(batch)
    problem = left.select("chosen_row", "rejected_row").with_columns(pl.Series("problem", problems, dtype=pl.String))
    pairs = pairs.join(problem, on=["chosen_row", "rejected_row"], how="left", maintain_order="left")
    for reason in ("too_long", "same_after_truncation"):
        pairs = drop(pairs, pl.col("problem") == reason, reason)
    return pairs.drop("problem")


def _drop_over_limit(pairs: pl.DataFrame, limit: int) -> pl.DataFrame:
    numbered = with_rank(usable(pairs)).filter(pl.col("rank") >= limit).select("chosen_row", "rejected_row")
    pairs = pairs.join(
        numbered.with_columns(over=True), on=["chosen_row", "rejected_row"], how="left", maintain_order="left"
    )
    return drop(pairs, pl.col("over"), "over_limit").drop("over")


def _manifest(origin: str, settings: PairSettings, ranking: pl.DataFrame, pairs: pl.DataFrame) -> Manifest:
    kept = usable(pairs)
    used = pl.concat([kept["chosen_row"], kept["rejected_row"]]).unique().implode()
    rows = drop(ranking, ~pl.col("row").is_in(used), "not_paired")
    chosen = kept.unique("chosen_row").select("prompt", pl.col("chosen_reward").alias("reward"))
    mean_reward, mean_reward_kept = mean_rewards(usable(ranking), chosen)
    return Manifest(
        kind="pairs",
        origin=origin,
        settings=settings.model_dump(mode="json"),
        settings_digest=settings_digest(settings),
        rows=count(rows),
        prompts=count(_prompt_reasons(ranking, pairs)),
        pairs=count(pairs),
        mean_reward=mean_reward,
        mean_reward_kept=mean_reward_kept,
    )


def _prompt_reasons(ranking: pl.DataFrame, pairs: pl.DataFrame) -> pl.DataFrame:
    """For each prompt why it has no pair: of its candidates when none can be used, else of its pairs."""
    groups = usable(ranking).group_by("prompt").agg(pl.len(), tied=pl.col("reward").min() == pl.col("reward").max())
    special = (
        pl.when(pl.col("len") == 1)
        .then(pl.lit("single_candidate"))
        .when("tied")
        .then(pl.lit("all_tied"))
        .alias("special")
    )
    candidates = furthest(ranking, STAGES).rename({"reason": "of_candidates"})
    proposed = furthest(pairs, PAIR_STAGES).rename({"reason": "of_pairs"})
    return (
        candidates.join(groups.select("prompt", special), on="prompt", how="left")
        .join(proposed, on="prompt", how="left")
        .select(pl.coalesce(pl.col("of_candidates", "special", "of_pairs").cast(pl.String)).alias("reason"))
    )


def _placed(pairs: pl.DataFrame) -> pl.DataFrame:
    """Pairs with the place of their prompt among the prompts of these pairs, in the order of the records."""
    first = pairs.select("prompt", pl.min_horizontal("chosen_row", "rejected_row").alias("row"))
    places = with_places(first).unique("prompt").select("prompt", "place")
    return pairs.join(places, on="prompt", how="left").sort(
        "place", "margin", "chosen_key", "rejected_key", descending=[False, True, False, False]
    )


def _records(table: ScoredTable, pairs: pl.DataFrame, seed: int) -> Iterator[Pair]:
    """The records of pairs, in the order of `_placed`."""
    placed = _placed(pairs.drop("place", strict=False))
    sides = [
        placed.select("place", *(pl.col(f"{side}_{name}").alias(name) for name in ("row", "key", "bytes")))
        for side in ("chosen", "rejected")
    ]
    for chunk in table.texts(pl.concat(sides).unique("row"), seed=seed):
        rows = {row["row"]: row for row in chunk.iter_rows(named=True)}
        part = placed.filter(pl.col("place").is_between(chunk["place"].min(), chunk["place"].max()))
        for pair in part.iter_rows(named=True):
            yield _pair(pair, rows[pair["chosen_row"]], rows[pair["rejected_row"]], table.origin)


def _pair(pair: dict[str, Any], chosen: dict[str, Any], rejected: dict[str, Any], origin: str) -> Pair:
    judged = (chosen["judgment_ids"], rejected["judgment_ids"], pair.get("comparison_judgment_ids"))
    try:
        return Pair(
            id=pair_id(chosen["prompt_id"], chosen["candidate_id"], rejected["candidate_id"]),
            prompt_id=chosen["prompt_id"],
            messages=chosen["messages"] or (),
            chosen_id=chosen["candidate_id"],
            rejected_id=rejected["candidate_id"],
            chosen=chosen["text"],
            rejected=rejected["text"],
            margin=pair["margin"],
            judgment_ids=tuple(dict.fromkeys(name for ids in judged for name in ids or ())),
            scenario=chosen["scenario"],
        )
    except ValidationError as error:
        raise unusable_row(chosen, origin, error) from error


def pair_id(prompt_id: str, chosen_id: str, rejected_id: str) -> str:
    """The id of a pair; of names too long for an id, their digest."""
    name = f"pair:{prompt_id}|{chosen_id}|{rejected_id}"
    return name if len(name) <= 1024 else f"pair:{hashlib.sha256(name.encode('utf-8')).hexdigest()}"
