"""PPO as a subclass of TRL's GRPOTrainer: sampling, rewards and reference are the parent's, the learning is ours.

Why a subclass. GRPOTrainer (1.16) samples (vLLM too), runs sync and async rewards, has the reference model, PEFT,
DeepSpeed and logging; what PPO adds is a critic, advantages a token, and two losses. TRL's own PPOTrainer takes reward
models only and is experimental; a trainer from nothing would be some thousand lines to keep.

What it depends on beside `rl.judged_trainer`, all of trl>=1.16,<1.17, which is why that is pinned:
- `_generate_and_score_completions` gives a dictionary of tensors a row (prompt_ids, completion_ids and their masks,
  ref_per_token_logps where `beta` is not 0), whose further tensors are shuffled and split with the others;
- `_compute_loss` is all of the loss, already divided for gradient accumulation;
- `_metrics` is where it collects what it logs;
- `_get_per_token_logps_and_entropies` gives the reference's log-probabilities;
- a model with TRL's fused output layer takes `shift_labels` and `fused_lm_head=True`, and asks its trunk once.
Of transformers' Trainer it overrides `create_optimizer`, `create_scheduler`, `_save` and `_load_from_checkpoint`.

A response without a reward is gone for good: it is taken out of the batch before GAE, whitening and the forward pass
of the losses, so that what is left computes the same bits as a batch that never had it.

Where a batch of responses is learned from once and whole, the forward pass of the losses is also that of the old
log-probabilities and values, which are the same numbers then; GAE and whitening wait for it. Else there is one before.

Not done here: images, tools, an entropy bonus, evaluation within training. Imports trl; is imported late.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Literal

import torch
from trl import GRPOTrainer
from trl.trainer.utils import disable_dropout_in_model

from rl.advantages import gae, whiten
from rl.critic import FOLDER, NAME, Critic, attach, load_critic, save_critic, trained_weights, trunk_of, without_critic
from rl.judged_trainer import Batch, JudgedTrainer
from rl.kl import KLController, kl_estimate
from rl.ppo_loss import clipped_surrogate, clipped_value_loss, explained_variance
from rl.ppo_schedule import hold_policy_back, separate_rates
from rl.response_states import give_response_states
from rl.reward_boundary import HeldBack
from rl.reward_scaling import RunningScale, shape_rewards
from rl.training_settings import PPOSettings


class PPOTrainer(JudgedTrainer, GRPOTrainer):  # type: ignore[misc]  # trl ships no types
    """GRPOTrainer with a critic and PPO's losses.

    args: a GRPOConfig with `beta` not 0, which only makes the parent compute the reference's log-probabilities.
    critic: hung on the model. reward_funcs: behind their boundary (`rl.reward_boundary`). beginning: tokens that all
    prompts begin with, which are computed once for a batch (`rl.response_states`).
    """

    def __init__(
        self,
        *,
        critic: Critic,
        settings: PPOSettings,
        reward_funcs: Sequence[HeldBack],
        beginning: Sequence[int] = (),
        **more: Any,
    ) -> None:
        super().__init__(reward_funcs=reward_funcs, **more)
        self.settings = settings
        self.one_forward = self.args.steps_per_generation == 1 and self.num_iterations == 1
        self.controller = KLController(settings.kl.coefficient, target=settings.kl.target, horizon=settings.kl.horizon)
        self.scale = RunningScale() if settings.reward_scale == "running" else None
        # Dropout off: old and new log-probabilities must be of one model (Huang et al. 2024, arXiv 2403.17031).
        disable_dropout_in_model(critic)
        if not self.is_deepspeed_enabled:
            critic.to(self.args.device)
        if critic.trunk is not None and self.args.activation_checkpointing:
            trunk: Any = critic.trunk
            trunk.activation_checkpointing_enable(self.args.gradient_checkpointing_kwargs)
            trunk.enable_input_require_grads()
        shared = () if self.args.activation_checkpointing else beginning
        models = (self.model, self.ref_model, critic.trunk)
        for trunk in [trunk_of(self.accelerator.unwrap_model(model)) for model in models if model is not None]:
            give_response_states(trunk, shared)
        attach(self.model, critic)
        if self.use_vllm:
            self._keep_critic_from_vllm()

    @property
    def critic(self) -> Critic:
        """The critic, where it hangs."""
        found: Critic = self.model._modules[NAME]
        return found

    def _keep_critic_from_vllm(self) -> None:
        send = self.vllm_generation.sync_weights

        def sync_weights() -> None:
            with without_critic(self.model):
                send()

        self.vllm_generation.sync_weights = sync_weights

    # Rewards and advantages

    @torch.no_grad()
    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> Batch:
        batch: Batch = super()._generate_and_score_completions(inputs)
        batch.pop("advantages", None)  # of a group
        mine = self._mine(len(batch["completion_ids"]))
        raw = self._weighted()
        if self.scale is not None:
            self.scale.update(raw)
        scored = ~raw[mine].isnan()
        rewards = shape_rewards(
            raw[mine],
            self._ended(batch),
            scale=self.scale,
            clip=self.settings.reward_clip,
            missing_eos_penalty=self.settings.missing_eos_penalty,
        )
        mask = batch["completion_mask"].bool() & scored[:, None]
        batch |= {
            "rewards": rewards,
            "loss_mask": mask,
            "scored": scored,
            "num_items_in_batch": self._total(mask.sum()[None].float())[0],
        }
        return batch if self.one_forward else self._with_advantages(batch, *self._old(batch))

    @torch.no_grad()
    def _with_advantages(self, batch: Batch, logps: torch.Tensor, values: torch.Tensor) -> Batch:
        """The batch with what is learned from it, from the policy's log-probabilities and the values before that."""
        old = batch.get("old_per_token_logps", logps)
        mask = batch["loss_mask"]
        kl = kl_estimate(old, batch["ref_per_token_logps"], self.settings.kl.estimator).where(mask, 0.0)
        advantages, returns = gae(
            self._token_rewards(batch["rewards"], kl, mask),
            values,
            mask,
            gamma=self.settings.gamma,
            lam=self.settings.lam,
        )
        self._note(kl.sum(1)[batch["scored"]], values, returns, mask)
        if self.settings.whiten:
            advantages = whiten(advantages, mask, total=self._total)
        return batch | {
            "advantages": advantages,
            "returns": returns,
            "old_values": values,
            "old_per_token_logps": old,
        }

    def _old(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-probabilities and values of the batch, (B, T), as they are before it is learned from.

        Where the parent has asked the policy already, only the critic is asked.
        """
        known = batch.get("old_per_token_logps")
        found = []
        size = self.args.per_device_train_batch_size
        for start in range(0, len(batch["completion_ids"]), size):
            part = {key: batch[key][start : start + size] for key in _IDS}
            found.append(self._forward(self.model, part, values=True if known is None else "alone"))
        logps = torch.cat([part["log_probs"] for part in found]) if known is None else known
        return logps, torch.cat([part["values"] for part in found])

    def _forward(
        self, model: torch.nn.Module, batch: Batch, *, values: Literal[True, "alone"] = True
    ) -> dict[str, Any]:
        """Policy and critic on prompts with responses; log_probs, entropy and values are (B, T), over the response.

        Both are taken one position to the left of the token that they are about: the position that has seen all
        before it. The value there is that of the state before the token (Huang et al. 2024, arXiv 2403.17031).
        """
        with self.accelerator.autocast():
            output: dict[str, Any] = model(**self._asked(batch), values=values)
        return output

    def _asked(self, batch: Batch) -> Batch:
        """What a model with TRL's fused output layer is given, to be asked about the response alone."""
        ids, mask = batch["completion_ids"], batch["completion_mask"]
        router = {"output_router_logits": True} if self.aux_loss_enabled else {}
        return router | {
            "input_ids": torch.cat([batch["prompt_ids"], ids], dim=1),
            "attention_mask": torch.cat([batch["prompt_mask"], mask], dim=1),
            "shift_labels": ids.masked_fill(mask == 0, -100),
            "response": ids.size(1),
            "fused_lm_head": True,
        }

    def _get_per_token_logps_and_entropies(
        self,
        model: torch.nn.Module,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        logits_to_keep: int,
        batch_size: int | None = None,
        **more: Any,
    ) -> tuple[torch.Tensor, None, None]:
        """As the parent's where it asks for log-probabilities alone, of the response's positions alone."""
        found = []
        size = batch_size or len(input_ids)
        for start in range(0, len(input_ids), size):
            ids, mask = (each[start : start + size] for each in (input_ids, attention_mask))
            part = {"prompt_ids": ids[:, :-logits_to_keep], "prompt_mask": mask[:, :-logits_to_keep]}
            part |= {"completion_ids": ids[:, -logits_to_keep:], "completion_mask": mask[:, -logits_to_keep:]}
            with self.accelerator.autocast():
                found.append(model(**self._asked(part)).log_probs)
        return torch.cat(found), None, None

    def _weighted(self) -> torch.Tensor:
        """One reward for each response of all processes, (N,): the weighted sum, NaN where a function has none."""
        total: torch.Tensor = (self._raw_rewards * self.reward_weights.to(self._raw_rewards.device)).sum(dim=1)
        return total

    def _ended(self, batch: Batch) -> torch.Tensor:
        """Whether each response, (B,), has an end-of-sequence token."""
        ends = torch.isin(batch["completion_ids"], torch.tensor(self.eos_token_ids, device=self.accelerator.device))
        found: torch.Tensor = (ends & batch["completion_mask"].bool()).any(dim=1)
        return found

    def _token_rewards(self, rewards: torch.Tensor, kl: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """The KL's price at every token, and the reward at the last one (Ziegler et al. 2019, arXiv 1909.08593)."""
        found = -self.controller.coefficient * kl
        rows = mask.any(dim=1).nonzero().squeeze(1)
        found[rows, mask.sum(dim=1)[rows] - 1] += rewards[rows]
        return found

    def _note(self, kl: torch.Tensor, values: torch.Tensor, returns: torch.Tensor, mask: torch.Tensor) -> None:
        """Log what a batch was like, and let the controller answer to it."""
        total, count = self._total(torch.stack([kl.sum(), kl.new_tensor(float(len(kl)))])).tolist()
        metrics = self._metrics["train"]
        self._note_batch()
        metrics["kl_coefficient"].append(self.controller.coefficient)
        metrics["explained_variance"].append(explained_variance(values[mask], returns[mask], total=self._total))
        metrics.pop("frac_reward_zero_std", None)  # of groups, which PPO has none of
        if count:
            metrics["kl"].append(total / count)
            self.controller.update(total / count, responses=int(count))

    # Losses

    def _compute_loss(self, model: torch.nn.Module, inputs: Batch) -> torch.Tensor:
        batch = _scored_rows(inputs)
        output = self._forward(model, batch)
        if "advantages" not in batch:
            batch = self._with_advantages(batch, output["log_probs"].detach(), output["values"].detach())
        valid = batch["loss_mask"]
        logps, entropy, values = (output[key][valid] for key in ("log_probs", "entropy", "values"))
        surrogate, held = clipped_surrogate(
            logps,
            batch["old_per_token_logps"][valid],
            batch["advantages"][valid],
            low=self.settings.clip,
            high=self.settings.clip,
        )
        if "importance_sampling_ratio" in batch:  # between vLLM, which sampled, and the policy as it was then
            surrogate = surrogate * batch["importance_sampling_ratio"].expand_as(valid)[valid]
        value_loss = clipped_value_loss(
            values, batch["old_values"][valid], batch["returns"][valid], clip=self.settings.value_clip
        )
        self._note_losses(surrogate, value_loss, held, entropy)
        loss = (surrogate.sum() + self.settings.value_coefficient * value_loss.sum()) / self._tokens(batch)
        if self.aux_loss_enabled:
            loss = loss + self.router_aux_loss_coef * output["aux_loss"] / self.current_gradient_accumulation_steps
        return loss

    def _tokens(self, batch: Batch) -> torch.Tensor:
        """What a micro-batch's sum is divided by, so that every token of a batch of responses weighs the same.

        The processes' gradients are averaged, so it is the tokens of one process in one optimizer step.
        """
        steps = self.current_gradient_accumulation_steps / self.args.steps_per_generation
        tokens: torch.Tensor = batch["num_items_in_batch"].clamp(min=1.0) * steps / self.accelerator.num_processes
        return tokens

    def _note_losses(
        self, surrogate: torch.Tensor, value_loss: torch.Tensor, held: torch.Tensor, entropy: torch.Tensor
    ) -> None:
        named = {"policy_loss": surrogate, "value_loss": value_loss, "clip_fraction": held, "entropy": entropy}
        sums = [value.detach().float().sum() for value in named.values()]
        *totals, count = self._total(torch.stack([*sums, sums[0].new_tensor(float(surrogate.numel()))])).tolist()
        if count:
            for name, total in zip(named, totals, strict=True):
                self._metrics["train"][name].append(total / count)

    # Optimizer, saving and resuming

    def create_optimizer(self, model: torch.nn.Module | None = None) -> torch.optim.Optimizer:
        """As the parent's, with a learning rate of its own for the critic."""
        created = self.optimizer is None
        optimizer: torch.optim.Optimizer = super().create_optimizer(model)
        if created:
            critic = {id(weight) for weight in self.critic.parameters()}
            separate_rates(optimizer, critic, self.settings.critic.learning_rate)
        return optimizer

    def create_scheduler(self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None) -> Any:
        """As the parent's, with the policy's learning rate at 0 while the critic warms up."""
        created = self.lr_scheduler is None
        scheduler = super().create_scheduler(num_training_steps, optimizer)
        if created:
            hold_policy_back(scheduler, self.settings.critic.warmup_steps)
        return scheduler

    def _save(self, output_dir: str | None = None, state_dict: dict[str, torch.Tensor] | None = None) -> None:
        if self.args.should_save:
            state = self.model.state_dict() if state_dict is None else state_dict
            save_critic(trained_weights(self.critic, state), Path(output_dir or self.args.output_dir) / FOLDER)
        if state_dict is not None:
            state_dict = {name: weight for name, weight in state_dict.items() if not name.startswith(f"{NAME}.")}
        with without_critic(self.model):
            super()._save(output_dir, state_dict)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: torch.nn.Module | None = None) -> None:
        # FSDP's own file is of the whole model, the critic included.
        with nullcontext() if self.is_fsdp_enabled else without_critic(self.model):
            super()._load_from_checkpoint(resume_from_checkpoint, model)
        load_critic(self.critic, Path(resume_from_checkpoint) / FOLDER)

    def _extra_state(self) -> dict[str, Any]:
        scale = None if self.scale is None else vars(self.scale)
        return {"kl_coefficient": self.controller.coefficient, "reward_scale": scale}

    def _take_extra_state(self, state: dict[str, Any]) -> None:
        self.controller.coefficient = state["kl_coefficient"]
        if self.scale is not None and state["reward_scale"] is not None:
            vars(self.scale).update(state["reward_scale"])


_IDS = ("prompt_ids", "prompt_mask", "completion_ids", "completion_mask")


def _scored_rows(batch: Batch) -> Batch:
    """The rows that have a reward, and no more columns than they need; one row without any where there is none."""
    rows = batch["scored"].nonzero().squeeze(1)
    rows = rows if len(rows) else torch.zeros(1, dtype=torch.long, device=rows.device)  # all processes must go forward
    found = {
        name: value[rows] if isinstance(value, torch.Tensor) and value.ndim else value for name, value in batch.items()
    }
    width = max(1, int(found["completion_mask"].sum(dim=1).max()))
    prompt = int(found["prompt_mask"].sum(dim=1).max())
    for name, value in found.items():
        if name.startswith("prompt_"):
            found[name] = value[:, value.size(1) - prompt :]
        elif isinstance(value, torch.Tensor) and value.ndim == 2 and value.size(1) > 1:
            found[name] = value[:, :width]
    return found
