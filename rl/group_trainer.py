"""GRPO and RLOO: TRL's trainers, with responses that have no reward taken out of the loss.

TRL leaves a response without a reward out of its group's baseline and gives it advantage 0. That is not yet nothing:
it still counts where the loss is a mean over responses or tokens, and is still pulled to the reference. Here none of
its tokens count, and what is left is weighed as if the batch had only ever held it: the mean over all scored responses
(or tokens) of all processes and accumulation steps. Its row stays, since TRL gathers rows of all processes and counts
on as many from each. A group with a single scored response has nothing to compare it with, and teaches nothing.

The KL is logged in nats a response, as PPO logs its own; TRL's number is a mean a token.

Not done here: images, tools, evaluation within training. Imports trl; is imported late.
"""

from __future__ import annotations

from typing import Any

import torch
from trl import GRPOTrainer, RLOOTrainer

from rl.judged_trainer import Batch, JudgedTrainer


class _GroupTrainer(JudgedTrainer):
    """What both do with a batch, and with a part of it in the loss."""

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> Batch:
        batch: Batch = super()._generate_and_score_completions(inputs)  # type: ignore[misc]  # the parent is TRL's
        every = ~self._raw_rewards.isnan().any(dim=1)
        scored = every[self._mine(len(batch["completion_ids"]))]
        self._note_batch()
        mask = batch["completion_mask"] * scored[:, None]
        return batch | {
            "completion_mask": mask,
            "num_items_in_batch": self._total(mask.sum()[None].float())[0],
            "scored_in_batch": every.sum().float(),
            "scored_share": every.float().mean(),
        }

    def _note_loss(self) -> None:
        metrics = self._metrics["train"]
        metrics["clip_fraction"].append(metrics["clip_ratio/region_mean"][-1])


class GroupRelativeTrainer(_GroupTrainer, GRPOTrainer):  # type: ignore[misc]  # trl ships no types
    """GRPOTrainer; reward_funcs are behind their boundary (`rl.reward_boundary`)."""

    def _compute_loss(self, model: torch.nn.Module, inputs: Batch) -> torch.Tensor:
        loss: torch.Tensor = super()._compute_loss(model, inputs)
        metrics = self._metrics["train"]
        tokens = inputs["num_items_in_batch"] / inputs["scored_in_batch"].clamp(min=1.0)
        metrics["kl"][-1] *= tokens.item()
        self._note_loss()
        # "dapo" divides by the tokens that count in the whole batch itself; the others are means over all rows.
        return loss if self.loss_type == "dapo" else _over_scored(loss, inputs)


class LeaveOneOutTrainer(_GroupTrainer, RLOOTrainer):  # type: ignore[misc]
    """RLOOTrainer; reward_funcs are behind their boundary (`rl.reward_boundary`)."""

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> Batch:
        batch = super()._generate_and_score_completions(inputs)
        metrics = self._metrics["train"]
        metrics["kl"][-1] *= metrics["completions/mean_length"][-1]
        # No tokens that count, and so the ratio 1: a row without a reward must not become inf x 0.
        return batch | {"old_logps": batch["old_logps"].where(batch["completion_mask"].any(dim=1), 0.0)}

    def _compute_loss(self, model: torch.nn.Module, inputs: Batch) -> torch.Tensor:
        loss: torch.Tensor = super()._compute_loss(model, inputs)
        self._note_loss()
        return _over_scored(loss, inputs)


def _over_scored(loss: torch.Tensor, batch: Batch) -> torch.Tensor:
    """A mean over all rows, to which those without a reward gave 0, as the mean over those that have one.

    What is no mean over rows (an entropy bonus, a router's loss) must not be in it: `rl.on_policy_arguments` sees to
    that.
    """
    found: torch.Tensor = loss / batch["scored_share"].clamp(min=1e-9)
    return found
