"""Selection as tables grow: best-of-8 and preference pairs of 10^4 to 10^7 scored candidates, beside plain scripts.

    python -m benchmarks.selection [--rows 10000 100000 1000000 10000000] [--runs 3]

Makes Parquet files of made-up candidates (8 to a prompt, about 300 characters each), and lets each way choose the best
of every prompt, and the best and the worst as a pair, in a process of its own: autoj (`select` and `make_pairs`, which
also drop doubles and unusable rows and account for every row in a manifest), and the same choice written plainly in
pandas and with `datasets`. Measures wall time with everything around it and the process's peak memory; the ways take
turns, and the median of the runs counts. Checks that all ways choose the same candidates. Writes
benchmarks/results/selection.json and selection.svg, with the exponents fitted to the last three sizes.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from benchmarks.machine import machine, without_paths

RESULTS = Path(__file__).parent / "results"
PER_PROMPT = 8
WORDS = [
    "the",
    "a",
    "of",
    "judge",
    "response",
    "query",
    "answer",
    "clear",
    "wrong",
    "short",
    "long",
    "model",
    "reward",
    "good",
    "bad",
    "why",
    "how",
    "it",
    "is",
    "not",
]


def make_table(path: Path, rows: int) -> None:
    """Candidates in random order within blocks of 8,000, so that a prompt's rows do not stand together."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    random = np.random.default_rng(0)
    pool = [" ".join(random.choice(WORDS, 55)) for _ in range(997)]
    fields = [(name, pa.string()) for name in ("prompt_id", "candidate_id", "prompt", "text")]
    with pq.ParquetWriter(path, pa.schema([*fields, ("reward", pa.float64())]), compression="zstd") as writer:
        for start in range(0, rows, 200_000):
            numbers = np.arange(start, min(rows, start + 200_000))
            for block in range(0, len(numbers), 8_000):
                random.shuffle(numbers[block : block + 8_000])
            prompts, places = numbers // PER_PROMPT, numbers % PER_PROMPT
            writer.write_table(
                pa.table(
                    {
                        "prompt_id": [f"p{one}" for one in prompts],
                        "candidate_id": [f"p{one}/{place}" for one, place in zip(prompts, places, strict=True)],
                        "prompt": [f"question {one} {pool[one % 997][:60]}" for one in prompts],
                        "text": [f"{pool[number % 997]} {number}" for number in numbers],
                        "reward": random.normal(5, 2, len(numbers)),
                    }
                )
            )


def ours_best(path: Path, out: Path) -> None:
    from rewards.jsonl import write_records
    from rewards.scored_table import ScoredTable
    from rewards.select import select
    from rewards.select_settings import SelectSettings

    selection = select(ScoredTable.from_file(path), SelectSettings(method="best_of_n"))
    write_records(out, selection.rows())
    out.with_suffix(".manifest.json").write_text(selection.manifest.model_dump_json(), encoding="utf-8")


def ours_pairs(path: Path, out: Path) -> None:
    from rewards.jsonl import write_records
    from rewards.pairing import make_pairs
    from rewards.scored_table import ScoredTable
    from rewards.select_settings import PairSettings

    pairs = make_pairs(ScoredTable.from_file(path), PairSettings(method="best_worst"))
    write_records(out, pairs.rows())
    out.with_suffix(".manifest.json").write_text(pairs.manifest.model_dump_json(), encoding="utf-8")


def pandas_best(path: Path, out: Path) -> None:
    import pandas as pd

    frame = pd.read_parquet(path)
    best = frame.loc[frame.groupby("prompt_id", sort=False)["reward"].idxmax()]
    best.to_json(out, orient="records", lines=True)


def pandas_pairs(path: Path, out: Path) -> None:
    import pandas as pd

    frame = pd.read_parquet(path)
    groups = frame.groupby("prompt_id", sort=False)["reward"]
    best, worst = (
        frame.loc[groups.idxmax()],
        frame.loc[groups.idxmin(), ["prompt_id", "candidate_id", "text", "reward"]],
    )
    pairs = best.merge(worst, on="prompt_id", suffixes=("_chosen", "_rejected"))
    pairs[pairs.reward_chosen > pairs.reward_rejected].to_json(out, orient="records", lines=True)


def datasets_best(path: Path, out: Path) -> None:
    data, best, _ = _extremes(path, out)
    data.select(sorted(best.values())).to_json(out)


def datasets_pairs(path: Path, out: Path) -> None:
    data, best, worst = _extremes(path, out)
    with out.open("w", encoding="utf-8") as file:
        for prompt, chosen in best.items():
            first, second = data[chosen], data[worst[prompt]]
            if first["reward"] > second["reward"]:
                pair = {"prompt_id": prompt, "prompt": first["prompt"]}
                for side, row in (("chosen", first), ("rejected", second)):
                    pair |= {f"candidate_id_{side}": row["candidate_id"], f"text_{side}": row["text"]}
                file.write(json.dumps(pair) + "\n")


def _extremes(path: Path, out: Path) -> tuple[Any, dict[str, int], dict[str, int]]:
    """The dataset, and the rows with the highest and the lowest reward of every prompt."""
    from datasets import load_dataset

    data = load_dataset("parquet", data_files=str(path), split="train", cache_dir=str(out.with_suffix(".cache")))
    best: dict[str, tuple[float, int]] = {}
    worst: dict[str, tuple[float, int]] = {}
    row = 0
    for batch in data.select_columns(["prompt_id", "reward"]).iter(batch_size=10_000):
        for prompt, reward in zip(batch["prompt_id"], batch["reward"], strict=True):
            best[prompt] = max(best.get(prompt, (reward, row)), (reward, row))
            worst[prompt] = min(worst.get(prompt, (reward, row)), (reward, row))
            row += 1
    return data, {name: one[1] for name, one in best.items()}, {name: one[1] for name, one in worst.items()}


