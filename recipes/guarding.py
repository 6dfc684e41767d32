"""The guard in a run: every so often, what the judge says and what a gold judge says of held-out responses.

Each look samples one response of the policy as it is to every held-out prompt, and rates it by the recipe's judge (the
proxy) and by the gold judge, which training never asks. The KL is from the start policy, estimated from the same
responses. A look is a folder: `guard/0` is the start policy, `guard/1` the policy of the first round, and `guard/50`
the one after 50 steps of an on-policy training. One that is there is not taken again. When to stop is
`rl.guard.over_optimised`; then, and at the end, the run's policy is the one with the highest gold.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

import numpy as np

from recipes.job import Job, console
from recipes.schema import OnPolicyRecipe, RoundsRecipe
from recipes.sections import SamplingSettings
from recipes.watched_policies import Watched
from rewards.documents import write_json
from rewards.errors import RunError
from rewards.intervals import Interval, bootstrap
from rewards.jsonl import read_records, write_records
from rewards.judges.base import RateItem
from rewards.judges.config import JudgeSettings
from rewards.judging import rate_to_file
from rewards.types import Candidate, Prompt, Rating
from rl.guard import GuardPoint, best, over_optimised, repetition


class Guard:
    """Looks at the policies of a run; does nothing when the recipe names no gold judge."""

    def __init__(self, job: Job, recipe: RoundsRecipe | OnPolicyRecipe, prompts: Sequence[Prompt]) -> None:
        self._job, self._recipe = job, recipe
        self._prompts = {prompt.id: prompt for prompt in prompts}
        self.points: list[GuardPoint] = []

    def look(self, step: int, policy: Watched) -> None:
        """Measure a policy: `step` 0 is the start policy, then the round or the step that it came out of."""
        if self._recipe.guard is None or any(point.step == step for point in self.points):
            return
        folder = self._job.run.path / "guard" / str(step)
        file = folder / "point.json"
        if file.is_file():
            self.points.append(GuardPoint.model_validate_json(file.read_bytes()))
            write_records(self._job.run.guard, self.points)  # an earlier start may have ended between the two files
            return
        with self._job.stage(f"guard_{step}", f"Guard: {len(self._prompts)} held-out prompts") as counts:
            folder.mkdir(parents=True, exist_ok=True)
            point = self._measure(step, policy, folder, self._recipe.guard.gold)
            write_json(file, point)
            counts.update({"proxy": point.proxy.value, "gold": point.gold.value, "kl": point.kl})
        self.points.append(point)
        write_records(self._job.run.guard, self.points)
        self._job.tracker.scalars("guard", step, counts | {"length": point.length, "repetition": point.repetition})

    def recall(self) -> None:
        """Take up the looks of an earlier start."""
        if self._job.run.guard.is_file():
            self.points = list(read_records(self._job.run.guard, GuardPoint))

    @property
    def stops(self) -> bool:
        """Whether gold has fallen for good; says so."""
        guard = self._recipe.guard
        if guard is None or not over_optimised(self.points, guard.patience):
            return False
        top = best(self.points)
        console.print(
            f"  stopped by the guard: gold has been below the interval of its best value "
            f"({top.gold.value if top else 0:.3f} after {top.step if top else 0}) in {guard.patience} looks",
            style="yellow",
            soft_wrap=True,
        )
        return True

    def best(self, last: int) -> int:
        """The round or step whose policy to keep: the highest gold of those trained, else the last one."""
        top = best([point for point in self.points if point.step])
        return last if top is None else top.step

    def kept(self, last: int) -> int:
        """The same, and a word where the start policy was better still."""
        step = self.best(last)
        golds = {point.step: point.gold.value for point in self.points}
        if golds.get(0, 0.0) > golds.get(step, 0.0):
            console.print(
                "  the start policy has a higher gold than every one after it", style="yellow", soft_wrap=True
            )
        return step

    def _measure(self, step: int, policy: Watched, folder: Path, gold: JudgeSettings) -> GuardPoint:
        recipe, size = self._recipe, self._recipe.evaluate.batch_size
        tokens = recipe.evaluate.max_new_tokens
        sampling = SamplingSettings(n=1, max_new_tokens=tokens, temperature=1.0, batch_size=size)
        drawn = policy.draw(list(self._prompts.values()), sampling, folder / "candidates.jsonl", recipe.seed)
        return GuardPoint(
            step=step,
            kl=0.0 if step == 0 else max(0.0, policy.gap(self._prompts, drawn, size)),  # an estimate may be negative
            proxy=self._mean(recipe.judge, drawn, folder / "proxy.jsonl", "the judge"),
            gold=self._mean(gold, drawn, folder / "gold.jsonl", "the gold judge"),
            length=fmean(one.token_count or 0 for one in drawn),
            repetition=fmean(repetition(one.text) for one in drawn),
        )

    def _mean(self, judge: JudgeSettings, drawn: Sequence[Candidate], path: Path, name: str) -> Interval:
        from rewards.judges.load import load_judge

        items = [RateItem(prompt=self._prompts[one.prompt_id], candidate=one) for one in drawn]
        limit = self._recipe.failures
        judged = rate_to_file(load_judge(judge), items, path, limit=limit.limit, minimum=limit.minimum)
        scores = {one.prompt_id: one.outcome.score for one in judged if isinstance(one.outcome, Rating)}
        values = np.array(list(scores.values()))
        found = bootstrap(lambda places: float(values[places].mean()), list(scores))
        if found is None:
            raise RunError(f"expected ratings by {name} for the guard, got none; see {path}")
        return found
