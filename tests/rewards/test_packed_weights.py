"""Packed weights give what plain ones give, for as many rows as they are for, and leave nothing behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM

from rewards.packed_weights import packed_weights


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Rows of each call of the packed product."""
    found: list[int] = []
    packed = torch.ops.mkldnn._linear_pointwise

    def counted(given: torch.Tensor, *more: Any) -> Any:
        found.append(given.shape[:-1].numel())
        return packed(given, *more)

    monkeypatch.setattr(torch.ops.mkldnn, "_linear_pointwise", counted)
    return found


def test_responses_are_those_of_plain_weights(tiny_model: Path, calls: list[int]) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    asked = torch.randint(3, 200, (3, 5), generator=torch.Generator().manual_seed(1))
    given: dict[str, Any] = {"attention_mask": torch.ones_like(asked), "do_sample": True, "max_new_tokens": 12}

    def sampled() -> torch.Tensor:
        torch.manual_seed(0)
        found: torch.Tensor = model.generate(asked, **given)
        return found

    plain = sampled()
    with torch.no_grad(), packed_weights(model, rows=3):
        assert torch.equal(sampled(), plain)
    assert set(calls) == {3}
    with torch.no_grad():
        model.lm_head.weight.mul_(-1.0)  # a step of training: weights are packed anew for the next batch
    other = sampled()
    assert not torch.equal(other, plain)
    with torch.no_grad(), packed_weights(model, rows=3):
        assert torch.equal(sampled(), other)
    assert not any("forward" in vars(module) for module in model.modules() if isinstance(module, nn.Linear))


def test_more_rows_and_gradients_are_computed_as_ever(calls: list[int]) -> None:
    layer, given = nn.Linear(8, 5), torch.randn(4, 8)
    with packed_weights(layer, rows=4):
        layer(given).sum().backward()
        with torch.no_grad():
            layer(torch.randn(5, 8))
            layer.to(torch.bfloat16)(given.bfloat16())
    assert not calls
    assert layer.weight.grad is not None


def test_fewer_rows_use_the_same_packed_weight(calls: list[int]) -> None:
    layer, given = nn.Linear(8, 5), torch.randn(4, 8)
    with torch.no_grad(), packed_weights(layer, rows=4):
        for rows in (4, 1, 3):
            torch.testing.assert_close(
                layer(given[:rows]), nn.functional.linear(given[:rows], layer.weight, layer.bias)
            )
    assert calls == [4, 1, 3]
