"""A tiny GPTQ checkpoint made in code, in both layouts, and the same weights in full numbers.

Weights are rounded to 4 bits in groups, symmetrically, and packed as GPTQ's first format has them: eight numbers to an
int32 along the input, zeros less one to an int32 along the output, float16 scales.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from tests.tiny_model import build_tiny_model

SETTINGS = {"bits": 4, "group_size": 32, "desc_act": False, "sym": True, "damp_percent": 0.01, "true_sequential": True}
_GROUP = 32


def make_checkpoints(folder: Path) -> dict[str, Path]:
    """Folders `new` (settings in config.json), `old` (AutoGPTQ's layout) and `full` (the same weights in float32)."""
    base = build_tiny_model(folder / "base", hidden=64)
    packed, full = {}, {}
    for name, weight in load_file(base / "model.safetensors").items():
        if name.endswith("_proj.weight"):
            parts, full[name] = _packed(weight)
            packed |= {name.removesuffix("weight") + key: part for key, part in parts.items()}
        else:
            packed[name], full[name] = weight.half(), weight.half().float()
    folders = {name: folder / name for name in ("new", "old", "full")}
    for path in folders.values():
        shutil.copytree(base, path)
        (path / "model.safetensors").unlink()
    config = json.loads((base / "config.json").read_text(encoding="utf-8"))
    (folders["new"] / "config.json").write_text(
        json.dumps(config | {"quantization_config": SETTINGS | {"quant_method": "gptq"}}), encoding="utf-8"
    )
    (folders["old"] / "quantize_config.json").write_text(json.dumps(SETTINGS), encoding="utf-8")
    save_file(packed, folders["new"] / "model.safetensors", metadata={"format": "pt"})
    save_file(packed, folders["old"] / "gptq_model-4bit-128g.safetensors", metadata={"format": "pt"})
    save_file(full, folders["full"] / "model.safetensors", metadata={"format": "pt"})
    return folders


def _packed(weight: torch.Tensor) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """The parts of a quantised layer (out, in), and its weights as they are after rounding."""
    out, inputs = weight.shape
    groups = weight.t().float().reshape(inputs // _GROUP, _GROUP, out)
    scales = (groups.abs().amax(1) / 7).clamp(min=1e-6).half()
    levels = (groups / scales.float()[:, None]).round().clamp(-8, 7)
    rounded = (levels * scales.float()[:, None]).reshape(inputs, out).t().contiguous()
    numbers = (levels + 8).reshape(inputs, out).to(torch.int64)
    zeros = torch.full((inputs // _GROUP, out), 7, dtype=torch.int64)
    parts = {
        "qweight": _words([numbers[place::8] for place in range(8)]),
        "qzeros": _words([zeros[:, place::8] for place in range(8)]),
        "scales": scales,
        "g_idx": torch.arange(inputs, dtype=torch.int32) // _GROUP,
    }
    return {name: part.contiguous() for name, part in parts.items()}, rounded


def _words(places: list[torch.Tensor]) -> torch.Tensor:
    """Eight numbers of 4 bits each as one int32."""
    word = torch.zeros_like(places[0])
    for place, numbers in enumerate(places):
        word |= numbers << (4 * place)
    return torch.where(word < 2**31, word, word - 2**32).to(torch.int32)
