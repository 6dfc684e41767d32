"""The output layer at the labelled positions only, where TRL's own kernel computes it everywhere.

A judge's answer is a few tokens after a long question, and the loss is on the answer. On GPUs TRL 1.16 runs the output
layer (a vocabulary wide) at the labelled positions only; elsewhere it runs it at all of them, so that its tiles keep
their shape, which on a CPU takes most of a step. Here the hidden states are narrowed before the layer, and everything
else (the loss, the metrics, what is counted) stays TRL's.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from transformers import PreTrainedModel
from trl.trainer.utils import FusedCausalLMOutput

from judge_training.train import IGNORED


def score_labelled_only(model: PreTrainedModel) -> None:
    """Let `model(..., labels=labels, fused_lm_head=True)` compute logits at labelled positions only.

    model: one that TRL has given its fused head already. Any other call of it is left as it is. The fields of the
    output are those of TRL's, each (batch, tokens - 1) and zero where there is no label.
    """
    unfused = model.forward

    @functools.wraps(unfused)
    def forward(*args: Any, fused_lm_head: bool = False, labels: torch.Tensor | None = None, **kwargs: Any) -> Any:
        if not fused_lm_head or labels is None:
            given = {} if labels is None else {"labels": labels}
            return unfused(*args, fused_lm_head=fused_lm_head, **given, **kwargs)
        total = kwargs.pop("num_items_in_batch", None)
        mask = labels[:, 1:] != IGNORED
        narrow = model.get_output_embeddings().register_forward_pre_hook(lambda _, given: (given[0][:, :-1][mask],))
        try:
            logits = unfused(*args, **kwargs).logits
        finally:
            narrow.remove()
        return _output(logits, labels[:, 1:][mask], mask, total)

    model.forward = forward


def _output(logits: torch.Tensor, targets: torch.Tensor, mask: torch.Tensor, total: Any) -> FusedCausalLMOutput:
    """TRL's record of logits (labels, vocabulary) at the places of the mask (batch, tokens - 1)."""
    logprobs = logits.float().log_softmax(-1)
    picked = logprobs.gather(-1, targets[:, None])[:, 0]
    with torch.no_grad():
        entropy = -(logprobs.exp() * logprobs).sum(-1)
        top = logprobs.argmax(-1) == targets
    return FusedCausalLMOutput(
        loss=-picked.sum() / (mask.sum().clamp(min=1) if total is None else total),
        log_probs=_placed(picked, mask),
        entropy=_placed(entropy, mask),
        is_top1=_placed(top, mask),
        label_mask=mask,
    )


def _placed(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    return values.new_zeros(mask.shape).masked_scatter(mask, values)
