"""Weights in fewer bits: checkpoints that are stored so, and float ones that are made so while they are loaded.

A GPTQ checkpoint says what it is in `config.json`, or, as AutoGPTQ wrote it and AUTO-J's own 4-bit release has it, in
a `quantize_config.json` beside weights with a name of their own. transformers knows only the first layout; the second
is told to it as the first, with the name of the file. bitsandbytes quantises at loading. `int8` is torchao's
weight-only int8, chosen because a judgment then does not depend on the batch it is in: bitsandbytes' int8 looks for
outliers, and torch's dynamic int8 for ranges, in the whole batch.

This module quantises no checkpoint with calibration data, writes none, and reads no pickle. torch and transformers are
imported inside functions.
"""

from __future__ import annotations

import importlib.util
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError

from rewards.errors import InputError, MissingExtraError
from rewards.judges.config import Quantization

AUTOGPTQ_FILE = "quantize_config.json"
"""Where AutoGPTQ wrote how a checkpoint is quantised."""

_KNOWN_WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
_NEEDS: dict[str, tuple[tuple[str, ...], str]] = {
    "gptq": (("gptqmodel", "optimum"), "gptq"),
    "bitsandbytes": (("bitsandbytes",), "quantized"),
    "bnb-4bit": (("bitsandbytes",), "quantized"),
    "bnb-8bit": (("bitsandbytes",), "quantized"),
    "torchao": (("torchao",), "int8"),
    "int8": (("torchao",), "int8"),
}
"""Packages that a kind of quantisation needs, and the extra with them; those of other kinds transformers names."""


@dataclass(frozen=True, slots=True)
class StoredQuantization:
    """How the weights of a checkpoint are stored."""

    method: str
    """transformers' name of the method: gptq, bitsandbytes, torchao, awq, …"""
    bits: int | None = None
    options: dict[str, JsonValue] | None = None
    """What `config.json` should say and does not; None where it does."""
    weights: str | None = None
    """The file of the weights (or of their index), where it has a name that transformers does not look for."""

    @property
    def text(self) -> str:
        """The method with its bits, in words."""
        return self.method if self.bits is None else f"{self.method}, {self.bits} bits"


class _AutoGPTQSettings(BaseModel):
    """The keys of AutoGPTQ's file that loading needs; the others say how the weights were made."""

    model_config = ConfigDict(extra="ignore")

    bits: Literal[2, 3, 4, 8]
    group_size: int
    desc_act: bool
    sym: bool = True
    true_sequential: bool = True
    quant_method: Literal["gptq"] = "gptq"
    checkpoint_format: Literal["gptq", "gptq_v2"] = "gptq"
    model_file_base_name: str | None = None

    def options(self) -> dict[str, JsonValue]:
        """The same as transformers' quantization_config."""
        return self.model_dump(exclude={"model_file_base_name"})


def stored_quantization(folder: Path) -> StoredQuantization | None:
    """How the checkpoint in `folder` is quantised; None for one in floating point.

    Raises InputError for settings that cannot be read, and where it is not clear which file holds the weights.
    """
    stated = _read(folder / "config.json").get("quantization_config")
    if isinstance(stated, dict):
        method, bits = str(stated.get("quant_method", "unknown")), stated.get("bits")
        weights = _weights_file(folder, None) if method == "gptq" else None
        return StoredQuantization(method, bits if isinstance(bits, int) else None, weights=weights)
    file = folder / AUTOGPTQ_FILE
    if not file.is_file():
        return None
    try:
        settings = _AutoGPTQSettings.model_validate(_read(file))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise InputError(
            f"{file}: expected the settings of a GPTQ checkpoint (bits, group_size, desc_act, …), got something else: "
            f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        ) from error
    weights = _weights_file(folder, settings.model_file_base_name)
    return StoredQuantization("gptq", settings.bits, settings.options(), weights)


def _read(file: Path) -> dict[str, JsonValue]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"expected JSON in {file}, could not read it: {error}") from error
    if not isinstance(content, dict):
        raise InputError(f"expected a JSON object in {file}, got {type(content).__name__}")
    return content


