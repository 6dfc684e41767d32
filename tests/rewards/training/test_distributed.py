"""No launch is silently another one, and the shipped files say what the strategies do."""

from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path

import pytest
import torch
import yaml

from rewards.errors import InputError, MissingExtraError, MissingFileError
from rewards.training.distributed import check_launch, check_machine, joined
from rewards.training.launch_settings import LaunchSettings, Strategy
from rewards.training.running import check_output
from rewards.training.sharding import deepspeed_config, launch_file, sharding_arguments

needs_deepspeed = pytest.mark.skipif(
    importlib.util.find_spec("deepspeed") is None, reason="DeepSpeed is not installed"
)
on_cpu = pytest.mark.skipif(torch.cuda.is_available(), reason="says what a machine without a GPU does")


def test_another_number_of_processes_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with pytest.raises(
        InputError, match=r"expected 2 process\(es\) .*started with 1; start it with `autoj run RECIPE --nproc 2`"
    ):
        check_launch(LaunchSettings(processes=2))
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match=r"expected 1 process\(es\).*started with 2"), joined(LaunchSettings()):
        pass


@on_cpu
def test_fsdp2_is_refused_on_the_cpu() -> None:
    with pytest.raises(InputError, match="on CPUs it is silently ignored and runs as DDP"):
        check_launch(LaunchSettings(strategy="fsdp2"))


def test_sharding_needs_torchrun_and_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    with pytest.raises(InputError, match="needs a launcher, also for one process"):
        check_launch(LaunchSettings(strategy="zero2"))
    monkeypatch.setenv("LOCAL_RANK", "0")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"autoj\[deepspeed\]"):
        check_launch(LaunchSettings(strategy="zero3"))


def test_a_deepspeed_configuration_is_of_the_strategy(tmp_path: Path) -> None:
    for strategy, stage in (("zero2", 2), ("zero3", 3)):
        shipped = deepspeed_config(LaunchSettings.model_validate({"strategy": strategy}))
        assert shipped["zero_optimization"]["stage"] == stage
    assert deepspeed_config(LaunchSettings(strategy="zero3"))["zero_optimization"][
        "stage3_gather_16bit_weights_on_model_save"
    ]
    mine = tmp_path / "mine.json"
    with pytest.raises(MissingFileError, match="found none"):
        deepspeed_config(LaunchSettings(strategy="zero3", config=mine))
    mine.write_text('{"zero_optimization": {"stage": 2}}')
    assert deepspeed_config(LaunchSettings(strategy="zero2", config=mine)) == {"zero_optimization": {"stage": 2}}
    with pytest.raises(InputError, match=r"expected ZeRO stage 3 .* got 2"):
        deepspeed_config(LaunchSettings(strategy="zero3", config=mine))
    mine.write_text("stage: 3")
    with pytest.raises(InputError, match="is not JSON"):
        deepspeed_config(LaunchSettings(strategy="zero3", config=mine))
    with pytest.raises(InputError, match="needs strategy zero2 or zero3, got ddp"):
        check_launch(LaunchSettings(config=mine))


def test_more_processes_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    check_machine(LaunchSettings(processes=4), here=2)
    with pytest.raises(InputError, match="expected at most 2 process"):
        check_machine(LaunchSettings(processes=4), here=4)


def test_a_file_for_accelerate_is_of_the_strategy_and_then_put_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "0")
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    monkeypatch.setenv("ACCELERATE_DEEPSPEED_ZERO_STAGE", "2")
    with pytest.raises(InputError, match=r"to start launch.strategy ddp, its file says zero2"):
        check_launch(LaunchSettings())
    if importlib.util.find_spec("deepspeed") is not None:
        with pytest.raises(InputError, match=r"launch.strategy zero3, its file says zero2"):
            check_launch(LaunchSettings(strategy="zero3"))
        check_launch(LaunchSettings(strategy="zero2"))
        assert not [name for name in os.environ if name.startswith("ACCELERATE_")]


# Going on from a checkpoint


def checkpoint(output: Path, *, parts: int) -> Path:
    folder = output / "checkpoints" / "checkpoint-3"
    (folder / "global_step3").mkdir(parents=True)
    (folder / "trainer_state.json").write_text("{}")
    for part in range(parts):
        (folder / "global_step3" / f"zero_pp_rank_{part}_mp_rank_00_optim_states.pt").touch()
    return folder


