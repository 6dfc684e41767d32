"""PPO on a tiny model: it learns, resumes, leaves unscored samples out to the bit, and saves its critic."""

from __future__ import annotations

import math
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from transformers import TrainerCallback
from trl import GRPOTrainer

from rewards.errors import FailureBudgetError, InputError, JudgeUnavailableError, RunError
from rewards.judges.chat_tokens import chat_ids
from rewards.types import Message
from rl.on_policy import prompts_a_round
from rl.on_policy_arguments import check_on_policy_trl
from rl.ppo import train_ppo
from rl.training import last_checkpoint
from rl.training_settings import CriticSettings, KLSettings, LoraSettings
from tests.rl.ppo_toys import batch_of, critic_in, prompts_of, settings_of, trainer_of, vowels, weights_in

Weights = dict[str, torch.Tensor]


class Watch(TrainerCallback):
    """Keeps what is logged, and presses Ctrl-C in a step if asked to."""

    def __init__(self, interrupt_at: int | None = None) -> None:
        self.logs: list[dict[str, float]] = []
        self.interrupt_at = interrupt_at

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.interrupt_at is not None and state.global_step == self.interrupt_at - 1:
            os.kill(os.getpid(), signal.SIGINT)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        if logs and "loss" in logs:
            self.logs.append(dict(logs))


def same(left: Weights, right: Weights) -> bool:
    assert left.keys() == right.keys()
    return all(torch.equal(weight, right[name]) for name, weight in left.items())


def test_full_tuning_moves_policy_and_critic_and_measures_itself(tiny_model: Path, tmp_path: Path) -> None:
    watch = Watch()
    result = train_ppo(
        prompts_of(4),
        rewards=[vowels],
        model=str(tiny_model),
        output=tmp_path,
        settings=settings_of(),
        callbacks=[watch],
    )
    assert (result.kind, result.steps, result.examples) == ("ppo", 3, 4)
    assert not same(weights_in(tiny_model), weights_in(tmp_path))
    first, last = (critic_in(tmp_path / "checkpoints" / "checkpoint-3"), critic_in(tmp_path))
    assert same(first, last)
    assert "trunk.norm.weight" in last
    names = ["reward", "kl", "entropy", "completion_length", "value_loss", "explained_variance", "clip_fraction"]
    for logs in watch.logs:
        assert all(math.isfinite(logs[name]) for name in [*names, "loss", "failure_rate", "kl_coefficient"]), logs
    assert watch.logs[0]["kl"] == pytest.approx(0.0, abs=1e-5)  # the policy starts as the reference


def test_the_policy_stays_while_the_critic_warms_up(tiny_model: Path, tmp_path: Path) -> None:
    settings = settings_of(max_steps=3, save_steps=1, critic=CriticSettings(tuning="full", warmup_steps=2))
    train_ppo(prompts_of(4), rewards=[vowels], model=str(tiny_model), output=tmp_path, settings=settings)
    second, third = (tmp_path / "checkpoints" / f"checkpoint-{step}" for step in (2, 3))
    assert same(weights_in(second), weights_in(tiny_model))
    assert not same(weights_in(third), weights_in(tiny_model))
    assert not same(critic_in(second), critic_in(third))


def test_policy_and_critic_have_their_own_learning_rates(tiny_model: Path, tmp_path: Path) -> None:
    settings = settings_of(learning_rate=1e-4, critic=CriticSettings(tuning="full", learning_rate=3e-3))
    trainer = trainer_of(tiny_model, tmp_path, settings)
    groups = trainer.create_optimizer().param_groups
    rates = {id(weight): group["lr"] for group in groups for weight in group["params"]}
    assert {rates[id(weight)] for weight in trainer.critic.parameters()} == {3e-3}
    policy = [weight for name, weight in trainer.model.named_parameters() if not name.startswith("critic.")]
    assert {rates[id(weight)] for weight in policy} == {1e-4}
    assert len(rates) == len(policy) + len(list(trainer.critic.parameters()))
    assert {group["eps"] for group in groups} == {1e-5}