def _weights_file(folder: Path, base_name: str | None) -> str | None:
    """The file that holds the weights, where transformers would not find it by itself."""
    if any((folder / name).is_file() for name in _KNOWN_WEIGHTS):
        return None
    indices = sorted(file.name for file in folder.glob("*.safetensors.index.json"))
    found = indices or sorted(file.name for file in folder.glob("*.safetensors"))
    if base_name is not None:
        # The name comes from the checkpoint: only a file that lies in the folder is ever taken.
        found = [name for name in found if name.partition(".safetensors")[0] == base_name]
    if len(found) == 1:
        return found[0]
    wanted = "one file of weights" if base_name is None else f"{base_name}.safetensors"
    raise InputError(
        f"expected {wanted} in {folder}, found {', '.join(found) or 'none of that name'}; name the right one as "
        f"model_file_base_name in {AUTOGPTQ_FILE}, or rename it to model.safetensors"
    )


def check_quantization(wanted: Quantization, stored: StoredQuantization | None, name: str) -> None:
    """Raise InputError where the two cannot be had together, MissingExtraError where a package is missing."""
    if stored is not None and wanted != "none":
        raise InputError(
            f"expected a checkpoint in floating point for quantization {wanted}, but {name} is quantised already "
            f"({stored.text}); leave quantization out and it is loaded as it is"
        )
    kind = wanted if stored is None else stored.method
    packages, extra = _NEEDS.get(kind, ((), ""))
    missing = [package for package in packages if importlib.util.find_spec(package) is None]
    if missing:
        what = f"quantization {wanted}" if stored is None else f"{name} ({stored.text})"
        raise MissingExtraError(
            f"{what} needs the package {' and '.join(missing)}: run `pip install 'autoj[{extra}]'`"
        )


def quantization_options(wanted: Quantization, dtype: str) -> dict[str, Any]:
    """What `from_pretrained` is given to quantise a float checkpoint while it loads it.

    dtype: what is computed in where weights have 4 bits.
    """
    if wanted == "none":
        return {}
    if wanted == "int8":
        from torchao.quantization import Int8WeightOnlyConfig
        from transformers import TorchAoConfig

        return {"quantization_config": TorchAoConfig(Int8WeightOnlyConfig())}
    from transformers import BitsAndBytesConfig

    # It says for every layer of every forward that inputs are cast to float16 and back, which is how it works.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    if wanted == "bnb-8bit":
        return {"quantization_config": BitsAndBytesConfig(load_in_8bit=True)}
    config = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )
    return {"quantization_config": config}


def stored_options(stored: StoredQuantization, folder: Path) -> dict[str, Any]:
    """What `from_pretrained` is given to load a checkpoint whose own `config.json` does not say all of it."""
    if stored.options is None and stored.weights is None:
        return {}
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    if stored.options is not None:
        config.quantization_config = dict(stored.options)
    if stored.weights is not None:
        config.transformers_weights = stored.weights
    return {"config": config}


def quantize_int8(model: Any) -> None:
    """Make the linear layers of a loaded model int8, all but the output layer, as `int8` does at loading.

    For a model whose adapter was merged into its float weights.
    """
    import torch
    from torchao.quantization import Int8WeightOnlyConfig, quantize_

    head = model.get_output_embeddings()
    quantize_(
        model,
        Int8WeightOnlyConfig(),
        filter_fn=lambda module, name: isinstance(module, torch.nn.Linear) and module is not head,
    )


def leave_the_file(model: Any) -> None:
    """Copy what was not quantised out of the checkpoint's mapped file, so that the float weights in it are let go of.

    On a CPU every weight is a view of the mapped file, which stays in memory, with all that an adapter changed in it,
    for as long as one view is left.
    """
    import torch

    for weight in model.parameters():
        if type(weight) is torch.nn.Parameter and type(weight.data) is torch.Tensor:
            weight.data = weight.data.clone()
