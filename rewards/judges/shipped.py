"""The judge that ships: a LoRA adapter on the embedded model, in this package, under a name of its own.

It is a checkpoint like any other (adapter, protocol, certificate, model card in one folder); only its place is known
by name. How it was made is `recipes/judge/autoj_mini.yaml`. Imports no torch.
"""

from __future__ import annotations

from pathlib import Path

from rewards.judges.config import DEFAULT_JUDGE

FOLDER = Path(__file__).parent / "autoj_mini"


def checkpoint_folder(model: str) -> Path | None:
    """The folder of a model that is one, or of the judge that ships; None for a hub id or the embedded model."""
    if model == DEFAULT_JUDGE:
        return FOLDER
    path = Path(model).expanduser()
    return path if path.is_dir() else None
