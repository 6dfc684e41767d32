"""A model as a trainer needs it: its weights can be trained, and its tokenizer and adapter are with it.

`rewards.judges.local_model` loads a model to run it: merged, in evaluation mode, on its device. Here nothing is
merged and, but for 4-bit weights, nothing is placed, since the trainer, accelerate or DeepSpeed does that. torch,
transformers and peft are imported inside functions.
"""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rewards.errors import InputError, MissingExtraError
from rewards.judges.config import DEFAULT_MODEL, Attention, Dtype
from rewards.training.settings import LoraSettings

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Precision = Literal["float32", "bfloat16", "float16"]


def resolve_dtype(dtype: Dtype) -> Precision:
    """The precision to train in: auto is bfloat16 on a GPU that computes in it, else float32.

    On a CPU bfloat16 is there for the asking where the CPU multiplies in it (AVX-512 BF16 or AMX); where it does not,
    bfloat16 is several times slower than float32. Raises InputError for a half precision that this machine does not
    train in.
    """
    import torch

    gpu = torch.cuda.is_available()
    native = torch.cuda.is_bf16_supported(including_emulation=False) if gpu else _cpu_multiplies_bfloat16()
    if dtype == "auto":
        return "bfloat16" if gpu and native else "float32"
    if (dtype == "bfloat16" and not native) or (dtype == "float16" and not gpu):
        raise InputError(
            f"expected a GPU (or, for bfloat16, a CPU) that computes in {dtype} to train with it, found none; use "
            "auto or float32"
        )
    return dtype


def _cpu_multiplies_bfloat16() -> bool:
    import torch

    # torch 2.13 has no public name for these.
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def weights_dtype(dtype: Dtype, tuning: Literal["lora", "full"], *, own_master: bool = False) -> Precision:
    """The precision that weights are held in: see `load_trainable`."""
    return resolve_dtype(dtype) if tuning == "lora" or own_master else "float32"