def test_a_checkpoint_of_ddp_goes_on_with_any_number_of_processes(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path, parts=0)
    for processes in (1, 2, 8):
        assert check_output(tmp_path, resume=True, launch=LaunchSettings(processes=processes)) == folder
    assert check_output(tmp_path, resume=True) == folder
    with pytest.raises(InputError, match="holds no DeepSpeed state"):
        check_output(tmp_path, resume=True, launch=LaunchSettings(strategy="zero2"))


def test_a_checkpoint_of_deepspeed_goes_on_with_its_own_number_and_engine(tmp_path: Path) -> None:
    folder = checkpoint(tmp_path, parts=2)
    same = LaunchSettings(processes=2, strategy="zero2")
    assert check_output(tmp_path, resume=True, launch=same) == folder
    with pytest.raises(InputError, match=r"in 2 part\(s\), and this job has 4 .*start 2 in all"):
        check_output(tmp_path, resume=True, launch=LaunchSettings(processes=4, strategy="zero2"))
    with pytest.raises(InputError, match=r"written by DeepSpeed on 2 process\(es\), which launch.strategy ddp cannot"):
        check_output(tmp_path, resume=True, launch=LaunchSettings(processes=2))


# The shipped files


@needs_deepspeed
@pytest.mark.parametrize("strategy", ["zero2", "zero3"])
def test_deepspeed_takes_the_shipped_configuration(strategy: Strategy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DS_ACCELERATOR", "cpu")
    from deepspeed.runtime.config import DeepSpeedConfig

    shipped = json.loads(launch_file(strategy, "deepspeed").read_text())
    assert sharding_arguments(LaunchSettings(strategy=strategy)) == {"deepspeed": shipped}
    sizes = {"train_batch_size": 8, "train_micro_batch_size_per_gpu": 4, "gradient_accumulation_steps": 2}
    zero = {key: 1000 if value == "auto" else value for key, value in shipped["zero_optimization"].items()}
    off = {"bf16": {"enabled": False}, "fp16": {"enabled": False}, "gradient_clipping": 1.0}  # what `auto` becomes
    read = DeepSpeedConfig(shipped | sizes | off | {"zero_optimization": zero})
    assert read.zero_optimization_stage == int(strategy[-1])
    assert read.zero_config.gather_16bit_weights_on_model_save == (strategy == "zero3")
    unfilled = {key for key, value in (shipped | sizes | off | {"zero_optimization": zero}).items() if value == "auto"}
    assert unfilled == set()


ACCELERATE = {"ddp": "MULTI_GPU", "zero2": "DEEPSPEED", "zero3": "DEEPSPEED", "fsdp2": "FSDP"}


@pytest.mark.parametrize("strategy", ACCELERATE)
def test_accelerate_takes_the_shipped_file(strategy: Strategy) -> None:
    from accelerate.commands.config.config_args import load_config_from_file
    from accelerate.commands.launch import _validate_launch_command, launch_command_parser

    path = launch_file(strategy, "accelerate")
    assert load_config_from_file(str(path)).distributed_type.value == ACCELERATE[strategy]
    words = ["--config_file", str(path), "-m", "recipes.cli", "run", "dpo/tiny"]
    parsed, found, _ = _validate_launch_command(launch_command_parser().parse_args(words))
    assert found.num_processes == parsed.num_processes == 8
    assert (parsed.multi_gpu, parsed.use_deepspeed, parsed.use_fsdp) == tuple(
        ACCELERATE[strategy] == kind for kind in ("MULTI_GPU", "DEEPSPEED", "FSDP")
    )


@pytest.mark.parametrize("strategy", ACCELERATE)
def test_the_file_for_accelerate_says_what_the_strategy_uses(strategy: Strategy) -> None:
    content = yaml.safe_load(launch_file(strategy, "accelerate").read_text())
    assert content["mixed_precision"] == "no"  # the recipe's dtype decides, and YAML reads a bare `no` as false
    used = sharding_arguments(LaunchSettings(strategy=strategy))
    if strategy == "fsdp2":
        wanted = {key: content["fsdp_config"][f"fsdp_{key}"] for key in used["fsdp_config"]}
        assert wanted == used["fsdp_config"]
    elif strategy != "ddp":
        zero, given = used["deepspeed"]["zero_optimization"], content["deepspeed_config"]
        assert given["zero_stage"] == zero["stage"]
        assert given["zero3_save_16bit_model"] == zero.get("stage3_gather_16bit_weights_on_model_save", False)
        assert {given["offload_optimizer_device"], given["offload_param_device"]} == {"none"}
        assert not {"offload_optimizer", "offload_param"} & zero.keys()
