"""vLLM's engine samples for GRPO, RLOO and PPO, and each batch is from the policy as it stands.

Skipped where vLLM is not installed beside the trainers; recipes/ppo/README.md says how both get into one environment.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.rl.ppo_toys import weights_in
from tests.tiny_model import build_tiny_model

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vllm is not installed"),
    pytest.mark.timeout(900),
]

CLOSE = 1e-3
"""Nats by which two engines may differ about a token in float32."""


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("grpo", {"tuning": "full"}),
        ("rloo", {"tuning": "lora"}),
        ("ppo", {"tuning": "full"}),
        ("ppo", {"tuning": "lora", "critic": {"kind": "shared", "warmup_steps": 0}}),
    ],
    ids=["grpo full", "rloo lora", "ppo own critic", "ppo shared critic, lora"],
)
def test_every_batch_is_from_the_policy_as_it_stands(kind: str, settings: dict[str, Any], tmp_path: Path) -> None:
    model = build_tiny_model(tmp_path / "model", hidden=128)  # 4 heads of 32, the least that vLLM takes
    job = tmp_path / "job.json"
    job.write_text(json.dumps({"kind": kind, "model": str(model), "settings": settings | {"learning_rate": 1e-2}}))
    there = {"VLLM_HOST_IP": "127.0.0.1", "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_ENABLE_V1_MULTIPROCESSING": "0"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.rl.sampled_by_vllm", str(job)],
        cwd=Path(__file__).parents[2],
        env=os.environ | there,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    distances = json.loads((tmp_path / "distances.json").read_text())
    assert len(distances) == 3
    assert max(distances) < CLOSE, distances
    trained = weights_in(tmp_path / "trained")
    assert not any("critic" in name for name in trained)
    if settings["tuning"] == "full":
        start = weights_in(model)
        assert any(not weight.equal(start[name]) for name, weight in trained.items())
