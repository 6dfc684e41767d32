"""`autoj evaluate-judge … --dry-run`: what a judge would be asked for an evaluation, and what that costs.

For the kinds that ask a judge about a set: eval-p, eval-r, pairs and ratings. Reads the set and nothing else of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import tyro

from recipes.commands.evaluate.ratings import EvalRArguments, RatingsArguments, folder, rated_set
from recipes.commands.evaluate.showing import Judging
from recipes.commands.evaluate.verdicts import EvalPArguments, PairsArguments, eval_p_folder, pairs_folder
from rewards.errors import InputError
from rewards.judges.base import CompareItem, RateItem

Item = RateItem | CompareItem


def cost(name: str, arguments: Sequence[str]) -> int:
    """Print the estimate of one kind of evaluation; raises InputError for a kind that asks no judge about a set."""
    from recipes.cost_of import dry_run_items
    from recipes.dry_run import Options, split_options

    options, rest = split_options(arguments)
    kinds: dict[str, Callable[[list[str]], tuple[Judging, str, Sequence[Item], Path]]] = {
        "eval-p": _eval_p,
        "pairs": _pairs,
        "ratings": lambda words: _ratings(tyro.cli(RatingsArguments, args=words)),
        "eval-r": lambda words: _ratings(tyro.cli(EvalRArguments, args=words)),
    }
    if name not in kinds:
        raise InputError(f"expected {', '.join(kinds)} with --dry-run, got {name}")
    judging, what, items, kept = kinds[name](rest)
    return dry_run_items(judging.judge, [(what, items)], options or Options(), folder=kept)


def _eval_p(words: list[str]) -> tuple[Judging, str, Sequence[Item], Path]:
    from judge_training.eval_p import compare_items, read_eval_p, take_pairs

    given = tyro.cli(EvalPArguments, args=words)
    if given.predictions is not None:
        raise InputError("expected no --predictions with --dry-run: with them no judge is asked")
    items = compare_items(take_pairs(read_eval_p(given.data), given.limit))
    return given, "comparisons", items, eval_p_folder(given)


def _pairs(words: list[str]) -> tuple[Judging, str, Sequence[Item], Path]:
    from judge_training.pair_sets import compare_items, read_pair_set

    given = tyro.cli(PairsArguments, args=words)
    if given.data is None or given.comparisons is not None:
        raise InputError("expected --data FILE and no --comparisons with --dry-run: else no judge is asked")
    items = compare_items(read_pair_set(given.data, columns=given.columns, limit=given.limit))
    return given, "comparisons", items, pairs_folder(given, given.data)


def _ratings(given: RatingsArguments) -> tuple[Judging, str, Sequence[Item], Path]:
    if given.judgments is not None or given.scores is not None:
        raise InputError("expected no --judgments and no --scores with --dry-run: with them no judge is asked")
    return given, "ratings", rated_set(given).items, folder(given)
