"""PPO on two processes: DDP and DeepSpeed's ZeRO, on the CPU. The ZeRO runs need DeepSpeed."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from rewards.training.launch_settings import Strategy
from rl.ppo import train_ppo
from tests.rl.ppo_toys import critic_in, prompts_of, settings_of, vowels, weights_in

ROOT = Path(__file__).parents[2]
WORKER = Path(__file__).parent / "ppo_together.py"
needs_deepspeed = pytest.mark.skipif(
    importlib.util.find_spec("deepspeed") is None, reason="DeepSpeed is not installed"
)
strategies = pytest.mark.parametrize(
    "strategy",
    ["ddp", "fsdp2", pytest.param("zero2", marks=needs_deepspeed), pytest.param("zero3", marks=needs_deepspeed)],
)


def together(job: dict[str, Any], folder: Path, worker: Path = WORKER) -> None:
    path = folder / "job.json"
    path.write_text(json.dumps(job))
    found = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--standalone",
            "--nproc_per_node",
            "2",
            str(worker),
            str(path),
        ],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": found, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr[-3000:]


def job_of(model: Path, output: Path, strategy: str, **values: Any) -> dict[str, Any]:
    critic = {"tuning": "full", "learning_rate": 5e-3, "warmup_steps": 3}
    settings = settings_of(max_steps=4, save_steps=1, batch_size=2, **values).model_dump(mode="json")
    return {
        "model": str(model),
        "output": str(output),
        "settings": settings | {"critic": settings["critic"] | critic},
        "launch": {"processes": 2, "strategy": strategy},
    }


def losses_in(output: Path) -> list[float]:
    state = json.loads((output / "checkpoints" / "checkpoint-4" / "trainer_state.json").read_text())
    return [entry["loss"] for entry in state["log_history"] if "loss" in entry]


@strategies
def test_two_processes_train_save_and_go_on(strategy: Strategy, tiny_model: Path, tmp_path: Path) -> None:
    output = tmp_path / "policy"
    job = job_of(tiny_model, output, strategy)
    together(job, tmp_path)
    start, trained = weights_in(tiny_model), weights_in(output)
    # No weight of the critic is among them; DeepSpeed writes a tied output layer once more.
    assert trained.keys() - start.keys() <= {"lm_head.weight"}
    warmed_up = weights_in(output / "checkpoints" / "checkpoint-3")
    assert any(not torch.equal(start[name], trained[name]) for name in start)
    # Two learning rates, whoever owns the optimizer: three steps moved the critic alone.
    assert all(torch.equal(warmed_up[name], weight) for name, weight in start.items())
    before, after = (critic_in(output / "checkpoints" / f"checkpoint-{step}") for step in (3, 4))
    assert any(not torch.equal(before[name], after[name]) for name in before)
    assert (after["head.weight"] - before["head.weight"]).abs().max() > 1e-3
    critic, losses = critic_in(output), losses_in(output)
    assert critic["trunk.norm.weight"].shape == (32,)
    shutil.rmtree(output / "checkpoints" / "checkpoint-4")
    together(job | {"resume": True}, tmp_path)
    assert json.loads((output / "training.json").read_text())["resumed_from"] == 3
    # The same responses, policy and critic as in the run that was not stopped.
    assert losses_in(output) == pytest.approx(losses, rel=1e-5)
    for name, weight in critic_in(output).items():
        torch.testing.assert_close(weight, critic[name])


@needs_deepspeed
@pytest.mark.parametrize("kind", ["own", "shared"])
def test_a_critic_in_parts_is_asked_alone_as_a_whole_one_is(kind: Any, tiny_model: Path, tmp_path: Path) -> None:
    """With two passes over a batch the policy's old log-probabilities are there, and only values are computed."""
    found = []
    for strategy in ("ddp", "zero3"):
        (folder := tmp_path / strategy).mkdir()
        job = job_of(tiny_model, folder / "policy", strategy, passes=2)
        job["settings"]["critic"]["kind"] = kind
        together(job, folder)
        found.append(losses_in(folder / "policy"))
    assert found[1] == pytest.approx(found[0], rel=1e-4)


@pytest.mark.parametrize("strategy", ["ddp", pytest.param("zero3", marks=needs_deepspeed)])
def test_a_judge_that_breaks_on_one_process_stops_both_with_a_checkpoint(
    strategy: Strategy, tiny_model: Path, tmp_path: Path
) -> None:
    output = tmp_path / "policy"
    together(job_of(tiny_model, output, strategy) | {"breaks_on": 1}, tmp_path)
    assert "timeout" in (output / "stopped_1").read_text()
    assert "another process" in (output / "stopped_0").read_text()
    assert critic_in(output / "checkpoints" / "checkpoint-2")


@needs_deepspeed
def test_a_critic_of_an_earlier_run_starts_in_parts(tiny_model: Path, tmp_path: Path) -> None:
    """ZeRO-3 takes up the critic that one process trained: while the rates are next to 0, it stays what it was."""
    train_ppo(prompts_of(8), rewards=[vowels], model=str(tiny_model), output=tmp_path / "a", settings=settings_of())
    job = job_of(tiny_model, tmp_path / "b", "zero3")
    start = {"start": str(tmp_path / "a" / "critic"), "learning_rate": 1e-12, "warmup_steps": 2}
    settings = job["settings"] | {"max_steps": 2, "critic": job["settings"]["critic"] | start}
    together(job | {"settings": settings}, tmp_path)
    before, after = critic_in(tmp_path / "a"), critic_in(tmp_path / "b")
    assert before.keys() == after.keys()
    for name, weight in before.items():
        torch.testing.assert_close(after[name], weight)
    policy = weights_in(tmp_path / "b")
    assert all(torch.equal(policy[name], weight) for name, weight in weights_in(tiny_model).items())  # held back
