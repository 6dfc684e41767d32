"""`autoj run --nproc`: what is started, that it is what was asked for, and that two processes do what one does.

The processes are real and on the CPU (gloo).
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.distributed.run import parse_args

from recipes.cli import main
from recipes.launcher import World, exit_code, launch_flags, split_flags, torchrun_arguments
from recipes.loading import differing_keys, load_recipe, recipe_digest
from rewards.errors import InputError
from rl.run_folder import RunFolder

ROOT = Path(__file__).parents[2]
needs_deepspeed = pytest.mark.skipif(
    importlib.util.find_spec("deepspeed") is None, reason="DeepSpeed is not installed"
)
on_cpu = pytest.mark.skipif(torch.cuda.is_available(), reason="says what a machine without a GPU does")


def flags(kind: str, model: Path, output: Path, *, batch: int, steps: int = 3) -> list[str]:
    """A tiny recipe whose optimizer steps are the same on any number of processes, given the batch of one."""
    small = f"--prompts.limit 4 --sampling.max_new_tokens 6 --evaluate.max_new_tokens 6 --train.batch_size {batch}"
    train = f"--train.max_length 2000 --train.warmup 0 --train.learning_rate 0.02 --train.max_steps {steps}"
    judge = "--judge.backend scripted --allow-uncertified true --track.mode off"
    return ["run", f"{kind}/tiny", *f"{small} {train} {judge}".split(), *own_flags(model, output)]


def own_flags(model: Path, output: Path) -> list[str]:
    return ["--policy.model", str(model), "--train.save_steps", "1", "--output", str(output)]


def environment() -> dict[str, str]:
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": path, "CUDA_VISIBLE_DEVICES": ""}


def command(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )


def started(words: list[str]) -> subprocess.Popen[str]:
    """The command in a process of its own, which goes on; all that it says is its stdout."""
    return subprocess.Popen(
        [sys.executable, "-m", "recipes.cli", *words],
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def files_in(run: RunFolder) -> set[str]:
    """Names of all files; each process has its own random state in a checkpoint."""
    return {
        re.sub(r"rng_state(_\d+)?\.pth", "rng_state.pth", path.relative_to(run.path).as_posix())
        for path in run.path.rglob("*")
        if path.is_file()
    }


def check_same_policy(run: RunFolder, alone: RunFolder) -> None:
    """The policy moved, and to where one process moves it."""
    ours, theirs = (load_file(one.policy / "adapter_model.safetensors") for one in (run, alone))
    assert ours.keys() == theirs.keys()
    moved = [name for name in ours if "lora_B" in name]  # 0 at the start
    assert moved
    for name in moved:
        assert ours[name].abs().max() > 1e-3
        torch.testing.assert_close(ours[name], theirs[name], rtol=1e-2, atol=1e-4)


def training(run: RunFolder) -> dict[str, object]:
    found: dict[str, object] = json.loads((run.policy / "training.json").read_text())
    return found


@pytest.mark.parametrize("kind", ["dpo", "rft"])
def test_two_processes_train_the_policy_that_one_does_and_leave_the_same_files(
    kind: str, tiny_model: Path, tmp_path: Path
) -> None:
    alone, run = RunFolder(tmp_path / "alone"), RunFolder(tmp_path / "run")
    assert main(flags(kind, tiny_model, alone.path, batch=2)) == 0
    done = command("-m", "recipes.cli", *flags(kind, tiny_model, run.path, batch=1), "--nproc", "2")
    assert done.returncode == 0, done.stderr[-3000:]
    assert training(run)["processes"] == 2
    assert training(alone)["processes"] == 1
    check_same_policy(run, alone)
    assert files_in(run) == files_in(alone)
    assert len(run.stages.read_text().splitlines()) == len(run.finished()) == len(alone.finished())
    assert done.stderr.count("Judging: 8 ratings") == 1  # by the first process alone
    assert "torchrun --nnodes 1 --nproc_per_node 2 --standalone" in done.stderr
    if kind == "dpo":
        goes_on_alone(run, alone, flags(kind, tiny_model, run.path, batch=2))
        refuses_what_one_process_refuses(flags(kind, tiny_model, run.path, batch=1))


def goes_on_alone(run: RunFolder, alone: RunFolder, arguments: list[str]) -> None:
    """Another number of processes with the same examples a step takes the training up, to the same policy."""
    last = run.policy / "checkpoints" / "checkpoint-3"
    (last / "trainer_state.json").unlink()  # as if it had been cut off while it was written
    lines = run.stages.read_text().splitlines(keepends=True)
    run.stages.write_text("".join(line for line in lines if json.loads(line)["stage"] not in ("train", "evaluate")))
    assert main([*arguments, "--resume"]) == 0
    assert training(run)["resumed_from"] == 2
    assert training(run)["processes"] == 1
    check_same_policy(run, alone)


def refuses_what_one_process_refuses(arguments: list[str]) -> None:
    """The first process's exit code and message are the command's, once, and without the agent's traceback."""
    done = command("-m", "recipes.cli", *arguments, "--nproc", "2")
    assert done.returncode == 2
    assert done.stderr.count("exists; --resume goes on with it") == 1
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("strategy", [pytest.param("zero2", marks=needs_deepspeed), "fsdp2"])
def test_sharded_it_trains_the_policy_that_one_process_does(strategy: str, tiny_model: Path, tmp_path: Path) -> None:
    alone, run = RunFolder(tmp_path / "alone"), RunFolder(tmp_path / "run")
    assert main(flags("dpo", tiny_model, alone.path, batch=2)) == 0
    worker = [str(Path(__file__).parent / "run_uncompiled.py"), *flags("dpo", tiny_model, run.path, batch=1)]
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    asked = ["--launch.processes", "2", "--launch.strategy", strategy]
    done = command(*launcher, *worker, *asked)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "nothing was sharded" not in done.stderr
    assert training(run)["processes"] == 2
    check_same_policy(run, alone)
    if strategy == "zero2":
        parts = list((run.policy / "checkpoints" / "checkpoint-3").glob("global_step*/*_optim_states.pt"))
        assert len(parts) == 2  # what a resuming job is checked against


