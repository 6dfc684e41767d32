"""The two sides of `benchmarks.ppo_vs_trl`, and the two jobs that they are given: a toy, and a small real model.

Both sides train all of a policy and of a critic of the same size from the same weights, with the same batch, length,
learning rate, KL price, losses and Adam, and no warm-up. Left out on our side is what the other has not: scaled and
clipped rewards, a critic that warms up alone, clipped gradients. TRL's reward has to be a model, so the rule is
dressed up as one there; its prompts are padded to one length beforehand, since it asks that model about all of a
sequence.

TRL's trainer takes every padding token for padding, one that was drawn and one in a prompt too. So the model that
both start from pads with a token of its own, and neither side may draw that token.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

EPSILON, VALUE_COEFFICIENT = 1e-5, 0.5
FILLER = "<|endoftext|>"
SIZE = 256
"""Tokens that a prompt and a response may have together; nothing here comes near."""


@dataclass(frozen=True)
class Job:
    """What is learned, and how: `rule` gives the reward of a text."""

    prompts: tuple[str, ...]
    rule: Callable[[str], float]
    rate: float
    kl: float
    length: int
    judged: int
    """Responses on which a policy is measured before and after."""


@dataclass(frozen=True)
class Run:
    """One training of a side."""

    start: Path
    """Folder of the model to start from."""
    work: Path
    batch: int
    steps: int
    seed: int


def share_of_vowels(text: str) -> float:
    return sum(letter in "aeiou" for letter in text.lower()) / max(1, len(text))


def share_of_short_words(text: str) -> float:
    words = text.split()
    return sum(len(word) <= 3 for word in words) / max(1, len(words))


TOY = Job(
    prompts=tuple(f"Q {number}?" for number in range(10)),
    rule=share_of_vowels,
    rate=5e-3,
    kl=0.002,
    length=24,
    judged=256,
)
REAL = Job(
    prompts=(
        "Describe a walk by the sea.",
        "What makes a good teacher?",
        "How is bread made?",
        "Tell me about the moon.",
        "Why do cats sleep so much?",
        "What should I pack for a trip to the mountains?",
        "Explain what a library is for.",
        "Give me an idea for dinner.",
        "How do plants grow?",
        "What is the use of a bicycle?",
    ),
    rule=share_of_short_words,
    rate=5e-5,
    kl=0.02,
    length=32,
    judged=64,
)


def toy_start(folder: Path, *, hidden: int, layers: int, seed: int) -> Path:
    """A Llama of bytes with random weights; it pads with FILLER as it is."""
    from tests.tiny_model import build_tiny_model

    return build_tiny_model(folder, hidden=hidden, layers=layers, vocabulary=259, seed=seed)


def real_start(folder: Path) -> Path:
    """The embedded model, whose padding token is its end of a turn, with FILLER for padding instead."""
    from transformers import AutoTokenizer

    from rewards.judges.embedded_model import embedded_model_path

    source = embedded_model_path()
    tokenizer = AutoTokenizer.from_pretrained(source)
    tokenizer.pad_token = FILLER
    tokenizer.save_pretrained(folder)
    for name in ("config.json", "generation_config.json"):
        settings = json.loads((source / name).read_text(encoding="utf-8"))
        (folder / name).write_text(json.dumps(settings | {"pad_token_id": tokenizer.pad_token_id}), encoding="utf-8")
    (folder / "model.safetensors").symlink_to(source / "model.safetensors")
    return folder


def ours(job: Job, run: Run, callbacks: list[Any]) -> Path:
    """Train with `rl.ppo.train_ppo`; returns the policy's folder."""
    from transformers import AutoTokenizer

    from rewards.types import Message, Prompt
    from rl.ppo import train_ppo
    from rl.training_settings import CriticSettings, KLSettings, PPOSettings

    def rule(prompts: Any, completions: Any, **columns: Any) -> list[float | None]:
        return [job.rule(one[0]["content"]) for one in completions]

    settings = PPOSettings(
        tuning="full",
        learning_rate=job.rate,
        warmup=0.0,
        max_steps=run.steps,
        save_steps=run.steps,
        batch_size=run.batch,
        gradient_accumulation=1,
        max_length=SIZE,
        max_new_tokens=job.length,
        value_coefficient=VALUE_COEFFICIENT,
        kl=KLSettings(coefficient=job.kl),
        critic=CriticSettings(tuning="full", learning_rate=job.rate, warmup_steps=0),
        reward_scale="none",
        reward_clip=None,
        missing_eos_penalty=0.0,
        seed=run.seed,
    )
    filler = AutoTokenizer.from_pretrained(run.start).pad_token_id
    train_ppo(
        [Prompt(id=text, messages=(Message(role="user", content=text),)) for text in job.prompts],
        rewards=[rule],
        model=str(run.start),
        output=run.work / "policy",
        settings=settings,
        trl={"max_grad_norm": 0.0, "adam_epsilon": EPSILON, "generation_kwargs": {"suppress_tokens": [filler]}},
        callbacks=callbacks,
    )
    return run.work / "policy"


