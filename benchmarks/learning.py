"""Does the on-policy training learn? Tiny byte-level models that are paid for one kind of letter, five seeds each.

    python -m benchmarks.learning [--seeds 5] [--only ppo grpo rloo ppo-lora ppo-bf16 ppo-ddp ...]

ppo, grpo, rloo: all weights of a Llama of bytes with random weights, paid for the share of vowels, 100 steps of 64
responses of at most 24 bytes. ppo-lora: an adapter of rank 8 on such a model that was first fitted to the bundled
prompts (an adapter on random weights has nothing to steer), paid for the share of the letter s. ppo-bf16: as ppo, in
bfloat16, which some CPUs compute in too. ppo-ddp, ppo-zero2, ppo-zero3: as ppo, on two processes with 32 responses
each (on the CPU with gloo; ZeRO needs DeepSpeed).

Reported for every seed: reward and tokens of a response in the first step and in the last ten. Writes
benchmarks/results/learning.json with medians and ranges.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the autoj command does

RESULTS = Path(__file__).parent / "results"
ROOT = Path(__file__).parents[1]
STEPS, BATCH, LENGTH, RATE, KL = 100, 64, 24, 5e-3, 0.002
FIT_STEPS, FIT_WINDOW = 600, 64
WAYS = ("ppo", "grpo", "rloo", "ppo-lora", "ppo-bf16", "ppo-ddp", "ppo-zero2", "ppo-zero3")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way:
        return _one(options.way, options.seed, options.work)
    path = RESULTS / "learning.json"
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["ways"] if path.is_file() else {}
    for way in options.only:
        runs = [_in_processes(way, seed) for seed in range(options.seeds)]
        found[way] = {"medians": _medians(runs), "seeds": runs}
        print(way, json.dumps(found[way]["medians"]), flush=True)
        _write(path, found)
    return 0


def _in_processes(way: str, seed: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as work:
        alone = [sys.executable, "-m", "benchmarks.learning"]
        together = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m",
                    "benchmarks.learning"]  # fmt: skip
        command = together if _strategy(way) else alone
        done = subprocess.run(
            [*command, "--way", way, "--seed", str(seed), "--work", work],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT), "DS_ACCELERATOR": "cpu", "OMP_NUM_THREADS": "1"},
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        if done.returncode:
            raise SystemExit(f"{way} failed with seed {seed}:\n{done.stderr[-3000:]}")
        logs = [json.loads(line) for line in (Path(work) / "logs.jsonl").read_text(encoding="utf-8").splitlines()]
    return {
        "reward before": round(logs[0]["reward"], 4),
        "reward after": round(statistics.fmean(log["reward"] for log in logs[-10:]), 4),
        "tokens before": round(logs[0]["completion_length"], 2),
        "tokens after": round(statistics.fmean(log["completion_length"] for log in logs[-10:]), 2),
        "kl after": round(statistics.fmean(log["kl"] for log in logs[-10:]), 2),
    }


def _strategy(way: str) -> str | None:
    return way.removeprefix("ppo-") if way in ("ppo-ddp", "ppo-zero2", "ppo-zero3") else None


def _one(way: str, seed: int, work: Path) -> int:
    """One training, as one of two processes where there are two."""
    from rewards.training.launch_settings import LaunchSettings
    from rewards.types import Message, Prompt
    from tests.tiny_model import build_tiny_model

    strategy, rank = _strategy(way), int(os.environ.get("RANK", "0"))
    if strategy and strategy.startswith("zero"):
        import deepspeed

        # Its shared-memory collectives take minutes to build and change no number.
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    model = build_tiny_model(work / f"model-{rank}", vocabulary=259, seed=seed, hidden=64 if way == "ppo-lora" else 32)
    if way == "ppo-lora":
        _fit(model, seed)
    wanted = "s" if way == "ppo-lora" else "aeiou"

    def rule(prompts: Any, completions: Any, **columns: Any) -> list[float | None]:
        texts = [one[0]["content"].lower() for one in completions]
        return [sum(letter in wanted for letter in text) / max(1, len(text)) for text in texts]

    train, settings = _training(way, seed, BATCH // 2 if strategy else BATCH)
    train(
        [Prompt(id=f"q{one}", messages=(Message(role="user", content=f"Q {one}?"),)) for one in range(10)],
        rewards=[rule],
        model=str(model),
        output=work / "policy",
        settings=settings,
        dtype="bfloat16" if way == "ppo-bf16" else "auto",
        launch=LaunchSettings(processes=2, strategy=strategy) if strategy else None,  # type: ignore[arg-type]
        callbacks=[_keeping_logs(work / "logs.jsonl")] if rank == 0 else [],
    )
    return 0


def _training(way: str, seed: int, batch: int) -> tuple[Callable[..., Any], Any]:
    """The training function of a way, and its settings."""
    from rl.grpo import train_grpo
    from rl.ppo import train_ppo
    from rl.rloo import train_rloo
    from rl.training_settings import CriticSettings, GRPOSettings, KLSettings, LoraSettings, PPOSettings, RLOOSettings

    shared: dict[str, Any] = {
        "learning_rate": 2e-2 if way == "ppo-lora" else RATE,
        "tuning": "lora" if way == "ppo-lora" else "full",
        "lora": LoraSettings(rank=8, alpha=16),
        "warmup": 0.0,
        "max_steps": STEPS,
        "save_steps": STEPS,
        "batch_size": batch,
        "gradient_accumulation": 1,
        "max_length": 128,
        "max_new_tokens": LENGTH,
        "seed": seed,
    }
    if way == "grpo":
        return train_grpo, GRPOSettings(**shared, beta=KL)
    if way == "rloo":
        return train_rloo, RLOOSettings(**shared, beta=KL)
    critic = CriticSettings(tuning="full", learning_rate=RATE, warmup_steps=2)
    return train_ppo, PPOSettings(**shared, kl=KLSettings(coefficient=KL), critic=critic, missing_eos_penalty=0.0)


def _fit(folder: Path, seed: int) -> None:
    """Teach the model in `folder` to write like the bundled prompts."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from recipes.bundled import bundled_prompts

    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    chats = [
        tokenizer.apply_chat_template(
            [{"role": "user", "content": "Q 1?"}, {"role": "assistant", "content": one.messages[-1].content}],
            tokenize=False,
        )
        for one in bundled_prompts()
    ]
    ids = torch.tensor(tokenizer("".join(chats), add_special_tokens=False)["input_ids"])
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(FIT_STEPS):
        starts = torch.randint(0, len(ids) - FIT_WINDOW, (32,), generator=generator).tolist()
        batch = torch.stack([ids[start : start + FIT_WINDOW] for start in starts])
        loss = model(input_ids=batch, labels=batch).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.save_pretrained(folder)


def _keeping_logs(path: Path) -> Any:
    from transformers import TrainerCallback

    class Keep(TrainerCallback):  # type: ignore[misc]  # transformers ships no types
        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **more: Any) -> None:
            if logs and "loss" in logs:
                with path.open("a", encoding="utf-8") as file:
                    file.write(json.dumps({key: value for key, value in logs.items() if value is not None}) + "\n")

    return Keep()


def _medians(runs: list[dict[str, float]]) -> dict[str, str]:
    """`median (least to most)` of every number."""
    return {
        name: f"{statistics.median(run[name] for run in runs):g} "
        f"({min(run[name] for run in runs):g} to {max(run[name] for run in runs):g})"
        for name in runs[0]
    }


def _write(path: Path, found: dict[str, Any]) -> None:
    from benchmarks.machine import machine

    result = {
        "command": "python -m benchmarks.learning",
        "machine": machine("torch", "transformers", "trl"),
        "ways": found,
    }
    RESULTS.mkdir(exist_ok=True)
    path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
