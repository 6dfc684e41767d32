"""The judge hears of a response when it ends, and not when its batch does."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from rewards.budget import FailureBudget
from rewards.judges.config import EndpointSettings
from rewards.judges.endpoint import EndpointBackend
from rewards.judges.generative import GenerativeJudge
from rewards.protocol.builtin import builtin_protocol
from rewards.reward_function import AsyncJudgeReward
from rl.early_end import hearing_ends
from rl.format_reward import FormatTerm, with_format
from tests.judge_server import Body, Reply, chat_reply, is_probe, serving
from tests.rl.group_toys import JOBS, group_settings
from tests.rl.ppo_toys import prompts_of


def test_ends_are_told_of_once_in_their_order_and_nothing_is_stopped(tiny_model: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    ids = torch.tensor([[5, 6, 7], [8, 9, 10], [11, 12, 13], [14, 15, 16]])
    torch.manual_seed(0)
    how: dict[str, Any] = {"do_sample": True, "max_new_tokens": 12, "min_new_tokens": 12, "pad_token_id": 0}
    plain = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), **how)
    ends = sorted({int(plain[0, 5]), int(plain[2, 8])})
    heard: list[tuple[int, list[int]]] = []
    torch.manual_seed(0)
    with hearing_ends(model, ends, lambda row, tokens: heard.append((row, tokens))):
        watched = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), **how)
    assert torch.equal(plain, watched)
    expected = []
    for row, tokens in enumerate(plain[:, 3:].tolist()):
        ended = next((place for place, token in enumerate(tokens) if token in ends), None)
        if ended is not None:
            expected.append((ended, row, tokens[: ended + 1]))
    assert heard == [(row, tokens) for _, row, tokens in sorted(expected)]
    assert {row for row, _ in heard} >= {0, 2}
    assert "generate" not in vars(model)


@pytest.mark.parametrize("pattern", [None, ".*"])
def test_a_judge_behind_a_server_rates_while_others_are_still_written(
    pattern: str | None, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rl.judged_trainer import JudgedTrainer

    at_work = threading.Event()
    during: list[bool] = []

    def act(path: str, body: Body) -> Reply:
        if not is_probe(body):
            during.append(at_work.is_set())
        return chat_reply("Fine. Rating: [[7]]")

    sample = JudgedTrainer._generate

    def marked(self: Any, *args: Any, **more: Any) -> Any:
        at_work.set()
        try:
            return sample(self, *args, **more)
        finally:
            at_work.clear()

    monkeypatch.setattr(JudgedTrainer, "_generate", marked)
    with serving(act) as server:
        settings = EndpointSettings(base_url=server.url, top_logprobs=0)
        protocol = builtin_protocol()
        judge = GenerativeJudge(EndpointBackend("m", settings, protocol.chat), protocol, "critique")
        reward = AsyncJudgeReward(judge, early=4, budget=FailureBudget(1.0))
        JOBS["grpo"](
            prompts_of(4),
            rewards=[with_format(reward, None if pattern is None else FormatTerm(pattern=pattern))],
            model=str(tiny_model),
            output=tmp_path,
            # Of 400 tokens one ends a turn, so of 32 responses of at most 60 tokens several end early and others late.
            settings=group_settings("grpo", batch_size=32, max_new_tokens=200, max_length=256, max_steps=2),
        )
    assert any(during)
    assert len(during) <= 64  # each response once; empty ones are not asked about
