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
from rewards.judges.config import DEFAULT_JUDGE

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")

FOLDER = Path(__file__).parent / "autoj_mini"


def checkpoint_folder(model: str) -> Path | None:
    """The folder of a model that is one, or of the judge that ships; None for a hub id or the embedded model."""
    if model == DEFAULT_JUDGE:
        return FOLDER
    path = Path(model).expanduser()
    return path if path.is_dir() else None


def checkpoint_file(model: str, name: str) -> Path | None:
    """A small file of a checkpoint in a folder or on the hub; None where it has none.

    A hub that cannot be asked gives what its cache holds; that the model cannot be had is said when it is loaded.
    """
    folder = checkpoint_folder(model)
    if folder is not None:
        return folder / name if (folder / name).is_file() else None
    if _HUB_ID.fullmatch(model) is None:
        return None
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
