"""Training a judge on the distribution of its ratings: what is read of it in direct mode is what is learned.

Two losses. The first is the cross-entropy of the whole distribution over ratings, so that a mean between two ratings
(two raters, two orders) is taught as both of them in proportion. The second (`rank_weight`) compares the expected
ratings of responses to one prompt, since Best-of-N and groupwise rewards only ever ask which of them is better:
RankNet's loss (Burges et al. 2005) with the probability that the difference of the reference ratings gives.

All ratings are read in one forward pass of context and spine: the tokens that are shared by ratings of several tokens
("1" of "1" and "10"). A scale whose ratings share more than one beginning (1 to 100) has no such spine and is refused.
Imports trl; is imported late.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from trl import SFTTrainer

from judge_training.rating_targets import TokenScale
from rewards.judges.choice_tree import build_tree, choice_logprobs
from rewards.judges.row_cache import left_padded

_COLUMNS = ["input_ids", "targets", "group"]


class RatingTrainer(SFTTrainer):  # type: ignore[misc]  # trl ships no types
    """SFTTrainer with the losses of this module in place of its own.

    Rows of the data sets are those of `RatedTokens.row`.
    """

    def __init__(self, *, scale: TokenScale, rank_weight: float, **more: Any) -> None:
        self._tree, self._scale, self._rank_weight = build_tree(scale.sequences), scale, rank_weight
        super().__init__(data_collator=_Collator(more["processing_class"]), **more)

    def _set_signature_columns_if_needed(self) -> None:
        self._signature_columns = list(_COLUMNS)

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> torch.Tensor:
        """Mean over the rows of a batch; the ranking loss is a mean over its pairs. Outputs are never asked for."""
        targets, group = inputs.pop("targets"), inputs.pop("group")
        logits = model(**inputs, use_cache=False, logits_to_keep=len(self._scale.spine) + 1).logits.float()
        logprobs, mass = choice_logprobs(self._tree, targets.shape[1], lambda path: logits[:, len(path)])
        entropy = -(targets * logprobs).sum(1).mean()
        loss = entropy - mass.log().mean()
        found = {"rating_cross_entropy": entropy}
        if self._rank_weight:
            values = logprobs.new_tensor(self._scale.values)
            found["ranking_loss"] = ranking_loss(logprobs.exp() @ values, targets @ values, group)
            loss = loss + self._rank_weight * found["ranking_loss"]
        self._note(found, inputs["attention_mask"].sum())
        return loss

    def _note(self, losses: dict[str, torch.Tensor], tokens: torch.Tensor) -> None:
        """Log the parts of a batch's loss, and the tokens seen until now, as SFTTrainer does."""
        metrics = self._metrics["train" if self.model.training else "eval"]
        for name, loss in losses.items():
            metrics[name].append(self.accelerator.gather_for_metrics(loss.detach()).mean().item())
        if self.model.training:
            self._total_train_tokens += self.accelerator.gather_for_metrics(tokens).sum().item()
        metrics["num_tokens"] = [self._total_train_tokens]


def ranking_loss(expected: torch.Tensor, reference: torch.Tensor, group: torch.Tensor) -> torch.Tensor:
    """RankNet's loss, a mean over the pairs of a group; 0 where there is none.

    Of two with one reference rating neither should be higher: what else they differ in (their length) is unlearned.

    expected, reference: ratings, (B,). group: which rows are of one prompt, (B,).
    """
    apart = expected[:, None] - expected[None]
    wanted = (reference[:, None] - reference[None]).sigmoid()
    pairs = (group[:, None] == group[None]).triu(diagonal=1)
    losses = torch.nn.functional.binary_cross_entropy_with_logits(apart, wanted, reduction="none")
    return (losses * pairs).sum() / pairs.sum().clamp(min=1)


class _Collator:
    """Rows padded on the left, so that what is read stands at the same place in all."""

    def __init__(self, tokenizer: Any) -> None:
        self._padding = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        ids, mask = left_padded([row["input_ids"] for row in rows], self._padding)
        return {
            "input_ids": ids,
            "attention_mask": mask,
            "position_ids": (mask.cumsum(1) - 1).clamp(min=0),
            "targets": torch.tensor([row["targets"] for row in rows], dtype=torch.float32),
            "group": torch.tensor([row["group"] for row in rows]),
        }
