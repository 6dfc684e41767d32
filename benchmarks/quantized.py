"""autoj-mini in 32, 8 and 4 bits: how fast, how large, and how far its ratings move.

    python -m benchmarks.quantized [--runs 3] [--prompts 6]

Rates four answers of the embedded model to each of some bundled prompts, in direct mode and batches of 8, with the
weights in float32, in int8 (torchao), and in 8 and 4 bits (bitsandbytes); they take turns, each after a warm-up;
medians. A kind whose package is missing is left out. Memory is that of the weights as they are held. `alone` is how
far ratings move when each response is judged in a batch of its own: 0 where a judgment does not depend on its batch.
Writes benchmarks/results/quantized.json.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the autoj command does

from benchmarks.machine import machine
from recipes.bundled import bundled_prompts
from rewards.judges.base import RateItem
from rewards.judges.config import DEFAULT_MODEL, JudgeSettings, Quantization
from rewards.judges.generative import GenerativeJudge
from rewards.judges.load import load_generative_judge
from rewards.judges.local_model import load_model
from rewards.types import Rating
from rl.sampling import sample

RESULTS = Path(__file__).parent / "results"
KINDS: dict[Quantization, str] = {
    "none": "torch",
    "int8": "torchao",
    "bnb-8bit": "bitsandbytes",
    "bnb-4bit": "bitsandbytes",
}
"""Ways to hold the weights, and the package of each."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--prompts", type=int, default=6)
    options = parser.parse_args()
    prompts = {prompt.id: prompt for prompt in bundled_prompts(limit=options.prompts)}
    drawn = sample(load_model(DEFAULT_MODEL), list(prompts.values()), n=4, max_new_tokens=64)
    items = [RateItem(prompt=prompts[one.prompt_id], candidate=one) for one in drawn]
    kinds = [kind for kind, package in KINDS.items() if importlib.util.find_spec(package) is not None]
    judges = {kind: load_generative_judge(JudgeSettings(quantization=kind)) for kind in kinds}
    rates: dict[str, list[float]] = {kind: [] for kind in kinds}
    ratings: dict[str, dict[str, float]] = {}
    for run in range(options.runs + 1):
        for kind, judge in judges.items():
            started = time.perf_counter()
            ratings[kind] = _ratings(judge, items)
            if run:
                rates[kind].append(len(items) / (time.perf_counter() - started))
    found: dict[str, Any] = {
        "command": " ".join(["python -m benchmarks.quantized", *sys.argv[1:]]),
        "machine": machine("torch", "transformers", *sorted({KINDS[kind] for kind in kinds} - {"torch"})),
        "ratings": len(items),
        "kinds": {
            kind: {
                "ratings a second": statistics.median(rates[kind]),
                "of runs": [round(rate, 3) for rate in rates[kind]],
                "weights MiB": _held_bytes(judges[kind]) / 2**20,
                "mean distance from float32": statistics.fmean(
                    abs(ratings[kind][name] - ratings["none"][name]) for name in ratings["none"]
                ),
                "largest": max(abs(ratings[kind][name] - ratings["none"][name]) for name in ratings["none"]),
                "alone": _moved_alone(judges[kind], items, ratings[kind]),
            }
            for kind in kinds
        },
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "quantized.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(found["kinds"], indent=2))
    return 0


def _ratings(judge: GenerativeJudge, items: list[RateItem]) -> dict[str, float]:
    judged = judge.rate(items)
    return {one.candidate_ids[0]: one.outcome.score for one in judged if isinstance(one.outcome, Rating)}


def _moved_alone(judge: GenerativeJudge, items: list[RateItem], together: dict[str, float]) -> float:
    """The largest distance of a rating in a batch of its own from the same one in a batch with others."""
    alone = {name: score for item in items for name, score in _ratings(judge, [item]).items()}
    return max(abs(alone[name] - together[name]) for name in together)


def _held_bytes(judge: GenerativeJudge) -> int:
    """Bytes of the parameters; those of a quantised tensor are its parts'."""
    held = 0
    for weight in judge.backend._local.model.parameters():
        flat = getattr(weight, "__tensor_flatten__", None)
        parts = [weight] if flat is None else [getattr(weight, name) for name in flat()[0]]
        held += sum(part.numel() * part.element_size() for part in parts)
    return held


if __name__ == "__main__":
    sys.exit(main())
