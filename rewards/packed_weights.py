"""Writing on a CPU with weights in the order in which its matrix kernels read them.

Design decision. Each token of a batch goes through every weight once with a handful of rows, and torch's float32
product then spends more time on rearranging the weight than on multiplying. oneDNN, which comes with torch, can keep a
weight rearranged; since weights do not change while a batch of texts is written, each is packed at its first token and
let go after the last. A packed weight takes any number of rows, so rows may end meanwhile. It costs the memory of the
weights once more for that time. torch has no public name for this: these are the operators that its compiler uses for
a frozen model on a CPU. Where they are missing, or with numbers other than float32, writing is what it was.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeGuard

import torch
from torch import nn
from torch.nn.functional import linear

MOST_ROWS = 128


@contextmanager
def packed_weights(model: nn.Module, rows: int) -> Iterator[None]:
    """Inside, linear layers answer up to `rows` tokens at a time with packed weights, not to be trained meanwhile.

    A call with more tokens (a prompt's), or one that wants gradients, is computed as ever.
    """
    packs = rows <= MOST_ROWS and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    found = [module for module in model.modules() if packs and _fits(module)]
    for module in found:
        module.forward = _Packed(rows, module)  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        for module in found:
            del module.forward


def _fits(module: nn.Module) -> TypeGuard[nn.Linear]:
    return (
        type(module) is nn.Linear
        and "forward" not in vars(module)  # somebody else's
        and module.weight.device.type == "cpu"
        and module.weight.dtype == torch.float32
        and module.weight.ndim == 2  # and not empty, as ZeRO-3 leaves it
    )


class _Packed:
    """The forward of one linear layer, with its weight packed at the first call that it is for."""

    def __init__(self, rows: int, layer: nn.Linear) -> None:
        self._rows, self._layer = rows, layer
        self._weight: torch.Tensor | None = None

    def __call__(self, given: torch.Tensor) -> torch.Tensor:
        layer = self._layer
        if (
            given.shape[:-1].numel() > self._rows
            or given.dtype != torch.float32
            or torch.is_grad_enabled()
            or torch.is_autocast_enabled("cpu")
        ):
            return linear(given, layer.weight, layer.bias)
        if self._weight is None:
            self._weight = torch.ops.mkldnn._reorder_linear_weight(layer.weight.detach(), self._rows)
        found: torch.Tensor = torch.ops.mkldnn._linear_pointwise(given, self._weight, layer.bias, "none", [], "")
        return found
