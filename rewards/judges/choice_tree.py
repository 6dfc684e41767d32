"""The exact distribution over whole strings, as a walk through the tree of their tokens.

"10" is not "1": a rating may take several tokens, and the first token's probability is not the rating's. Strings are
laid out as a tree of tokens, each closed by what follows it in an answer (`]]`), so that one which begins another is a
leaf of its own. At each branching the model's probabilities are normalised among the branches: the distribution of
decoding constrained to the choices. A stretch without branching has probability 1 and is not asked.

Knows no tokenizer and no cache: it asks for logits after a path of tokens, or names the places (`branchings`) whose
log-probabilities an engine is to be asked for (`reported_probabilities`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch

from rewards.errors import InputError, RunError

_NOT_FINITE = (
    "the model gave logits that are not finite, so there is no distribution to read; load it with dtype float32 (or "
    "bfloat16 in place of float16), and check the checkpoint"
)

Ask = Callable[[tuple[int, ...]], torch.Tensor]
"""Logits (batch, vocabulary) of the token that follows the context and a path of tokens."""


@dataclass(slots=True)
class Node:
    """A place in the tree: its branches by token, or the number of the choice that ends here."""

    children: dict[int, Node] = field(default_factory=dict)
    choice: int | None = None

    @property
    def depth(self) -> int:
        """Tokens on the longest path below."""
        return 1 + max(child.depth for child in self.children.values()) if self.children else 0


def build_tree(sequences: Sequence[tuple[int, ...]]) -> Node:
    """The tree of the choices' token sequences.

    Raises InputError where two choices are the same tokens or one begins another: then no closing text tells them
    apart.
    """
    if not sequences:
        raise InputError("expected at least one choice to score, got none")
    root = Node()
    for number, sequence in enumerate(sequences):
        node = root
        for token in sequence:
            if node.choice is not None:
                raise InputError(_not_told_apart(node.choice, number))
            node = node.children.setdefault(token, Node())
        if node.children or node.choice is not None:
            raise InputError(_not_told_apart(number, node.choice))
        node.choice = number
    return root


def _not_told_apart(first: int, second: int | None) -> str:
    other = "another" if second is None else f"number {second}"
    return (
        f"choice number {first} is the beginning of {other} in tokens, or equal to it; give an answer_end that tells "
        "the choices apart"
    )


def choice_probabilities(root: Node, count: int, ask: Ask) -> tuple[torch.Tensor, torch.Tensor]:
    """Probabilities (batch, count) of the choices and the mass (batch) on any of them at the first token.

    Raises RunError when the model's logits are not finite.
    """
    logprobs, mass = choice_logprobs(root, count, ask)
    return logprobs.exp(), mass.clamp(max=1.0)


def choice_logprobs(root: Node, count: int, ask: Ask) -> tuple[torch.Tensor, torch.Tensor]:
    """As `choice_probabilities`, with the logarithms of the choices' probabilities; both can be differentiated."""
    logits = _finite(ask(()).float())
    logprobs = torch.empty((logits.shape[0], count), dtype=torch.float32, device=logits.device)
    first = torch.tensor(list(root.children), device=logits.device)
    mass = logits.log_softmax(-1)[:, first].exp().sum(-1)
    _walk(
        root, (), torch.zeros_like(mass), ask=lambda path: _finite(ask(path).float()) if path else logits, out=logprobs
    )
    return logprobs, mass


def _walk(node: Node, path: tuple[int, ...], weight: torch.Tensor, *, ask: Ask, out: torch.Tensor) -> None:
    while len(node.children) == 1:
        ((token, node),) = node.children.items()
        path = (*path, token)
    if node.choice is not None:
        out[:, node.choice] = weight
        return
    branches = torch.tensor(list(node.children), device=weight.device)
    shares = ask(path)[:, branches].log_softmax(-1)
    for number, (token, child) in enumerate(node.children.items()):
        _walk(child, (*path, token), weight + shares[:, number], ask=ask, out=out)


def branchings(root: Node) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Where the model must be asked, shortest path first: (path, tokens to choose from). The first one is the root."""
    found: list[tuple[tuple[int, ...], tuple[int, ...]]] = []
    waiting: list[tuple[tuple[int, ...], Node]] = [((), root)]
    while waiting:
        path, node = waiting.pop(0)
        if not path or len(node.children) > 1:
            found.append((path, tuple(node.children)))
        waiting += [((*path, token), child) for token, child in node.children.items()]
    return found


def reported_probabilities(
    root: Node, count: int, reported: Mapping[tuple[int, ...], Mapping[int, float]]
) -> tuple[list[float], float]:
    """As `choice_probabilities`, of one row, from log-probabilities at each of `branchings`.

    Raises RunError when one of them is not a number, or all of a place are minus infinity.
    """
    shares = [0.0] * count
    waiting: list[tuple[tuple[int, ...], Node, float]] = [((), root, 1.0)]
    while waiting:
        path, node, weight = waiting.pop()
        if node.choice is not None:
            shares[node.choice] = weight
        elif len(node.children) == 1:
            waiting += [((*path, token), child, weight) for token, child in node.children.items()]
        else:
            own = _normalised(reported[path])
            waiting += [((*path, token), child, weight * own[token]) for token, child in node.children.items()]
    return shares, min(1.0, sum(math.exp(reported[()][token]) for token in root.children))


def _normalised(logprobs: Mapping[int, float]) -> dict[int, float]:
    highest = max(logprobs.values())
    if not math.isfinite(highest) or any(math.isnan(value) for value in logprobs.values()):
        raise RunError(_NOT_FINITE)
    weights = {token: math.exp(value - highest) for token, value in logprobs.items()}
    total = sum(weights.values())
    return {token: weight / total for token, weight in weights.items()}


def _finite(logits: torch.Tensor) -> torch.Tensor:
    """The logits, where every row has a finite maximum (a model may mask tokens with -inf, but not give NaN)."""
    if not torch.isfinite(logits.amax(-1)).all():
        raise RunError(_NOT_FINITE)
    return logits
