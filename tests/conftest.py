"""What all tests share: where real data lies, when it is there."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from rewards.judges.local_model import LocalModel

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("WANDB_MODE", "offline")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command does (recipes.cli)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data beside the repository; tests that need it are skipped without it."""
    folder = Path(os.environ.get("AUTOJ_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip("no real data beside the repository (set AUTOJ_DATA to its folder)")
    return folder


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny random Llama with its tokenizer; read it, never write to it."""
    from tests.tiny_model import build_tiny_model

    return build_tiny_model(tmp_path_factory.mktemp("tiny_model"))


@pytest.fixture(scope="session")
def real_model() -> LocalModel:
    """The embedded SmolLM2-135M-Instruct, loaded once; tests that take it are marked `real_model`."""
    from rewards.errors import MissingExtraError
    from rewards.judges.config import DEFAULT_MODEL
    from rewards.judges.local_model import load_model

    try:
        return load_model(DEFAULT_MODEL)
    except MissingExtraError as error:
        pytest.skip(str(error))
