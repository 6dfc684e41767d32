"""Judges whose weights are held in fewer bits: quantised on loading, or quantised already.

On loading: bitsandbytes, in 8 bits (LLM.int8, Dettmers et al. 2022, arXiv 2208.07339) or in 4 (NF4, of QLoRA, arXiv
2305.14314), on GPUs and on CPUs. Already: GPTQ checkpoints (arXiv 2210.17323), which transformers loads through
gptqmodel. Their settings stand in config.json, or, as with the released GAIR/autoj-13b-GPTQ-4bits, where AutoGPTQ left
them: in a quantize_config.json, beside weights under a name that transformers does not look for. Such a folder is
shown to it through links; nothing is copied or converted.

Nothing here quantises a checkpoint for good. Quantised weights rate a little differently, so they are part of a
judge's revision (`quantized_revision`).
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rewards.errors import InputError, MissingExtraError
from rewards.judges.config import Quantization

_AUTOGPTQ = "quantize_config.json"
_GPTQ_KEYS = ("bits", "group_size", "damp_percent", "desc_act", "sym", "true_sequential")


def own_quantization(folder: Path) -> str | None:
    """How the checkpoint in a folder is quantised already (`gptq`, `awq`, …); None where it is not."""
    settings = _config(folder / "config.json").get("quantization_config")
    if isinstance(settings, dict):
        return str(settings.get("quant_method", "unknown"))
    return "gptq" if (folder / _AUTOGPTQ).is_file() else None


def quantized_revision(revision: str, quantization: Quantization) -> str:
    """The digest of weights that are held in fewer bits; unchanged for `none`."""
    return revision if quantization == "none" else hashlib.sha256(f"{revision}+{quantization}".encode()).hexdigest()


def quantizing(folder: Path, wanted: Quantization, dtype: Any) -> dict[str, Any]:
    """What `from_pretrained` is told to quantise on loading. dtype: torch's, that products are computed in.

    Raises InputError for a checkpoint that is quantised already, MissingExtraError without bitsandbytes.
    """
    if wanted == "none":
        return {}
    own = own_quantization(folder)
    if own is not None:
        raise InputError(f"expected weights that are not quantised for quantization {wanted}, got {own}; leave it out")
    if importlib.util.find_spec("bitsandbytes") is None:
        raise MissingExtraError(f"quantization {wanted} needs bitsandbytes: run `pip install 'autoj[quantized]'`")
    from transformers import BitsAndBytesConfig

    # It says for every layer of every forward that inputs are cast to float16 and back, which is how it works.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    if wanted == "bnb-8bit":
        return {"quantization_config": BitsAndBytesConfig(load_in_8bit=True)}
    four = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype
    )
    return {"quantization_config": four}


@contextmanager
def loadable(folder: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """A folder as transformers takes it, and what `from_pretrained` must be told besides.

    Raises MissingExtraError for a GPTQ checkpoint without gptqmodel, InputError for settings that cannot be read.
    """
    if own_quantization(folder) == "gptq":
        _need_gptq(folder)
    if not (folder / _AUTOGPTQ).is_file() or _config(folder / "config.json").get("quantization_config"):
        yield folder, {}
        return
    with tempfile.TemporaryDirectory() as view:
        yield _view(folder, Path(view)), {"config": _with_gptq(folder)}


def _need_gptq(folder: Path) -> None:
    missing = [name for name in ("gptqmodel", "optimum") if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingExtraError(
            f"{folder} is quantised with GPTQ, which needs {' and '.join(missing)}: run `pip install 'autoj[gptq]'`"
        )


def _view(folder: Path, view: Path) -> Path:
    """Links to everything in the folder, with the weights under the name that transformers looks for."""
    weights = sorted(folder.glob("*.safetensors"))
    if len(weights) != 1:
        raise InputError(
            f"expected one file of weights beside {folder / _AUTOGPTQ}, found {len(weights)}; a checkpoint in parts "
            "must have its settings in config.json (quantization_config)"
        )
    for file in folder.iterdir():
        if file.is_file():
            name = "model.safetensors" if file == weights[0] else file.name
            (view / name).symlink_to(file.resolve())
    return view


def _with_gptq(folder: Path) -> Any:
    """The model's configuration with the quantisation that the other file describes."""
    from transformers import AutoConfig

    said = _config(folder / _AUTOGPTQ)
    if not isinstance(said.get("bits"), int):
        raise InputError(f"expected the number of `bits` in {folder / _AUTOGPTQ}, got {said.get('bits')!r}")
    config = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    config.quantization_config = {key: said[key] for key in _GPTQ_KEYS if key in said} | {"quant_method": "gptq"}
    return config


def _config(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"expected JSON in {path}, got something else: {error}") from error
    return content if isinstance(content, dict) else {}
