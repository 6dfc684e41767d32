"""The arrows of training a judge: examples -> trained judge -> its answers and judgments on held-out examples.

Of several processes, all call `train_judge`; only the first one does the rest (`recipes.together`).
"""

from __future__ import annotations

import gc
from collections.abc import Iterable, Sequence
from itertools import chain, zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from judge_training.data.split import split_examples
from judge_training.data.swap import with_swaps
from judge_training.examples import JudgeExample, read_examples, write_examples
from judge_training.scenarios import Catalog, load_scenarios
from judge_training.written_answers import write_answers
from recipes.job import Job, console
from recipes.judge_recipes import TrainJudgeRecipe
from recipes.learning_stages import trained_policy, training_counts
from recipes.stages import OpenedJudge, rate_candidates
from rewards.documents import write_json
from rewards.errors import InputError
from rewards.jsonl import write_records
from rewards.judges.base import CompareItem, RateItem
from rewards.judges.config import JudgeSettings
from rewards.judging import compare_to_file
from rewards.protocol.builtin import builtin_protocol
from rewards.protocol.spec import JudgeProtocol
from rewards.row_parts import digest
from rewards.types import Candidate
from rl.run_folder import RunFolder

if TYPE_CHECKING:
    from transformers import TrainerCallback

    from rewards.training.running import TrainingResult

BUNDLED_EXAMPLES = Path(__file__).parent / "data" / "judge_examples.jsonl"


def prepare_examples(job: Job, recipe: TrainJudgeRecipe) -> list[JudgeExample]:
    """Split the examples and write both sides; returns those held out."""
    run, data = job.run, recipe.data
    if not job.done("examples"):
        with job.stage("examples", f"Reading judgments from {data.examples}") as counts:
            train, held_out = split_data(recipe)
            write_examples(run.examples, with_swaps(train) if data.swap else train)
            write_examples(run.held_out_examples, held_out)
            counts.update(_kinds(read_examples(run.examples)))
            counts.update({"held_out": len(held_out)})
        job.tracker.artifact("dataset", run.examples)
    return by_turns(list(read_examples(run.held_out_examples)), recipe.measure.limit)


def split_data(recipe: TrainJudgeRecipe) -> tuple[tuple[JudgeExample, ...], tuple[JudgeExample, ...]]:
    """The examples to train on and those held out; raises InputError where one has no label."""
    data = recipe.data
    every = tuple(read_examples(BUNDLED_EXAMPLES if data.examples == "bundled" else Path(data.examples)))
    if data.held_out is None:
        train, held_out = split_examples(every, valid_share=data.held_out_share, seed=recipe.seed)
    else:
        train, held_out = every, tuple(read_examples(data.held_out))
    _check_judged(chain(train, held_out))
    return train, held_out


def _check_judged(examples: Iterable[JudgeExample]) -> None:
    waiting = [example.id for example in examples if not example.judged]
    if waiting:
        raise InputError(
            f"expected examples with a rating or a label, but {len(waiting)} have none ({waiting[0]}, …); let a "
            "teacher judge them first (autoj collect)"
        )


def _kinds(examples: Iterable[JudgeExample]) -> dict[str, int | float]:
    kinds = [example.kind for example in examples]
    return {"ratings": kinds.count("single"), "pairs": kinds.count("pairwise")}


def by_turns(examples: Sequence[JudgeExample], limit: int) -> list[JudgeExample]:
    """Ratings and pairs by turns, each kind in an order drawn by a hash; at most `limit` of them."""
    drawn = sorted(examples, key=lambda example: digest("measure", example.id))
    singles = [example for example in drawn if example.kind == "single"]
    pairs = [example for example in drawn if example.kind == "pairwise"]
    turns = chain.from_iterable(zip_longest(singles, pairs))
    return [example for example in turns if example is not None][:limit]


def measure_judge(
    job: Job, recipe: TrainJudgeRecipe, examples: Sequence[JudgeExample], when: Literal["before", "after"]
) -> None:
    """How the start model or the trained judge answers held-out examples in writing."""
    if job.done(when) or not examples:
        return
    from rewards.judges.load import load_generative_judge

    title = "The start model's" if when == "before" else "The trained judge's"
    with job.stage(when, f"{title} written answers to {len(examples)} held-out questions") as counts:
        judge = load_generative_judge(judge_settings(job.run, recipe, trained=when == "after"))
        found = write_answers(
            judge,
            examples,
            mode=recipe.mode,
            max_new_tokens=recipe.measure.max_new_tokens,
            catalog=catalog_of(recipe),
        )
        del judge
        _free_memory()
        path = job.run.path / f"answers_{when}.json"
        write_json(path, found)
        counts.update(found.model_dump(include={"asked", "parsed", "verdicts", "verdicts_right"}))
        counts.update(parse_rate=found.parse_rate)
        measured = {"rating_error": found.rating_error, "rank_correlation": found.rank_correlation}
        counts.update({name: value for name, value in measured.items() if value is not None})


