"""Which precision a machine trains in: what it computes in by itself, and nothing that it would have to emulate."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from judge_training.train import train_judge
from judge_training.training_settings import JudgeTrainingSettings
from rewards.errors import InputError
from rewards.training.trainable import resolve_dtype
from tests.judge_training.judge_examples import mixed

on_cpu = pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU decides here")


def cpu_with(monkeypatch: pytest.MonkeyPatch, *, bfloat16: bool) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: bfloat16)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)


@on_cpu
@pytest.mark.parametrize("native", [True, False])
def test_a_cpu_trains_in_float32_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch, native: bool):
    cpu_with(monkeypatch, bfloat16=native)
    assert resolve_dtype("auto") == resolve_dtype("float32") == "float32"
    with pytest.raises(InputError, match="float16"):
        resolve_dtype("float16")
    if native:
        assert resolve_dtype("bfloat16") == "bfloat16"
    else:
        with pytest.raises(InputError, match="bfloat16"):
            resolve_dtype("bfloat16")


@on_cpu
def test_a_cpu_that_multiplies_bfloat16_trains_an_adapter_in_it(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The frozen weights are bfloat16, the adapter float32, and the loss falls."""
    from safetensors.torch import load_file

    cpu_with(monkeypatch, bfloat16=True)  # where it does not, the same is computed more slowly
    settings = JudgeTrainingSettings(loss_on="verdict", max_steps=12, learning_rate=1e-2, save_steps=12)
    train_judge(
        mixed(4, 0), model=str(tiny_model), output=tmp_path, settings=settings, mode="direct", dtype="bfloat16"
    )
    checkpoint = tmp_path / "checkpoints" / "checkpoint-12"
    logged = json.loads((checkpoint / "trainer_state.json").read_text())["log_history"]
    losses = [row["loss"] for row in logged if "loss" in row]
    assert losses[-1] < losses[0] - 0.5
    weights = load_file(checkpoint / "adapter_model.safetensors")
    assert {weight.dtype for weight in weights.values()} == {torch.float32}