@pytest.mark.parametrize("kind", ["own", "shared"])
def test_lora_has_one_copy_of_the_weights_and_saves_policy_and_critic_apart(
    kind: Any, tiny_model: Path, tmp_path: Path
) -> None:
    critic = CriticSettings(kind=kind, learning_rate=1e-3, lora=LoraSettings(rank=2), warmup_steps=0)
    settings = settings_of(tuning="lora", learning_rate=1e-2, critic=critic)
    watch = Watch()
    common: dict[str, Any] = {"rewards": [vowels], "model": str(tiny_model)}
    train_ppo(prompts_of(4), output=tmp_path / "a", settings=settings, callbacks=[watch], **common)
    assert watch.logs[0]["kl"] == pytest.approx(0.0, abs=1e-5)
    assert abs(watch.logs[-1]["kl"]) > 1e-4  # the reference stayed when the adapter moved
    assert trainer_of(tiny_model, tmp_path / "look", settings).ref_model is None
    adapter, saved = weights_in(tmp_path / "a"), critic_in(tmp_path / "a")
    assert all("lora_" in name and "critic" not in name and "trunk" not in name for name in adapter)
    assert {name.startswith("head.") or "lora_" in name for name in saved} == {True}
    assert len(saved) == (2 if kind == "shared" else 2 + len(adapter))
    # Both come back: the policy as any adapter, the critic as a start.
    again = settings.model_copy(update={"critic": critic.model_copy(update={"start": tmp_path / "a" / "critic"})})
    trainer = trainer_of(tiny_model, tmp_path / "b", again)
    loaded = {name: weight for name, weight in trainer.critic.named_parameters() if weight.requires_grad}
    assert same({name: weight.detach() for name, weight in loaded.items()}, saved)
    train_ppo(prompts_of(4), output=tmp_path / "c", adapter=tmp_path / "a", settings=again, **common)
    assert not same(weights_in(tmp_path / "c"), adapter)


@pytest.mark.skipif(not torch.cpu._is_avx512_bf16_supported(), reason="this CPU does not multiply in bfloat16")
@pytest.mark.parametrize("tuning", ["full", "lora"])
def test_it_trains_in_bfloat16(tuning: Any, tiny_model: Path, tmp_path: Path) -> None:
    watch = Watch()
    train_ppo(
        prompts_of(4),
        rewards=[vowels],
        model=str(tiny_model),
        output=tmp_path,
        settings=settings_of(tuning=tuning, learning_rate=1e-2),
        callbacks=[watch],
        dtype="bfloat16",
    )
    names = ["loss", "reward", "kl", "entropy", "value_loss", "explained_variance", "clip_fraction"]
    for logs in watch.logs:
        assert all(math.isfinite(logs[name]) for name in names), logs
    assert abs(watch.logs[0]["kl"]) < 1e-2  # of 8 tokens, between the policy and itself
    assert abs(watch.logs[-1]["kl"]) > 0.0
    trained = weights_in(tmp_path)
    assert {weight.dtype for weight in trained.values()} == {torch.float32}  # the optimizer's numbers are not halved
    if tuning == "full":
        start = weights_in(tiny_model)
        assert any(not torch.equal(weight, start[name]) for name, weight in trained.items())


def test_a_critic_of_another_kind_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    train_ppo(prompts_of(4), rewards=[vowels], model=str(tiny_model), output=tmp_path / "a", settings=settings_of())
    shared = CriticSettings(kind="shared", start=tmp_path / "a" / "critic")
    with pytest.raises(InputError, match="same model, kind and tuning"):
        trainer_of(tiny_model, tmp_path / "b", settings_of(critic=shared))
    with pytest.raises(InputError, match="found none"):
        trainer_of(tiny_model, tmp_path / "b", settings_of(critic=CriticSettings(start=tmp_path)))


