"""PPO here against the PPOTrainer that TRL had until 1.12, at equal settings (`benchmarks.ppo_sides`).

    pip install --no-deps --target FOLDER trl==1.12.0
    python -m benchmarks.ppo_vs_trl --trl FOLDER [--runs 3] [--starts 8] [--steps 50] [--batch 64]
    python -m benchmarks.ppo_vs_trl --trl FOLDER --frozen --runs 5 --starts 16
    python -m benchmarks.ppo_vs_trl --trl FOLDER --real [--runs 1] [--steps 30] [--batch 8]

The toy is a Llama of bytes with random weights (`--hidden`, `--layers`) that learns to write vowels, a new start model
for each seed. With `--real` it is the embedded 135M model, which learns to write short words.

Each run is a process of its own, in which one of the two TRLs comes first on the path; the two take turns. It trains
`--starts` times, from one start after the other. Start by start, the two sides are a pair, and of what they have
learned the difference is given with its bootstrap interval: when a policy of the toy takes off is chance, and the
rewards of a handful of starts say nothing. Two rewards are measured: that of a trained policy's own responses, by one
and the same code, and the mean of all that were drawn in training.

`responses a second` is from the second step on. TRL's trainer calls the garbage collector several times a step, which
takes a fixed while that has nothing to do with the model: most of a step of the toy, little of one of a real model.
`collecting` is the share of the time that went there, and the rate is also given without it. With `--frozen`, what is
in memory when a training begins is kept from the collector on both sides, so that it has next to nothing to do: for
rewards from many starts in a fraction of the time, not for TRL's speed as its users have it.

Writes benchmarks/results/ppo_vs_trl.json, or ppo_vs_trl_real.json, and _frozen before the ending with `--frozen`.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the autoj command does

from benchmarks.ppo_sides import REAL, SIDES, TOY, Job, Run, real_start, toy_start, written_by

RESULTS = Path(__file__).parent / "results"
ROOT = Path(__file__).parents[1]
DEFAULTS = {
    "toy": {"runs": 3, "starts": 8, "steps": 50, "batch": 64},
    "real": {"runs": 1, "starts": 1, "steps": 30, "batch": 8},
}
LOGGED = ("reward", "objective/scores")
"""The mean reward of a step, as ours and as TRL's trainer call it."""
Found = dict[str, Any]