def test_two_launchers_that_meet_train_the_policy_that_one_process_does(tiny_model: Path, tmp_path: Path) -> None:
    """As two machines with a disk that they share: each is given the same command."""
    alone, run = RunFolder(tmp_path / "alone"), RunFolder(tmp_path / "run")
    assert main(flags("dpo", tiny_model, alone.path, batch=2)) == 0
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{free.getsockname()[1]}"
    words = [*flags("dpo", tiny_model, run.path, batch=1), "--nproc", "1", "--nnodes", "2", "--rdzv", place]
    machines = [started(words) for _ in range(2)]
    try:
        said = [machine.communicate(timeout=240)[0] for machine in machines]
    finally:
        for machine in machines:
            machine.kill()
    assert [machine.returncode for machine in machines] == [0, 0], "".join(one[-2000:] for one in said)
    assert training(run)["processes"] == 2
    check_same_policy(run, alone)


def test_ctrl_c_ends_the_processes_after_their_step_with_a_checkpoint(tiny_model: Path, tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    words = [*flags("dpo", tiny_model, run.path, batch=1, steps=100_000), "--nproc", "2"]
    job = started(words)
    deadline = time.monotonic() + 240
    while not list(run.path.glob("policy/checkpoints/checkpoint-*/trainer_state.json")):
        assert job.poll() is None, job.communicate()[0][-3000:]
        assert time.monotonic() < deadline
        time.sleep(0.2)
    job.send_signal(signal.SIGINT)
    said, _ = job.communicate(timeout=120)
    assert job.returncode == 1
    assert said.count("stopping after this step, with a checkpoint") == 1
    assert said.count("the same command with --resume goes on") == 1
    assert "Traceback" not in said
    from rl.training import last_checkpoint

    kept = last_checkpoint(run.policy)
    assert kept is not None
    state = json.loads((kept / "trainer_state.json").read_text())
    assert state["global_step"] == int(kept.name.rpartition("-")[2])
    assert "train" not in run.finished()


# What is started


def test_the_flags_of_the_world_are_taken_out() -> None:
    assert split_flags(["--train.beta", "1"]) == (None, ["--train.beta", "1"])
    one, rest = split_flags(["--nproc", "4", "--train.beta", "1", "--strategy=zero3"])
    assert one == World(nproc=4, strategy="zero3")
    assert rest == ["--train.beta", "1"]
    several, rest = split_flags(["--nproc=8", "--nnodes", "2", "--rdzv", "first:29500"])
    assert several == World(nproc=8, nnodes=2, rdzv="first:29500")
    assert several.processes == 16
    assert rest == []


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--strategy", "zero2"], "expected --nproc N"),
        (["--nproc", "none"], "a number of at least 1 after --nproc, got 'none'"),
        (["--nproc", "0"], "a number of at least 1"),
        (["--nproc"], "expected a value after --nproc"),
        (["--nproc", "--clean"], "expected a value after --nproc"),
        (["--nproc", "2", "--nnodes", "2"], "--rdzv HOST:PORT together"),
        (["--nproc", "2", "--rdzv", "first:29500"], "--rdzv HOST:PORT together"),
    ],
)
def test_flags_that_make_no_world_are_refused(given: list[str], said: str) -> None:
    with pytest.raises(InputError, match=said):
        split_flags(given)


