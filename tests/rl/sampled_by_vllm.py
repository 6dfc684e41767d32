"""A training whose responses vLLM samples in this process, for test_vllm_sampling.py: `python … job.json`.

After each batch is sampled, the policy in training is asked for the log-probabilities of the same tokens. Writes the
largest distance of each batch from vLLM's.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch

from tests.rl.group_toys import JOBS, group_settings
from tests.rl.ppo_toys import prompts_of, settings_of, vowels


def main(path: Path) -> None:
    from rl.ppo import train_ppo

    job = json.loads(path.read_text())
    _keep_weights_on_a_cpu()
    _in_float32()
    distances = _watch()
    kind, settings = job["kind"], job["settings"]
    train = train_ppo if kind == "ppo" else JOBS[kind]
    train(
        prompts_of(8),
        rewards=[vowels],
        model=job["model"],
        output=path.parent / "trained",
        settings=settings_of(**settings) if kind == "ppo" else group_settings(kind, **settings),
        trl={
            "use_vllm": True,
            "vllm_mode": "colocate",
            "vllm_max_model_length": 128,
            "vllm_gpu_memory_utilization": 0.1,
        },
    )
    path.with_name("distances.json").write_text(json.dumps(distances))


def _keep_weights_on_a_cpu() -> None:
    """vLLM packs the weights of linear layers on a CPU and throws the originals away: none could be loaded again."""
    from vllm.model_executor.layers import utils
    from vllm.platforms import current_platform

    if current_platform.is_cpu():
        utils.dispatch_cpu_unquantized_gemm = lambda layer, remove_weight: setattr(
            layer, "cpu_linear", torch.nn.functional.linear
        )


def _in_float32() -> None:
    """As the policy: vLLM by itself halves the precision of a float32 model, and TRL has no setting for that."""
    from functools import partial

    from trl.generation import vllm_generation

    vllm_generation.LLM = partial(vllm_generation.LLM, dtype="float32")


def _watch() -> list[float]:
    """The largest distance of each batch that will be sampled, filled as they are."""
    from trl.generation.vllm_generation import VLLMGeneration

    found: list[float] = []
    real = VLLMGeneration.generate

    def generate(self: Any, *given: Any, **named: Any) -> Any:
        self.logprobs = 0  # RLOO has no use for them and asks for none
        sampled = real(self, *given, **named)
        asked, written, logprobs = sampled[:3]
        found.append(max(_distance(self.model, *one) for one in zip(asked, written, logprobs, strict=True)))
        return sampled

    VLLMGeneration.generate = generate
    return found


@torch.no_grad()
def _distance(model: Any, asked: list[int], written: list[int], logprobs: list[list[float]]) -> float:
    ids = torch.tensor([list(asked) + list(written)], device=model.device)
    logits = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0, len(asked) - 1 : -1].float()
    mine = logits.log_softmax(-1).gather(1, ids[0, len(asked) :, None])[:, 0]
    theirs = torch.tensor([one[0] for one in logprobs], device=model.device)
    return float((mine - theirs).abs().max())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
