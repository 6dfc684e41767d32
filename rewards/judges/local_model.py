"""A language model in this process: found, loaded, and identified by its contents.

Weights come from safetensors only (a pickle can run code) and never with code of the checkpoint. A folder is read
without any network; a hub id goes through the hub's own cache and settings (`HF_HUB_OFFLINE` is the user's to set).
The sampling defaults of a checkpoint are dropped, since a judge decodes as its protocol says and a policy as its
recipe says. Nothing here batches or generates.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    GenerationConfig,
)
from transformers.utils import is_flash_attn_2_available
from transformers.utils import logging as transformers_logging

from rewards.errors import InputError, MissingExtraError, MissingFileError, RunError
from rewards.judges.config import DEFAULT_JUDGE, DEFAULT_MODEL, Attention, Dtype, Quantization
from rewards.judges.embedded_model import embedded_model_path
from rewards.judges.quantized import (
    StoredQuantization,
    check_quantization,
    leave_the_file,
    quantization_options,
    quantize_int8,
    stored_options,
    stored_quantization,
)
from rewards.judges.shipped import split_adapter
from rewards.judges.weights_digest import embedded_digest, folder_digest

Head = Literal["causal", "seq2seq", "classifier"]
"""What a checkpoint ends in: a language model's head, an encoder-decoder's, or one that gives a score."""

_HEADS: dict[Head, Any] = {
    "causal": AutoModelForCausalLM,
    "seq2seq": AutoModelForSeq2SeqLM,
    "classifier": AutoModelForSequenceClassification,
}
_HEAD_NAMES: dict[Head, str] = {
    "causal": "causal language model",
    "seq2seq": "encoder-decoder language model",
    "classifier": "sequence classifier",
}
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_MISTAKEN: dict[Head, str] = {
    "causal": "a classifier or a reward model cannot write or rate in words; ask it with rival.kind scalar",
    "seq2seq": "a model that only encodes or only decodes is another kind of judge",
    "classifier": "a language model has no head that gives a score; leave out rival.kind scalar to ask it in words",
}
_HUB_FILES = ["*.json", "*.safetensors", "*.jinja", "*.model", "*.txt"]
_HUB_LEFT_OUT = ["original/*", "consolidated*"]
_QUIET_BELOW = 2**30


@dataclass(frozen=True, slots=True)
class LocalModel:
    """A loaded model (a causal language model unless another head was asked for) with its tokenizer."""

    model: Any
    """A transformers `PreTrainedModel` (or peft's `PeftModel`), in eval mode."""
    tokenizer: Any
    """Its transformers tokenizer."""
    revision: str
    """Digest of configuration, tokenizer, weights and adapter, and the quantisation made at loading, if any."""
    name: str
    """The name it was asked for by."""

    @property
    def device(self) -> torch.device:
        """Where its inputs go."""
        device: torch.device = self.model.device
        return device

    @property
    def eos_ids(self) -> tuple[int, ...]:
        """Tokens that end a turn: the tokenizer's and those of the checkpoint's generation settings."""
        configured = self.model.generation_config.eos_token_id
        several = configured if isinstance(configured, list) else [configured]
        return tuple(sorted({token for token in [*several, self.tokenizer.eos_token_id] if token is not None}))

    @property
    def pad_id(self) -> int:
        """Token that fills a batch up; it is always masked."""
        for token in (self.tokenizer.pad_token_id, *self.eos_ids):
            if token is not None:
                return int(token)
        return 0

    @property
    def max_positions(self) -> int | None:
        """Longest sequence that the model takes, where its configuration says it."""
        positions = self.model.config.get_text_config().to_dict().get("max_position_embeddings")
        return int(positions) if positions else None


def load_model(
    name: str,
    *,
    adapter: Path | None = None,
    dtype: Dtype = "auto",
    attention: Attention = "auto",
    device: str | None = None,
    head: Head = "causal",
    quantization: Quantization = "none",
) -> LocalModel:
    """Load a folder, a hub id or the embedded default model, with a LoRA adapter where one is given.

    A folder that holds only an adapter is loaded on the base model that it names. `device` is the GPU where there
    is one and else the CPU; "auto" spreads a large model over all GPUs. With another `head` than a causal language
    model's, attention "auto" is what the architecture itself prefers. Raises InputError (what cannot be loaded, and
    what to do), MissingFileError and MissingExtraError.

    With `quantization`, an adapter is merged before int8, and stays beside weights of bitsandbytes or GPTQ.
    """
    if name == DEFAULT_JUDGE and adapter is not None:
        name, adapter = str(adapter), None  # nobody named a model: the adapter knows its own base
    base, adapter = split_adapter(name, adapter)
    folder = find_folder(base)
    place = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device in (None, "auto") else device)
    weights = _weights(folder, base)
    stored = stored_quantization(folder)
    check_quantization(quantization, stored, base)
    kind = choose_dtype(dtype, place, stored)
    settings = _settings(kind, place, None if head != "causal" and attention == "auto" else attention)
    if place.type != "cpu":
        settings["device_map"] = "auto" if device == "auto" else {"": place}
    late = quantization == "int8" and adapter is not None
    if stored is None and not late:
        settings |= quantization_options(quantization, str(kind).removeprefix("torch."))
    with _quiet(sum(file.stat().st_size for file in weights) < _QUIET_BELOW), _load_errors(base, folder, head):
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
        settings |= {} if stored is None else stored_options(stored, folder)
        model, info = _HEADS[head].from_pretrained(folder, output_loading_info=True, **settings)
    if info["missing_keys"]:
        raise InputError(
            f"{base} is not a complete {_HEAD_NAMES[head]}: {len(info['missing_keys'])} weights are not in it, such "
            f"as {min(info['missing_keys'])}; {_MISTAKEN[head]}"
        )
    if adapter is not None:
        exact = kind == torch.float32 and stored is None and quantization == "none"
        model = _with_adapter(model, adapter, merge=exact or late)
    if late:
        quantize_int8(model)
    if quantization == "int8":
        leave_the_file(model)
    if model.can_generate():
        model.generation_config = _plain_generation_config(model.generation_config)
    revision = weights_revision(base, folder, adapter, quantization)
    return LocalModel(model=model.eval(), tokenizer=tokenizer, revision=revision, name=name)


