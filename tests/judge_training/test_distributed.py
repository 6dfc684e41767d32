"""Two processes train the judge that one process trains, whatever they share.

The processes are real and on the CPU (gloo); the ZeRO runs need DeepSpeed. One of them goes through the command, as
`torchrun … -m recipes.cli run` does; what the others end with is judged by the first process alone.
"""

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

from judge_training.examples import write_examples
from judge_training.train import train_judge
from judge_training.training_settings import JudgeTrainingSettings
from rewards.jsonl import read_records
from rewards.judges.local_model import load_model
from rewards.training.launch_settings import Strategy
from rewards.types import Comparison
from rl.run_folder import RunFolder
from tests.judge_training.judge_examples import mixed

ROOT = Path(__file__).parents[2]
WORKER = Path(__file__).parent / "train_together.py"
needs_deepspeed = pytest.mark.skipif(
    importlib.util.find_spec("deepspeed") is None, reason="DeepSpeed is not installed"
)


def settings_for(processes: int, **more: Any) -> JudgeTrainingSettings:
    """The same optimizer steps, whatever the number of processes."""
    usual: dict[str, Any] = {
        "tuning": "full",
        "learning_rate": 5e-3,
        "warmup": 0.0,
        "max_steps": 6,
        "batch_size": 8 // processes,
        "gradient_accumulation": 1,
        "save_steps": 3,
    }
    return JudgeTrainingSettings(**(usual | more))


def torchrun(*command: str, processes: int = 2) -> subprocess.CompletedProcess[str]:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return subprocess.run(
        [*launcher, *command],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": path, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )


def losses_in(output: Path, step: int = 6) -> list[float]:
    state = json.loads((output / "checkpoints" / f"checkpoint-{step}" / "trainer_state.json").read_text())
    return [entry["loss"] for entry in state["log_history"] if "loss" in entry]


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    """Of the judge as it reloads."""
    (_,) = folder.glob("*.safetensors")  # whole, in one file
    return dict(load_model(str(folder)).model.state_dict())


@pytest.fixture(scope="module")
def alone(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one process trains."""
    output = tmp_path_factory.mktemp("alone")
    train_judge(mixed(), model=str(tiny_model), output=output, settings=settings_for(1), mode="direct")
    return output


@pytest.mark.parametrize(
    "strategy",
    ["ddp", "fsdp2", pytest.param("zero2", marks=needs_deepspeed), pytest.param("zero3", marks=needs_deepspeed)],
)
def test_two_processes_train_the_same_judge_as_one(
    strategy: Strategy, alone: Path, tiny_model: Path, tmp_path: Path
) -> None:
    examples, output, job = tmp_path / "examples.jsonl", tmp_path / "judge", tmp_path / "job.json"
    write_examples(examples, mixed())
    content = {"model": str(tiny_model), "examples": str(examples), "output": str(output)}
    launch = {"processes": 2, "strategy": strategy}
    job.write_text(json.dumps(content | {"settings": settings_for(2).model_dump(mode="json"), "launch": launch}))
    done = torchrun(str(WORKER), str(job))
    assert done.returncode == 0, done.stderr[-3000:]
    assert "nothing was sharded" not in done.stderr
    assert json.loads((output / "training.json").read_text())["processes"] == 2
    assert losses_in(output) == pytest.approx(losses_in(alone), rel=1e-4)
    expected = weights_of(alone)
    for folder in (output, output / "checkpoints" / "checkpoint-6"):
        weights = weights_of(folder)
        assert weights.keys() == expected.keys()
        for name, weight in weights.items():
            torch.testing.assert_close(weight, expected[name], rtol=1e-2, atol=1e-3)
    judged = json.loads((output / "judged.json").read_text())
    assert judged["trained"]
    assert len(judged["scores"]) == 12
    assert len(set(judged["scores"].values())) > 1
    assert not list(output.rglob("training_args.bin"))
    if strategy in ("zero3", "fsdp2"):  # whose weights, optimizer and gradients are all in parts
        resumes(job, output)


def resumes(job: Path, output: Path) -> None:
    """From the checkpoint half-way, to the same losses."""
    losses = losses_in(output)
    shutil.rmtree(output / "checkpoints" / "checkpoint-6")
    job.write_text(json.dumps(json.loads(job.read_text()) | {"resume": True}))
    done = torchrun(str(WORKER), str(job))
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads((output / "training.json").read_text())["resumed_from"] == 3
    assert losses_in(output) == losses


def test_the_command_trains_on_two_processes_and_one_writes(tiny_model: Path, tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    flags = ["--base.model", str(tiny_model), "--launch.processes", "2", "--train.batch_size", "1"]
    flags += ["--train.max_length", "2000", "--output", str(run.path), "--failures.limit", "1", "--track.mode", "off"]
    done = torchrun("-m", "recipes.cli", "run", "judge/tiny", *flags)
    assert done.returncode == 0, done.stderr[-3000:]
    assert set(run.finished()) == {"examples", "before", "train", "after", "rate", "compare"}
    assert len(run.stages.read_text().splitlines()) == 6
    assert json.loads((run.trained_judge / "training.json").read_text())["processes"] == 2
    assert len(list(read_records(run.comparisons, Comparison))) >= 1
    assert run.report.exists()
