"""A planted failure: a share of the judge's outputs is garbage, through the real judge and the real failure budget."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from rewards.budget import FailureBudget
from rewards.errors import FailureBudgetError
from rewards.judges.base import Question
from rewards.judges.generative import GenerativeJudge
from rewards.judges.scripted import ScriptedBackend
from rewards.protocol.builtin import builtin_protocol
from rewards.reward_function import JudgeReward
from rl.ppo import train_ppo
from rl.training import last_checkpoint
from tests.rl.ppo_toys import critic_in, prompts_of, settings_of, weights_in

PROTOCOL = builtin_protocol()


class Garbage:
    """A judge whose every n-th answer has no verdict, from the given answer on."""

    def __init__(self, share: float, start: int = 0) -> None:
        self.share, self.start, self.asked = share, start, 0

    def __call__(self, question: Question) -> str:
        self.asked += 1
        bad = self.asked > self.start and (self.asked * 7919 % 100) < 100 * self.share
        return "%&/ lorem" if bad else f"Fine. Rating: [[{1 + self.asked % 9}]]"


def reward_of(garbage: Garbage, limit: float) -> JudgeReward:
    judge = GenerativeJudge(ScriptedBackend(garbage), PROTOCOL, "critique")
    return JudgeReward(judge, budget=FailureBudget(limit, 20, window=100))


def test_a_tenth_of_garbage_is_trained_through(tiny_model: Path, tmp_path: Path) -> None:
    garbage = Garbage(0.1)
    result = train_ppo(
        prompts_of(16),
        rewards=[reward_of(garbage, limit=0.3)],
        model=str(tiny_model),
        output=tmp_path,
        settings=settings_of(max_steps=4, batch_size=16),
    )
    assert result.steps == 4
    assert garbage.asked == 64
    assert 0.0 < result.metrics_after["failure_rate"] < 0.3
    moved = [not torch.equal(weight, weights_in(tiny_model)[name]) for name, weight in weights_in(tmp_path).items()]
    assert any(moved)


def test_nine_tenths_of_garbage_stop_the_run_with_everything_saved(tiny_model: Path, tmp_path: Path) -> None:
    common: dict[str, Any] = {"model": str(tiny_model), "output": tmp_path}
    settings = settings_of(max_steps=9, batch_size=16)
    with pytest.raises(FailureBudgetError, match="no_verdict"):
        train_ppo(prompts_of(16), rewards=[reward_of(Garbage(0.9, start=32), 0.2)], settings=settings, **common)
    found = last_checkpoint(tmp_path)
    assert found is not None
    assert found.name == "checkpoint-2"
    assert critic_in(found)
    mended = train_ppo(
        prompts_of(16), rewards=[reward_of(Garbage(0.0), 0.3)], settings=settings, resume=True, **common
    )
    assert (mended.resumed_from, mended.steps) == (2, 9)