def main() -> int:
    options = _options()
    if options.side:
        return _one_process(options)
    found: dict[str, list[Found]] = {side: [] for side in SIDES}
    for run in range(options.runs):
        for side in SIDES:
            found[side] += _in_a_process(options, side, first=run * options.starts)
            print(side, json.dumps([_short(one) for one in found[side][-options.starts :]]), flush=True)
    from benchmarks.machine import machine, without_paths

    written = {
        "command": " ".join(["python -m benchmarks.ppo_vs_trl", *without_paths(sys.argv[1:])]),
        "machine": machine("torch", "transformers"),
        "ours less trl": {
            name: compared(found["ours"], found["trl"], name) for name in ("reward after", "reward drawn")
        },
        "sides": {side: _medians(each) | {"of": each} for side, each in found.items()},
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"ppo_vs_trl{'_real' * options.real}{'_frozen' * options.frozen}.json"
    path.write_text(json.dumps(written, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(written["ours less trl"], indent=2))
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trl", type=Path, required=True, help="folder that holds TRL 1.12")
    parser.add_argument("--real", action="store_true", help="the embedded model instead of the toy")
    parser.add_argument("--frozen", action="store_true", help="leave the garbage collector little to do")
    parser.add_argument("--runs", type=int, help="processes of each side")
    parser.add_argument("--starts", type=int, help="trainings in a process")
    parser.add_argument("--steps", type=int, help="2 or more")
    parser.add_argument("--batch", type=int)
    parser.add_argument("--hidden", type=int, default=32)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--side", choices=sorted(SIDES), help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--first", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    for name, value in DEFAULTS["real" if options.real else "toy"].items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    return options


def _in_a_process(options: argparse.Namespace, side: str, *, first: int) -> list[Found]:
    """One run, with TRL 1.12 first on the path where it is its turn."""
    ahead = [str(options.trl.resolve())] if side == "trl" else []
    path = os.pathsep.join([*ahead, str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    with tempfile.TemporaryDirectory() as work:
        given = {"side": side, "work": work, "first": first}
        given |= {name: getattr(options, name) for name in ("trl", "starts", "steps", "batch", "hidden", "layers")}
        flags = [str(part) for name, value in given.items() for part in (f"--{name}", value)]
        flags += [f"--{name}" for name in ("real", "frozen") if getattr(options, name)]
        subprocess.run(
            [sys.executable, "-m", "benchmarks.ppo_vs_trl", *flags],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": path, "DS_ACCELERATOR": "cpu"},
            stdout=subprocess.DEVNULL,  # TRL prints every step
            check=True,
        )
        found: list[Found] = json.loads((Path(work) / "result.json").read_text(encoding="utf-8"))
    return found


def _one_process(options: argparse.Namespace) -> int:
    collections = _watch_collections()
    found = []
    for seed in range(options.first, options.first + options.starts):
        with tempfile.TemporaryDirectory(dir=options.work) as work:
            found.append(_one_training(options, Path(work), seed, collections))
    (options.work / "result.json").write_text(json.dumps(found), encoding="utf-8")
    return 0


def _one_training(options: argparse.Namespace, work: Path, seed: int, collections: list[tuple[float, float]]) -> Found:
    job: Job = REAL if options.real else TOY
    folder = work / "model"
    if options.real:
        real_start(folder)
    else:
        toy_start(folder, hidden=options.hidden, layers=options.layers, seed=seed)
    before = written_by(folder, job)
    times: list[float] = []
    rewards: list[float] = []
    collections.clear()
    run = Run(start=folder, work=work, batch=options.batch, steps=options.steps, seed=seed)
    policy = SIDES[options.side](job, run, [_clock(times, rewards, frozen=options.frozen)])
    spent = times[-1] - times[1]
    collecting = sum(took for began, took in collections if times[1] <= began < times[-1])
    responses = options.batch * (len(times) - 2)
    after = written_by(policy, job)
    return {
        "trl": metadata.version("trl"),
        "seed": seed,
        "responses a second": round(responses / spent, 3),
        "without collecting": round(responses / (spent - collecting), 3),
        "collecting": round(collecting / spent, 3),
        "peak MiB": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "reward before": before[0],
        "reward after": after[0],
        "reward drawn": round(statistics.fmean(rewards), 4),
        "tokens before": before[1],
        "tokens after": after[1],
        "rewards": [round(reward, 4) for reward in rewards],
    }


def _watch_collections() -> list[tuple[float, float]]:
    """When each call of the garbage collector from now on began, and how long it took, in seconds."""
    found: list[tuple[float, float]] = []
    collect = gc.collect

    def timed(*args: Any, **more: Any) -> int:
        began = time.perf_counter()
        result = collect(*args, **more)
        found.append((began, time.perf_counter() - began))
        return result

    gc.collect = timed
    return found


def _clock(times: list[float], rewards: list[float], *, frozen: bool) -> Any:
    """Notes when the training begins and when each step ends, and the mean reward of each step."""
    from transformers import TrainerCallback

    class Clock(TrainerCallback):
        def on_train_begin(self, args: Any, state: Any, control: Any, **more: Any) -> None:
            if frozen:
                gc.unfreeze()  # of the training before
                gc.collect()
                gc.freeze()
            times.append(time.perf_counter())

        def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
            times.append(time.perf_counter())

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **more: Any) -> None:
            rewards.extend(float(logs[name]) for name in LOGGED if name in (logs or {}))

    return Clock()


def compared(ours: Sequence[Found], theirs: Sequence[Found], name: str) -> Found:
    """Mean of ours less theirs over the starts that both have, with its bootstrap interval."""
    from rewards.intervals import bootstrap

    other = {one["seed"]: one[name] for one in theirs}
    gaps = [one[name] - other[one["seed"]] for one in ours if one["seed"] in other]
    mean: Callable[[Any], float] = lambda places: statistics.fmean(gaps[place] for place in places)  # noqa: E731
    found = bootstrap(mean, [str(number) for number in range(len(gaps))])
    if found is None:
        raise ValueError("expected runs of both sides from one start at least, got none")
    return {key: round(value, 4) for key, value in found.model_dump().items()}


def _short(one: Found) -> Found:
    return {name: value for name, value in one.items() if name != "rewards"}


def _medians(runs: list[Found]) -> dict[str, float]:
    names = [name for name, value in runs[0].items() if isinstance(value, int | float) and name != "seed"]
    return {name: statistics.median(run[name] for run in runs) for name in names}


if __name__ == "__main__":
    sys.exit(main())
