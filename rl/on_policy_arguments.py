"""TRL's config object for PPO, GRPO and RLOO: our settings, what the job fixes, and the checked `trl:` block.

TRL's classes are used as they are. Their only quarrel with PPO, which trains with a GRPOConfig, is that one response
to a prompt is refused in a check when the object is made; the number is set after that. trl is imported inside
functions.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias

from pydantic import JsonValue

from rewards.errors import InputError
from rewards.judges.chat_tokens import CHAT_TEMPLATE
from rewards.judges.config import Dtype
from rewards.training.arguments import FIXED, OURS, check_options, common_arguments, refusals
from rl.training_settings import GRPOSettings, PPOSettings, RLOOSettings

Kind: TypeAlias = Literal["ppo", "grpo", "rloo"]
Settings: TypeAlias = PPOSettings | GRPOSettings | RLOOSettings

_OURS = OURS | {
    "epsilon": "clip",
    "num_generations": "responses_per_prompt",
    "num_iterations": "passes",
    "steps_per_generation": "minibatches",
    "generation_batch_size": "batch_size, gradient_accumulation and minibatches",
    "max_completion_length": "max_new_tokens",
    "temperature": "temperature",
    "shuffle_dataset": "prompt_order",
}
_OWN: dict[Kind, dict[str, str]] = {
    "ppo": {"beta": "kl.coefficient", "mask_truncated_completions": "missing_eos_penalty"},
    "grpo": {"beta": "beta", "loss_type": "loss_type", "scale_rewards": "scale_rewards"},
    "rloo": {"beta": "beta", "normalize_advantages": "normalize_advantages"},
}
_FIXED = FIXED | {
    "disable_dropout": "the job: dropout is off",
    "reward_weights": "the `reward` section",
    "chat_template_kwargs": "the job: prompts are asked in the same words in training, sampling and measuring",
}
_PPO_LOSS = (
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
)
_FIXED_FOR: dict[Kind, dict[str, str]] = {
    "ppo": dict.fromkeys(_PPO_LOSS, "the job: the loss is PPO's"),
    "grpo": {
        "multi_objective_aggregation": "the job: rewards are added with their weights",
        **dict.fromkeys(
            ("entropy_coef", "use_adaptive_entropy", "router_aux_loss_coef"),
            "the job: a term beside the responses' loss would be weighed by how many have a reward",
        ),
    },
    "rloo": {"router_aux_loss_coef": "the job: the router is not trained"},
}


def _config_class(kind: Kind) -> type[Any]:
    from trl import GRPOConfig, RLOOConfig

    classes: dict[Kind, type[Any]] = {"ppo": GRPOConfig, "grpo": GRPOConfig, "rloo": RLOOConfig}
    return classes[kind]


def check_on_policy_trl(kind: Kind, trl: Mapping[str, JsonValue]) -> dict[str, Any]:
    """The `trl:` block of an on-policy job, checked; imports trl unless it is empty."""
    if not trl:
        return {}
    return check_options(_config_class(kind), trl, ours=_OURS | _OWN[kind], fixed=_FIXED | _FIXED_FOR[kind])


def on_policy_arguments(
    kind: Kind,
    settings: Settings,
    output: Path,
    *,
    steps: int,
    weights: list[float] | None,
    dtype: Dtype,
    trl: Mapping[str, JsonValue],
    sharding: Mapping[str, Any],
) -> Any:
    """TRL's config object for `steps` optimizer steps.

    Raises InputError for a batch of one response, which cannot be compared, and as `check_on_policy_trl` does.
    """
    extra = check_on_policy_trl(kind, trl)
    common = common_arguments(settings, output, dtype=dtype)
    del common["max_length"]  # prompts are checked before, responses have max_new_tokens
    responses = settings.responses_per_prompt
    shared: dict[str, Any] = {
        "max_steps": steps,
        "num_train_epochs": 1.0,
        "num_generations": max(2, responses),
        "num_iterations": settings.passes,
        "steps_per_generation": settings.gradient_accumulation * settings.minibatches,
        "max_completion_length": settings.max_new_tokens,
        "temperature": settings.temperature,
        # The policy's own distribution: a cut one is not what the log-probabilities are of.
        "top_p": 1.0,
        "top_k": 0,
        # Old and new log-probabilities must be of one model (Huang et al. 2024, arXiv 2403.17031, detail 7).
        "disable_dropout": True,
        "chat_template_kwargs": CHAT_TEMPLATE,
        "shuffle_dataset": False,
        "reward_weights": weights,
    }
    if settings.batch_size * settings.gradient_accumulation * settings.minibatches < 2:
        raise InputError(
            "expected at least 2 responses in a batch (batch_size x gradient_accumulation x minibatches), got 1: "
            "nothing can be compared with the rest"
        )
    with refusals("the training settings"):
        if responses == 1:
            shared["num_generations"] = settings.batch_size * shared["steps_per_generation"]
        arguments = _config_class(kind)(**(common | shared | _own(settings) | dict(sharding) | extra))
    arguments.num_generations = responses
    return arguments


def _own(settings: Settings) -> dict[str, Any]:
    """What one algorithm has and the others have not."""
    match settings:
        case PPOSettings():
            return {
                "beta": 1.0,  # not 0: the reference's log-probabilities are wanted; the price is in the reward
                "adam_epsilon": 1e-5,  # Huang et al. 2024 (arXiv 2403.17031), table 7
                "scale_rewards": "none",
                "loss_type": "bnpo",
            }
        case GRPOSettings():
            return {
                "router_aux_loss_coef": 0.0,
                "beta": settings.beta,
                "epsilon": settings.clip,
                "loss_type": settings.loss_type,
                "scale_rewards": settings.scale_rewards,
            }
        case RLOOSettings():
            return {
                "router_aux_loss_coef": 0.0,
                "beta": settings.beta,
                "epsilon": settings.clip,
                "normalize_advantages": settings.normalize_advantages,
            }
