"""One whole step of PPO, from sampled text to gradients, against the same written out token by token on plain models.

The reference shares no code with the trainer but the models' own: log-probabilities by log_softmax, values by a head
on hidden states, and every formula in a loop.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from rl.training_settings import KLSettings
from tests.rl.ppo_toys import batch_of, settings_of, text_of, trainer_of, vowels

PRICE, LAM, ROWS = 0.3, 0.95, 12


def test_a_step_is_the_one_that_is_written_out_plainly(tiny_model: Path, tmp_path: Path) -> None:
    settings = settings_of(
        batch_size=ROWS,
        kl=KLSettings(coefficient=PRICE),
        lam=LAM,
        reward_scale="none",
        reward_clip=None,
        missing_eos_penalty=0.0,
    )
    torch.manual_seed(5)
    trainer = trainer_of(tiny_model, tmp_path, settings, prompts=ROWS)
    with torch.no_grad():
        for name, weight in trainer.model.named_parameters():
            if not name.startswith("critic."):  # away from the reference
                weight.add_(0.02 * torch.randn_like(weight))
    batch = batch_of(trainer, ROWS)
    trainer.model.zero_grad()
    loss = trainer._compute_loss(trainer.model, batch)
    loss.backward()
    modules = plain_modules(trainer, tiny_model)
    expected = plain_loss(batch, modules, AutoTokenizer.from_pretrained(tiny_model))
    expected.backward()
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-6)
    for prefix, module in modules.items():
        if prefix != "reference":
            for name, weight in module.named_parameters():
                found = trainer.model.get_parameter(f"{prefix}{name}").grad
                torch.testing.assert_close(found, weight.grad, rtol=1e-3, atol=1e-5, msg=f"{prefix}{name}")


def plain_modules(trainer: Any, folder: Path) -> dict[str, Any]:
    """Policy, critic and reference as models of their own, by the names that their weights have in the trainer."""
    state = trainer.model.state_dict()
    policy, other, reference = (AutoModelForCausalLM.from_pretrained(folder) for _ in range(3))
    modules: dict[str, Any] = {"critic.trunk.": other.model, "critic.head.": torch.nn.Linear(32, 1)}
    for prefix, module in modules.items():
        module.load_state_dict({n.removeprefix(prefix): w for n, w in state.items() if n.startswith(prefix)})
    policy.load_state_dict({name: weight for name, weight in state.items() if not name.startswith("critic.")})
    return {"": policy, "reference": reference} | modules


def plain_loss(batch: dict[str, Any], modules: dict[str, Any], tokenizer: Any) -> torch.Tensor:
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], dim=1)
    attention = torch.cat([batch["prompt_mask"], batch["completion_mask"]], dim=1)
    start = batch["prompt_ids"].size(1)
    logps, reference = (
        torch.log_softmax(modules[name](ids, attention_mask=attention).logits, dim=-1) for name in ("", "reference")
    )
    hidden = modules["critic.trunk."](ids, attention_mask=attention).last_hidden_state
    values = modules["critic.head."](hidden).squeeze(-1)
    kept: dict[str, list[torch.Tensor]] = {"logps": [], "values": [], "advantages": [], "returns": []}
    for row, mask in enumerate(batch["completion_mask"]):
        length = int(mask.sum())
        text = tokenizer.decode(ids[row, start : start + length], skip_special_tokens=True)
        (reward,) = vowels([None], [[{"content": text}]])
        later, after = 0.0, 0.0
        for place in reversed(range(start, start + length)):
            token = ids[row, place]
            logp, value = logps[row, place - 1, token], values[row, place - 1]
            earned = -PRICE * (logp - reference[row, place - 1, token]).item()
            earned += reward if place == start + length - 1 else 0.0
            later = earned + after - value.item() + LAM * later
            after = value.item()
            kept["logps"].append(logp)
            kept["values"].append(value)
            kept["advantages"].append(torch.tensor(later))
            kept["returns"].append(torch.tensor(later + value.item()))
    found = {name: torch.stack(parts) for name, parts in kept.items()}
    white = (found["advantages"] - found["advantages"].mean()) / found["advantages"].std(unbiased=False)
    ratio = torch.exp(found["logps"] - found["logps"].detach())
    return -(ratio * white).mean() + 0.5 * ((found["values"] - found["returns"]) ** 2 / 2).mean()


def test_the_rule_of_the_reference_reads_what_the_trainer_reads(tiny_model: Path, tmp_path: Path) -> None:
    seen: list[str] = []

    def keep(prompts: Any, completions: Any, **columns: Any) -> list[float | None]:
        seen.extend(text_of(one) for one in completions)
        return vowels(prompts, completions)

    batch = batch_of(trainer_of(tiny_model, tmp_path, settings_of(batch_size=4), rewards=keep), 4)
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    rows = zip(batch["completion_ids"], batch["completion_mask"].bool(), strict=True)
    assert [tokenizer.decode(ids[mask], skip_special_tokens=True) for ids, mask in rows] == seen
