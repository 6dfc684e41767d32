"""An adapter as it ships: half the size, the same judge, and nothing but what a judge needs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from recipes.judge.pack_adapter import pack
from rewards.errors import MissingFileError
from rewards.protocol.builtin import builtin_protocol
from rewards.protocol.spec import JudgeProtocol


def adapter(folder: Path) -> Path:
    folder.mkdir()
    save_file(
        {"a": torch.linspace(-1, 1, 64).reshape(8, 8), "b": torch.full((4,), 1e-3)},
        folder / "adapter_model.safetensors",
    )
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA"}', encoding="utf-8")
    (folder / "training.json").write_text("{}", encoding="utf-8")
    builtin_protocol().save(folder)
    return folder


def test_the_weights_are_halved_and_the_protocol_stays(tmp_path: Path):
    trained = adapter(tmp_path / "trained")
    size = pack(trained, tmp_path / "shipped")
    assert {file.name for file in (tmp_path / "shipped").iterdir()} == {
        "adapter_model.safetensors",
        "adapter_config.json",
        "judge_protocol.json",
    }
    before, after = (load_file(folder / "adapter_model.safetensors") for folder in (trained, tmp_path / "shipped"))
    assert before.keys() == after.keys()
    for name, weight in after.items():
        assert weight.dtype == torch.float16
        torch.testing.assert_close(weight.float(), before[name], rtol=1e-3, atol=1e-6)
    assert size == (tmp_path / "shipped" / "adapter_model.safetensors").stat().st_size
    assert JudgeProtocol.load(tmp_path / "shipped").digest == builtin_protocol().digest


def test_what_is_no_adapter_is_refused(tmp_path: Path):
    trained = adapter(tmp_path / "trained")
    (trained / "judge_protocol.json").unlink()
    with pytest.raises(MissingFileError, match=r"judge_protocol\.json"):
        pack(trained, tmp_path / "shipped")
    assert not (tmp_path / "shipped").exists()
