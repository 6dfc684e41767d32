"""The graph of a prompt's comparisons: distinct responses as nodes, decided comparisons as weighted edges.

Design decisions. Candidates with the same text are one node, so that they get the same reward and connect what they
touch. A comparison that abstains is counted and gives no edge; a comparison of equal texts says nothing. Nodes and
edges are sorted, so that no number depends on the order in which comparisons come.

This module makes no rewards' values; see `verdicts`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from rewards.errors import InputError
from rewards.types import Abstained, Candidate, Comparison, Reward, Unscored, Verdict, VerdictProbabilities, Winner

_HARD: dict[Winner, VerdictProbabilities] = {
    "first": VerdictProbabilities(first=1, second=0, tie=0),
    "second": VerdictProbabilities(first=0, second=1, tie=0),
    "tie": VerdictProbabilities(first=0, second=0, tie=1),
}


@dataclass
class Node:
    """One distinct response to a prompt: the candidates that share its text, and what was decided about it."""

    candidates: list[Candidate]
    wins: float = 0.0
    """Wins and half the ties."""
    decided: int = 0
    abstained: int = 0
    judgment_ids: set[str] = field(default_factory=set)

    @property
    def key(self) -> str:
        """The id of its first candidate."""
        return self.candidates[0].id

    def unscored(self, reason: str) -> list[Reward | Unscored]:
        """Its candidates without a reward, for this reason."""
        return [
            Unscored(candidate_id=one.id, prompt_id=one.prompt_id, reason=reason, judgment_ids=self._judgments)
            for one in self.candidates
        ]

    def rewarded(self, part: str, value: float, variance: float | None = None) -> list[Reward | Unscored]:
        """Its candidates with a reward of one part."""
        return [
            Reward(
                candidate_id=one.id,
                prompt_id=one.prompt_id,
                value=value,
                parts={part: value},
                judgment_ids=self._judgments,
                variance=variance,
            )
            for one in self.candidates
        ]

    @property
    def _judgments(self) -> tuple[str, ...]:
        return tuple(sorted(self.judgment_ids))


@dataclass(frozen=True, slots=True)
class Edge:
    """A decided comparison of two distinct responses."""

    first: str
    second: str
    weights: tuple[float, float, float]
    """Of first, second and tie; they sum to 1."""


@dataclass(frozen=True, slots=True)
class Graph:
    """The distinct responses by the id of their first candidate, sorted, and the decided comparisons, sorted."""

    nodes: dict[str, Node]
    edges: list[Edge]


def comparison_graph(comparisons: Iterable[Comparison], candidates: Sequence[Candidate], *, soft: bool) -> Graph:
    """Distinct responses and what was decided between them; a comparison of equal texts says nothing."""
    nodes, node_of = _nodes(candidates)
    edges: list[Edge] = []
    seen: set[str] = set()
    for comparison in comparisons:
        _check(comparison, node_of, seen)
        first, second = node_of[comparison.first_id], node_of[comparison.second_id]
        if first is second:
            continue
        for node in (first, second):
            node.judgment_ids.update(judgment.id for judgment in comparison.judgments)
        if isinstance(comparison.outcome, Abstained):
            first.abstained += 1
            second.abstained += 1
            continue
        weights = _weights(comparison, comparison.outcome, soft=soft)
        for node, won in ((first, weights[0]), (second, weights[1])):
            node.wins += won + weights[2] / 2
            node.decided += 1
        edges.append(Edge(first.key, second.key, weights))
    return Graph(nodes, sorted(edges, key=lambda edge: (edge.first, edge.second, edge.weights)))


def _nodes(candidates: Sequence[Candidate]) -> tuple[dict[str, Node], dict[str, Node]]:
    """Nodes by the id of their first candidate, and by the id of every candidate."""
    by_text: dict[tuple[str, str], Node] = {}
    node_of: dict[str, Node] = {}
    for one in sorted(candidates, key=lambda one: one.id):
        if one.id in node_of:
            raise InputError(f"expected every candidate once, got {one.id!r} more than once")
        node = by_text.setdefault((one.prompt_id, one.text), Node([]))
        node.candidates.append(one)
        node_of[one.id] = node
    return {node.key: node for node in by_text.values()}, node_of


def _check(comparison: Comparison, node_of: dict[str, Node], seen: set[str]) -> None:
    if comparison.id in seen:
        raise InputError(f"expected every comparison once, got {comparison.id!r} more than once")
    seen.add(comparison.id)
    if comparison.first_id == comparison.second_id:
        raise InputError(f"expected two different candidates, got {comparison.first_id!r} against itself")
    for candidate_id in (comparison.first_id, comparison.second_id):
        node = node_of.get(candidate_id)
        if node is None or node.candidates[0].prompt_id != comparison.prompt_id:
            raise InputError(
                f"expected comparison {comparison.id!r} to be of candidates of prompt {comparison.prompt_id!r}, got "
                f"{candidate_id!r}, which is not one of them"
            )


def _weights(comparison: Comparison, verdict: Verdict, *, soft: bool) -> tuple[float, float, float]:
    given = comparison.probabilities if soft else _HARD[verdict.winner]
    if given is None:
        raise InputError(
            f"expected probabilities in every decided comparison with soft, got none in {comparison.id!r}; use hard "
            "verdicts, or a judge that gives probabilities"
        )
    return given.first, given.second, given.tie


def components(graph: Graph) -> list[list[str]]:
    """The candidate ids of every connected part, identical texts together, in order of id."""
    near: dict[str, set[str]] = {key: set() for key in graph.nodes}
    for edge in graph.edges:
        near[edge.first].add(edge.second)
        near[edge.second].add(edge.first)
    parts: list[list[str]] = []
    reached: set[str] = set()
    for start in graph.nodes:
        if start in reached:
            continue
        part, waiting = {start}, [start]
        while waiting:
            new = near[waiting.pop()] - part
            part |= new
            waiting.extend(new)
        reached |= part
        parts.append(sorted(one.id for key in part for one in graph.nodes[key].candidates))
    return parts
