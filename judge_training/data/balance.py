"""As many examples of one scenario as of another, and within a scenario as many of one label as of another.

AUTO-J's training data was drawn so (arXiv 2310.05470, section 3.3: up to 100 pairs a scenario, 59 on average).
A cap is all that is done: nothing is repeated to fill a scenario that has too few. Which ones stay is drawn by a hash
of seed and id, so it does not depend on the order of the rows, and a larger cap keeps all that a smaller one kept.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from judge_training.data.kept import Kept
from judge_training.examples import ExampleKind, JudgeExample
from rewards.row_parts import digest


def balance(
    examples: Sequence[JudgeExample],
    *,
    pairs_per_scenario: int | None = None,
    singles_per_scenario: int | None = None,
    labels: bool = True,
    seed: int = 0,
) -> Kept:
    """At most so many examples of each kind in every scenario (None: all); those without a scenario are one too.

    With `labels`, the labels of pairs (first, second, tie) take turns until the cap is reached or a label has run
    out. Reason: over_scenario_cap.
    """
    caps: dict[ExampleKind, int | None] = {"pairwise": pairs_per_scenario, "single": singles_per_scenario}
    strata: dict[tuple[ExampleKind, str | None], list[JudgeExample]] = defaultdict(list)
    for example in examples:
        strata[example.kind, example.scenario].append(example)
    kept = {
        example.id
        for (kind, _), members in strata.items()
        for example in _draw(members, caps[kind], labels=labels, seed=seed)
    }
    remaining = tuple(example for example in examples if example.id in kept)
    over = len(examples) - len(remaining)
    return Kept(remaining, {"over_scenario_cap": over} if over else {})


def _draw(members: list[JudgeExample], cap: int | None, *, labels: bool, seed: int) -> Iterable[JudgeExample]:
    if cap is None:
        return members
    drawn = sorted(members, key=lambda one: digest(str(seed), one.id))
    if not labels or drawn[0].kind == "single":
        return drawn[:cap]
    turn: Counter[str | None] = Counter()
    ranked = []
    for example in drawn:
        turn[example.label] += 1
        ranked.append((turn[example.label], example))
    return [example for _, example in sorted(ranked, key=lambda item: item[0])[:cap]]
