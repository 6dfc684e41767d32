"""Training here against the same training written plainly with TRL: DPO, GRPO, and a judge's fine-tuning.

    python -m benchmarks.training_steps [--runs 2] [--steps 4] [--only dpo grpo judge]

The embedded model with an adapter of rank 8 on all linear layers, in float32 on a CPU; the same rows, batches, lengths
and learning rates on both sides. dpo: pairs of the bundled candidates. grpo: two groups of 4 responses of at most 24
tokens, paid for vowels. judge: bundled judgments with critiques. Each run has a process of its own, the sides take
turns, and the median over the steps of all runs counts, without each run's first step. For the judge, tokens
a second are those that are no padding.

The PPO side of this is `benchmarks.ppo_vs_trl`. Writes benchmarks/results/training_steps.json and .svg.
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
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the autoj command does

RESULTS = Path(__file__).parent / "results"
DATA = Path(__file__).parents[1] / "recipes" / "data"
RATE, RANK, ALPHA, LENGTH, BETA = 1e-5, 8, 16, 320, 0.1
GROUP, NEW_TOKENS = 4, 24
Row = dict[str, Any]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=2)
    parser.add_argument("--steps", type=int, default=4, help="timed steps of a run")
    parser.add_argument("--only", nargs="+", choices=("dpo", "grpo", "judge"), default=["dpo", "grpo", "judge"])
    parser.add_argument("--side", choices=sorted(SIDES), help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        times: list[float] = []
        SIDES[options.side](options.work, options.steps + 1, _clock(times))
        found = [later - earlier for earlier, later in pairwise(times[1:])]
        (options.work / "times.json").write_text(json.dumps(found), encoding="utf-8")
        return 0
    steps: dict[str, list[float]] = {}
    for _ in range(options.runs):
        for job in options.only:
            for side in (f"{job} autoj", f"{job} trl"):
                steps.setdefault(side, []).extend(_in_a_process(side, options.steps))
                print(side, [round(one, 2) for one in steps[side]], flush=True)
    _write(steps)
    return 0


def _in_a_process(side: str, steps: int) -> list[float]:
    with tempfile.TemporaryDirectory() as work:
        flags = ["--side", side, "--work", work, "--steps", str(steps)]
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.training_steps", *flags], stderr=subprocess.PIPE, text=True, check=False
        )
        if done.returncode:
            raise SystemExit(f"{side} failed:\n{done.stderr[-3000:]}")
        found: list[float] = json.loads((Path(work) / "times.json").read_text(encoding="utf-8"))
    return found


def _write(steps: dict[str, list[float]]) -> None:
    from benchmarks.machine import machine

    medians = {side: statistics.median(found) for side, found in steps.items()}
    result = {
        "command": " ".join(["python -m benchmarks.training_steps", *sys.argv[1:]]),
        "machine": machine("torch", "transformers", "trl", "peft"),
        "seconds a step": {side: round(value, 3) for side, value in medians.items()},
        "steps": {side: [round(one, 3) for one in found] for side, found in steps.items()},
        "trl over autoj": {
            job: round(medians[f"{job} trl"] / medians[f"{job} autoj"], 3)
            for job in ("dpo", "grpo", "judge")
            if f"{job} autoj" in medians
        },
    }
    if "judge autoj" in medians:
        tokens = _judge_tokens()
        result["judge tokens a second"] = {side: round(tokens / medians[f"judge {side}"]) for side in ("autoj", "trl")}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "training_steps.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    _picture(medians, RESULTS / "training_steps.svg")


def _picture(medians: dict[str, float], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt

    figure, axis = plt.subplots(figsize=(4.5, 2.6), layout="constrained")
    for offset, side in ((-0.2, "autoj"), (0.2, "trl")):
        jobs = [name.split()[0] for name in medians if name.endswith(side)]
        axis.bar([place + offset for place in range(len(jobs))], [medians[f"{job} {side}"] for job in jobs], 0.4,
                 label=side)  # fmt: skip
    axis.set(xticks=range(len(jobs)), xticklabels=jobs, ylabel="seconds a step")
    axis.legend(frameon=False, fontsize=8)
    figure.savefig(path)
    plt.close(figure)


def _clock(times: list[float]) -> Any:
    from transformers import TrainerCallback

    class Clock(TrainerCallback):  # type: ignore[misc]  # transformers ships no types
        def on_train_begin(self, args: Any, state: Any, control: Any, **more: Any) -> None:
            times.append(time.perf_counter())

        def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
            times.append(time.perf_counter())

    return Clock()


def _vowels(prompts: Any, completions: Any, **columns: Any) -> list[float | None]:
    texts = [one[0]["content"].lower() for one in completions]
    return [sum(letter in "aeiou" for letter in text) / max(1, len(text)) for text in texts]


def _pairs() -> list[Row]:
    """One pair of each bundled prompt with two candidates, as often as it takes."""
    by_prompt: dict[str, list[Row]] = {}
    for line in (DATA / "candidates.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        by_prompt.setdefault(row["prompt_id"], []).append(row)
    found = [
        {"prompt": rows[0]["prompt"], "chosen": rows[0]["response"], "rejected": rows[1]["response"]}
        for rows in by_prompt.values()
        if len(rows) > 1
    ]
    return (found * 40)[:40]


def _questions() -> list[Row]:
    """What a judge is taught: prompt and completion."""
    from judge_training.examples import read_examples, training_text
    from rewards.protocol.builtin import builtin_protocol

    protocol = builtin_protocol()
    texts = [training_text(one, protocol) for one in read_examples(DATA / "judge_examples.jsonl")]
    return [{"prompt": text.prompt, "completion": text.completion} for text in texts]


def _judge_tokens() -> float:
    """Tokens of a batch of 4 that are no padding, on average."""
    from transformers import AutoTokenizer

    from rewards.judges.embedded_model import embedded_model_path

    tokenizer = AutoTokenizer.from_pretrained(embedded_model_path())
    lengths = [
        len(tokenizer.apply_chat_template(_turns(row), tokenize=True, return_dict=True)["input_ids"])
        for row in _questions()
    ]
    return 4 * statistics.fmean(min(length, 4 * LENGTH) for length in lengths)


def _turns(row: Row) -> list[dict[str, str]]:
    return [_turn("user", row["prompt"]), _turn("assistant", row["completion"])]


def _turn(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def _settings(steps: int, batch: int) -> dict[str, Any]:
    from rewards.training.settings import LoraSettings

    return {
        "learning_rate": RATE,
        "max_steps": steps,
        "save_steps": 1000,
        "batch_size": batch,
        "gradient_accumulation": 1,
        "lora": LoraSettings(rank=RANK, alpha=ALPHA),
    }


def _plain(work: Path, steps: int, batch: int) -> dict[str, Any]:
    """The arguments of TRL's config classes that say the same as `_settings`."""
    import torch

    return {
        "output_dir": str(work / "out"),
        "learning_rate": RATE,
        "warmup_steps": 0.1,
        "max_steps": steps,
        "save_strategy": "no",
        "per_device_train_batch_size": batch,
        "gradient_accumulation_steps": 1,
        "gradient_checkpointing": False,
        "logging_steps": 1,
        "report_to": "none",
        "bf16": torch.cuda.is_available(),
        "use_cpu": not torch.cuda.is_available(),
        "dataloader_pin_memory": torch.cuda.is_available(),
    }


