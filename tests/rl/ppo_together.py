"""One of several processes that train with PPO, for test_ppo_distributed.py: `python ppo_together.py job.json`.

Writes what the step losses were; with `breaks_on`, the judge of that process breaks in its third batch.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from rewards.budget import FailureBudget
from rewards.errors import FailureBudgetError
from rewards.training.distributed import process_rank
from rewards.training.launch_settings import LaunchSettings
from rl.ppo import train_ppo
from rl.training_settings import PPOSettings
from tests.judge_training.train_together import ready_for
from tests.rl.ppo_toys import prompts_of, vowels


class Judge:
    """The vowels rule, with a failure budget that may be used up."""

    def __init__(self, breaks: bool) -> None:
        self.breaks, self.calls = breaks, 0
        self.budget = FailureBudget(limit=0.1, minimum=2)

    def __call__(self, prompts: Any, completions: Any, **columns: Any) -> list[float | None]:
        self.calls += 1
        for _ in range(20 * self.calls):
            self.budget.note("timeout" if self.breaks and self.calls == 3 else None)
        self.budget.check()
        found = vowels(prompts, completions)
        # One process has nothing to learn from in its second batch; the other must not wait for it.
        return [None] * len(found) if self.calls == 2 and process_rank() == 1 else found


def main(path: Path) -> None:
    job = json.loads(path.read_text())
    ready_for(job["launch"]["strategy"])
    try:
        train_ppo(
            prompts_of(8),
            rewards=[Judge(job.get("breaks_on") == process_rank())],
            model=job["model"],
            output=Path(job["output"]),
            settings=PPOSettings(**job["settings"]),
            launch=LaunchSettings(**job["launch"]),
            resume=job.get("resume", False),
        )
    except FailureBudgetError as error:
        (Path(job["output"]) / f"stopped_{process_rank()}").write_text(str(error))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
