"""GRPO and RLOO on a tiny model: they learn, resume, and weigh only what has a reward."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import TrainerCallback

from rewards.errors import FailureBudgetError, InputError
from rl.on_policy_arguments import check_on_policy_trl
from rl.training import last_checkpoint
from tests.rl.group_toys import JOBS, group_settings, group_trainer, sampled
from tests.rl.ppo_toys import prompts_of, vowels, weights_in

kinds = pytest.mark.parametrize("kind", ["grpo", "rloo"])
losses = pytest.mark.parametrize(
    ("kind", "loss"),
    [
        ("grpo", {"loss_type": "dapo"}),
        ("grpo", {"loss_type": "grpo"}),
        ("grpo", {"loss_type": "dr_grpo"}),
        ("rloo", {}),
    ],
)


class Watch(TrainerCallback):
    def __init__(self) -> None:
        self.logs: list[dict[str, Any]] = []

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        if logs and "loss" in logs:
            self.logs.append(dict(logs))


def some_none(prompts: Any, completions: Any, **columns: Any) -> list[float | None]:
    """Of eight responses in two groups: two of the first group and all but one of the second have no reward."""
    return [None if place in (1, 3, 5, 6, 7) else value for place, value in enumerate(vowels(prompts, completions))]


def all_none(prompts: Any, completions: Any, **columns: Any) -> list[float | None]:
    return [None] * len(completions)


@kinds
def test_it_learns_to_write_vowels(kind: str, tmp_path: Path) -> None:
    from tests.tiny_model import build_tiny_model

    watch = Watch()
    JOBS[kind](
        prompts_of(16),
        rewards=[vowels],
        model=str(build_tiny_model(tmp_path / "model", vocabulary=259)),
        output=tmp_path / "out",
        settings=group_settings(kind, max_steps=40, batch_size=64, learning_rate=5e-3, max_new_tokens=16, beta=0.002),
        callbacks=[watch],
    )
    assert watch.logs[0]["reward"] < 0.1
    assert watch.logs[-1]["reward"] > 0.7
    assert watch.logs[-1]["completion_length"] > 8
    for logs in watch.logs:
        assert logs.keys() >= {"reward", "kl", "entropy", "completion_length", "clip_fraction", "failure_rate"}
        spent = [logs[f"seconds/{name}"] for name in ("generate", "judge", "learn")]
        assert min(spent) > 0
    assert watch.logs[-1]["kl"] > watch.logs[0]["kl"]


@losses
def test_the_loss_is_the_mean_over_what_has_a_reward(
    kind: Any, loss: dict[str, Any], tiny_model: Path, tmp_path: Path
) -> None:
    """Against the same written out plainly on the model, with some responses (and all but one of a group) None."""
    settings = group_settings(kind, **loss, beta=1e-9)
    trainer = group_trainer(kind, tiny_model, tmp_path, settings, some_none)
    batch = sampled(trainer)
    rewards = trainer._raw_rewards[:, 0].tolist()
    expected = torch.zeros(8)
    for group in (range(4), range(4, 8)):
        there = [place for place in group if rewards[place] == rewards[place]]
        values = torch.tensor([rewards[place] for place in there])
        for number, place in enumerate(there):
            if kind == "rloo":
                others = torch.cat([values[:number], values[number + 1 :]])
                expected[place] = values[number] - others.mean() if len(others) else 0.0
            elif len(there) > 1:
                expected[place] = (values[number] - values.mean()) / (values.std() + 1e-4)
    torch.testing.assert_close(batch["advantages"].float(), expected, atol=1e-5, rtol=1e-4)
    trainer._compute_loss(trainer.model, batch).backward()
    found = {name: weight.grad.clone() for name, weight in trainer.model.named_parameters()}
    trainer.model.zero_grad()
    _plain_loss(trainer.model, batch, expected, kind, loss.get("loss_type"), settings.max_new_tokens).backward()
    assert any(gradient.abs().max() > 0 for gradient in found.values())
    for name, weight in trainer.model.named_parameters():
        torch.testing.assert_close(found[name], weight.grad, rtol=1e-3, atol=1e-6)


def _plain_loss(model: Any, batch: Any, advantages: Any, kind: str, loss: str | None, longest: int) -> torch.Tensor:
    """Row by row without padding; at the batch's own policy the ratio is 1 and nothing is clipped."""
    rows = batch["completion_mask"].any(dim=1).nonzero().flatten().tolist()
    assert len(rows) == 3
    total, tokens = torch.zeros(()), 0
    for row in rows:
        prompt = batch["prompt_ids"][row][batch["prompt_mask"][row].bool()]
        response = batch["completion_ids"][row][batch["completion_mask"][row].bool()]
        logits = model(torch.cat([prompt, response])[None]).logits[0, len(prompt) - 1 : -1]
        logps = logits.log_softmax(-1).gather(1, response[:, None]).squeeze(1)
        each = -advantages[row] * (logps - logps.detach()).exp()
        tokens += len(response)
        if kind == "rloo":
            total = total - advantages[row] * (logps.sum() - logps.sum().detach()).exp() / len(rows)
        elif loss == "grpo":
            total = total + each.mean() / len(rows)
        elif loss == "dr_grpo":
            total = total + each.sum() / (len(rows) * longest)
        else:
            total = total + each.sum()
    return total / tokens if loss == "dapo" else total


