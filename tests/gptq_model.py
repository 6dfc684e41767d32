"""A tiny GPTQ checkpoint, packed in code, in both of the layouts that exist, with the float model that it stands for.

Weights are rounded to 4 bits by group (symmetric, no calibration data): what the tests need is the layout, and to
know exactly which numbers the packed ones mean.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from tests.tiny_model import build_tiny_model

BITS, GROUP = 4, 32
OLD_NAME = f"gptq_model-{BITS}bit-{GROUP}g.safetensors"
SETTINGS = {"bits": BITS, "group_size": GROUP, "desc_act": False, "sym": True, "true_sequential": True}
OLD_SETTINGS = SETTINGS | {"damp_percent": 0.01, "model_name_or_path": None, "model_file_base_name": None}


@dataclass(frozen=True, slots=True)
class GPTQModels:
    """Folders of the same numbers."""

    new: Path
    """`quantization_config` in config.json, weights in model.safetensors."""
    old: Path
    """As AutoGPTQ wrote it: `quantize_config.json`, weights under a name of their own."""
    dequantized: Path
    """The same numbers in float32."""


def build_gptq_models(folder: Path) -> GPTQModels:
    """Write all three below `folder`."""
    models = GPTQModels(folder / "new", folder / "old", folder / "dequantized")
    build_tiny_model(models.dequantized, hidden=64)
    packed: dict[str, torch.Tensor] = {}
    meant: dict[str, torch.Tensor] = {}
    for name, weight in load_file(models.dequantized / "model.safetensors").items():
        if name.endswith("_proj.weight"):
            parts, meant[name] = _pack(weight)
            packed |= {f"{name.removesuffix('weight')}{part}": values for part, values in parts.items()}
        else:
            packed[name] = weight.half()
            meant[name] = packed[name].float()
    save_file(meant, models.dequantized / "model.safetensors", metadata={"format": "pt"})
    for layout in (models.new, models.old):
        shutil.copytree(models.dequantized, layout)
    save_file(packed, models.new / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((models.new / "config.json").read_text())
    config["quantization_config"] = SETTINGS | {"quant_method": "gptq"}
    (models.new / "config.json").write_text(json.dumps(config))
    (models.old / "model.safetensors").unlink()
    save_file(packed, models.old / OLD_NAME)
    (models.old / "quantize_config.json").write_text(json.dumps(OLD_SETTINGS))
    return models


def _pack(weight: torch.Tensor) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """GPTQ's tensors of a linear layer (out, in), and the float weights that they mean."""
    outputs, inputs = weight.shape
    grouped = weight.t().reshape(inputs // GROUP, GROUP, outputs)
    scales = (grouped.abs().amax(1) / 7).half()
    levels = (grouped / scales[:, None].float()).round().add(8).clamp(0, 15)
    meant = ((levels - 8) * scales[:, None].float()).reshape(inputs, outputs).t().contiguous()
    zeros = torch.full((outputs, inputs // GROUP), 7)  # this format stores one less than the zero point, which is 8
    parts = {
        "qweight": _fold(levels.reshape(inputs, outputs).long()),
        "qzeros": _fold(zeros).t().contiguous(),
        "scales": scales,
        "g_idx": (torch.arange(inputs) // GROUP).int(),
    }
    return parts, meant


def _fold(levels: torch.Tensor) -> torch.Tensor:
    """Eight rows of 4-bit levels in one row of int32, the first in the lowest bits."""
    rows = levels.reshape(-1, 32 // BITS, levels.shape[1])
    words = sum(rows[:, place] << (BITS * place) for place in range(32 // BITS))
    assert isinstance(words, torch.Tensor)
    return torch.where(words >= 2**31, words - 2**32, words).int().contiguous()
