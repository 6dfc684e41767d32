"""autoj-mini in 32, 8 and 4 bits: how fast, how large, and how far its ratings move.

    python -m benchmarks.quantized [--runs 3] [--prompts 6]

Rates four answers of the embedded model to each of some bundled prompts, in direct mode and batches of 8, with the
weights in float32, in 8 and in 4 bits (bitsandbytes); the three take turns, each after a warm-up; medians.
Memory is that of the weights (`get_memory_footprint`). Writes benchmarks/results/quantized.json.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the autoj command does

from benchmarks.machine import machine
from recipes.bundled import bundled_prompts
from rewards.judges.base import RateItem
from rewards.judges.config import DEFAULT_MODEL
from rewards.judges.generative import GenerativeJudge
from rewards.judges.load import load_judge
from rewards.judges.local_model import load_model
from rewards.types import Rating
from rl.sampling import sample

RESULTS = Path(__file__).parent / "results"
KINDS = ("none", "bnb-8bit", "bnb-4bit")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--prompts", type=int, default=6)
    options = parser.parse_args()
    prompts = {prompt.id: prompt for prompt in bundled_prompts(limit=options.prompts)}
    drawn = sample(load_model(DEFAULT_MODEL), list(prompts.values()), n=4, max_new_tokens=64)
    items = [RateItem(prompt=prompts[one.prompt_id], candidate=one) for one in drawn]
    judges = {kind: load_judge(quantization=kind) for kind in KINDS}
    rates: dict[str, list[float]] = {kind: [] for kind in KINDS}
    ratings: dict[str, dict[str, float]] = {}
    for run in range(options.runs + 1):
        for kind, judge in judges.items():
            started = time.perf_counter()
            ratings[kind] = _ratings(judge, items)
            if run:
                rates[kind].append(len(items) / (time.perf_counter() - started))
    found = {
        "command": " ".join(["python -m benchmarks.quantized", *sys.argv[1:]]),
        "machine": machine("torch", "transformers", "bitsandbytes"),
        "ratings": len(items),
        "kinds": {
            kind: {
                "ratings a second": statistics.median(rates[kind]),
                "of runs": [round(rate, 3) for rate in rates[kind]],
                "weights MiB": judges[kind].backend._local.model.get_memory_footprint() / 2**20,
                "mean distance from float32": statistics.fmean(
                    abs(ratings[kind][name] - ratings["none"][name]) for name in ratings["none"]
                ),
                "largest": max(abs(ratings[kind][name] - ratings["none"][name]) for name in ratings["none"]),
            }
            for kind in KINDS
        },
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "quantized.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(found["kinds"], indent=2))
    return 0


def _ratings(judge: GenerativeJudge, items: list[RateItem]) -> dict[str, float]:
    judged = judge.rate(items)
    return {one.candidate_ids[0]: one.outcome.score for one in judged if isinstance(one.outcome, Rating)}


if __name__ == "__main__":
    sys.exit(main())