@losses
def test_accumulation_changes_nothing(kind: Any, loss: dict[str, Any], tiny_model: Path, tmp_path: Path) -> None:
    """The same responses at once or in four parts, one of which has no reward at all: the same gradient."""
    parts = group_trainer(
        kind, tiny_model, tmp_path, group_settings(kind, batch_size=2, gradient_accumulation=4, **loss), some_none
    )
    batch = sampled(parts)
    at_once = group_trainer(kind, tiny_model, tmp_path, group_settings(kind, **loss))
    at_once._compute_loss(at_once.model, batch).backward()
    for start in range(0, 8, 2):
        part = {name: value[start : start + 2] if value.ndim else value for name, value in batch.items()}
        found = parts._compute_loss(parts.model, part)
        # TRL's RLOO leaves the division to the Trainer, its GRPO divides itself.
        (found / 4 if kind == "rloo" else found).backward()
    for one, other in zip(parts.model.parameters(), at_once.model.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-3, atol=1e-6)


@kinds
def test_a_batch_that_nothing_was_said_of_moves_nothing(kind: str, tiny_model: Path, tmp_path: Path) -> None:
    """Not even towards the reference, from which the policy was moved away first."""
    trainer = group_trainer(kind, tiny_model, tmp_path, group_settings(kind, beta=0.5), all_none)
    with torch.no_grad():
        for weight in trainer.model.parameters():
            weight.add_(0.05 * torch.randn_like(weight))
    loss = trainer._compute_loss(trainer.model, sampled(trainer))
    loss.backward()
    assert float(loss) == 0.0
    assert all(weight.grad is None or not weight.grad.any() for weight in trainer.model.parameters())


@kinds
def test_one_none_of_two_rewards_is_no_reward(kind: str, tiny_model: Path, tmp_path: Path) -> None:
    async def slow(prompts: Any, completions: Any, **columns: Any) -> list[float | None]:
        return [2.0] * len(completions)

    watch = Watch()
    JOBS[kind](
        prompts_of(4),
        rewards=[slow, lambda prompts, completions, **columns: [None, *[1.0] * (len(completions) - 1)]],
        weights=[3.0, 1.0],
        model=str(tiny_model),
        output=tmp_path,
        settings=group_settings(kind, max_steps=1),
        callbacks=[watch],
    )
    assert watch.logs[0]["reward"] == 7.0  # and not the mean with a 6 for the one without a reward
    assert watch.logs[0]["failure_rate"] == 0.125


