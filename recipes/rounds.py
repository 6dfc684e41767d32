"""Rounds: sample, judge, train, and again from the policy that came out (iterative DPO, KTO and rejection sampling).

A round is a run folder of its own (`rounds/1`, `rounds/2`, …) with a recipe of its own: the policy is that of the
round before, the seed is another one, and the selection's threshold may rise. So every arrow resumes as it does in a
run of one round, and any round can be read with `autoj show` or `autoj select`. Which policy a round started from, the
reference of its loss, is written down with the digest of its weights before anything is sampled.

All rounds are known before the first one starts, since where a policy will be is: processes that only train along need
nothing from the first one but its files. A recipe says how many rounds there are, and the guard may end them earlier.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from recipes import learning_stages as learning
from recipes.guarding import Guard
from recipes.job import Job
from recipes.schema import RejectionSamplingRecipe, RoundedRecipe
from recipes.sections import PolicySettings
from recipes.watched_policies import StoredPolicy
from rewards.documents import write_json
from rewards.jsonl import write_records
from rewards.types import Prompt
from rl.results import Reference, RoundRecord
from rl.run_folder import RunFolder


@dataclass(frozen=True, slots=True)
class Round:
    """One round: its number from 1 on, its folder, and its recipe."""

    number: int
    run: RunFolder
    recipe: RoundedRecipe

    @property
    def reference(self) -> Path:
        """The file that says which policy it starts from."""
        return self.run.path / "reference.json"


def rounds_of(run: RunFolder, recipe: RoundedRecipe) -> list[Round]:
    """The rounds of a run; a single one is the run itself."""
    if recipe.rounds.count == 1:
        return [Round(1, run, recipe)]
    rounds, policy = [], recipe.policy
    for number in range(1, recipe.rounds.count + 1):
        folder = RunFolder(run.path / "rounds" / str(number))
        rounds.append(Round(number, folder, _recipe_of(recipe, policy, number)))
        policy = policy.model_copy(update=learning.trained_policy(folder.policy, recipe.train.tuning))
    return rounds


def _recipe_of(recipe: RoundedRecipe, policy: PolicySettings, number: int) -> RoundedRecipe:
    update: dict[str, object] = {"policy": policy, "seed": recipe.seed + number - 1}
    if isinstance(recipe, RejectionSamplingRecipe) and recipe.select.threshold is not None:
        threshold = recipe.select.threshold + (number - 1) * recipe.rounds.threshold_step
        update["select"] = recipe.select.model_copy(update={"threshold": threshold})
    return recipe.model_copy(update=update)


def in_rounds(
    job: Job,
    recipe: RoundedRecipe,
    prompts: Sequence[Prompt],
    held_out: Sequence[Prompt],
    one: Callable[[Job, RoundedRecipe, Sequence[Prompt]], None],
) -> None:
    """Work through the rounds; the run's policy is that of the last one, or of the best by the guard."""
    rounds, guard = rounds_of(job.run, recipe), Guard(job, recipe, held_out)
    guard.look(0, StoredPolicy(recipe.policy, recipe.policy))
    records: list[RoundRecord] = []
    for part in rounds:
        if len(rounds) == 1:
            one(job, recipe, prompts)
        else:
            records.append(_round(job, part, _share(recipe, prompts, part.number), one))
            job.tracker.scalars("rounds", part.number, _numbers(records[-1]))
            write_records(job.run.rounds, records)
        guard.look(part.number, StoredPolicy(_trained(part), recipe.policy))
        if guard.stops:
            break
    kept = rounds[guard.kept(part.number) - 1].run.policy
    if not job.run.policy.exists():
        job.run.policy.symlink_to(kept.relative_to(job.run.path))


def _round(
    job: Job, part: Round, prompts: Sequence[Prompt], one: Callable[[Job, RoundedRecipe, Sequence[Prompt]], None]
) -> RoundRecord:
    """One of several rounds, in its own folder with a report of its own."""
    from rl.report import write_report

    part.run.path.mkdir(parents=True, exist_ok=True)
    inner = Job(part.run, job.tracker, prefix=f"round_{part.number}_")
    inner.announce(f"Round {part.number} of {part.recipe.rounds.count}")
    if not part.run.prompts.exists():
        write_records(part.run.prompts, prompts)
    _note_reference(part)
    one(inner, part.recipe, prompts)
    write_report(part.run)
    return _record(part, len(prompts))


def _trained(part: Round) -> PolicySettings:
    update = learning.trained_policy(part.run.policy, part.recipe.train.tuning)
    return part.recipe.policy.model_copy(update=update)


def _share(recipe: RoundedRecipe, prompts: Sequence[Prompt], number: int) -> list[Prompt]:
    """All prompts, or every `count`-th one, so that all rounds see the same mixture."""
    return list(prompts[number - 1 :: recipe.rounds.count]) if recipe.rounds.fresh_prompts else list(prompts)


def _note_reference(part: Round) -> None:
    if part.reference.exists():
        return
    from rewards.judges.weights_digest import folder_digest

    policy = part.recipe.policy
    folder = policy.adapter or Path(policy.model)
    reference = Reference(
        model=policy.model,
        adapter=None if policy.adapter is None else str(policy.adapter),
        digest=folder_digest(folder) if folder.is_dir() else None,
    )
    write_json(part.reference, reference)


def _record(part: Round, prompts: int) -> RoundRecord:
    finished = part.run.finished()
    counts = {name: stage.counts for name, stage in finished.items()}
    trained = counts.get("train", {})
    return RoundRecord(
        number=part.number,
        reference=Reference.model_validate(json.loads(part.reference.read_text(encoding="utf-8"))),
        prompts=prompts,
        mean_reward=counts.get("reward", {}).get("mean_reward"),
        trained_on=int(trained["examples"]) if "examples" in trained else None,
        final_loss=trained.get("final_loss"),
        seconds=sum(stage.seconds for stage in finished.values()),
    )


def _numbers(record: RoundRecord) -> dict[str, int | float]:
    found = {"reward": record.mean_reward, "trained_on": record.trained_on, "final_loss": record.final_loss}
    return {name: value for name, value in found.items() if value is not None}
