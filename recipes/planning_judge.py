"""What the training of a judge asks: written answers before and after, and the trained judge's judgments.

Both are of examples that are held out, which are chosen here as the job chooses them. The trained judge does not exist
yet, so its tokens are counted, and its speed is taken, with the model that it starts from. A stage that the run has
finished asks nothing more. Training itself asks nobody.
"""

from __future__ import annotations

from collections.abc import Collection

from judge_training.examples import JudgeExample
from judge_training.written_answers import written_questions
from recipes.dry_run import estimate_cost, estimate_written
from recipes.dry_run_options import Options
from recipes.judge_recipes import TrainJudgeRecipe
from recipes.judge_stages import by_turns, catalog_of, held_out_items, judge_settings, split_data
from recipes.planning import Work
from rewards.errors import InputError
from rewards.judges.load import find_protocol
from rewards.judging_cost import CostEstimate, Planned, plan_items
from rewards.protocol.builtin import builtin_protocol
from rewards.protocol.spec import JudgeProtocol
from rl.run_folder import RunFolder

_STAND_IN = "counted and timed with the model that the judge starts from, since it is not trained yet"


def training_costs(recipe: TrainJudgeRecipe, options: Options) -> list[CostEstimate]:
    """Of what is written, and of what is judged; raises InputError where the recipe asks for neither."""
    run = RunFolder(recipe.output)
    start, done = judge_settings(run, recipe, trained=False), run.finished()
    protocol = builtin_protocol() if recipe.protocol is None else JudgeProtocol.load(recipe.protocol)
    held_out = by_turns(split_data(recipe)[1], recipe.measure.limit)
    found = []
    asking = {"before": find_protocol(start)[0], "after": protocol}
    written = [_written(when, recipe, held_out, words) for when, words in asking.items() if when not in done]
    if held_out and written:
        found.append(estimate_written(start, written, options, max_new_tokens=recipe.measure.max_new_tokens))
    if held_out and not recipe.criteria:  # else no recipe would ask it so, and the job does not
        work = _judged(recipe, held_out, protocol, done)
        if work.planned:
            asked = estimate_cost(start, lambda _: work, options)
            notes = (_STAND_IN, *asked.notes)
            found.append(asked.model_copy(update={"judge": f"the trained judge ({recipe.mode} mode)", "notes": notes}))
    if not found:
        raise InputError(
            "expected a judge to be asked for --dry-run, but this recipe trains without measuring (measure.limit is "
            "0, or the run has measured already); autoj certify --dry-run says what measuring the trained judge costs"
        )
    return found


def _written(when: str, recipe: TrainJudgeRecipe, held_out: list[JudgeExample], protocol: JudgeProtocol) -> Planned:
    questions = written_questions(held_out, protocol, mode=recipe.mode, catalog=catalog_of(recipe))
    return Planned(f"answers {when} training", "rate", tuple(questions))


def _judged(
    recipe: TrainJudgeRecipe, held_out: list[JudgeExample], protocol: JudgeProtocol, done: Collection[str]
) -> Work:
    ratings, pairs = held_out_items(held_out)
    planned = [
        plan_items(name, items, protocol, recipe.mode)
        for name, stage, items in (("ratings", "rate", ratings), ("comparisons", "compare", pairs))
        if items and stage not in done
    ]
    return Work(tuple(planned), (*ratings, *pairs))
