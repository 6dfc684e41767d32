"""Judgments a second as the work grows: 100, 1,000 and 10,000 requests.

    [AUTOJ_DATA=FOLDER] python -m benchmarks.judging_scale [--embedded 100 1000] [--tiny 100 1000 10000]

Direct ratings, 8 candidates a query, each run in a process of its own, from a loaded judge to a written file with a
cache. embedded: autoj-mini on the embedded model, the texts of `benchmarks.judging_ways`. tiny: a Llama of two layers
with random weights, for what the judge itself costs beside the model. Measured: seconds and the process's peak memory.
Writes benchmarks/results/judging_scale.json and judging_scale.svg, with exponents fitted where there are two sizes.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from itertools import cycle
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the autoj command does

from benchmarks.judging_ways import requests_of
from benchmarks.machine import machine

RESULTS = Path(__file__).parent / "results"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--embedded", type=int, nargs="*", default=[100, 1000])
    parser.add_argument("--tiny", type=int, nargs="*", default=[100, 1000, 10000])
    parser.add_argument("--judge", choices=("embedded", "tiny"), help=argparse.SUPPRESS)
    parser.add_argument("--count", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.judge:
        print(json.dumps(_timed(options.judge, options.count)))
        return 0
    found: dict[str, dict[str, dict[str, float]]] = {}
    for judge in ("embedded", "tiny"):
        for count in getattr(options, judge):
            found.setdefault(judge, {})[str(count)] = _child(judge, count)
            print(judge, count, json.dumps(found[judge][str(count)]), flush=True)
            _write(found)
    return 0


def _child(judge: str, count: int) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.judging_scale", "--judge", judge, "--count", str(count)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _timed(judge: str, count: int) -> dict[str, float]:
    from rewards.judges.base import RateItem
    from rewards.judges.load import load_judge
    from rewards.judging import rate_to_file
    from rewards.types import Candidate, Message, Prompt

    rows, _ = requests_of(40)
    items = []
    for number, row in zip(range(count), cycle(rows), strict=False):
        name = f"q{number // 8}"
        prompt = Prompt(id=name, messages=(Message(role="user", content=row["prompt"]),))
        # Numbered, so that no two requests are the same however few texts there are.
        text = f"{row['response']} ({number})"
        items.append(RateItem(prompt=prompt, candidate=Candidate(id=str(number), prompt_id=name, text=text, index=0)))
    with tempfile.TemporaryDirectory() as folder:
        settings: dict[str, Any] = {"mode": "direct", "cache": Path(folder) / "cache.sqlite"}
        if judge == "tiny":
            from tests.tiny_model import build_tiny_model

            settings["model"] = str(build_tiny_model(Path(folder) / "model"))
        opened = load_judge(**settings)
        started = time.perf_counter()
        done = rate_to_file(opened, items, Path(folder) / "judgments.jsonl", limit=1.0, minimum=count)
        seconds = time.perf_counter() - started
        assert len(list(done)) == count
    return {
        "seconds": round(seconds, 2),
        "judgments a second": round(count / seconds, 2),
        "peak GiB": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
    }


def _write(found: dict[str, dict[str, dict[str, float]]]) -> None:
    result = {
        "command": " ".join(["python -m benchmarks.judging_scale", *sys.argv[1:]]),
        "machine": machine("torch", "transformers"),
        "requests": found,
        "exponent of seconds": {judge: _exponent(sizes) for judge, sizes in found.items()},
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "judging_scale.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    _picture(found, RESULTS / "judging_scale.svg")


def _exponent(sizes: dict[str, dict[str, float]]) -> float | None:
    """Of time in the number of requests, by least squares in logarithms."""
    import numpy as np

    if len(sizes) < 2:
        return None
    counts, seconds = [float(size) for size in sizes], [one["seconds"] for one in sizes.values()]
    return round(float(np.polyfit(np.log(counts), np.log(seconds), 1)[0]), 2)


def _picture(found: dict[str, dict[str, dict[str, float]]], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt

    figure, axis = plt.subplots(figsize=(4.5, 3.2), layout="constrained")
    for judge, sizes in found.items():
        counts = [int(size) for size in sizes]
        axis.plot(counts, [one["judgments a second"] for one in sizes.values()], marker="o", label=judge)
    axis.set(xscale="log", yscale="log", xlabel="requests", ylabel="judgments a second")
    axis.legend(frameon=False, fontsize=8)
    figure.savefig(path)
    plt.close(figure)


if __name__ == "__main__":
    sys.exit(main())
