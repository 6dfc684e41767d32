"""PPO here against the PPOTrainer that TRL had until 1.12, at equal settings.

    pip install --no-deps --target FOLDER trl==1.12.0
    python -m benchmarks.ppo_vs_trl --trl FOLDER [--runs 3] [--steps 60] [--batch 64] [--hidden 32] [--layers 2]

Both train all of a Llama of bytes with random weights, and a critic of the same size, to write vowels: the same start,
batch, length, learning rate, KL price, losses and Adam. Left out on our side is what the other has not: scaled and
clipped rewards, a critic that warms up alone, clipped gradients. TRL's reward has to be a model, so the rule is
dressed up as one there. Each run has a process of its own, in which one of the two TRLs comes first on the path; the
two take turns. `responses a second` is from the second step on, and what a policy has learned is measured by one and
the same code on 256 responses of its own.

A model this small measures the fixed costs of a step and little else; `--hidden` and `--layers` make it larger.
Writes benchmarks/results/ppo_vs_trl.json.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the autoj command does

RESULTS = Path(__file__).parent / "results"
ROOT = Path(__file__).parents[1]
RATE, KL, VALUE_COEFFICIENT, EPSILON, LENGTH = 5e-3, 0.002, 0.5, 1e-5, 24
PROMPTS = tuple(f"Q {number}?" for number in range(10))
"""Of one length in bytes, so that nobody pads."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trl", type=Path, required=True, help="folder that holds TRL 1.12")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--hidden", type=int, default=32)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--side", choices=sorted(SIDES), help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        return _one_run(options)
    runs: dict[str, list[dict[str, Any]]] = {side: [] for side in SIDES}
    for seed in range(options.runs):
        for side in SIDES:
            runs[side].append(_in_a_process(options, side, seed))
            print(side, json.dumps(runs[side][-1]), flush=True)
    from benchmarks.machine import machine

    found = {
        "command": " ".join(["python -m benchmarks.ppo_vs_trl", *_without_folder(sys.argv[1:])]),
        "machine": machine("torch", "transformers"),
        "sides": {side: _medians(each) | {"of runs": each} for side, each in runs.items()},
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "ppo_vs_trl.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    return 0


def _in_a_process(options: argparse.Namespace, side: str, seed: int) -> dict[str, Any]:
    """One run, with TRL 1.12 first on the path where it is its turn."""
    first = [str(options.trl.resolve())] if side == "trl" else []
    path = os.pathsep.join([*first, str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    with tempfile.TemporaryDirectory() as work:
        given = {"--side": side, "--work": work, "--seed": seed}
        given |= {f"--{name}": getattr(options, name) for name in ("trl", "steps", "batch", "hidden", "layers")}
        flags = [str(part) for pair in given.items() for part in pair]
        subprocess.run(
            [sys.executable, "-m", "benchmarks.ppo_vs_trl", *flags],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": path, "DS_ACCELERATOR": "cpu"},
            check=True,
        )
        found: dict[str, Any] = json.loads((Path(work) / "result.json").read_text(encoding="utf-8"))
    return found


def _one_run(options: argparse.Namespace) -> int:
    from tests.tiny_model import build_tiny_model

    folder = build_tiny_model(
        options.work / "model", hidden=options.hidden, layers=options.layers, vocabulary=259, seed=options.seed
    )
    before = _written_by(folder)
    times: list[float] = []
    policy = SIDES[options.side](folder, options, times)
    after = _written_by(policy)
    spent = times[-1] - times[1]
    found = {
        "trl": metadata.version("trl"),
        "responses a second": round(options.batch * (len(times) - 2) / spent, 2),
        "peak MiB": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "reward before": before[0],
        "reward after": after[0],
        "tokens before": before[1],
        "tokens after": after[1],
    }
    (options.work / "result.json").write_text(json.dumps(found), encoding="utf-8")
    return 0


def _share_of_vowels(text: str) -> float:
    return sum(letter in "aeiou" for letter in text.lower()) / max(1, len(text))


def _clock(times: list[float]) -> Any:
    """Notes when the training begins and when each step ends."""
    from transformers import TrainerCallback

    class Clock(TrainerCallback):
        def on_train_begin(self, args: Any, state: Any, control: Any, **more: Any) -> None:
            times.append(time.perf_counter())

        def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
            times.append(time.perf_counter())

    return Clock()


def _ours(folder: Path, options: argparse.Namespace, times: list[float]) -> Path:
    from rewards.types import Message, Prompt
    from rl.ppo import train_ppo
    from rl.training_settings import CriticSettings, KLSettings, PPOSettings

    def rule(prompts: Any, completions: Any, **columns: Any) -> list[float | None]:
        return [_share_of_vowels(one[0]["content"]) for one in completions]

    settings = PPOSettings(
        tuning="full",
        learning_rate=RATE,
        warmup=0.0,
        max_steps=options.steps,
        save_steps=options.steps,
        batch_size=options.batch,
        gradient_accumulation=1,
        max_length=128,
        max_new_tokens=LENGTH,
        value_coefficient=VALUE_COEFFICIENT,
        kl=KLSettings(coefficient=KL),
        critic=CriticSettings(tuning="full", learning_rate=RATE, warmup_steps=0),
        reward_scale="none",
        reward_clip=None,
        missing_eos_penalty=0.0,
        seed=options.seed,
    )
    train_ppo(
        [Prompt(id=text, messages=(Message(role="user", content=text),)) for text in PROMPTS],
        rewards=[rule],
        model=str(folder),
        output=options.work / "policy",
        settings=settings,
        trl={"max_grad_norm": 0.0},
        callbacks=[_clock(times)],
    )
    return Path(options.work / "policy")


def _trl(folder: Path, options: argparse.Namespace, times: list[float]) -> Path:
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer, set_seed
    from trl.experimental.ppo import PPOConfig, PPOTrainer

    set_seed(options.seed)
    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
    policy, reference = (AutoModelForCausalLM.from_pretrained(folder) for _ in range(2))
    critic = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=1)
    torch.nn.init.normal_(critic.score.weight, std=(options.hidden + 1) ** -0.5)  # as ours
    arguments = PPOConfig(
        output_dir=str(options.work / "trainer"),
        learning_rate=RATE,
        adam_epsilon=EPSILON,
        per_device_train_batch_size=options.batch,
        gradient_accumulation_steps=1,
        local_rollout_forward_batch_size=options.batch,
        total_episodes=options.batch * options.steps,
        num_ppo_epochs=1,
        num_mini_batches=1,
        num_sample_generations=0,
        response_length=LENGTH,
        stop_token="eos",
        temperature=1.0,
        kl_coef=KL,
        vf_coef=VALUE_COEFFICIENT,
        gradient_checkpointing=False,
        bf16=False,
        use_cpu=not torch.cuda.is_available(),
        save_strategy="no",
        report_to="none",
        logging_steps=1,
        seed=options.seed,
    )
    rows = _prompt_rows(tokenizer, options.batch)
    trainer = PPOTrainer(
        args=arguments,
        processing_class=tokenizer,
        model=policy,
        ref_model=reference,
        reward_model=_rule_as_a_model(tokenizer, context=len(rows[0]["input_ids"])),
        value_model=critic,
        train_dataset=rows,
        eval_dataset=rows,
        callbacks=[_clock(times)],
    )
    trainer.train()
    trained = options.work / "policy"
    policy.save_pretrained(trained)
    tokenizer.save_pretrained(trained)
    return Path(trained)


SIDES = {"ours": _ours, "trl": _trl}


def _prompt_rows(tokenizer: Any, batch: int) -> Any:
    """A batch of prompts as TRL's trainer takes them."""
    from datasets import Dataset

    ids = [_prompt_ids(tokenizer, PROMPTS[number % len(PROMPTS)]) for number in range(batch)]
    return Dataset.from_list([{"input_ids": one} for one in ids])


def _prompt_ids(tokenizer: Any, text: str) -> list[int]:
    asked = [{"role": "user", "content": text}]
    return list(tokenizer.apply_chat_template(asked, add_generation_prompt=True, return_dict=True)["input_ids"])


def _rule_as_a_model(tokenizer: Any, *, context: int) -> Any:
    """The rule in the clothes that TRL asks of a reward model: a trunk with hidden states, and a score of them."""
    import torch
    from transformers.modeling_outputs import BaseModelOutput

    class Trunk(torch.nn.Module):
        def forward(self, input_ids: torch.Tensor, **more: Any) -> BaseModelOutput:
            return BaseModelOutput(hidden_states=(input_ids,))

    class Rule(torch.nn.Module):
        base_model_prefix = "trunk"

        def __init__(self) -> None:
            super().__init__()
            self.trunk = Trunk()

        def score(self, ids: torch.Tensor) -> torch.Tensor:
            texts = tokenizer.batch_decode(ids[:, context:], skip_special_tokens=True)
            shares = torch.tensor([_share_of_vowels(text) for text in texts], device=ids.device)
            return shares[:, None, None].expand(*ids.shape, 1)

    return Rule()


def _written_by(folder: Path) -> tuple[float, float]:
    """Mean share of vowels and mean tokens of 256 responses."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    ids = torch.tensor([_prompt_ids(tokenizer, PROMPTS[number % len(PROMPTS)]) for number in range(256)])
    torch.manual_seed(0)
    drawn = model.generate(
        ids, attention_mask=torch.ones_like(ids), do_sample=True, top_k=0, top_p=1.0, max_new_tokens=LENGTH
    )[:, ids.shape[1] :]
    texts = tokenizer.batch_decode(drawn, skip_special_tokens=True)
    tokens = (drawn != tokenizer.pad_token_id).sum(dim=1).float()
    return round(statistics.fmean(map(_share_of_vowels, texts)), 4), round(tokens.mean().item(), 2)


def _medians(runs: list[dict[str, Any]]) -> dict[str, float]:
    return {
        name: statistics.median(run[name] for run in runs)
        for name in runs[0]
        if isinstance(runs[0][name], int | float)
    }


def _without_folder(flags: list[str]) -> list[str]:
    """The flags as anybody would write them."""
    return ["FOLDER" if number and flags[number - 1] == "--trl" else flag for number, flag in enumerate(flags)]


if __name__ == "__main__":
    sys.exit(main())
