"""One of several processes that train with GRPO or RLOO, for test_group_distributed.py: `… job.json`.

The second process has no reward for any of its responses. The responses of the process `short` end at once.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from rewards.training.distributed import process_rank
from rewards.training.launch_settings import LaunchSettings
from rl.guard_callback import GuardCallback, Opinion
from tests.judge_training.train_together import ready_for
from tests.rl.group_toys import JOBS, group_settings
from tests.rl.ppo_toys import prompts_of, vowels


def rule(prompts: Any, completions: Any, **columns: Any) -> list[float | None]:
    found = vowels(prompts, completions)
    return [None] * len(found) if process_rank() == 1 else found


def main(path: Path) -> None:
    job = json.loads(path.read_text())
    ready_for(job["launch"]["strategy"])
    looks: list[int] = []

    def look(step: int, model: Any, tokenizer: Any) -> Opinion:
        looks.append(step)
        return Opinion(best=1, stop=step == 2)

    JOBS[job["kind"]](
        prompts_of(8),
        rewards=[rule],
        model=job["model"],
        output=Path(job["output"]),
        settings=group_settings(job["kind"], **job["settings"]),
        launch=LaunchSettings(**job["launch"]),
        trl={"generation_kwargs": {"eos_token_id": list(range(320))}} if job.get("short") == process_rank() else {},
        callbacks=[GuardCallback(1, look if process_rank() == 0 else None)] if job.get("guard") else [],
    )
    (Path(job["output"]) / f"looks_{process_rank()}.json").write_text(json.dumps(looks))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