def load_tokenizer_alone(name: str, adapter: Path | None = None) -> Any:
    """The tokenizer that `load_model` would load, without the weights (of a hub id nothing else is fetched).

    Raises InputError when there is none.
    """
    if name == DEFAULT_JUDGE and adapter is not None:
        name, adapter = str(adapter), None
    base, _ = split_adapter(name, adapter)
    folder = embedded_model_path() if base == DEFAULT_MODEL else base
    try:
        return AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise InputError(f"expected a tokenizer with the model {base} (a folder or a hub id): {error}") from error


def _settings(dtype: torch.dtype, place: torch.device, attention: Attention | None) -> dict[str, Any]:
    """What every checkpoint is loaded with; without an attention it is what the architecture prefers."""
    settings: dict[str, Any] = {
        "dtype": dtype,
        "use_safetensors": True,
        "trust_remote_code": False,
        "local_files_only": True,
    }
    if attention is not None:
        settings["attn_implementation"] = _attention(attention, place, dtype)
    return settings


def weights_revision(base: str, folder: Path, adapter: Path | None, quantization: Quantization) -> str:
    """Digest of what was loaded; it ends in the quantisation that was made of it, if any."""
    revision = embedded_digest(folder) if base == DEFAULT_MODEL else folder_digest(folder)
    if adapter is not None:
        revision = hashlib.sha256(f"{revision}+{folder_digest(adapter)}".encode()).hexdigest()
    return revision if quantization == "none" else f"{revision}-{quantization}"


def find_folder(name: str) -> Path:
    """Folder of the model: its own, the embedded one, or a snapshot in the hub's cache."""
    if name == DEFAULT_MODEL:
        return embedded_model_path()
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    if folder.exists():
        raise InputError(f"expected the folder of a model, got the file {name}; name the folder that it is in")
    if name.startswith(("/", ".", "~")) or name.count("/") != 1:
        raise MissingFileError(
            f"expected a model folder at {name}, found none; a model is a folder, a hub id (owner/name), "
            f"{DEFAULT_JUDGE} or {DEFAULT_MODEL}"
        )
    return _hub_snapshot(name)


def _hub_snapshot(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, allow_patterns=_HUB_FILES, ignore_patterns=_HUB_LEFT_OUT))
    except (LocalEntryNotFoundError, HfHubHTTPError, HFValidationError, OSError) as error:
        raise InputError(
            f"could not get the model {name}: there is no folder of this name, and the hub says: "
            f"{str(error).strip().splitlines()[0]}. Check the name, fetch it where there is a network "
            f"(`hf download {name}`; HF_HUB_OFFLINE must not be 1), or give the path of a folder"
        ) from error