JOBS: dict[str, Callable[[Path, Path], None]] = {
    "autoj best-of-8": ours_best,
    "pandas best-of-8": pandas_best,
    "datasets best-of-8": datasets_best,
    "autoj pairs": ours_pairs,
    "pandas pairs": pandas_pairs,
    "datasets pairs": datasets_pairs,
}


def main() -> int:
    options = _options()
    if options.job:
        JOBS[options.job](options.table, options.out)
        return 0
    found: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        for rows in options.rows:
            table = Path(folder) / f"{rows}.parquet"
            make_table(table, rows)
            found[str(rows)] = _measured(table, Path(folder), options.runs)
            table.unlink()
            _write(found)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 1_000_000, 10_000_000])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where the tables go for the time of the run (4 GB at 10^7 rows)")
    parser.add_argument("--job", choices=list(JOBS), help=argparse.SUPPRESS)
    parser.add_argument("--table", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def _measured(table: Path, folder: Path, runs: int) -> dict[str, Any]:
    """Seconds and peak memory of every job; those of a kind must choose the same candidates."""
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in JOBS}
    chosen: dict[str, set[frozenset[str]]] = {}
    for run in range(runs):
        for name in JOBS:
            out = folder / "out.jsonl"
            taken[name].append(_one(name, table, out))
            if run == 0:
                chosen.setdefault(name.partition(" ")[2], set()).add(frozenset(_ids(out)))
            subprocess.run(
                ["rm", "-rf", out, out.with_suffix(".cache"), out.with_suffix(".manifest.json")], check=True
            )
    for kind, sets in chosen.items():
        if len(sets) != 1:
            raise SystemExit(f"expected every way to choose the same candidates for {kind}, got {len(sets)} choices")
    return {
        name: {
            "seconds": statistics.median(seconds for seconds, _ in of_runs),
            "seconds of runs": [round(seconds, 2) for seconds, _ in of_runs],
            "peak GiB": max(memory for _, memory in of_runs),
        }
        for name, of_runs in taken.items()
    }


def _one(name: str, table: Path, out: Path) -> tuple[float, float]:
    """Seconds and peak memory (GiB) of a job in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.selection", "--job", name, "--table", str(table), "--out", str(out)]
    started = time.perf_counter()
    child = subprocess.Popen(
        command, env=os.environ | {"HF_HUB_OFFLINE": "1", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}
    )
    _, status, used = os.wait4(child.pid, 0)
    if status:
        raise SystemExit(f"{name} failed on {table}")
    return time.perf_counter() - started, used.ru_maxrss / 2**20


def _ids(out: Path) -> set[str]:
    """The chosen candidates' ids (of pairs: of both)."""
    found = set()
    with out.open(encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            ids = [row.get(key) for key in ("candidate_id", "candidate_id_chosen", "candidate_id_rejected")]
            ids += [row.get(key) for key in ("chosen_id", "rejected_id")]
            found.add(" ".join(one for one in ids if one))
    return found


def _write(found: dict[str, dict[str, Any]]) -> None:
    result = {
        "command": " ".join(["python -m benchmarks.selection", *without_paths(sys.argv[1:])]),
        "machine": machine("polars", "pandas", "datasets"),
        "rows": found,
        "exponents": {name: _exponents(found, name) for name in JOBS},
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "selection.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    _picture(found, RESULTS / "selection.svg")
    for rows, jobs in found.items():
        for name, one in jobs.items():
            print(f"{int(rows):>12,} rows  {name:20s} {one['seconds']:9.1f} s  {one['peak GiB']:6.2f} GiB", flush=True)


def _exponents(found: dict[str, dict[str, Any]], name: str) -> dict[str, float] | None:
    """Of time and of memory in the number of rows, by least squares in logarithms over the last three sizes."""
    import numpy as np

    sizes = list(found)[-3:]
    if len(sizes) < 2:
        return None
    rows = np.log([float(size) for size in sizes])
    return {
        key: round(float(np.polyfit(rows, np.log([found[size][name][key] for size in sizes]), 1)[0]), 2)
        for key in ("seconds", "peak GiB")
    }


def _picture(found: dict[str, dict[str, Any]], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for axis, key in zip(axes, ("seconds", "peak GiB"), strict=True):
        for kind, style in (("best-of-8", "-"), ("pairs", "--")):
            for way, names in groupby(sorted(JOBS), key=lambda name: name.partition(" ")[0]):
                _line(axis, found, [name for name in names if name.endswith(kind)], key, style, way)
        axis.set(xscale="log", yscale="log", xlabel="candidates", ylabel=key)
    axes[0].legend(frameon=False, fontsize=8)
    figure.savefig(path)
    plt.close(figure)


def _line(axis: Any, found: dict[str, dict[str, Any]], names: Sequence[str], key: str, style: str, way: str) -> None:
    colour = {"autoj": "C0", "pandas": "C1", "datasets": "C2"}[way]
    for name in names:
        axis.plot([int(rows) for rows in found], [one[name][key] for one in found.values()],
                  style, color=colour, marker="o", markersize=3, label=name)  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