def test_torchrun_understands_what_it_is_given() -> None:
    here = parse_args(torchrun_arguments(World(nproc=2), ["run", "dpo/tiny", "--train.beta", "1"]))
    assert (here.nnodes, here.nproc_per_node, here.standalone) == ("1", "2", True)
    assert (here.module, here.training_script) == (True, "recipes.cli")
    assert here.training_script_args == ["run", "dpo/tiny", "--train.beta", "1"]
    there = parse_args(torchrun_arguments(World(nproc=8, nnodes=2, rdzv="first:29500"), ["run", "dpo/tiny"]))
    assert (there.nnodes, there.nproc_per_node, there.standalone) == ("2", "8", False)
    assert (there.rdzv_backend, there.rdzv_endpoint, there.rdzv_id) == ("c10d", "first:29500", "autoj")
    assert there.max_restarts == 0


def test_every_process_is_told_the_world_to_expect() -> None:
    told = launch_flags("dpo/tiny", ["--train.beta", "1"], World(nproc=2, nnodes=1, strategy="ddp"))
    recipe = load_recipe("dpo/tiny", told)
    assert recipe.launch.processes == 2  # type: ignore[union-attr]
    assert recipe.train.beta == 1  # type: ignore[union-attr]
    online = load_recipe("ppo/tiny", launch_flags("ppo/tiny", [], World(nproc=2)))
    assert online.launch.processes == 2  # type: ignore[union-attr]
    with pytest.raises(InputError, match=r"expected --launch.processes 2, .* got 3"):
        launch_flags("dpo/tiny", ["--launch.processes", "3"], World(nproc=2))
    with pytest.raises(InputError, match="a filter recipe trains nothing"):
        launch_flags("filter/tiny", [], World(nproc=2))
    with pytest.raises(InputError, match=r"launch.strategy"):
        launch_flags("dpo/tiny", [], World(nproc=2, strategy="zero9"))


@on_cpu
def test_fsdp2_on_a_cpu_is_refused_before_anything_starts(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    arguments = ["run", "dpo/tiny", "--nproc", "2", "--strategy", "fsdp2", "--output", str(tmp_path / "run")]
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert "on CPUs it is silently ignored and runs as DDP" in said
    assert "torchrun" not in said
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("recipe", ["dpo/tiny", "rft/tiny", "quickstart/tiny", "judge/tiny", "ppo/tiny"])
def test_a_world_that_was_not_asked_for_is_refused(
    recipe: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main(["run", recipe, "--output", str(tmp_path / "run")]) == 2
    assert "expected 1 process(es) (launch.processes), this job was started with 2" in capsys.readouterr().err
    monkeypatch.delenv("WORLD_SIZE")
    assert main(["run", recipe, "--launch.processes", "2", "--output", str(tmp_path / "run")]) == 2
    assert "autoj run RECIPE --nproc 2" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_the_exit_code_is_that_of_a_process_that_ended_by_itself() -> None:
    assert exit_code({0: 2, 1: -15}) == 2
    assert exit_code({0: -15, 1: 2}) == 2
    assert exit_code({1: 1, 0: 2}) == 2
    assert exit_code({0: -9, 1: -15}) == 1


def test_only_the_examples_of_a_step_count_when_a_run_is_resumed() -> None:
    one = load_recipe("dpo/tiny")  # 2 examples, once
    two = load_recipe("dpo/tiny", ["--launch.processes", "2", "--train.batch_size", "1"])
    assert recipe_digest(one) == recipe_digest(two)
    assert differing_keys(one.model_dump(mode="json"), two.model_dump(mode="json")) == []
    more = load_recipe("dpo/tiny", ["--launch.processes", "2"])
    assert recipe_digest(more) != recipe_digest(one)
    assert differing_keys(one.model_dump(mode="json"), more.model_dump(mode="json")) == ["launch.processes (1 -> 2)"]
    by_length = ["--train.batch_by_length", "true"]
    ordered = load_recipe("judge/tiny", by_length)
    other = load_recipe("judge/tiny", [*by_length, "--launch.processes", "2", "--train.batch_size", "1"])
    assert recipe_digest(ordered) != recipe_digest(other)