@pytest.mark.parametrize("kind", ["own", "shared"])
def test_values_stand_where_the_token_is_not_yet_seen(kind: Any, tiny_model: Path, tmp_path: Path) -> None:
    trainer = trainer_of(tiny_model, tmp_path, settings_of(critic=CriticSettings(kind=kind, tuning="full")))
    batch = batch_of(trainer)
    changed = dict(batch, completion_ids=batch["completion_ids"].clone())
    changed["completion_ids"][:, 3] += 1
    with torch.no_grad():
        before, after = (trainer._forward(trainer.model, one)["values"] for one in (batch, changed))
    assert before.shape == batch["completion_ids"].shape
    torch.testing.assert_close(before[:, :4], after[:, :4])
    assert (before[:, 4] - after[:, 4]).abs().max() > 1e-4


def test_the_kl_that_is_logged_is_the_kl_that_is_charged(tiny_model: Path, tmp_path: Path) -> None:
    settings = settings_of(kl=KLSettings(coefficient=0.3, estimator="k3"), reward_scale="none", gamma=1.0, lam=1.0)
    trainer = trainer_of(tiny_model, tmp_path, settings.model_copy(update={"missing_eos_penalty": 0.0}))
    with torch.no_grad():
        trainer.model.lm_head.weight.mul_(1.2)
    batch = batch_of(trainer)
    rewards = trainer._raw_rewards.squeeze(1)
    # With gamma = lambda = 1 the return of the first token is the reward less all that was charged.
    charged = (rewards - batch["returns"][:, 0]) / 0.3
    logged = trainer._metrics["train"]["kl"][-1]
    assert charged.mean().item() == pytest.approx(logged, rel=1e-4)
    assert logged > 0.01


def every_other(prompts: Any, completions: Any, **columns: Any) -> list[float | None]:
    return [reward if i % 2 else None for i, reward in enumerate(vowels(prompts, completions))]


def test_a_sample_without_a_reward_is_as_if_it_were_not_there(tiny_model: Path, tmp_path: Path) -> None:
    trainer = trainer_of(tiny_model, tmp_path, settings_of(batch_size=8), rewards=every_other)
    batch = batch_of(trainer)
    assert batch["scored"].tolist() == [False, True] * 4
    assert not batch["advantages"][0::2].any()
    assert trainer._metrics["train"]["failure_rate"][-1] == 0.5
    assert trainer.scale is not None
    assert trainer.scale.count == 4
    alone = {name: value[1::2] if value.ndim else value for name, value in batch.items()}
    losses, gradients = [], []
    for part in (batch, alone):
        trainer.model.zero_grad()
        loss = trainer._compute_loss(trainer.model, part)
        loss.backward()
        losses.append(loss.detach())
        gradients.append({name: weight.grad.clone() for name, weight in trainer.model.named_parameters()})
    assert torch.equal(*losses)
    assert same(*gradients)
    assert max(gradient.abs().max().item() for gradient in gradients[0].values()) > 0


def test_advantages_beside_unscored_samples_are_those_of_a_batch_without_them(
    tiny_model: Path, tmp_path: Path
) -> None:
    """From the same log-probabilities and values, 10% None: the rest has equal advantages and returns."""
    found = []
    for rule in (lambda **given: [*vowels(**given)[:9], None], vowels):
        trainer = trainer_of(tiny_model, tmp_path, settings_of(batch_size=5, gradient_accumulation=2), rewards=rule)
        batch_before = _replay(trainer, rows=10 if rule is not vowels else 9)
        found.append({name: batch_before[name][:9] for name in ("advantages", "returns")})
    assert same(*found)


