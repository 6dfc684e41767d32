"""`autoj evaluate-judge … --dry-run`: what the judge of an evaluation would be asked, and what that costs.

Each kind names its judge, its questions and the folder of its answers; the estimate is `recipes.cost_of`'s. Where the
arguments bring the answers already, no judge is asked, and that is said.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import tyro

from recipes.commands.evaluate.calibrate import CalibrationArguments
from recipes.commands.evaluate.critiques import EvalCArguments, eval_c_folder, eval_c_items
from recipes.commands.evaluate.ratings import EvalRArguments, RatingsArguments, folder, rated_set
from recipes.commands.evaluate.rivals import RivalsArguments, folder_name, read_entries
from recipes.commands.evaluate.systems import SystemArguments, system_items, systems_folder
from recipes.commands.evaluate.verdicts import EvalPArguments, PairsArguments, eval_p_folder, pairs_folder
from recipes.commands.evaluate.written_critiques import CritiquesArguments, critique_items
from recipes.dry_run_options import Options, split_options
from rewards.errors import InputError
from rewards.judges.base import CompareItem, RateItem
from rewards.judges.config import JudgeSettings

if TYPE_CHECKING:
    from rewards.judging_cost import CostEstimate

Item = RateItem | CompareItem


class _Asked(NamedTuple):
    """One judge's questions."""

    judge: JudgeSettings
    what: str
    items: Sequence[Item]
    folder: Path
    """Of its answers."""
    name: str = ""
    """Where there are several judges."""


def cost(name: str, arguments: Sequence[str]) -> int:
    """Print the estimate of one kind of evaluation; raises InputError where no judge is asked."""
    from recipes.show_cost import show_costs

    given, rest = split_options(arguments)
    kinds: dict[str, Callable[[list[str]], list[_Asked]]] = {
        "eval-p": lambda words: [_eval_p(tyro.cli(EvalPArguments, args=words))],
        "eval-c": lambda words: [_eval_c(tyro.cli(EvalCArguments, args=words))],
        "eval-r": lambda words: [_ratings(tyro.cli(EvalRArguments, args=words))],
        "system-level": lambda words: [_systems(tyro.cli(SystemArguments, args=words))],
        "pairs": lambda words: [_pairs(tyro.cli(PairsArguments, args=words))],
        "ratings": lambda words: [_ratings(tyro.cli(RatingsArguments, args=words))],
        "calibration": lambda words: [_calibration(tyro.cli(CalibrationArguments, args=words))],
        "rivals": lambda words: _rivals(tyro.cli(RivalsArguments, args=words)),
        "critiques": lambda words: [_critiques(tyro.cli(CritiquesArguments, args=words))],
    }
    if name not in kinds:
        raise InputError(f"expected {', '.join(kinds)} with --dry-run, got {name}")
    options = given or Options()
    return show_costs(_estimates(kinds[name](rest), options), options)


def _estimates(asked: Sequence[_Asked], options: Options) -> list[CostEstimate]:
    """The estimates of the judges that are asked in words; the others are named in the notes."""
    from recipes.cost_of import estimate_items
    from recipes.dry_run import asked_in_words

    others = [one for one in asked if len(asked) > 1 and not asked_in_words(one.judge)]
    found = []
    for one in asked:
        if one not in others:
            estimate = estimate_items(one.judge, [(one.what, one.items)], options, folder=one.folder)
            judge = f"{one.name}, {estimate.judge}" if one.name else estimate.judge
            found.append(estimate.model_copy(update={"judge": judge}))
    if not found:
        raise InputError("expected a judge that is asked questions with --dry-run, got rivals of other kinds alone")
    notes = [
        f"{one.name} ({one.judge.rival.kind}) is not asked questions: {len(one.items):,} {one.what}, not estimated"
        for one in others
    ]
    return [*found[:-1], found[-1].model_copy(update={"notes": (*found[-1].notes, *notes)})]


def _needs(no: str, *given: object) -> None:
    """Raise InputError where the answers are given, so that no judge is asked."""
    if any(one is not None for one in given):
        raise InputError(f"expected no {no} with --dry-run: with it no judge is asked")


def _eval_p(given: EvalPArguments) -> _Asked:
    from judge_training.eval_p import compare_items, read_eval_p, take_pairs

    _needs("--predictions", given.predictions)
    items = compare_items(take_pairs(read_eval_p(given.data), given.limit))
    return _Asked(given.judge, "comparisons", items, eval_p_folder(given))


def _eval_c(given: EvalCArguments) -> _Asked:
    _needs("--comparisons", given.comparisons)
    return _Asked(given.judge, "comparisons of critiques", eval_c_items(given), eval_c_folder(given))


def _systems(given: SystemArguments) -> _Asked:
    _needs("--scores and --run", given.scores, given.run)
    return _Asked(given.judge, "ratings", system_items(given)[0], systems_folder(given))


def _pairs(given: PairsArguments) -> _Asked:
    _needs("--comparisons and --labels", given.comparisons, given.labels)
    if given.data is None:
        raise InputError("expected --data FILE with --dry-run, got none: else no judge is asked")
    from judge_training.pair_sets import compare_items, read_pair_set

    items = compare_items(read_pair_set(given.data, columns=given.columns, limit=given.limit))
    return _Asked(given.judge, "comparisons", items, pairs_folder(given, given.data))


def _ratings(given: RatingsArguments) -> _Asked:
    _needs("--judgments and --scores", given.judgments, given.scores)
    return _Asked(given.judge, "ratings", rated_set(given).items, folder(given))


def _calibration(given: CalibrationArguments) -> _Asked:
    if given.kind == "ratings":
        return _ratings(given)
    shared = {"judge": given.judge, "output": given.output, "data": given.data, "columns": given.columns}
    return _pairs(PairsArguments(**shared, comparisons=given.comparisons, limit=given.limit))


def _critiques(given: CritiquesArguments) -> _Asked:
    return _Asked(given.judge, "critiques", critique_items(given.data), given.output)


def _rivals(given: RivalsArguments) -> list[_Asked]:
    from judge_training.eval_p import compare_items, read_eval_p, take_pairs

    items = compare_items(take_pairs(read_eval_p(given.data), given.limit))
    asked = [
        _Asked(entry.judge, "comparisons", items, given.output / folder_name(name), name)
        for name, entry in read_entries(given.judges).items()
        if entry.judge is not None
    ]
    if not asked:
        raise InputError(f"{given.judges}: expected a judge that is asked, got verdicts in files alone")
    return asked