@kinds
def test_resumed_half_way_through_a_batch_is_the_same_as_never_stopped(
    kind: str, tiny_model: Path, tmp_path: Path
) -> None:
    from tests.rl.test_ppo import Watch as Interrupts

    settings = group_settings(kind, max_steps=5, batch_size=4, minibatches=2)
    common: dict[str, Any] = {"rewards": [vowels], "model": str(tiny_model), "settings": settings}
    straight, first, second = Watch(), Interrupts(3), Watch()
    JOBS[kind](prompts_of(5), output=tmp_path / "a", callbacks=[straight], **common)
    with pytest.raises(KeyboardInterrupt, match="after step 3"):
        JOBS[kind](prompts_of(5), output=tmp_path / "b", callbacks=[first], **common)
    result = JOBS[kind](prompts_of(5), output=tmp_path / "b", callbacks=[second], resume=True, **common)
    assert (result.kind, result.resumed_from) == (kind, 3)
    one, other = weights_in(tmp_path / "a"), weights_in(tmp_path / "b")
    assert all(torch.equal(weight, other[name]) for name, weight in one.items())
    assert [logs["loss"] for logs in first.logs + second.logs] == [logs["loss"] for logs in straight.logs]


def test_another_split_of_a_batch_is_not_resumed(tiny_model: Path, tmp_path: Path) -> None:
    common: dict[str, Any] = {"rewards": [vowels], "model": str(tiny_model), "output": tmp_path}
    JOBS["grpo"](prompts_of(5), settings=group_settings("grpo", max_steps=2, save_steps=1), **common)
    other = group_settings("grpo", max_steps=4, batch_size=4, gradient_accumulation=2)
    with pytest.raises(InputError, match="as many processes, batch_size"):
        JOBS["grpo"](prompts_of(5), settings=other, resume=True, **common)


@kinds
def test_a_judge_that_breaks_stops_the_run_with_the_last_step_saved(
    kind: str, tiny_model: Path, tmp_path: Path
) -> None:
    from rewards.budget import FailureBudget

    budget, calls = FailureBudget(limit=0.5, minimum=4), []

    def breaking(prompts: Any, completions: Any, **columns: Any) -> list[float | None]:
        calls.append(1)
        for _ in completions:
            budget.note("no_verdict" if len(calls) > 2 else None)
        budget.check()
        return vowels(prompts, completions)

    with pytest.raises(FailureBudgetError, match="no_verdict"):
        JOBS[kind](
            prompts_of(4),
            rewards=[breaking],
            model=str(tiny_model),
            output=tmp_path,
            settings=group_settings(kind, max_steps=9),
        )
    found = last_checkpoint(tmp_path)
    assert found is not None
    assert found.name == f"checkpoint-{len(calls) - 1}"
    assert not (found / "training_args.bin").exists()  # a pickle


def test_lora_has_its_adapter_off_for_a_reference(tiny_model: Path, tmp_path: Path) -> None:
    for kind in ("grpo", "rloo"):
        watch = Watch()
        JOBS[kind](
            prompts_of(4),
            rewards=[vowels],
            model=str(tiny_model),
            output=tmp_path / kind,
            settings=group_settings(kind, tuning="lora", learning_rate=1e-2),
            callbacks=[watch],
        )
        assert watch.logs[0]["kl"] == pytest.approx(0.0, abs=1e-4)
        assert (tmp_path / kind / "adapter_model.safetensors").is_file()


def test_keys_of_trl_that_are_ours_are_refused() -> None:
    with pytest.raises(InputError) as caught:
        check_on_policy_trl("grpo", {"loss_type": "grpo", "scale_rewards": "none", "beta": 0.1, "epsilon": 0.1})
    for name in ("loss_type", "scale_rewards", "beta"):
        assert f"{name}: set `{name}`" in str(caught.value)
    with pytest.raises(InputError, match="normalize_advantages: set"):
        check_on_policy_trl("rloo", {"normalize_advantages": True})
