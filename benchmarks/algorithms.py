"""PPO, GRPO, RLOO, DPO and Best-of-N from one policy with one judge, one budget of judge calls and the same seeds.

    python -m benchmarks.algorithms [--calls 256] [--new-tokens 24] [--seeds 2] [--held-out 16]

The policy is the embedded model with LoRA on its last blocks, the judge (the proxy) autoj-mini's expected rating, and
gold a rule that no training sees: how many of the query's longer words a response takes up. Every way may ask the
judge `--calls` times while it trains, about 8 responses to each of as many prompts as that allows (PPO about one
response, several times); Best-of-N asks it the same number of times on the held-out prompts, where the others answer
once.
Reported before and after, on the same held-out prompts with intervals over them: proxy, gold, KL from the start policy
(for Best-of-N what log N - (N - 1) / N says), tokens of a response; and the time of the whole run.

Each way is an `autoj run` of a shipped recipe with flags, in a process of its own. Learning rates are round numbers
and were not searched. Writes benchmarks/results/algorithms.json.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the autoj command does

from benchmarks.machine import machine

RESULTS = Path(__file__).parent / "results"
GROUP = 8
BATCH = 16
"""Responses behind an optimizer step of the on-policy ways."""
RATE = {"on-policy": 5e-3, "dpo": 2e-3}
"""Learning rates: round numbers, not searched."""
BLOCKS = 10
"""Of the 30; the adapter is on the last ones only, which a CPU can train in the time."""


def main() -> int:
    options = _options()
    if options.best_of_n:
        return _best_of_n(options)
    found: dict[str, list[dict[str, Any]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(options.seeds):
            for way, flags in _ways(options).items():
                run = Path(folder) / f"{way}-{seed}"
                found.setdefault(way, []).append(_one(way, [*flags, "--seed", str(seed)], run))
                print(way, json.dumps(found[way][-1]), flush=True)
                _write(found, options)
            run = Path(folder) / f"best_of_n-{seed}"
            found.setdefault("best_of_n", []).append(_child_best_of_n(options, seed, run))
            print("best_of_n", json.dumps(found["best_of_n"][-1]), flush=True)
            _write(found, options)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=256, help="judge calls in training")
    parser.add_argument("--new-tokens", type=int, default=24)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--held-out", type=int, default=16, help="prompts to measure on")
    parser.add_argument("--best-of-n", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    return parser.parse_args()


def _ways(options: argparse.Namespace) -> dict[str, list[str]]:
    """The flags of each recipe."""
    tokens, steps = str(options.new_tokens), options.calls // BATCH
    shared = f"--evaluate.prompts {options.held_out} --evaluate.max_new_tokens {tokens} --track.mode off"
    shared += f" --prompts.limit {options.calls // GROUP}"
    shared += " --guard.gold.backend scripted --guard.gold.rule keyword"
    shared += " --train.max_length 768 --train.lora.rank 8 --train.lora.alpha 16"
    shared += f" --train.warmup 0 --train.lora.last_blocks {BLOCKS}"
    online = f"{shared} --train.max_steps {steps} --train.max_new_tokens {tokens} --guard.every {steps}"
    online += f" --train.batch_size {BATCH} --train.gradient_accumulation 1 --reward.rescale null"
    online += f" --train.learning_rate {RATE['on-policy']}"
    grouped = f"{online} --train.responses_per_prompt {GROUP}"
    sampled = f"{shared} --sampling.n {GROUP} --sampling.max_new_tokens {tokens} --reward.rescale null"
    sampled += f" --train.max_steps null --train.learning_rate {RATE['dpo']}"
    pairs = " --train.epochs 2 --train.batch_size 4 --train.gradient_accumulation 1 --pairs.min_margin 0.05"
    critic = " --train.critic.warmup_steps 2 --train.critic.learning_rate 1e-3"
    return {
        "ppo": ["ppo/tiny", *f"{online}{critic}".split()],
        "grpo": ["grpo/tiny", *grouped.split()],
        "rloo": ["rloo/tiny", *f"{grouped} --reward.compare null".split()],
        "dpo": ["dpo/tiny", *f"{sampled}{pairs}".split()],
    }


def _one(way: str, flags: list[str], run: Path) -> dict[str, Any]:
    started = time.perf_counter()
    command = [sys.executable, "-m", "recipes.cli", "run", *flags, "--output", str(run)]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{way} failed:\n{done.stderr[-3000:]}")
    points = [json.loads(line) for line in (run / "guard.jsonl").read_text(encoding="utf-8").splitlines()]
    trained = json.loads((run / "policy" / "training.json").read_text(encoding="utf-8"))
    return {
        "seconds": round(time.perf_counter() - started, 1),
        "seconds of training": round(trained["seconds"], 1),
        "steps": trained["steps"],
        "before": _view(points[0]),
        "after": _view(points[-1]),
    }


def _view(point: dict[str, Any]) -> dict[str, Any]:
    rounded = {name: round(point[name], 3) for name in ("kl", "length", "repetition")}
    return {name: _interval(point[name]) for name in ("proxy", "gold")} | rounded


def _interval(found: dict[str, Any]) -> list[float]:
    return [round(found[name], 3) for name in ("value", "low", "high")]


def _child_best_of_n(options: argparse.Namespace, seed: int, run: Path) -> dict[str, Any]:
    run.mkdir()
    flags = ["--calls", options.calls, "--new-tokens", options.new_tokens, "--held-out", options.held_out]
    command = [sys.executable, "-m", "benchmarks.algorithms", *map(str, flags), "--seed", str(seed)]
    started = time.perf_counter()
    subprocess.run([*command, "--best-of-n", str(run)], check=True)
    found: dict[str, Any] = json.loads((run / "found.json").read_text(encoding="utf-8"))
    return {"seconds": round(time.perf_counter() - started, 1)} | found


def _best_of_n(options: argparse.Namespace) -> int:
    """The best of as many candidates of each held-out prompt as the calls allow."""
    import numpy as np

    from recipes.bundled import bundled_prompts
    from recipes.splitting import choose_prompts
    from rewards.intervals import bootstrap
    from rewards.judges.base import RateItem
    from rewards.judges.config import DEFAULT_MODEL
    from rewards.judges.load import load_judge
    from rewards.judges.local_model import load_model
    from rewards.types import Rating
    from rl.guard import repetition
    from rl.sampling import sample

    n = max(2, options.calls // options.held_out)
    limit = options.calls // GROUP
    _, held_out = choose_prompts(bundled_prompts(), limit=limit, held_out=options.held_out, seed=options.seed)
    by_id = {prompt.id: prompt for prompt in held_out}
    drawn = list(
        sample(load_model(DEFAULT_MODEL), held_out, n=n, max_new_tokens=options.new_tokens, seed=options.seed)
    )
    items = [RateItem(prompt=by_id[one.prompt_id], candidate=one) for one in drawn]
    scores = []
    for judge in (load_judge(mode="direct"), load_judge(backend="scripted", rule="keyword")):
        judged = {one.candidate_ids[0]: one.outcome for one in judge.rate(items)}
        scores.append({name: one.score for name, one in judged.items() if isinstance(one, Rating)})
    proxy, gold = scores
    of_prompt = {name: [one for one in drawn if one.prompt_id == name and one.id in proxy] for name in by_id}
    chosen = {
        "before": [sorted(group, key=lambda one: one.index)[0] for group in of_prompt.values()],
        "after": [max(group, key=lambda one: proxy[one.id]) for group in of_prompt.values()],
    }

    def interval(values: Any, names: list[str]) -> list[float]:
        found = bootstrap(lambda places: float(values[places].mean()), names)
        assert found is not None
        return _interval(found.model_dump())

    found: dict[str, Any] = {"n": n, "judge calls": len(items)}
    for when, picked in chosen.items():
        names = [one.prompt_id for one in picked]
        found[when] = {
            "proxy": interval(np.array([proxy[one.id] for one in picked]), names),
            "gold": interval(np.array([gold[one.id] for one in picked]), names),
            "kl": 0.0 if when == "before" else round(math.log(n) - (n - 1) / n, 3),
            "length": round(float(np.mean([one.token_count or 0 for one in picked])), 3),
            "repetition": round(float(np.mean([repetition(one.text) for one in picked])), 3),
        }
    (options.best_of_n / "found.json").write_text(json.dumps(found), encoding="utf-8")
    return 0


def _write(found: dict[str, list[dict[str, Any]]], options: argparse.Namespace) -> None:
    result = {
        "command": " ".join(["python -m benchmarks.algorithms", *sys.argv[1:]]),
        "machine": machine("torch", "transformers", "trl"),
        "judge calls": options.calls,
        "flags": {way: " ".join(flags) for way, flags in _ways(options).items()},
        "runs": found,
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "algorithms.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