def _replay(trainer: Any, rows: int) -> dict[str, Any]:
    """Score responses that do not come from sampling, with log-probabilities and values that are given."""
    width = torch.arange(6)
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(3, 300, (10, 6), generator=generator)
    logps, reference, values = torch.randn(3, 10, 6, generator=generator)
    mask = (width < torch.tensor([6, 2, 3, 4, 5, 1, 2, 3, 4, 6])[:, None]).long()
    parent = {"completion_ids": ids, "completion_mask": mask, "ref_per_token_logps": reference}
    base = GRPOTrainer
    given = {name: value[:rows] for name, value in parent.items()}
    texts = [[{"content": "ab" * (i + 1) + "c"}] for i in range(rows)]

    def sampled(self: Any, inputs: Any) -> dict[str, Any]:
        self._calculate_rewards(inputs, [None] * rows, texts, None)
        self._metrics["train"]["completions/mean_length"].append(1.0)
        return dict(given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(base, "_generate_and_score_completions", sampled)
        patch.setattr(trainer, "one_forward", False)
        patch.setattr(trainer, "_old", lambda batch: (logps[:rows], values[:rows]))
        batch: dict[str, Any] = trainer._generate_and_score_completions([{"prompt": None}] * rows)
    return batch


@pytest.mark.parametrize("kind", ["own", "shared"])
def test_one_forward_pass_is_as_good_as_one_before_and_one_for_the_loss(
    kind: Any, tiny_model: Path, tmp_path: Path
) -> None:
    """To the bit, where all have a reward; and what is logged too."""
    settings = settings_of(batch_size=8, critic=CriticSettings(kind=kind, tuning="full"), temperature=0.7)
    found = []
    for one_forward in (True, False):
        torch.manual_seed(4)
        trainer = trainer_of(tiny_model, tmp_path, settings)
        torch.manual_seed(5)
        batch = batch_of(trainer, one_forward=one_forward)
        assert ("advantages" in batch) is not one_forward
        loss = trainer._compute_loss(trainer.model, batch)
        loss.backward()
        gradients = {n: w.grad for n, w in trainer.model.named_parameters() if w.grad is not None}
        logged = {name: trainer._metrics["train"][name] for name in ("kl", "explained_variance", "value_loss")}
        found.append((loss.detach(), gradients, logged))
    assert torch.equal(found[0][0], found[1][0])
    assert same(found[0][1], found[1][1])
    assert found[0][2] == found[1][2]


@pytest.mark.parametrize(("values", "expected"), [({}, True), ({"passes": 2}, False), ({"minibatches": 2}, False),
                                                  ({"gradient_accumulation": 2}, False)])  # fmt: skip
def test_a_batch_that_is_used_once_and_whole_needs_one_forward_pass(
    values: dict[str, Any], expected: bool, tiny_model: Path, tmp_path: Path
) -> None:
    assert trainer_of(tiny_model, tmp_path, settings_of(**values)).one_forward is expected


@pytest.mark.parametrize("kind", ["own", "shared"])
def test_a_policy_that_the_parent_has_asked_is_not_asked_again(kind: Any, tiny_model: Path, tmp_path: Path) -> None:
    settings = settings_of(passes=2, batch_size=8, critic=CriticSettings(kind=kind, tuning="full"), temperature=0.7)
    trainer = trainer_of(tiny_model, tmp_path, settings)
    forward, asked = trainer.model.forward, []

    def noted(*args: Any, **given: Any) -> Any:
        asked.append(given.get("values", False) if "shift_labels" in given else "sampling")
        return forward(*args, **given)

    trainer.model.forward = noted
    batch = batch_of(trainer)
    learning = [what for what in asked if what != "sampling"]
    assert learning == [False, "alone"], "the policy's log-probabilities once, then the values"
    both = trainer._forward(trainer.model, batch)
    mask = batch["loss_mask"]
    assert torch.equal(both["log_probs"][mask], batch["old_per_token_logps"][mask])
    torch.testing.assert_close(both["values"][mask], batch["old_values"][mask], rtol=0, atol=1e-6)


def test_the_gradient_of_the_whole_loss_is_that_of_finite_differences(tiny_model: Path, tmp_path: Path) -> None:
    """To a thousandth of its length: the log-probabilities are in float32, which no step may be too small for."""
    torch.manual_seed(0)
    settings = settings_of(batch_size=8, critic=CriticSettings(kind="shared"), value_clip=None, whiten=False)
    trainer = trainer_of(tiny_model, tmp_path, settings)
    batch = batch_of(trainer)
    trainer.model.double()
    batch = {name: value.double() if value.is_floating_point() else value for name, value in batch.items()}
    weights = [weight for weight in trainer.model.parameters() if weight.requires_grad]
    torch.manual_seed(3)
    with torch.no_grad():
        for weight in weights:  # away from the batch's own policy, where no token is clipped
            weight.add_(0.01 * torch.randn_like(weight))
        logps = trainer._forward(trainer.model, batch)["log_probs"]
        ratio = (logps - batch["old_per_token_logps"]).exp()
        kink = torch.minimum((ratio - 1 - settings.clip).abs(), (ratio - 1 + settings.clip).abs()) < 0.03
        batch["old_per_token_logps"] = torch.where(kink, logps, batch["old_per_token_logps"])
    assert 0 < ((ratio - 1).abs() > settings.clip)[batch["loss_mask"]].float().mean() < 1, "some are clipped"
    loss = trainer._compute_loss(trainer.model, batch)
    gradients = torch.autograd.grad(loss, weights)
    length = sum(float((g * g).sum()) for g in gradients) ** 0.5
    for _ in range(3):
        direction = [torch.randn_like(weight) for weight in weights]
        expected = sum(float((g * d).sum()) for g, d in zip(gradients, direction, strict=True))
        ends = [_loss_at(trainer, batch, weights, direction, step) for step in (1e-4, -1e-4)]
        assert (ends[0] - ends[1]) / 2e-4 == pytest.approx(expected, abs=1e-3 * length)


def _loss_at(trainer: Any, batch: Any, weights: Any, direction: Any, step: float) -> float:
    with torch.no_grad():
        for weight, way in zip(weights, direction, strict=True):
            weight.add_(step * way)
        loss = float(trainer._compute_loss(trainer.model, batch))
        for weight, way in zip(weights, direction, strict=True):
            weight.sub_(step * way)
    return loss


def test_accumulation_changes_nothing(tiny_model: Path, tmp_path: Path) -> None:
    """The same responses in one micro-batch or in four, of different lengths: the same gradient."""
    trainer = trainer_of(tiny_model, tmp_path, settings_of(batch_size=2, gradient_accumulation=4))
    batch = batch_of(trainer)
    at_once = trainer_of(tiny_model, tmp_path, settings_of(batch_size=8))
    at_once.current_gradient_accumulation_steps = 1
    at_once._compute_loss(at_once.model, batch).backward()
    for start in range(0, 8, 2):
        part = {name: value[start : start + 2] if value.ndim else value for name, value in batch.items()}
        trainer._compute_loss(trainer.model, part).backward()
    for (name, one), other in zip(trainer.model.named_parameters(), at_once.model.parameters(), strict=True):
        if not name.startswith("critic."):  # whose head starts from chance
            torch.testing.assert_close(one.grad, other.grad, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("step", [2, 3])
def test_resumed_after_an_interrupt_is_the_same_as_never_stopped(step: int, tiny_model: Path, tmp_path: Path) -> None:
    """Between two batches of responses (step 2), and half-way through one (step 3)."""
    adaptive = KLSettings(coefficient=0.05, target=0.5, horizon=20)
    settings = settings_of(max_steps=5, batch_size=2, minibatches=2, kl=adaptive)
    common: dict[str, Any] = {"rewards": [vowels], "model": str(tiny_model), "settings": settings}
    straight, first, second = Watch(), Watch(step), Watch()
    train_ppo(prompts_of(5), output=tmp_path / "a", callbacks=[straight], **common)
    with pytest.raises(KeyboardInterrupt, match=f"after step {step}"):
        train_ppo(prompts_of(5), output=tmp_path / "b", callbacks=[first], **common)
    result = train_ppo(prompts_of(5), output=tmp_path / "b", callbacks=[second], resume=True, **common)
    assert result.resumed_from == step
    assert same(weights_in(tmp_path / "a"), weights_in(tmp_path / "b"))
    assert same(critic_in(tmp_path / "a"), critic_in(tmp_path / "b"))
    kept = {"loss", "kl", "kl_coefficient", "reward", "explained_variance", "value_loss"}
    both = [{k: v for k, v in logs.items() if k in kept} for logs in first.logs + second.logs]
    assert both == [{k: v for k, v in logs.items() if k in kept} for logs in straight.logs]
    assert len({logs["kl_coefficient"] for logs in straight.logs if "kl_coefficient" in logs}) > 1


def test_it_learns_to_write_vowels_and_not_to_be_short(tmp_path: Path) -> None:
    from tests.tiny_model import build_tiny_model

    bytes_only = build_tiny_model(tmp_path / "model", vocabulary=259)
    watch = Watch()
    settings = settings_of(
        max_steps=60,
        batch_size=64,
        learning_rate=5e-3,
        max_new_tokens=16,
        missing_eos_penalty=0.0,
        kl=KLSettings(coefficient=0.002),
        critic=CriticSettings(tuning="full", learning_rate=5e-3, warmup_steps=2),
    )
    train_ppo(
        prompts_of(64),
        rewards=[vowels],
        model=str(bytes_only),
        output=tmp_path / "out",
        settings=settings,
        callbacks=[watch],
    )
    assert watch.logs[0]["reward"] < 0.1
    assert watch.logs[-1]["reward"] > 0.9
    assert watch.logs[-1]["completion_length"] > 12
    assert watch.logs[-1]["explained_variance"] > watch.logs[0]["explained_variance"]


def test_a_judge_that_breaks_stops_the_run_with_the_last_step_saved(tiny_model: Path, tmp_path: Path) -> None:
    from rewards.budget import FailureBudget

    budget, calls = FailureBudget(limit=0.5, minimum=4), []

    def breaking(prompts: Any, completions: Any, **columns: Any) -> list[float | None]:
        calls.append(1)
        for _ in completions:
            budget.note("no_verdict" if len(calls) > 2 else None)
        budget.check()
        return vowels(prompts, completions)

    settings = settings_of(max_steps=9)
    common: dict[str, Any] = {"model": str(tiny_model), "output": tmp_path, "settings": settings}
    with pytest.raises(FailureBudgetError, match="no_verdict"):
        train_ppo(prompts_of(4), rewards=[breaking], **common)
    found = last_checkpoint(tmp_path)
    assert found is not None
    assert found.name == f"checkpoint-{len(calls) - 1}"
    assert critic_in(found)
    assert not (found / "training_args.bin").exists()  # a pickle
    assert train_ppo(prompts_of(4), rewards=[vowels], **common, resume=True).resumed_from == len(calls) - 1


def test_a_judge_that_is_lost_stops_the_run_with_the_last_step_saved(tiny_model: Path, tmp_path: Path) -> None:
    calls: list[int] = []

    def lost(prompts: Any, completions: Any, **columns: Any) -> list[float | None]:
        calls.append(1)
        if len(calls) > 2:
            raise JudgeUnavailableError("no answer from the judge; start the server")
        return vowels(prompts, completions)

    common: dict[str, Any] = {"model": str(tiny_model), "output": tmp_path, "settings": settings_of(max_steps=9)}
    with pytest.raises(JudgeUnavailableError, match=r"^no answer from the judge; start the server$"):
        train_ppo(prompts_of(4), rewards=[lost], **common)
    found = last_checkpoint(tmp_path)
    assert found is not None
    assert found.name == f"checkpoint-{len(calls) - 1}"


def test_a_control_token_in_a_prompt_is_text_in_training_as_in_sampling(tiny_model: Path, tmp_path: Path) -> None:
    trainer = trainer_of(tiny_model, tmp_path, settings_of())
    tokenizer = trainer.processing_class
    message = Message(role="user", content=f"Say {tokenizer.eos_token} no")
    [[prompt_ids], *_] = trainer._tokenize_prompts([[message.model_dump()]])
    assert prompt_ids == chat_ids(tokenizer, [message])
    assert tokenizer.eos_token_id not in tokenizer.encode("Say ", add_special_tokens=False)
    plain = chat_ids(tokenizer, [Message(role="user", content="Say no")])
    assert prompt_ids.count(tokenizer.eos_token_id) == plain.count(tokenizer.eos_token_id)


def test_async_rewards_with_weights_are_added_and_one_none_is_no_reward(tiny_model: Path, tmp_path: Path) -> None:
    async def slow(prompts: Any, completions: Any, **columns: Any) -> list[float | None]:
        return [2.0] * len(completions)

    def failing_once(prompts: Any, completions: Any, **columns: Any) -> list[float | None]:
        return [None, *[1.0] * (len(completions) - 1)]

    watch = Watch()
    train_ppo(
        prompts_of(4),
        rewards=[slow, failing_once],
        weights=[3.0, 1.0],
        model=str(tiny_model),
        output=tmp_path,
        settings=settings_of(max_steps=1),
        callbacks=[watch],
    )
    assert watch.logs[0]["reward"] == 7.0  # and not the mean with a 6 for the sample that has no reward
    assert watch.logs[0]["failure_rate"] == 0.25


def test_a_batch_that_nothing_was_said_of_moves_nothing(tiny_model: Path, tmp_path: Path) -> None:
    def silent(prompts: Any, completions: Any, **columns: Any) -> list[float | None]:
        return [None] * len(completions)

    result = train_ppo(
        prompts_of(4), rewards=[silent], model=str(tiny_model), output=tmp_path, settings=settings_of(max_steps=2)
    )
    assert same(weights_in(tiny_model), weights_in(tmp_path))
    assert result.final_loss == 0.0


def test_what_cannot_be_used_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    common: dict[str, Any] = {"model": str(tiny_model), "output": tmp_path}
    with pytest.raises(RunError, match="expected prompts"):
        train_ppo([], rewards=[vowels], settings=settings_of(), **common)
    with pytest.raises(InputError, match="a weight for each"):
        train_ppo(prompts_of(2), rewards=[vowels], weights=[1.0, 2.0], settings=settings_of(), **common)
    with pytest.raises(InputError, match="shortest has"):
        train_ppo(prompts_of(2), rewards=[vowels], settings=settings_of(max_length=12), **common)
    with pytest.raises(InputError, match="at least 2 responses"):
        train_ppo(prompts_of(2), rewards=[vowels], settings=settings_of(batch_size=1), **common)
    with pytest.raises(InputError, match="multiple of"):
        prompts_a_round(settings_of(batch_size=4, responses_per_prompt=3), 1)
    with pytest.raises(ValidationError, match="below max_length"):
        settings_of(max_new_tokens=64)
    with pytest.raises(ValidationError, match="holds out nothing"):
        settings_of(eval_fraction=0.1)
    with pytest.raises(InputError) as caught:
        check_on_policy_trl(
            "ppo",
            {"beta": 0.1, "loss_type": "grpo", "top_pp": 0.9, "use_vllm": False, "chat_template_kwargs": {"a": 1}},
        )
    message = str(caught.value)
    assert "beta: set `kl.coefficient`" in message
    assert "loss_type: this is set by the job: the loss is PPO's" in message
    assert "did you mean top_p?" in message
    assert "chat_template_kwargs: this is set by the job" in message
    assert "use_vllm" not in message


@pytest.mark.parametrize("tuning", ["lora", "full"])
def test_gradient_checkpointing_changes_nothing(tuning: Any, tiny_model: Path, tmp_path: Path) -> None:
    """Also with several passes over a batch, and two responses to each prompt."""
    critic = CriticSettings(tuning=tuning, learning_rate=1e-3, lora=LoraSettings(rank=2), warmup_steps=0)
    found = {}
    for checkpointing in (False, True):
        settings = settings_of(
            tuning=tuning,
            critic=critic,
            learning_rate=1e-2 if tuning == "lora" else 1e-3,
            max_steps=4,
            passes=2,
            responses_per_prompt=2,
            gradient_checkpointing=checkpointing,
        )
        output, watch = tmp_path / str(checkpointing), Watch()
        train_ppo(
            prompts_of(4), rewards=[vowels], model=str(tiny_model), output=output, settings=settings, callbacks=[watch]
        )
        found[checkpointing] = weights_in(output) | critic_in(output)
        assert watch.logs[1]["clip_fraction"] > 0  # the second pass is off the batch's own policy
    for name, weight in found[False].items():
        torch.testing.assert_close(weight, found[True][name], rtol=1e-3, atol=1e-5)
