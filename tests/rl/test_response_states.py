"""States at a response's places, with and without a shared beginning: the numbers and gradients of a plain forward."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModel, MistralConfig, MistralModel

from rl.on_policy import common_beginning
from rl.response_states import KERNEL, give_response_states
from tests.rl.ppo_toys import batch_of, settings_of, trainer_of

COMMON = list(range(40, 49))
RESTS, ENDS = (1, 4, 3, 2, 5), (6, 2, 4, 1, 5)
TOKENS = 6
Found = tuple[torch.Tensor, list[torch.Tensor]]


def ragged(common: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of a beginning, a rest and a response, padded on both sides: ids and mask."""
    chance = torch.Generator().manual_seed(2)
    width = len(common) + max(RESTS)
    ids = torch.zeros(len(RESTS), width + TOKENS, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, (rest, end) in enumerate(zip(RESTS, ENDS, strict=True)):
        start = width - rest - len(common)
        ids[row, start : width + end] = torch.randint(3, 200, (width + end - start,), generator=chance)
        ids[row, start : start + len(common)] = torch.tensor(common)
        mask[row, start : width + end] = 1
    return ids, mask


def states(trunk: Any, ids: torch.Tensor, mask: torch.Tensor) -> Found:
    """States of the responses' tokens, and the gradients of a random sum of them."""
    trunk.zero_grad()
    given = trunk(input_ids=ids, attention_mask=mask, response=TOKENS, use_cache=False).last_hidden_state
    assert given.shape[:2] == (len(ids), TOKENS)
    found = given[mask[:, -TOKENS:].bool()]
    weights = torch.randn(found.shape, generator=torch.Generator().manual_seed(3))
    (found * weights).sum().backward()
    return found.detach(), [weight.grad.clone() for weight in trunk.parameters()]


def close(left: Found, right: Found) -> None:
    torch.testing.assert_close(left[0], right[0], rtol=1e-4, atol=1e-5)
    for one, other in zip(left[1], right[1], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


def rows_seen(trunk: Any) -> list[int]:
    """Rows that the first layer is given, call by call."""
    found: list[int] = []
    trunk.layers[0].register_forward_pre_hook(lambda module, given: found.append(len(given[0])))
    return found


def test_a_shared_beginning_changes_no_state_and_no_gradient(tiny_model: Path) -> None:
    plain, shared = (AutoModel.from_pretrained(tiny_model) for _ in range(2))
    ids, mask = ragged(COMMON)
    by_hand = plain(input_ids=ids, attention_mask=mask).last_hidden_state[:, -TOKENS - 1 : -1]
    give_response_states(plain)
    give_response_states(shared, COMMON)
    seen = rows_seen(shared)
    expected, found = states(plain, ids, mask), states(shared, ids, mask)
    assert seen == [1]  # all rows in one sequence
    close(found, expected)
    torch.testing.assert_close(expected[0], by_hand[mask[:, -TOKENS:].bool()])
    assert shared.config._attn_implementation != KERNEL


def test_rows_that_begin_otherwise_are_computed_as_a_whole(tiny_model: Path) -> None:
    plain, shared = (AutoModel.from_pretrained(tiny_model) for _ in range(2))
    ids, mask = ragged([*COMMON[:-1], 7])
    give_response_states(plain)
    give_response_states(shared, COMMON)
    seen = rows_seen(shared)
    close(states(shared, ids, mask), states(plain, ids, mask))
    assert seen == [len(RESTS)]


def test_a_trunk_with_sliding_windows_computes_all_of_every_row() -> None:
    config = MistralConfig(
        vocab_size=200, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, sliding_window=4,
    )  # fmt: skip
    trunk = MistralModel._from_config(config, attn_implementation="sdpa")
    give_response_states(trunk, COMMON)
    seen = rows_seen(trunk)
    states(trunk, *ragged(COMMON))
    assert seen == [len(RESTS)]


def test_the_beginning_of_prompts_leaves_a_token_of_each() -> None:
    assert common_beginning([[1, 2, 3, 4], [1, 2, 5]]) == (1, 2)
    assert common_beginning([[1, 2, 3, 4], [1, 2, 3]]) == (1, 2)
    assert common_beginning([[1, 2], [1, 2]]) == (1,)
    assert common_beginning([[7], [1, 2]]) == ()


@pytest.mark.parametrize("tuning", ["full", "lora"])
def test_ppo_learns_the_same_with_and_without_it(tuning: Any, tiny_model: Path, tmp_path: Path) -> None:
    settings = settings_of(batch_size=8, tuning=tuning, temperature=0.7, max_new_tokens=64, max_length=128)
    found = []
    for shared in (True, False):
        torch.manual_seed(4)
        trainer = trainer_of(tiny_model, tmp_path, settings, shared=shared)
        torch.manual_seed(5)
        batch = batch_of(trainer)
        trainer._compute_loss(trainer.model, batch).backward()
        found.append((batch, [weight.grad for weight in trainer.model.parameters() if weight.requires_grad]))
    (one, first), (other, second) = found
    assert len(set(one["completion_mask"].sum(dim=1).tolist())) > 1  # ragged
    assert torch.equal(one["completion_ids"], other["completion_ids"])
    valid = one["loss_mask"]
    for name in ("old_per_token_logps", "ref_per_token_logps", "old_values", "advantages", "returns"):
        torch.testing.assert_close(one[name][valid], other[name][valid], rtol=1e-4, atol=1e-4, msg=name)
    for left, right in zip(first, second, strict=True):
        torch.testing.assert_close(left, right, rtol=1e-3, atol=1e-5)
