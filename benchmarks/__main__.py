"""`make bench`: how fast the embedded model samples and judges on this machine, medians over several runs.

    python -m benchmarks [--runs 3] [--prompts 8]

Writes benchmarks/results/judging.json with the machine, the versions and the command, and prints the table. Run it on
a quiet machine; nothing here compares with other systems. `benchmarks.judge_finetune` has a command line of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the autoj command does

from benchmarks.machine import machine
from recipes.bundled import bundled_prompts
from rewards.designs import pairs_for
from rewards.judges.base import CompareItem, RateItem
from rewards.judges.config import DEFAULT_MODEL, DecodingSettings
from rewards.judges.generative import GenerativeJudge
from rewards.judges.load import load_judge
from rewards.judges.local_model import LocalModel, load_model
from rewards.types import Candidate, Prompt
from rl.sampling import sample

RESULTS = Path(__file__).parent / "results"
Measured = Callable[[], float]
"""One run; returns how many units of work it did."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3, help="counted runs of each, after one warm-up")
    parser.add_argument("--prompts", type=int, default=8)
    options = parser.parse_args()
    jobs = _jobs(options.prompts)
    rows = {name: _rates(job, options.runs) for name, job in jobs.items()}
    found = {
        "command": " ".join(["python -m benchmarks", *sys.argv[1:]]),
        "machine": machine("torch", "transformers"),
        "units a second": {
            name: {"median": statistics.median(rates), "min": min(rates), "max": max(rates), "runs": len(rates)}
            for name, rates in rows.items()
        },
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "judging.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    for name, rates in rows.items():
        print(f"{name:45s} {statistics.median(rates):8.2f} a second  ({min(rates):.2f} to {max(rates):.2f})")
    return 0


def _jobs(count: int) -> dict[str, Measured]:
    model, prompts = load_model(DEFAULT_MODEL), bundled_prompts(limit=count)
    drawn = list(sample(model, prompts, n=4, max_new_tokens=64))
    direct = load_judge(model=DEFAULT_MODEL, mode="direct")
    decoding = DecodingSettings(max_new_tokens=128)
    critique = load_judge(model=DEFAULT_MODEL, mode="critique", decoding=decoding)
    return {
        "tokens sampled (batch 16, 64 new)": lambda: _sampled(model, prompts),
        "direct ratings": lambda: _rated(direct, prompts, drawn),
        "direct comparisons (both orders are two)": lambda: _compared(direct, prompts, drawn),
        "critiques of at most 128 tokens": lambda: _rated(critique, prompts, drawn[:: len(drawn) // 8]),
    }


def _sampled(model: LocalModel, prompts: list[Prompt]) -> float:
    return sum(one.token_count or 0 for one in sample(model, prompts, n=4, max_new_tokens=64))


def _rated(judge: GenerativeJudge, prompts: list[Prompt], candidates: list[Candidate]) -> float:
    by_id = {prompt.id: prompt for prompt in prompts}
    items = [RateItem(prompt=by_id[one.prompt_id], candidate=one) for one in candidates]
    return len(list(judge.rate(items)))


def _compared(judge: GenerativeJudge, prompts: list[Prompt], candidates: list[Candidate]) -> float:
    by_id = {one.id: one for one in candidates}
    items = [
        CompareItem(prompt=prompt, first=by_id[first], second=by_id[second])
        for prompt in prompts
        for first, second in pairs_for([one for one in candidates if one.prompt_id == prompt.id], "circular")
    ]
    return 2 * len(list(judge.compare(items)))


def _rates(job: Measured, runs: int) -> list[float]:
    """Units a second of each counted run."""
    rates = []
    for run in range(runs + 1):
        started = time.perf_counter()
        done = job()
        if run:
            rates.append(done / (time.perf_counter() - started))
    return rates


if __name__ == "__main__":
    sys.exit(main())