def _plain_model() -> tuple[Any, Any, Any]:
    """Model, tokenizer and adapter."""
    import torch
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from rewards.judges.embedded_model import embedded_model_path

    folder = embedded_model_path()
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    adapter = LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules="all-linear", task_type="CAUSAL_LM")
    return model, AutoTokenizer.from_pretrained(folder), adapter


def _dpo_autoj(work: Path, steps: int, clock: Any) -> None:
    from rewards.judges.config import DEFAULT_MODEL
    from rewards.types import Message, Pair
    from rl.dpo import train_dpo
    from rl.training_settings import DPOSettings

    pairs = [
        Pair(
            id=str(number),
            prompt_id=str(number),
            messages=(Message(role="user", content=row["prompt"]),),
            chosen=row["chosen"],
            rejected=row["rejected"],
            chosen_id=f"{number}/c",
            rejected_id=f"{number}/r",
            margin=1.0,
        )
        for number, row in enumerate(_pairs())
    ]
    settings = DPOSettings(**_settings(steps, 2), beta=BETA, max_length=LENGTH)
    train_dpo(pairs, model=DEFAULT_MODEL, output=work / "policy", settings=settings, callbacks=[clock])


def _dpo_trl(work: Path, steps: int, clock: Any) -> None:
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    model, tokenizer, adapter = _plain_model()
    rows = [
        {"prompt": [_turn("user", row["prompt"])]}
        | {side: [_turn("assistant", row[side])] for side in ("chosen", "rejected")}
        for row in _pairs()
    ]
    arguments = DPOConfig(**_plain(work, steps, 2), beta=BETA, max_length=LENGTH)
    DPOTrainer(
        model=model,
        args=arguments,
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        peft_config=adapter,
        callbacks=[clock],
    ).train()


