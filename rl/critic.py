"""The critic: a value head on a model of its own or on the policy's, held as a submodule of the policy.

Design decision. The trainer, accelerate and DeepSpeed each know one model. So the critic hangs on the policy under the
name `critic`, and the policy's forward gets a branch: one engine, one optimizer and one wrap, and one forward for both
losses, which is what DDP and ZeRO count on. The price is that whatever walks over the policy (saving, loading, weights
for vLLM) must not see the critic: `without_critic` takes it off meanwhile, and it is saved and loaded by itself.

Imports torch; is imported late. Nothing here knows of rewards or of the trainer.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from rewards.errors import InputError
from rewards.judges.config import Attention, Dtype
from rewards.training.trainable import load_trainable
from rl.training_settings import CriticSettings

NAME = "critic"
FOLDER = "critic"
WEIGHTS = "critic.safetensors"


class Critic(nn.Module):
    """A value for each position of a sequence, from a trunk of its own or from hidden states of the policy's."""

    def __init__(self, width: int, trunk: nn.Module | None = None) -> None:
        super().__init__()
        self.trunk = trunk
        self.head = nn.Linear(width, 1)
        # As a reward model's head begins, N(0, 1 / (width + 1)): Stiennon et al. 2020 (arXiv 2009.01325). Theirs, and
        # Huang et al.'s (2024, arXiv 2403.17031, detail 22), critic starts from a reward model, which a judge is not.
        nn.init.normal_(self.head.weight, std=(width + 1) ** -0.5)
        nn.init.zeros_(self.head.bias)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor, response: int) -> torch.Tensor:
        """Values (B, T) in float32 of the states before the last T tokens of (B, L), from the trunk of its own.

        The trunk has `rl.response_states`.
        """
        if self.trunk is None:
            raise InputError("expected hidden states for a critic that shares the policy's trunk; call `values`")
        output = self.trunk(input_ids=input_ids, attention_mask=attention_mask, use_cache=False, response=response)
        return self.values(output.last_hidden_state)

    def values(self, hidden: torch.Tensor) -> torch.Tensor:
        """Values (B, T) in float32 from hidden states (B, T, width); not in autocast, whose 16 bits are too coarse."""
        with torch.autocast(hidden.device.type, enabled=False):
            found: torch.Tensor = self.head(hidden.to(self.head.weight.dtype))
        return found.squeeze(-1).float()


def build_critic(
    policy: nn.Module, name: str, settings: CriticSettings, *, dtype: Dtype, attention: Attention, own_master: bool
) -> Critic:
    """A critic for a policy that started from the model `name`; with `settings.start`, one that has learned before.

    Raises InputError when there is no such model, or for a saved critic of another shape.
    """
    if settings.kind == "shared":
        critic = Critic(_width(policy.config))
    else:
        loaded = load_trainable(
            settings.model or name,
            None,
            tuning=settings.tuning,
            lora=settings.lora,
            dtype=dtype,
            attention=attention,
            own_master=own_master,
        )
        trunk: nn.Module = loaded.model.base_model  # without the output layer
        if loaded.peft_config is not None:
            from peft import get_peft_model

            loaded.peft_config.task_type = None
            # Another adapter name than the policy's, so that PEFT does not take its weights for the policy's.
            trunk = get_peft_model(trunk, loaded.peft_config, adapter_name=NAME)
        critic = Critic(_width(loaded.model.config), trunk)
    if settings.start is not None:
        load_critic(critic, settings.start)
    return critic


def _width(config: Any) -> int:
    return int(config.get_text_config().hidden_size)


def attach(policy: nn.Module, critic: Critic) -> None:
    """Hang the critic on the policy, whose forward can then give values too. Both trunks have `rl.response_states`.

    `policy(input_ids=…, attention_mask=…, shift_labels=…, response=T, fused_lm_head=True, values=True)` gives a
    dictionary with log_probs, entropy and aux_loss as TRL's fused output layer does, and values, all (B, T). With
    `values="alone"` it holds the values and nothing else, and only the critic is asked (with its trunk).
    """
    policy.add_module(NAME, critic)
    inner = policy.forward
    trunk = trunk_of(policy)

    # generate() checks its keys against the forward's signature
    @functools.wraps(type(policy).forward)
    def forward(self: nn.Module, *args: Any, values: bool | Literal["alone"] = False, **kwargs: Any) -> Any:
        if not values:
            return inner(*args, **kwargs)
        asked = {name: kwargs[name] for name in ("input_ids", "attention_mask", "response")}
        if values == "alone":
            if critic.trunk is not None:
                return {"values": critic(**asked)}
            return {"values": critic.values(trunk(**asked, use_cache=False).last_hidden_state)}
        with _hidden_states(trunk) as hidden:
            output = inner(*args, **kwargs)
        found = critic(**asked) if critic.trunk is not None else critic.values(hidden[-1])
        return {"log_probs": output.log_probs, "entropy": output.entropy, "aux_loss": output.aux_loss, "values": found}

    policy.forward = types.MethodType(forward, policy)