@dataclass(frozen=True, slots=True)
class Trainable:
    """A model to train, with its tokenizer and, for a new adapter, PEFT's configuration of it."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    peft_config: Any | None


def load_trainable(
    model: str,
    adapter: Path | None,
    *,
    tuning: Literal["lora", "full"],
    lora: LoraSettings,
    dtype: Dtype,
    attention: Attention,
    four_bit: bool = False,
    own_master: bool = False,
) -> Trainable:
    """Load the model to train. With an `adapter`, training goes on with that adapter (its own rank and targets).

    The frozen weights under a LoRA adapter are held in the precision of the computation, or in 4 bits (QLoRA,
    Dettmers et al. 2023, arXiv 2305.14314); weights that are trained are held in float32 and computed with in mixed
    precision, unless the optimizer keeps a float32 copy of its own (`own_master`, as DeepSpeed's does).
    Raises InputError when there is no such model, and MissingExtraError for 4 bits without bitsandbytes.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    path = _model_path(model)
    held_in = weights_dtype(dtype, tuning, own_master=own_master)
    if adapter is not None and tuning == "full":
        raise InputError("expected `tuning: lora` to go on with an adapter, got full; merge the adapter first")
    if (Path(path) / "adapter_config.json").exists():
        raise InputError(f"expected a model at {path}, found an adapter; give it as `adapter` and its base as `model`")
    implementation = choose_attention(attention, held_in)
    quantised = _four_bit(tuning, held_in) if four_bit else {}
    try:
        tokenizer = AutoTokenizer.from_pretrained(path)
        loaded = AutoModelForCausalLM.from_pretrained(
            path, dtype=held_in, attn_implementation=implementation, use_safetensors=True, **quantised
        )
    except ImportError as error:
        raise MissingExtraError(f"{model!r} with {implementation} needs a package: {error}") from error
    except (OSError, ValueError) as error:
        raise InputError(f"expected a causal language model at {model!r} (a folder or a hub id): {error}") from error
    if adapter is None:
        return Trainable(loaded, tokenizer, lora_config(lora, loaded) if tuning == "lora" else None)
    from peft import PeftModel

    adapted = PeftModel.from_pretrained(loaded, adapter, is_trainable=True)
    for config in adapted.peft_config.values():
        config.base_model_name_or_path = path  # by the name that the user gave, PEFT would ask the hub when it saves
    return Trainable(adapted, tokenizer, None)


def check_chat_template(trainable: Trainable, model: str) -> None:
    """Raise InputError when conversations cannot be written for this model."""
    if trainable.tokenizer.chat_template is None:
        raise InputError(f"expected a chat template with the tokenizer of {model!r}, found none; use a chat model")


def load_tokenizer(model: str) -> PreTrainedTokenizerBase:
    """The tokenizer alone. Raises InputError when there is no such model."""
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(_model_path(model))
    except (OSError, ValueError) as error:
        raise InputError(f"expected a model with a tokenizer at {model!r} (a folder or a hub id): {error}") from error


def _model_path(model: str) -> str:
    """What transformers loads a model by: a folder or a hub id."""
    if model != DEFAULT_MODEL:
        return model
    from rewards.judges.embedded_model import embedded_model_path

    return str(embedded_model_path())


def choose_attention(attention: Attention, dtype: Precision) -> str:
    """FlashAttention 2 where it is installed and fits (a GPU, 16-bit numbers), else SDPA; or what was asked for."""
    import torch
    from transformers.utils import is_flash_attn_2_available

    if attention != "auto":
        return attention
    return (
        "flash_attention_2"
        if dtype != "float32" and torch.cuda.is_available() and is_flash_attn_2_available()
        else "sdpa"
    )


def _four_bit(tuning: Literal["lora", "full"], compute: Precision) -> dict[str, Any]:
    """What loads frozen weights in 4 bits, each process on its own GPU."""
    import torch

    if tuning == "full":
        raise InputError("expected `tuning: lora` with `four_bit`, got full: weights held in 4 bits cannot be trained")
    if not torch.cuda.is_available():
        raise InputError("expected a CUDA GPU for `four_bit` (QLoRA), found none; leave it out to train a plain LoRA")
    if importlib.util.find_spec("bitsandbytes") is None:
        raise MissingExtraError(
            "`four_bit` (QLoRA) needs the package bitsandbytes: run `pip install 'autoj[quantized]'`"
        )
    from transformers import BitsAndBytesConfig

    config = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=compute,
    )
    return {"quantization_config": config, "device_map": {"": int(os.environ.get("LOCAL_RANK", "0"))}}


def lora_config(lora: LoraSettings, model: PreTrainedModel) -> Any:
    """PEFT's configuration of a new adapter on this model.

    Raises InputError for more blocks than the model has.
    """
    from peft import LoraConfig

    some: dict[str, Any] = {}
    targets: str | list[str] = "all-linear" if lora.targets == ("all-linear",) else list(lora.targets)
    if lora.last_blocks is not None:
        count = int(model.config.get_text_config().num_hidden_layers)
        if lora.last_blocks > count:
            raise InputError(f"expected lora.last_blocks of at most {count}, as the model has, got {lora.last_blocks}")
        some["layers_to_transform"] = list(range(count - lora.last_blocks, count))
        # PEFT takes blocks only with names of layers.
        targets = _linear_names(model) if isinstance(targets, str) else targets
    return LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=targets,
        task_type="CAUSAL_LM",
        **some,
    )


def _linear_names(model: PreTrainedModel) -> list[str]:
    """Last part of the name of every linear layer except the output layer."""
    import torch

    head = model.get_output_embeddings()
    found = {
        name.rpartition(".")[2]
        for name, layer in model.named_modules()
        if isinstance(layer, torch.nn.Linear) and layer is not head
    }
    return sorted(found)
