"""Best-of-N: how much reward the judge's choice among k candidates brings, for every k up to N.

The curve is computed from the N candidates at hand by the unbiased estimator: at each k the exact mean, over
all subsets of k of a prompt's candidates, of what the subset's best is worth. No subset is drawn, so the curve
has no noise of its own. The same prompts stand behind every k, so that two points differ by k alone: N is the
largest number of scored candidates that at least nine in ten of the scored prompts have, and the prompts with
fewer are left out and counted.

With a gold reward, the judge's reward chooses and the gold reward says what the choice is worth. The module
selects nothing for training (`rewards.select` does) and calls no judge.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import numpy as np

from rewards.errors import InputError, RunError
from rewards.expected_best import expected_best
from rewards.types import Reward, Scored
from rl.results import BestOfNCurve, CurvePoint
from rl.statistics import bootstrap_means

COVERAGE = 0.9
"""Share of the scored prompts that must have N scored candidates."""


def best_of_n_kl(k: int) -> float:
    """log k - (k - 1) / k, in nats: the KL divergence of best-of-k from the policy that it samples.

    An upper bound (Beirami et al. 2024, arXiv 2401.01879), reached where no two draws have one reward: of a continuous
    distribution, and nearly of long texts.
    """
    return math.log(k) - (k - 1) / k


def _by_prompt(
    rewards: Iterable[Scored], gold: Mapping[str, float] | None
) -> tuple[dict[str, list[tuple[float, float]]], int]:
    """(choosing reward, worth) of every scored candidate by prompt, and how many candidates had none."""
    prompts: dict[str, list[tuple[float, float]]] = {}
    seen: set[str] = set()
    unscored = 0
    for reward in rewards:
        if reward.candidate_id in seen:
            raise InputError(
                f"expected one reward for each candidate, got a second one for {reward.candidate_id!r}; "
                "join the files of rewards by candidate id first"
            )
        seen.add(reward.candidate_id)
        scored = prompts.setdefault(reward.prompt_id, [])
        worth = reward.value if gold is None and isinstance(reward, Reward) else (gold or {}).get(reward.candidate_id)
        if isinstance(reward, Reward) and worth is not None:
            scored.append((reward.value, worth))
        else:
            unscored += 1
    return prompts, unscored


def _largest_n(counts: list[int]) -> int:
    """The largest N that at least `COVERAGE` of the prompts with any scored candidate reach."""
    scored = sorted((count for count in counts if count), reverse=True)
    return scored[math.ceil(COVERAGE * len(scored)) - 1] if scored else 0


def best_of_n_curve(
    rewards: Iterable[Scored], *, gold: Mapping[str, float] | None = None, resamples: int = 2000, seed: int = 0
) -> BestOfNCurve:
    """The Best-of-N curve of scored candidates, with bootstrap intervals over prompts.

    rewards: one for each candidate, of any number of prompts in any order. `Unscored` ones are left out and
        counted, never taken for a low reward.
    gold: by candidate id, what a choice is worth; the rewards then only choose. A candidate without a gold
        reward counts as unscored.
    The random baseline is matched: it is over the same candidates of the same prompts, and the gain's interval is
    of the paired difference. Raises RunError when no candidate has a reward, InputError when one has two.
    """
    prompts, unscored = _by_prompt(rewards, gold)
    largest = _largest_n([len(scored) for scored in prompts.values()])
    if largest == 0:
        raise RunError(
            f"expected scored candidates for a Best-of-N curve, got {unscored} without a reward and none with one; "
            "the reasons are in the file of rewards"
        )
    tables = [np.array(scored) for scored in prompts.values() if len(scored) >= largest]
    best = np.stack([expected_best(table[:, 0], table[:, 1], largest) for table in tables])
    random = np.array([table[:, 1].mean() for table in tables])
    estimates = bootstrap_means(np.hstack([best, best - random[:, None]]), resamples=resamples, seed=seed)
    points = tuple(
        CurvePoint(
            k=k,
            reward=estimates[k - 1],
            random=float(random.mean()),
            gain=estimates[largest + k - 1],
            kl=best_of_n_kl(k),
        )
        for k in range(1, largest + 1)
    )
    return BestOfNCurve(
        points=points, prompts=len(tables), unscored=unscored, prompts_left_out=len(prompts) - len(tables)
    )