def judge_settings(run: RunFolder, recipe: TrainJudgeRecipe, *, trained: bool) -> JudgeSettings:
    """How the start model, or the trained judge, is asked."""
    base = recipe.base
    settings = JudgeSettings(
        model=base.model,
        adapter=base.adapter,
        dtype=base.dtype,
        attention=base.attention,
        protocol=recipe.protocol,
        mode=recipe.mode,
        batch_size=recipe.measure.batch_size,
        max_prompt_tokens=recipe.train.max_length,
    )
    own = {"protocol": None, **trained_policy(run.trained_judge, recipe.train.tuning)}
    return settings.model_copy(update=own) if trained else settings


def _free_memory() -> None:
    """Give the model's memory back before the next one is loaded."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def train(job: Job, recipe: TrainJudgeRecipe) -> None:
    """Fine-tuning, together with the other processes."""
    if job.done("train"):
        return
    from rl.tracking import trainer_callback

    with job.stage("train", "Training the judge") as counts:
        result = train_only(job.run, recipe, callbacks=[trainer_callback(job.tracker, "train")])
        counts.update(training_counts(result))
        counts.update(left_out=result.left_out, tokens_per_second=result.tokens / result.seconds)
    if not result.packed:
        console.print("  batches were padded: packing without padding needs FlashAttention 2 on a GPU")
    job.tracker.artifact("model", job.run.trained_judge, inputs=[job.run.examples])


def train_only(run: RunFolder, recipe: TrainJudgeRecipe, callbacks: Sequence[TrainerCallback] = ()) -> TrainingResult:
    """Fine-tuning on the run's examples. Every process of the job must call it."""
    from judge_training.train import train_judge

    return train_judge(
        run.examples,
        model=recipe.base.model,
        adapter=recipe.base.adapter,
        dtype=recipe.base.dtype,
        attention=recipe.base.attention,
        output=run.trained_judge,
        settings=recipe.train,
        protocol=builtin_protocol() if recipe.protocol is None else JudgeProtocol.load(recipe.protocol),
        mode=recipe.mode,
        catalog=catalog_of(recipe),
        trl=recipe.trl,
        launch=recipe.launch,
        callbacks=callbacks,
        resume=True,
    )


def catalog_of(recipe: TrainJudgeRecipe) -> Catalog | None:
    """The criteria that stand before the questions, where the recipe wants them."""
    return load_scenarios() if recipe.criteria else None


def judge_held_out(job: Job, recipe: TrainJudgeRecipe, examples: Sequence[JudgeExample]) -> None:
    """The trained judge at work: it rates and compares the held-out responses, as in any other recipe.

    Not one that was trained with criteria in its input: no other recipe would ask it so.
    """
    if not examples or recipe.criteria:
        return
    run, opened = job.run, OpenedJudge(job, judge_settings(job.run, recipe, trained=True))
    named = {example.id: _candidates(example) for example in examples}
    prompts = list({example.prompt.id: example.prompt for example in examples}.values())
    ratings, items = held_out_items(examples)
    singles = [item.candidate for item in ratings]
    write_records(run.prompts, prompts)
    write_records(run.candidates, [candidate for candidates in named.values() for candidate in candidates])
    rate_candidates(job, opened, recipe.failures, prompts, singles)
    if job.done("compare"):
        return
    with job.stage("compare", f"Judging: {len(items)} comparisons in both orders") as counts:
        comparisons = compare_to_file(
            opened.judge,
            items,
            run.comparisons,
            limit=recipe.failures.limit,
            minimum=recipe.failures.minimum,
        )
        labels = [example.label for example in examples if example.kind == "pairwise"]
        counts.update(_agreement([(one.outcome, label) for one, label in zip(comparisons, labels, strict=True)]))


def _candidates(example: JudgeExample) -> list[Candidate]:
    return [
        Candidate(id=f"{example.id}/{number}", prompt_id=example.prompt.id, text=text, source=example.source)
        for number, text in enumerate(example.responses, start=1)
    ]


def held_out_items(examples: Sequence[JudgeExample]) -> tuple[list[RateItem], list[CompareItem]]:
    """What the trained judge is asked about: the responses of single examples, and the pairs."""
    ratings, pairs = list[RateItem](), list[CompareItem]()
    for example in examples:
        first, *others = _candidates(example)
        if others:
            pairs.append(CompareItem(prompt=example.prompt, first=first, second=others[0]))
        else:
            ratings.append(RateItem(prompt=example.prompt, candidate=first))
    return ratings, pairs


def _agreement(outcomes: Sequence[tuple[Any, Any]]) -> dict[str, int]:
    """Comparisons that were decided the same in both orders, and those of them that are the label."""
    decided = [(outcome.winner, label) for outcome, label in outcomes if outcome.kind == "verdict"]
    return {
        "comparisons": len(outcomes),
        "consistent": len(decided),
        "agree_with_label": sum(winner == label for winner, label in decided),
    }
