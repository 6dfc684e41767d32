"""What fewer bits cost and save: one way of holding the weights, timed, measured and compared with float32.

    python -m benchmarks.quantized none --runs 3 --out none.json
    python -m benchmarks.quantized int8 --runs 3 --against none.json

Each way runs in a process of its own, so that the memory is its own. `held` are the bytes of the parameters as they
are held; `resident` is what the process has in memory when it has rated (`anonymous` without the mapped files, which
the system may drop), and `peak` the most it had. Ratings are those of the bundled candidates in direct mode.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import statistics
import time
from pathlib import Path
from typing import Any

from judge_training.certificate import read_items
from recipes.stages import BUNDLED_CANDIDATES
from rewards.judges.config import DEFAULT_JUDGE, JudgeSettings
from rewards.judges.load import load_generative_judge
from rewards.types import Rating


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("quantization", choices=["none", "int8", "bnb-8bit", "bnb-4bit"])
    parser.add_argument("--model", default=DEFAULT_JUDGE)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--against", type=Path, help="what `none` wrote with --out")
    given = parser.parse_args()
    settings = JudgeSettings(model=given.model, quantization=given.quantization, dtype="float32")
    found = measure(settings, given.runs)
    if given.out is not None:
        given.out.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    if given.against is not None:
        found["distance"] = distance(found["ratings"], json.loads(given.against.read_text())["ratings"])
    print(json.dumps(found | {"ratings": len(found["ratings"])}))


def measure(settings: JudgeSettings, runs: int) -> dict[str, Any]:
    judge = load_generative_judge(settings)
    items = read_items(BUNDLED_CANDIDATES)
    seconds = []
    for _ in range(runs):
        started = time.perf_counter()
        judgments = list(judge.rate(items))
        seconds.append(time.perf_counter() - started)
    gc.collect()
    ratings = {
        one.candidate_ids[0]: one.outcome.expected
        for one in judgments
        if isinstance(one.outcome, Rating) and one.outcome.expected is not None
    }
    return {
        "quantization": settings.quantization,
        "judgments_per_second": [round(len(items) / each, 2) for each in seconds],
        "held_mb": round(held_bytes(judge.backend._local.model) / 1e6),
        "memory_mb": memory(),
        "load": [round(one, 1) for one in os.getloadavg()],
        "ratings": ratings,
    }


def held_bytes(model: Any) -> int:
    """Bytes of the parameters; those of a quantised tensor are its parts'."""
    held = 0
    for weight in model.parameters():
        flat = getattr(weight, "__tensor_flatten__", None)
        parts = [weight] if flat is None else [getattr(weight, name) for name in flat()[0]]
        held += sum(part.numel() * part.element_size() for part in parts)
    return held


def memory() -> dict[str, int]:
    """Megabytes of this process, as Linux counts them."""
    names = {"VmRSS": "resident", "RssAnon": "anonymous", "VmHWM": "peak"}
    lines = [line.split() for line in Path("/proc/self/status").read_text().splitlines()]
    return {names[key[:-1]]: round(int(rest[0]) / 1000) for key, *rest in lines if key[:-1] in names}


def distance(found: dict[str, float], reference: dict[str, float]) -> dict[str, float]:
    """How far the expected ratings are from the reference's."""
    apart = [abs(found[name] - reference[name]) for name in reference if name in found]
    return {"ratings": len(apart), "mean": round(statistics.mean(apart), 4), "most": round(max(apart), 4)}


if __name__ == "__main__":
    main()
