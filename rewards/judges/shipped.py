"""The judge that ships: a LoRA adapter on the embedded model, in this package, under a name of its own.

It is a checkpoint like any other (adapter, protocol, certificate, model card in one folder); only its place is known
by name. How it was made is `recipes/judge/autoj_mini.yaml`. Where the small files of any checkpoint lie is known here
too. Imports no torch.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from rewards.errors import InputError
from rewards.judges.config import DEFAULT_JUDGE, JudgeSettings

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")

FOLDER = Path(__file__).parent / "autoj_mini"


def checkpoint_folder(model: str) -> Path | None:
    """The folder of a model that is one, or of the judge that ships; None for a hub id or the embedded model."""
    if model == DEFAULT_JUDGE:
        return FOLDER
    path = Path(model).expanduser()
    return path if path.is_dir() else None


def judge_file(settings: JudgeSettings, name: str) -> Path | None:
    """A small file that a judge brings: the adapter's, else the model's; None where neither has it.

    A model that is loaded here may have it on the hub; a server's name says nothing of what is there. The scripted
    judge brings none.
    """
    if settings.backend == "scripted":
        return None
    # With an adapter and no model named, the default judge has nothing to do with it.
    model = None if settings.adapter and settings.model == DEFAULT_JUDGE else checkpoint_folder(settings.model)
    for folder in (settings.adapter, model):
        if folder is not None and (folder / name).is_file():
            return folder / name
    on_hub = settings.backend in ("transformers", "vllm") and _HUB_ID.fullmatch(settings.model) and model is None
    return _hub_file(settings.model, name) if on_hub else None


def _hub_file(model: str, name: str) -> Path | None:
    """A file of a hub checkpoint, or None. A hub that cannot be asked gives what its cache holds.

    That the model cannot be had at all is said when it is loaded.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        return Path(hf_hub_download(model, name))
    except (HfHubHTTPError, HFValidationError, OSError):
        return None


def split_adapter(name: str, adapter: Path | None) -> tuple[str, Path | None]:
    """Base model and adapter; a folder with an adapter and no model names its own base."""
    folder = checkpoint_folder(name)
    settings = None if folder is None else folder / "adapter_config.json"
    if folder is None or settings is None or not settings.is_file() or (folder / "config.json").is_file():
        return name, adapter
    if adapter is not None:
        raise InputError(f"expected a model to put the adapter {adapter} on, got another adapter: {name}")
    base = json.loads(settings.read_text(encoding="utf-8")).get("base_model_name_or_path")
    if not base:
        raise InputError(f"the adapter {name} does not name its base model; name the base and give it as the adapter")
    return str(base), folder
