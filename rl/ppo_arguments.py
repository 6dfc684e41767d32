"""TRL's GRPOConfig for PPO: our settings, what PPO fixes, and the checked `trl:` block for the rest.

GRPOConfig is used as it is. Its only quarrel with PPO is that it refuses one response to a prompt, in a check when it
is made; the number is set after that. trl is imported inside functions.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from rewards.errors import InputError
from rewards.judges.config import Dtype
from rewards.training.arguments import FIXED, OURS, check_options, common_arguments, refusals
from rl.training_settings import PPOSettings

_OURS = OURS | {
    "beta": "kl.coefficient",
    "epsilon": "clip",
    "num_generations": "responses_per_prompt",
    "num_iterations": "passes",
    "steps_per_generation": "minibatches",
    "generation_batch_size": "batch_size, gradient_accumulation and minibatches",
    "max_completion_length": "max_new_tokens",
    "temperature": "temperature",
    "shuffle_dataset": "prompt_order",
    "mask_truncated_completions": "missing_eos_penalty",
}
_LOSS = "the job: the loss is PPO's"
_FIXED = FIXED | {
    "disable_dropout": "the job: dropout is off",
    "reward_weights": "the `reward` section",
    **dict.fromkeys(
        (
            "loss_type",
            "scale_rewards",
            "epsilon_high",
            "delta",
            "importance_sampling_level",
            "multi_objective_aggregation",
            "top_entropy_quantile",
            "entropy_coef",
            "use_adaptive_entropy",
            "entropy_target",
            "off_policy_mask_threshold",
            "use_bias_correction_kl",
            "num_generations_eval",
        ),
        _LOSS,
    ),
}


def check_ppo_trl(trl: Mapping[str, JsonValue]) -> dict[str, Any]:
    """The `trl:` block of a PPO job, checked; imports trl unless it is empty."""
    if not trl:
        return {}
    from trl import GRPOConfig

    return check_options(GRPOConfig, trl, ours=_OURS, fixed=_FIXED)


def ppo_arguments(
    settings: PPOSettings,
    output: Path,
    *,
    steps: int,
    weights: list[float] | None,
    dtype: Dtype,
    trl: Mapping[str, JsonValue],
    sharding: Mapping[str, Any],
) -> Any:
    """A GRPOConfig for `steps` optimizer steps.

    Raises InputError for a batch of one response, whose advantages cannot be whitened, and as `check_ppo_trl` does.
    """
    from trl import GRPOConfig

    extra = check_ppo_trl(trl)
    common = common_arguments(settings, output, dtype=dtype)
    del common["max_length"]  # prompts are checked before, responses have max_new_tokens
    responses = settings.responses_per_prompt
    own: dict[str, Any] = {
        "max_steps": steps,
        "num_train_epochs": 1.0,
        "beta": 1.0,  # not 0: the reference's log-probabilities are wanted; the price itself is in the reward
        "num_generations": max(2, responses),
        "num_iterations": settings.passes,
        "steps_per_generation": settings.gradient_accumulation * settings.minibatches,
        "max_completion_length": settings.max_new_tokens,
        "temperature": settings.temperature,
        # The policy's own distribution: a cut one is not what the log-probabilities are of (Huang et al. 2024, arXiv
        # 2403.17031: no top-k and no top-p in sampling).
        "top_p": 1.0,
        "top_k": 0,
        "adam_epsilon": 1e-5,  # Huang et al. 2024 (arXiv 2403.17031), detail on Adam's epsilon
        "disable_dropout": True,  # the same, detail on dropout
        "shuffle_dataset": False,
        "scale_rewards": "none",
        "loss_type": "bnpo",
        "reward_weights": weights,
    }
    if settings.batch_size * settings.gradient_accumulation * settings.minibatches < 2:
        raise InputError(
            "expected at least 2 responses in a batch (batch_size x gradient_accumulation x minibatches), got 1: "
            "nothing can be compared with the rest"
        )
    with refusals("the training settings"):
        if responses == 1:
            own["num_generations"] = settings.batch_size * own["steps_per_generation"]
        arguments = GRPOConfig(**(common | own | dict(sharding) | extra))
    arguments.num_generations = responses
    return arguments
