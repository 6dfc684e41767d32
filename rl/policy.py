"""The policy as a trainer needs it: a model whose weights can be trained, its tokenizer, and its adapter.

`rewards.judges.local_model` loads a model to run it: merged, in evaluation mode, on its device. Here nothing is
merged and nothing is placed, since the trainer, accelerate or DeepSpeed does that. torch, transformers and peft are
imported inside functions.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rewards.errors import InputError, MissingExtraError
from rewards.judges.config import DEFAULT_MODEL, Attention, Dtype
from rl.training_settings import LoraSettings, TrainingSettings

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def resolve_dtype(dtype: Dtype) -> Literal["float32", "bfloat16", "float16"]:
    """The precision to train in: auto is bfloat16 on a GPU that computes in it, else float32.

    Raises InputError for a half precision that this machine does not train in.
    """
    import torch

    native = torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
    if dtype == "auto":
        return "bfloat16" if native else "float32"
    if (dtype == "bfloat16" and not native) or (dtype == "float16" and not torch.cuda.is_available()):
        raise InputError(f"expected a GPU that computes in {dtype} to train with it, found none; use auto or float32")
    return dtype


@contextmanager
def quiet_deprecations() -> Iterator[None]:
    """Leave out warnings that only TRL can act on: 1.16 calls transformers' checkpointing by its old names."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"`(is_)?gradient_checkpointing\w*` is deprecated", FutureWarning)
        yield


@contextmanager
def refusals(what: str) -> Iterator[None]:
    """Turn what TRL, PEFT or a chat template refuses inside into InputError."""
    from jinja2 import TemplateError

    try:
        yield
    except (TypeError, ValueError, TemplateError) as error:
        raise InputError(f"{what} cannot be used: {error}") from error


@dataclass(frozen=True, slots=True)
class Policy:
    """A model to train, with its tokenizer and, for a new adapter, PEFT's configuration of it."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    peft_config: Any | None


def load_policy(
    model: str, adapter: Path | None, settings: TrainingSettings, *, dtype: Dtype, attention: Attention
) -> Policy:
    """Load the policy to train. With an `adapter`, training goes on with that adapter (its own rank and targets).

    The frozen weights under a LoRA adapter are held in the precision of the computation; weights that are
    trained are held in float32, and the computation is in mixed precision.
    Raises InputError when there is no such model, or when it has no chat template.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    path = _model_path(model)
    held_in = resolve_dtype(dtype) if settings.tuning == "lora" else "float32"
    if adapter is not None and settings.tuning == "full":
        raise InputError("expected `tuning: lora` to go on with an adapter, got full; merge the adapter first")
    if (Path(path) / "adapter_config.json").exists():
        raise InputError(f"expected a model at {path}, found an adapter; give it as `adapter` and its base as `model`")
    implementation = _attention(attention, held_in)
    try:
        tokenizer = AutoTokenizer.from_pretrained(path)
        loaded = AutoModelForCausalLM.from_pretrained(
            path, dtype=held_in, attn_implementation=implementation, use_safetensors=True
        )
    except ImportError as error:
        raise MissingExtraError(f"{model!r} with {implementation} needs a package: {error}") from error
    except (OSError, ValueError) as error:
        raise InputError(f"expected a causal language model at {model!r} (a folder or a hub id): {error}") from error
    if tokenizer.chat_template is None:
        raise InputError(f"expected a chat template with the tokenizer of {model!r}, found none; use a chat model")
    if adapter is None:
        return Policy(loaded, tokenizer, lora_config(settings.lora) if settings.tuning == "lora" else None)
    from peft import PeftModel

    return Policy(PeftModel.from_pretrained(loaded, adapter, is_trainable=True), tokenizer, None)


def load_tokenizer(model: str) -> PreTrainedTokenizerBase:
    """The tokenizer of a policy alone. Raises InputError when there is no such model."""
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


def _attention(attention: Attention, dtype: str) -> str:
    import torch
    from transformers.utils import is_flash_attn_2_available

    if attention != "auto":
        return attention
    return (
        "flash_attention_2"
        if dtype != "float32" and torch.cuda.is_available() and is_flash_attn_2_available()
        else "sdpa"
    )


def lora_config(lora: LoraSettings) -> Any:
    """PEFT's configuration of a new adapter."""
    from peft import LoraConfig

    targets = "all-linear" if lora.targets == ("all-linear",) else list(lora.targets)
    return LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=targets,
        task_type="CAUSAL_LM",
    )