def trunk_of(model: nn.Module) -> nn.Module:
    """The transformers model without its output layer, below any adapter."""
    from peft import PeftModel

    base: Any = model.get_base_model() if isinstance(model, PeftModel) else model
    trunk: nn.Module = base.base_model
    return trunk


@contextmanager
def _hidden_states(trunk: nn.Module) -> Iterator[list[torch.Tensor]]:
    """The last hidden states of each call of the trunk inside; TRL's fused output layer does not pass them on."""
    found: list[torch.Tensor] = []
    handle = trunk.register_forward_hook(lambda module, given, output: found.append(output.last_hidden_state))
    try:
        yield found
    finally:
        handle.remove()


@contextmanager
def without_critic(policy: nn.Module) -> Iterator[None]:
    """Inside, the policy is as if it had none."""
    critic = policy._modules.pop(NAME)
    try:
        yield
    finally:
        policy._modules[NAME] = critic


def trained_weights(critic: Critic, state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Of a whole policy's state, the critic's weights that are trained, by their names in the critic."""
    names = [name for name, weight in critic.named_parameters() if weight.requires_grad]
    return {name: state[f"{NAME}.{name}"] for name in names}


def save_critic(weights: Mapping[str, torch.Tensor], folder: Path) -> None:
    """Write a critic's trained weights into `folder`, as safetensors."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    whole = {name: weight.detach().to("cpu", copy=True).contiguous() for name, weight in weights.items()}
    save_file(whole, folder / WEIGHTS, metadata={"format": "pt"})


def load_critic(critic: Critic, folder: Path) -> None:
    """Read the trained weights that `save_critic` wrote; also into a critic that ZeRO-3 or FSDP keeps in parts.

    Raises InputError when there are none, or when they are a critic's of another shape or kind.
    """
    from safetensors.torch import load_file

    path = folder / WEIGHTS
    if not path.is_file():
        raise InputError(f"expected a critic's weights at {path}, found none; give the folder that a PPO run has left")
    saved = load_file(path)
    mine = {name: weight for name, weight in critic.named_parameters() if weight.requires_grad}
    shapes = {name: tuple(getattr(weight, "ds_shape", weight.shape)) for name, weight in mine.items()}
    found = {name: tuple(weight.shape) for name, weight in saved.items()}
    if shapes != found:
        odd = sorted(name for name in shapes.keys() | found.keys() if shapes.get(name) != found.get(name))
        raise InputError(
            f"expected a critic of the same model, kind and tuning in {path}, but {len(odd)} weights are missing or "
            f"differ ({odd[0]}: expected {shapes.get(odd[0])}, got {found.get(odd[0])})"
        )
    for name, weight in mine.items():
        with _whole(weight), torch.no_grad():
            weight.copy_(_as(weight, saved[name]))


def _as(weight: torch.Tensor, whole: torch.Tensor) -> torch.Tensor:
    """A whole weight, in parts where FSDP keeps the like of it in parts."""
    if not torch.distributed.is_available():
        return whole
    from torch.distributed.tensor import DTensor, distribute_tensor

    if not isinstance(weight, DTensor):
        return whole
    return distribute_tensor(whole.to(weight.device, weight.dtype), weight.device_mesh, weight.placements)


@contextmanager
def _whole(weight: nn.Parameter) -> Iterator[None]:
    """Inside, a weight that ZeRO-3 keeps in parts is whole and can be written on every process."""
    if not hasattr(weight, "ds_id"):
        yield
        return
    import deepspeed

    with deepspeed.zero.GatheredParameters([weight], modifier_rank=0):
        yield
