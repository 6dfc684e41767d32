"""How probable a model finds responses that are there already: for the KL between two policies on one's samples.

A response is encoded anew, so its tokens may differ from those that were drawn; both policies are asked about the same
ones, which is what their difference needs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch

from rewards.judges.batch_context import memory_errors
from rewards.judges.chat_tokens import chat_ids
from rewards.judges.local_model import LocalModel
from rewards.judges.row_cache import left_padded
from rewards.types import Candidate, Prompt


def response_logprobs(
    local: LocalModel, prompts: Mapping[str, Prompt], candidates: Sequence[Candidate], *, batch_size: int
) -> dict[str, float]:
    """Sum of the log-probabilities (nats, temperature 1) of each response's tokens, by candidate id.

    The end of the turn counts as a token where the response has one. prompts: by id.
    """
    asked = [_tokens(local, prompts[one.prompt_id], one) for one in candidates]
    order = sorted(range(len(asked)), key=lambda place: len(asked[place][0]) + len(asked[place][1]))
    found: dict[str, float] = {}
    for start in range(0, len(order), batch_size):
        part = order[start : start + batch_size]
        with memory_errors(batch_size), torch.inference_mode():
            sums = list(_sums(local, [asked[place] for place in part]))
        found |= {candidates[place].id: value for place, value in zip(part, sums, strict=True)}
    return found


def _tokens(local: LocalModel, prompt: Prompt, candidate: Candidate) -> tuple[list[int], list[int]]:
    """Tokens of the prompt, and of the response with the end of its turn."""
    response = list(local.tokenizer.encode(candidate.text, add_special_tokens=False))
    if candidate.finish_reason == "stop" and local.tokenizer.eos_token_id is not None:
        response.append(local.tokenizer.eos_token_id)
    return chat_ids(local.tokenizer, list(prompt.messages)), response


def _sums(local: LocalModel, asked: Sequence[tuple[list[int], list[int]]]) -> Iterator[float]:
    ids, mask = left_padded([prompt + response for prompt, response in asked], local.pad_id)
    longest = max(len(response) for _, response in asked)
    output = local.model(
        input_ids=ids.to(local.device),
        attention_mask=mask.to(local.device),
        position_ids=(mask.cumsum(-1) - 1).clamp(min=0).to(local.device),
        use_cache=False,
        logits_to_keep=longest + 1,
    )
    for row, (_, response) in enumerate(asked):  # one by one: float32 logits of all of them are gigabytes
        targets = torch.tensor(response, dtype=torch.long, device=local.device)
        before = output.logits[row, -len(response) - 1 : -1].float()
        found = before.gather(1, targets[:, None])[:, 0] - before.logsumexp(-1)
        yield float(found.sum()) if response else 0.0
