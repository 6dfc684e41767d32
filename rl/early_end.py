"""Hears of every response that ends while its batch is still being written.

Design decision. transformers asks its stopping criteria after every token, so one that never stops anything sees each
row's end when it happens. It is put into `generate` for the time of a batch, since TRL's trainers pass none. A server
(vLLM) gives its responses all at once, and then nobody hears of anything before the end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from transformers import StoppingCriteria, StoppingCriteriaList

Ended = Callable[[int, list[int]], None]
"""Called with the row of a batch and the tokens of its response, the end of the turn with them."""


class _Watch(StoppingCriteria):  # type: ignore[misc]  # transformers ships no types
    """Calls `ended` once for each row that ends; stops nothing."""

    def __init__(self, ends: Sequence[int], prompt: int, rows: int, ended: Ended) -> None:
        self._ends, self._prompt, self._ended = list(ends), prompt, ended
        self._open = set(range(rows))

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **more: Any) -> torch.Tensor:
        last = input_ids[:, -1].tolist()
        for row in [row for row in self._open if last[row] in self._ends]:
            self._open.discard(row)
            self._ended(row, input_ids[row, self._prompt :].tolist())
        return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)


@contextmanager
def hearing_ends(model: Any, ends: Sequence[int], ended: Ended) -> Iterator[None]:
    """Inside, `model.generate` tells of every row that ends with one of the tokens `ends`."""
    generate = model.generate

    def watched(*args: Any, input_ids: torch.Tensor, **more: Any) -> Any:
        watch = _Watch(ends, input_ids.size(1), len(input_ids), ended)
        return generate(*args, input_ids=input_ids, stopping_criteria=StoppingCriteriaList([watch]), **more)

    model.generate = watched
    try:
        yield
    finally:
        del model.generate