def _grpo_autoj(work: Path, steps: int, clock: Any) -> None:
    from rewards.judges.config import DEFAULT_MODEL
    from rewards.types import Message, Prompt
    from rl.grpo import train_grpo
    from rl.training_settings import GRPOSettings

    prompts = [
        Prompt(id=str(number), messages=(Message(role="user", content=row["prompt"]),))
        for number, row in enumerate(_pairs())
    ]
    settings = GRPOSettings(
        **_settings(steps, 2 * GROUP), responses_per_prompt=GROUP, max_new_tokens=NEW_TOKENS, max_length=LENGTH
    )
    train_grpo(
        prompts, rewards=[_vowels], model=DEFAULT_MODEL, output=work / "policy", settings=settings, callbacks=[clock]
    )


def _grpo_trl(work: Path, steps: int, clock: Any) -> None:
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    model, tokenizer, adapter = _plain_model()
    arguments = GRPOConfig(
        **_plain(work, steps, 2 * GROUP),
        num_generations=GROUP,
        max_completion_length=NEW_TOKENS,
        beta=0.02,  # as ours: the reference is asked
        top_k=0,
    )
    GRPOTrainer(
        model=model,
        reward_funcs=[_vowels],
        args=arguments,
        train_dataset=Dataset.from_list([{"prompt": [_turn("user", row["prompt"])]} for row in _pairs()]),
        processing_class=tokenizer,
        peft_config=adapter,
        callbacks=[clock],
    ).train()


def _judge_autoj(work: Path, steps: int, clock: Any) -> None:
    from judge_training.train import train_judge
    from judge_training.training_settings import JudgeTrainingSettings
    from rewards.judges.config import DEFAULT_MODEL

    settings = JudgeTrainingSettings(**_settings(steps, 4), max_length=4 * LENGTH)
    train_judge(
        DATA / "judge_examples.jsonl",
        model=DEFAULT_MODEL,
        output=work / "judge",
        settings=settings,
        callbacks=[clock],
    )


def _judge_trl(work: Path, steps: int, clock: Any) -> None:
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    model, tokenizer, adapter = _plain_model()
    rows = [
        {"prompt": [_turn("user", row["prompt"])], "completion": [_turn("assistant", row["completion"])]}
        for row in _questions()
    ]
    SFTTrainer(
        model=model,
        args=SFTConfig(**_plain(work, steps, 4), max_length=4 * LENGTH),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        peft_config=adapter,
        callbacks=[clock],
    ).train()


SIDES: dict[str, Callable[[Path, int, Any], None]] = {
    "dpo autoj": _dpo_autoj,
    "dpo trl": _dpo_trl,
    "grpo autoj": _grpo_autoj,
    "grpo trl": _grpo_trl,
    "judge autoj": _judge_autoj,
    "judge trl": _judge_trl,
}

if __name__ == "__main__":
    sys.exit(main())
