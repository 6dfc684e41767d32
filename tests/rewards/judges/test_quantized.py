"""Quantised judges: known by their files, told apart in the revision, and near the judge in full numbers."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from judge_training.export import export_judge
from rewards.errors import InputError, MissingExtraError
from rewards.judges import quantized
from rewards.judges.config import JudgeSettings
from rewards.judges.load import load_judge
from rewards.judges.local_model import LocalModel, load_model
from rewards.judges.quantized import loadable, own_quantization, quantized_revision, quantizing
from tests.rewards.judges.gptq_checkpoint import SETTINGS, make_checkpoints
from tests.rewards.judges.test_local_model import make_adapter
from tests.tiny_model import build_tiny_model

needs_bitsandbytes = pytest.mark.skipif(
    importlib.util.find_spec("bitsandbytes") is None, reason="bitsandbytes (autoj[quantized]) is not installed"
)
needs_gptq = pytest.mark.skipif(
    importlib.util.find_spec("gptqmodel") is None, reason="gptqmodel (autoj[gptq]) is not installed"
)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return make_checkpoints(tmp_path_factory.mktemp("gptq"))


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_model(tmp_path_factory.mktemp("wide") / "model", hidden=64)


def pretend(monkeypatch: pytest.MonkeyPatch, *, installed: bool) -> None:
    monkeypatch.setattr(quantized.importlib.util, "find_spec", lambda name: object() if installed else None)


def logits(local: LocalModel) -> torch.Tensor:
    ids = torch.arange(5, 45).reshape(2, 20)
    with torch.inference_mode():
        found: torch.Tensor = local.model(ids).logits.float()
    return found


# Known by their files


def test_a_gptq_checkpoint_is_known_in_both_layouts(checkpoints: dict[str, Path], tiny_model: Path):
    assert own_quantization(checkpoints["new"]) == "gptq"
    assert own_quantization(checkpoints["old"]) == "gptq"
    assert own_quantization(tiny_model) is None


def test_the_older_layout_is_shown_through_links(checkpoints: dict[str, Path], monkeypatch: pytest.MonkeyPatch):
    pretend(monkeypatch, installed=True)
    before = {file.name for file in checkpoints["old"].iterdir()}
    with loadable(checkpoints["old"]) as (folder, more):
        assert (folder / "model.safetensors").resolve() == (
            checkpoints["old"] / "gptq_model-4bit-128g.safetensors"
        ).resolve()
        assert more["config"].quantization_config == SETTINGS | {"quant_method": "gptq"}
        assert more["config"].hidden_size == 64
    assert not folder.exists()
    assert {file.name for file in checkpoints["old"].iterdir()} == before
    with loadable(checkpoints["new"]) as (folder, more):
        assert (folder, more) == (checkpoints["new"], {})


def test_what_is_missing_or_broken_is_said(
    checkpoints: dict[str, Path], tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    pretend(monkeypatch, installed=False)
    with pytest.raises(MissingExtraError, match=r"autoj\[gptq\]"), loadable(checkpoints["old"]):
        pass
    with pytest.raises(MissingExtraError, match=r"autoj\[quantized\]"):
        quantizing(tiny_model, "bnb-8bit", torch.float32)
    assert quantizing(tiny_model, "none", torch.float32) == {}
    with pytest.raises(InputError, match="not quantised"):
        quantizing(checkpoints["new"], "bnb-4bit", torch.float32)
    pretend(monkeypatch, installed=True)
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "config.json").write_text((tiny_model / "config.json").read_text())
    (broken / "quantize_config.json").write_text('{"group_size": 32}')
    (broken / "a.safetensors").touch()
    with pytest.raises(InputError, match="bits"), loadable(broken):
        pass
    (broken / "b.safetensors").touch()
    with pytest.raises(InputError, match="one file of weights"), loadable(broken):
        pass
    (broken / "b.safetensors").unlink()
    (broken / "quantize_config.json").write_text("bits: 4")
    with pytest.raises(InputError, match="expected JSON"), loadable(broken):
        pass


def test_settings_that_cannot_work_are_refused(tmp_path: Path):
    with pytest.raises(ValidationError, match="a server decides"):
        JudgeSettings(backend="endpoint", quantization="bnb-8bit")
    with pytest.raises(InputError, match="whole weights"):
        export_judge(JudgeSettings(quantization="bnb-4bit"), tmp_path / "out")


def test_the_revision_tells_and_the_old_one_stays():
    revisions = {quantized_revision("abc", kind) for kind in ("none", "bnb-8bit", "bnb-4bit")}
    assert len(revisions) == 3
    assert quantized_revision("abc", "none") == "abc"
    assert not any(one.startswith("abc") for one in revisions - {"abc"})


# Loaded for real


@needs_bitsandbytes
@pytest.mark.parametrize(("kind", "near"), [("bnb-8bit", 0.05), ("bnb-4bit", 0.3)])
def test_bitsandbytes_is_near_the_full_numbers(wide: Path, kind: Any, near: float):
    full, fewer = load_model(str(wide), device="cpu"), load_model(str(wide), device="cpu", quantization=kind)
    before, after = logits(full).softmax(-1), logits(fewer).softmax(-1)
    distance = (before - after).abs().sum(-1).mean() / 2
    assert 0 < distance < near  # total variation: something was rounded, and little came of it
    assert fewer.revision != full.revision
    linear = fewer.model.model.layers[0].mlp.up_proj
    assert linear.weight.element_size() == 1


@needs_bitsandbytes
def test_an_adapter_lies_in_full_numbers_on_quantised_weights(wide: Path, tmp_path: Path):
    adapter = make_adapter(wide, tmp_path / "adapter")
    plain = load_model(str(wide), device="cpu", quantization="bnb-8bit")
    adapted = load_model(str(wide), adapter=adapter, device="cpu", quantization="bnb-8bit")
    whole = load_model(str(wide), adapter=adapter, device="cpu")
    moved = (logits(adapted) - logits(plain)).abs().mean()
    off = (logits(adapted) - logits(whole)).abs().mean()
    assert moved > 5 * off
    judge = load_judge(model=str(wide), adapter=adapter, quantization="bnb-8bit")
    assert judge.card.digest != load_judge(model=str(wide), adapter=adapter).card.digest


@needs_gptq
@pytest.mark.parametrize("layout", ["new", "old"])
def test_gptq_gives_what_its_rounded_weights_give(checkpoints: dict[str, Path], layout: str):
    full = logits(load_model(str(checkpoints["full"]), device="cpu"))
    found = logits(load_model(str(checkpoints[layout]), device="cpu"))
    assert (full - found).abs().max() < 0.02 * full.abs().max()


def test_both_layouts_hold_the_same(checkpoints: dict[str, Path]):
    settings = json.loads((checkpoints["new"] / "config.json").read_text())["quantization_config"]
    assert {key: settings[key] for key in SETTINGS} == SETTINGS
