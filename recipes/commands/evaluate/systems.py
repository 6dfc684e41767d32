"""`autoj evaluate-judge system-level`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from recipes.commands.evaluate import asking
from recipes.commands.evaluate.showing import Judging, show
from rewards.errors import InputError

if TYPE_CHECKING:
    from judge_training.system_scores import SystemScore
    from rewards.judges.base import RateItem


class SystemArguments(Judging):
    """Does the mean score of each system rank the systems as a leaderboard does?

    The scores come from a table (--scores), from a run's candidates and judgments (--run), or from a judge asked now
    about the systems' outputs (--outputs with --prompts).
    """

    leaderboard: Path
    """A CSV file with a row for each system."""
    leaderboard_score: str = "win_rate"
    """Its column of scores."""
    leaderboard_system: str | None = None
    """Its column of names; without it the first."""
    scores: Path | None = None
    """A table with a score for each system and prompt."""
    system: str = "model"
    """Column of the system in --scores and --outputs."""
    prompt: str = "prompt_id"
    """Column of the prompt's id in --scores, --outputs and --prompts."""
    score: str = "preference"
    """Column of the score in --scores."""
    score_values: dict[str, float] = Field(default_factory=dict)
    """What a value of the score stands for, such as 0 1.5 for AlpacaEval's draws."""
    run: Path | None = None
    """A run folder whose candidates say who wrote them (source), rated."""
    outputs: Path | None = None
    """A table with the response of each system to each prompt: for lengths, and for a judge to rate."""
    output_text: str = "output"
    """Column of the response in --outputs."""
    prompts: Path | None = None
    """A table with the prompts of --outputs, for a judge."""
    prompt_text: str = "instruction"
    """Column of the prompt's text in --prompts."""
    limit: int | None = Field(default=None, ge=1)
    """Ask the judge about the first so many prompts only."""


def system_level(arguments: SystemArguments) -> None:
    """Run it."""
    from judge_training.score_sheets import system_sheet
    from judge_training.system_level import evaluate_systems
    from judge_training.system_scores import read_leaderboard, read_lengths

    board = read_leaderboard(
        arguments.leaderboard, score=arguments.leaderboard_score, system=arguments.leaderboard_system
    )
    scores, lengths, skipped = _scores(arguments)
    if arguments.outputs is not None and lengths is None:
        lengths, _ = read_lengths(
            arguments.outputs, system=arguments.system, prompt=arguments.prompt, output=arguments.output_text
        )
    result = evaluate_systems(scores, board, lengths=lengths, skipped=skipped)
    about = {
        "leaderboard": f"{arguments.leaderboard}, {arguments.leaderboard_score}",
        "scores": str(arguments.scores or arguments.run or arguments.outputs),
        "judge": asking.who(systems_folder(arguments)) if arguments.prompts is not None else "",
    }
    show(arguments, [system_sheet("System level", result)], result, about)


def _scores(
    arguments: SystemArguments,
) -> tuple[list[SystemScore], list[SystemScore] | None, dict[str, int]]:
    """Scores, lengths where the same records have them, and rows left out by reason."""
    from judge_training.system_scores import read_system_scores

    ways = [arguments.scores is not None, arguments.run is not None, arguments.prompts is not None]
    if sum(ways) != 1:
        raise InputError("expected one of --scores, --run, and --outputs with --prompts, got none or several")
    if arguments.scores is not None:
        found, skipped = read_system_scores(
            arguments.scores,
            system=arguments.system,
            prompt=arguments.prompt,
            score=arguments.score,
            values=arguments.score_values,
        )
        return found, None, skipped
    if arguments.run is not None:
        return (*_of_run(arguments.run), {})
    return _asked(arguments)


def systems_folder(arguments: SystemArguments) -> Path:
    """Where the judge's answers are kept."""
    return arguments.output or Path("runs/system-level")


def _of_run(folder: Path) -> tuple[list[SystemScore], list[SystemScore]]:
    from judge_training.rated_sets import read_scores
    from judge_training.system_scores import lengths_of_candidates, scores_of_candidates
    from rewards.jsonl import read_records
    from rewards.types import Candidate
    from rl.run_folder import RunFolder

    run = RunFolder(folder)
    candidates = list(read_records(run.candidates, Candidate))
    ratings = read_scores(run.judgments)
    return scores_of_candidates(candidates, ratings), lengths_of_candidates(candidates, ratings)


def _asked(arguments: SystemArguments) -> tuple[list[SystemScore], list[SystemScore], dict[str, int]]:
    from judge_training.rated_sets import scores_of
    from judge_training.system_scores import lengths_of_candidates, scores_of_candidates

    items, skipped = system_items(arguments)
    digest = asking.data_digest(
        [path for path in (arguments.outputs, arguments.prompts) if path is not None],
        arguments.system,
        arguments.prompt,
        arguments.output_text,
        arguments.prompt_text,
    )
    ratings = scores_of(asking.rate(arguments.judge, items, systems_folder(arguments), digest))
    candidates = [item.candidate for item in items]
    return scores_of_candidates(candidates, ratings), lengths_of_candidates(candidates, ratings), skipped


def system_items(arguments: SystemArguments) -> tuple[list[RateItem], dict[str, int]]:
    """What the judge is asked about, where it is asked now, and the rows left out by reason."""
    from judge_training.system_scores import read_outputs

    if arguments.outputs is None or arguments.prompts is None:
        raise InputError("expected --outputs with --prompts for a judge to rate, got one of them or none")
    return read_outputs(
        arguments.outputs,
        arguments.prompts,
        system=arguments.system,
        prompt=arguments.prompt,
        output=arguments.output_text,
        text=arguments.prompt_text,
        limit=arguments.limit,
    )
