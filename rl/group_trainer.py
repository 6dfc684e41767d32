"""GRPO and RLOO: TRL's trainers, with responses that have no reward taken out of the loss.

TRL leaves a response without a reward out of its group's baseline and gives it advantage 0. That is not yet nothing:
it still counts where the loss is a mean over responses or tokens, and is still pulled to the reference. Here it leaves
the batch before the forward pass of the loss, and what is left is weighed as if the batch had only ever held it: the
mean over all scored responses (or tokens) of all processes and accumulation steps. A group with a single scored
response has nothing to compare it with, and teaches nothing.

The KL is logged in nats a response, as PPO logs its own; TRL's number is a mean a token.

Not done here: images, tools, evaluation within training. Imports trl; is imported late.
"""

from __future__ import annotations

from typing import Any

import torch
from trl import GRPOTrainer, RLOOTrainer

from rl.judged_trainer import Batch, JudgedTrainer, scored_rows


class _GroupTrainer(JudgedTrainer):
    """What both do with a batch, and with a part of it in the loss."""

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> Batch:
        batch: Batch = super()._generate_and_score_completions(inputs)  # type: ignore[misc]  # the parent is TRL's
        every = ~self._raw_rewards.isnan().any(dim=1)
        scored = every[self._mine(len(batch["completion_ids"]))]
        self._note_batch()
        # A row without a reward that is kept because a process must go forward has no tokens that count.
        mask = batch["completion_mask"] * scored[:, None]
        return batch | {
            "completion_mask": mask,
            "scored": scored,
            "num_items_in_batch": self._total(mask.sum()[None].float())[0],
            "scored_in_batch": every.sum().float(),
        }

    def _share(self, batch: Batch, scored: torch.Tensor) -> torch.Tensor:
        """How much a part's mean over its scored responses weighs among the parts of a batch, 1 on average."""
        parts = self.args.steps_per_generation * self.accelerator.num_processes
        share: torch.Tensor = scored.sum() * parts / batch["scored_in_batch"].clamp(min=1.0)
        return share

    def _note_loss(self) -> None:
        metrics = self._metrics["train"]
        metrics["clip_fraction"].append(metrics["clip_ratio/region_mean"][-1])


class GroupRelativeTrainer(_GroupTrainer, GRPOTrainer):  # type: ignore[misc]  # trl ships no types
    """GRPOTrainer; reward_funcs are behind their boundary (`rl.reward_boundary`)."""

    def _compute_loss(self, model: torch.nn.Module, inputs: Batch) -> torch.Tensor:
        loss: torch.Tensor = super()._compute_loss(model, scored_rows(inputs))
        metrics = self._metrics["train"]
        tokens = inputs["num_items_in_batch"] / inputs["scored_in_batch"].clamp(min=1.0)
        metrics["kl"][-1] *= tokens.item()
        self._note_loss()
        # "dapo" divides by the tokens of the whole batch itself; the others are means over the responses of a part.
        return loss if self.loss_type == "dapo" else loss * self._share(inputs, inputs["scored"])


class LeaveOneOutTrainer(_GroupTrainer, RLOOTrainer):  # type: ignore[misc]
    """RLOOTrainer; reward_funcs are behind their boundary (`rl.reward_boundary`)."""

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> Batch:
        batch = super()._generate_and_score_completions(inputs)
        metrics = self._metrics["train"]
        metrics["kl"][-1] *= metrics["completions/mean_length"][-1]
        # No tokens, and so the ratio 1: the kept row of a part without rewards must not become inf x 0.
        return batch | {"old_logps": batch["old_logps"].where(batch["scored"], 0.0)}

    def _compute_loss(self, model: torch.nn.Module, inputs: Batch) -> torch.Tensor:
        loss: torch.Tensor = super()._compute_loss(model, scored_rows(inputs))
        self._note_loss()
        return loss * self._share(inputs, inputs["scored"])
