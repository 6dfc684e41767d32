"""`autoj evaluate-judge WHAT`: a judge against people's labels, every number with its interval.

Each kind of evaluation is a module of `recipes.commands.evaluate`; all print tables, or JSON, or write a page.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import TypeVar

import tyro

from recipes.commands.evaluate.calibrate import CalibrationArguments, calibration
from recipes.commands.evaluate.cost import cost
from recipes.commands.evaluate.critiques import EvalCArguments, eval_c
from recipes.commands.evaluate.ratings import EvalRArguments, RatingsArguments, eval_r, ratings
from recipes.commands.evaluate.rivals import RivalsArguments, rivals
from recipes.commands.evaluate.systems import SystemArguments, system_level
from recipes.commands.evaluate.verdicts import EvalPArguments, PairsArguments, eval_p, pairs
from recipes.commands.evaluate.written_critiques import CritiquesArguments, critiques
from rewards.errors import InputError
from rewards.judges.config import Settings

USAGE = """\
usage: autoj evaluate-judge WHAT [OPTIONS]     autoj evaluate-judge WHAT --help

  eval-p        AUTO-J's pairs: agreement, consistency, abstention, position and length
  eval-c        AUTO-J's critiques: win rate of one source's against another's
  eval-r        Best-of-N by the judge's rating, scored by reference ratings; correlations
  system-level  rank of systems against a leaderboard
  pairs         pairs with people's labels, in any columns; or a run's review file
  ratings       responses with reference ratings, in any columns
  rivals        several judges of a file on AUTO-J's pairs, in one table beside the published numbers
  critiques     have a judge or a critic write critiques, as a source for eval-c
  calibration   how far verdicts and ratings can be taken at their word; fits a calibration map

Answers come from files, or from a judge asked now (--judge.model NAME ..., kept in --output FOLDER).
--json prints JSON, --html FILE writes a page with pictures.
--dry-run prints what the judge would be asked and what that costs, with --probe N (ask N questions now for the rate),
--rate TOKENS_PER_SECOND, --devices N.

  autoj evaluate-judge eval-p --data testdata_pairwise.jsonl --predictions FILE --swapped FILE
  autoj evaluate-judge eval-c --data testdata_critique.jsonl --comparisons gpt-4-Eval_auto-j_vs_chatgpt.jsonl
  autoj evaluate-judge eval-r --data scored.jsonl --columns.response text --judge.model NAME --output runs/eval-r
  autoj evaluate-judge pairs --data labelled.jsonl --columns.label winner --html pairs.html
  autoj evaluate-judge pairs --labels review.jsonl --run RUN_FOLDER"""

ArgumentsT = TypeVar("ArgumentsT", bound=Settings)


def main(arguments: list[str]) -> int:
    """Evaluate a judge."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE)
        return 0
    name, rest = arguments[0], arguments[1:]
    if "--dry-run" in rest and not {"-h", "--help"} & set(rest):
        return cost(name, rest)
    match name:
        case "eval-p":
            _run(EvalPArguments, eval_p, name, rest)
        case "eval-c":
            _run(EvalCArguments, eval_c, name, rest)
        case "eval-r":
            _run(EvalRArguments, eval_r, name, rest)
        case "system-level":
            _run(SystemArguments, system_level, name, rest)
        case "pairs":
            _run(PairsArguments, pairs, name, rest)
        case "ratings":
            _run(RatingsArguments, ratings, name, rest)
        case "calibration":
            _run(CalibrationArguments, calibration, name, rest)
        case "rivals":
            _run(RivalsArguments, rivals, name, rest)
        case "critiques":
            _run(CritiquesArguments, critiques, name, rest)
        case _:
            raise InputError(_unknown(name))
    return 0


def _run(kind: type[ArgumentsT], function: Callable[[ArgumentsT], None], name: str, arguments: list[str]) -> None:
    description = kind.__doc__
    function(tyro.cli(kind, args=arguments, prog=f"autoj evaluate-judge {name}", description=description))


def _unknown(name: str) -> str:
    known = ("eval-p", "eval-c", "eval-r", "system-level", "pairs", "ratings", "calibration", "rivals", "critiques")
    near = difflib.get_close_matches(name, known, n=1)
    return f"expected {', '.join(known)}, got {name!r}" + (f"; did you mean {near[0]}?" if near else "")
