"""GRPO and RLOO on two processes on the CPU, one of which has no reward at all. The ZeRO runs need DeepSpeed."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.rl.group_toys import JOBS, group_settings
from tests.rl.ppo_toys import prompts_of, vowels, weights_in
from tests.rl.test_ppo_distributed import together

WORKER = Path(__file__).parent / "group_together.py"
needs_deepspeed = pytest.mark.skipif(
    importlib.util.find_spec("deepspeed") is None, reason="DeepSpeed is not installed"
)


def state_of(output: Path, step: int) -> list[dict[str, Any]]:
    state = json.loads((output / "checkpoints" / f"checkpoint-{step}" / "trainer_state.json").read_text())
    return [entry for entry in state["log_history"] if "loss" in entry]


@pytest.mark.parametrize(
    ("kind", "strategy", "loss"),
    [
        ("grpo", "ddp", {"loss_type": "dapo"}),
        ("grpo", "ddp", {"loss_type": "grpo"}),
        ("rloo", "ddp", {}),
        ("grpo", "fsdp2", {"loss_type": "dapo"}),
        ("rloo", "fsdp2", {}),
        pytest.param("grpo", "zero2", {"loss_type": "dapo"}, marks=needs_deepspeed),
        pytest.param("rloo", "zero3", {}, marks=needs_deepspeed),
    ],
)
def test_a_process_without_any_reward_is_as_if_it_were_not_there(
    kind: str, strategy: str, loss: dict[str, Any], tiny_model: Path, tmp_path: Path
) -> None:
    """The first step is that of the first process alone: the same responses, gradient and weights."""
    settings = {"max_steps": 1, "save_steps": 1, "batch_size": 4, **loss}
    job = {
        "kind": kind,
        "model": str(tiny_model),
        "output": str(tmp_path / "two"),
        "settings": settings,
        "launch": {"processes": 2, "strategy": strategy},
    }
    together(job, tmp_path, WORKER)
    JOBS[kind](
        prompts_of(8),
        rewards=[vowels],
        model=str(tiny_model),
        output=tmp_path / "one",
        settings=group_settings(kind, **settings),
    )
    [two], [one] = state_of(tmp_path / "two", 1), state_of(tmp_path / "one", 1)
    assert two["failure_rate"] == 0.5
    for name in ("reward", "reward_std", "entropy", "grad_norm"):
        assert two[name] == pytest.approx(one[name], rel=1e-3), name
    assert one["grad_norm"] > 0
    start, alone, both = (weights_in(folder) for folder in (tiny_model, tmp_path / "one", tmp_path / "two"))
    assert any(not torch.equal(start[name], alone[name]) for name in start)
    for name, weight in alone.items():
        # Adam's first step is the sign of the gradient: where that is next to 0 it may differ in the last place.
        assert (weight - both[name]).abs().gt(1e-4).float().mean() < 0.01


@pytest.mark.parametrize(
    ("kind", "strategy"), [("grpo", "fsdp2"), pytest.param("grpo", "zero3", marks=needs_deepspeed)]
)
def test_a_process_whose_responses_end_early_waits_for_the_other(
    kind: str, strategy: str, tiny_model: Path, tmp_path: Path
) -> None:
    """Where each layer is gathered from all processes, every process must go through as many tokens."""
    job = {
        "kind": kind,
        "model": str(tiny_model),
        "output": str(tmp_path / "out"),
        "settings": {"max_steps": 2, "batch_size": 4, "save_steps": 2},
        "launch": {"processes": 2, "strategy": strategy},
        "short": 1,
    }
    together(job, tmp_path, WORKER)
    logged = state_of(tmp_path / "out", 2)
    assert [entry["completions/min_length"] for entry in logged] == [1, 1]
    assert all(entry["completions/max_length"] > 1 for entry in logged)


def test_the_guard_is_heard_by_every_process(tiny_model: Path, tmp_path: Path) -> None:
    job = {
        "kind": "grpo",
        "model": str(tiny_model),
        "output": str(tmp_path / "out"),
        "settings": {"max_steps": 5, "batch_size": 4, "save_steps": 5},
        "launch": {"processes": 2, "strategy": "ddp"},
        "guard": True,
    }
    together(job, tmp_path, WORKER)
    assert json.loads((tmp_path / "out" / "looks_0.json").read_text()) == [0, 1, 2]
    assert json.loads((tmp_path / "out" / "looks_1.json").read_text()) == []
    assert json.loads((tmp_path / "out" / "training.json").read_text())["steps"] == 2
    assert (tmp_path / "out" / "checkpoints" / "checkpoint-1").is_dir()