def theirs(job: Job, run: Run, callbacks: list[Any]) -> Path:
    """Train with TRL's PPOTrainer; returns the policy's folder."""
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer, set_seed
    from trl.experimental.ppo import PPOConfig, PPOTrainer

    set_seed(run.seed)
    tokenizer = AutoTokenizer.from_pretrained(run.start, padding_side="left")
    policy, reference = (AutoModelForCausalLM.from_pretrained(run.start) for _ in range(2))
    policy.generation_config.suppress_tokens = [tokenizer.pad_token_id]
    critic = AutoModelForSequenceClassification.from_pretrained(run.start, num_labels=1)
    torch.nn.init.normal_(critic.score.weight, std=(critic.score.in_features + 1) ** -0.5)  # as ours
    arguments = PPOConfig(
        output_dir=str(run.work / "trainer"),
        learning_rate=job.rate,
        adam_epsilon=EPSILON,
        per_device_train_batch_size=run.batch,
        gradient_accumulation_steps=1,
        local_rollout_forward_batch_size=run.batch,
        total_episodes=run.batch * run.steps,
        num_ppo_epochs=1,
        num_mini_batches=1,
        num_sample_generations=0,
        response_length=job.length,
        stop_token="eos",
        temperature=1.0,
        kl_coef=job.kl,
        vf_coef=VALUE_COEFFICIENT,
        gradient_checkpointing=False,
        bf16=False,
        use_cpu=not torch.cuda.is_available(),
        save_strategy="no",
        report_to="none",
        logging_steps=1,
        seed=run.seed,
    )
    rows = _prompt_rows(job, tokenizer, run.batch)
    trainer = PPOTrainer(
        args=arguments,
        processing_class=tokenizer,
        model=policy,
        ref_model=reference,
        reward_model=rule_as_a_model(job.rule, tokenizer, context=len(rows[0]["input_ids"])),
        value_model=critic,
        train_dataset=rows,
        eval_dataset=rows,
        callbacks=callbacks,
    )
    trainer.train()
    trained = run.work / "policy"
    policy.save_pretrained(trained)
    tokenizer.save_pretrained(trained)
    return trained


SIDES: dict[str, Callable[[Job, Run, list[Any]], Path]] = {"ours": ours, "trl": theirs}


def padded_prompts(job: Job, tokenizer: Any, count: int) -> Any:
    """`count` prompts, each in its turn, as ids and mask of one length, padded on the left."""
    asked = [[{"role": "user", "content": job.prompts[number % len(job.prompts)]}] for number in range(count)]
    tokenizer.padding_side = "left"
    return tokenizer.apply_chat_template(
        asked, add_generation_prompt=True, padding=True, return_dict=True, return_tensors="pt"
    )


def _prompt_rows(job: Job, tokenizer: Any, batch: int) -> Any:
    """Prompts as TRL's trainer takes them, each as often as the others; it shuffles them."""
    from datasets import Dataset

    ids = padded_prompts(job, tokenizer, batch * len(job.prompts))["input_ids"].tolist()
    return Dataset.from_list([{"input_ids": one} for one in ids])


def rule_as_a_model(rule: Callable[[str], float], tokenizer: Any, *, context: int) -> Any:
    """The rule in the clothes that TRL asks of a reward model: a trunk with hidden states, and a score of them.

    context: tokens of the (padded) prompt, which the rule does not see.
    """
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
            shares = torch.tensor([rule(text) for text in texts], device=ids.device)
            return shares[:, None, None].expand(*ids.shape, 1)

    return Rule()


def written_by(folder: Path, job: Job) -> tuple[float, float]:
    """Mean reward and mean tokens of a policy's responses to the job's prompts in turn."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    asked = padded_prompts(job, tokenizer, job.judged)
    torch.manual_seed(0)
    drawn = model.generate(
        **asked,
        do_sample=True,
        top_k=0,
        top_p=1.0,
        max_new_tokens=job.length,
        suppress_tokens=[tokenizer.pad_token_id],
    )[:, asked["input_ids"].shape[1] :]
    rewards = [job.rule(text) for text in tokenizer.batch_decode(drawn, skip_special_tokens=True)]
    tokens = (drawn != tokenizer.pad_token_id).sum(dim=1).float()
    return round(sum(rewards) / len(rewards), 4), round(tokens.mean().item(), 2)