def _weights(folder: Path, name: str) -> list[Path]:
    """The weight files; refuses a folder that is no model, or one with pickled weights only."""
    if any(folder.glob("*.gguf")) and not any(folder.glob("*.safetensors")):
        raise InputError(
            f"{name} has its weights as GGUF, which is loaded by llama.cpp and not here: start its server and name it "
            "with backend: endpoint, or name a checkpoint in safetensors"
        )
    if not (folder / "config.json").is_file():
        raise InputError(f"expected a model in {folder}, but it has no config.json; name the checkpoint's own folder")
    weights = sorted(folder.glob("*.safetensors"))
    if weights:
        return weights
    pickled = [file.name for pattern in ("*.bin", "*.pt", "*.pth") for file in folder.glob(pattern)]
    if pickled:
        raise InputError(
            f"{name} has its weights as a pickle ({pickled[0]}), which can run code when it is read; autoj loads "
            "safetensors only: convert it once with save_pretrained on a machine that may trust it"
        )
    raise InputError(f"expected *.safetensors in {folder}, found no weights; is the download complete?")


def choose_dtype(wanted: Dtype, device: torch.device, stored: StoredQuantization | None = None) -> torch.dtype:
    """The dtype to load in; see `JudgeSettings.dtype`."""
    if wanted != "auto":
        return _DTYPES[wanted]
    if stored is not None and stored.method == "gptq" and device.type == "cuda":
        return torch.float16  # its scales are float16, which bfloat16 would round
    return torch.bfloat16 if device.type == "cuda" and torch.cuda.is_bf16_supported() else torch.float32


def _attention(wanted: Attention, device: torch.device, dtype: torch.dtype) -> str:
    """The attention implementation; FlashAttention 2 needs its package, a GPU and 16-bit numbers."""
    fits = device.type == "cuda" and dtype != torch.float32
    if wanted == "auto":
        return "flash_attention_2" if fits and is_flash_attn_2_available() else "sdpa"
    if wanted != "flash_attention_2":
        return wanted
    if not fits:
        raise InputError(
            f"attention flash_attention_2 needs a GPU and bfloat16 or float16, got {device.type} and "
            f"{str(dtype).removeprefix('torch.')}; use attention: auto"
        )
    if not is_flash_attn_2_available():
        raise MissingExtraError(
            "attention flash_attention_2 needs the package flash-attn: run `pip install 'autoj[flash-attn]'` "
            "(torch must be installed first), or use attention: auto"
        )
    return wanted


def _with_adapter(model: Any, adapter: Path, *, merge: bool) -> Any:
    """The model with the LoRA adapter, merged where the numbers are exact enough to lose nothing by it."""
    from peft import PeftModel

    if not (adapter / "adapter_config.json").is_file():
        raise MissingFileError(f"expected a LoRA adapter at {adapter}, found no adapter_config.json there")
    if not (adapter / "adapter_model.safetensors").is_file():
        raise InputError(
            f"expected adapter_model.safetensors in {adapter}, found none; save it with safe serialization"
        )
    with _load_errors(str(adapter), adapter), warnings.catch_warnings():
        # peft 0.21 asks transformers 5.23 for gradient checkpointing by its old name.
        warnings.filterwarnings("ignore", r"`is_gradient_checkpointing` is deprecated", FutureWarning)
        adapted = PeftModel.from_pretrained(model, str(adapter))
    return adapted.merge_and_unload() if merge else adapted


def _plain_generation_config(given: Any) -> Any:
    """Only the special tokens of the checkpoint's generation settings."""
    return GenerationConfig(
        bos_token_id=given.bos_token_id, eos_token_id=given.eos_token_id, pad_token_id=given.pad_token_id
    )


@contextmanager
def _load_errors(name: str, folder: Path, head: Head = "causal") -> Iterator[None]:
    """What the libraries raise for a broken or foreign checkpoint, said as an error of the input."""
    from safetensors import SafetensorError

    try:
        yield
    except ImportError as error:
        raise MissingExtraError(f"{name} needs a package that is not installed: {error}") from error
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise RunError(
                f"the GPU's memory cannot hold {name}: {str(error).splitlines()[0]}. Choose a smaller model, a 16-bit "
                "dtype, or a free GPU"
            ) from error
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"could not load a {_HEAD_NAMES[head]} from {folder}: {reason}. It must be a complete transformers "
            "checkpoint (config.json, safetensors, tokenizer) of an architecture that transformers knows"
        ) from error


@contextmanager
def _quiet(small: bool) -> Iterator[None]:
    """Leave out transformers' progress bar for a model that is there at once."""
    enabled = transformers_logging.is_progress_bar_enabled()
    if small:
        transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if enabled:
            transformers_logging.enable_progress_bar()
