"""What `torchrun` starts in the tests: every process trains, the first one then judges alone.

    torchrun --nproc_per_node 2 tests/judge_training/train_together.py JOB.json

The job names model, examples, output, settings and launch; `OUTPUT/judged.json` holds the ratings afterwards.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from judge_training.examples import read_examples
from judge_training.train import train_judge
from judge_training.training_settings import JudgeTrainingSettings
from rewards.judges.base import RateItem
from rewards.judges.load import load_judge
from rewards.training.distributed import process_rank
from rewards.training.launch_settings import LaunchSettings
from rewards.types import Candidate


def without_compiling() -> None:
    """Keep DeepSpeed from building its shared-memory collectives, which take minutes and change no number."""
    os.environ["DS_ACCELERATOR"] = "cpu"
    import deepspeed

    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False


def fsdp2_on_a_cpu() -> None:
    """Let accelerate shard on CPUs as on GPUs; by itself it leaves the plugin aside there and trains with DDP.

    Says at the end of the process if nothing was sharded after all.
    """
    import atexit

    from accelerate import state
    from accelerate.utils import DistributedType
    from torch.distributed import fsdp

    from rewards.training import distributed

    shard, sharded = fsdp.fully_shard, []
    fsdp.fully_shard = lambda module, *given, **more: sharded.append(module) or shard(module, *given, **more)
    atexit.register(lambda: sharded or print("nothing was sharded", file=sys.stderr))

    distributed.check_machine = lambda launch, here: None
    begin = state.AcceleratorState.__init__

    def init(self: Any, *given: Any, fsdp_plugin: Any = None, **more: Any) -> None:
        begin(self, *given, fsdp_plugin=fsdp_plugin, **more)
        if fsdp_plugin is not None and self.distributed_type == DistributedType.MULTI_CPU:
            self.distributed_type, self.fsdp_plugin = DistributedType.FSDP, fsdp_plugin
            state.PartialState._shared_state["distributed_type"] = DistributedType.FSDP

    state.AcceleratorState.__init__ = init


def ready_for(strategy: str) -> None:
    """What a process of the tests needs before it trains with a strategy on CPUs."""
    if strategy == "fsdp2":
        fsdp2_on_a_cpu()
    elif strategy.startswith("zero"):
        without_compiling()


def main(job: dict) -> None:
    ready_for(job["launch"]["strategy"])
    output, examples = Path(job["output"]), Path(job["examples"])
    train_judge(
        examples,
        model=job["model"],
        output=output,
        settings=JudgeTrainingSettings.model_validate(job["settings"]),
        launch=LaunchSettings.model_validate(job["launch"]),
        mode="direct",
        resume=job.get("resume", False),
    )
    if process_rank() > 0:
        return
    judge = load_judge(model=str(output), mode="direct")
    singles = [one for one in read_examples(examples) if one.kind == "single"]
    items = [
        RateItem(prompt=one.prompt, candidate=Candidate(id=one.id, prompt_id=one.prompt.id, text=one.responses[0]))
        for one in singles
    ]
    scores = {j.candidate_ids[0]: j.outcome.score for j in judge.rate(items)}
    judged = {"trained": judge.card.trained, "scores": scores}
    (output / "judged.json").write_text(json.dumps(judged), encoding="utf-8")


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
