"""Both sides of the PPO comparison are given the same job, and what they learned is compared start by start."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmarks.ppo_sides import (
    FILLER,
    REAL,
    TOY,
    Run,
    ours,
    padded_prompts,
    rule_as_a_model,
    share_of_short_words,
    share_of_vowels,
    toy_start,
    written_by,
)
from benchmarks.ppo_vs_trl import compared


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy_start(tmp_path_factory.mktemp("toy"), hidden=16, layers=1, seed=0)


def test_the_rules_are_shares():
    assert share_of_vowels("Aeb1") == 0.5
    assert share_of_short_words("the sea is wonderful") == 0.75
    assert share_of_vowels("") == share_of_short_words(" ") == 0


def test_the_rule_as_a_model_sees_the_response_alone_and_no_special_token(start: Path):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(start)
    prompt, response = (tokenizer(text)["input_ids"] for text in ("aaaa", "axbx"))
    ids = torch.tensor([[*prompt, *response, tokenizer.eos_token_id, tokenizer.pad_token_id]])
    model = rule_as_a_model(share_of_vowels, tokenizer, context=len(prompt))
    scores = model.score(model.trunk(input_ids=ids).hidden_states[-1])
    assert scores.shape == (1, ids.shape[1], 1)
    assert set(scores.flatten().tolist()) == {0.25}


def test_prompts_of_different_length_are_padded_on_the_left_with_the_filler(start: Path):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(start)
    found = padded_prompts(REAL, tokenizer, 12)
    ids, mask = found["input_ids"], found["attention_mask"].bool()
    filler = tokenizer.convert_tokens_to_ids(FILLER)
    assert len({int(row.sum()) for row in mask}) > 1
    assert torch.equal(ids == filler, ~mask), "no prompt holds the token that TRL takes for padding"
    assert mask[:, -1].all()
    assert torch.equal(ids[0], ids[10])
    assert REAL.prompts[1] in tokenizer.decode(ids[1])


def test_our_side_trains_the_toy_and_never_draws_the_filler(
    start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from safetensors.torch import load_file
    from transformers import AutoTokenizer

    from rl.ppo_trainer import PPOTrainer

    drawn: list[int] = []
    learn = PPOTrainer._with_advantages

    def spy(self, batch, *more):
        drawn.extend(batch["completion_ids"][batch["completion_mask"].bool()].tolist())
        return learn(self, batch, *more)

    monkeypatch.setattr(PPOTrainer, "_with_advantages", spy)
    policy = ours(TOY, Run(start=start, work=tmp_path, batch=16, steps=4, seed=0), [])
    assert len(drawn) > 1000
    assert AutoTokenizer.from_pretrained(start).pad_token_id not in drawn
    before, after = (load_file(folder / "model.safetensors") for folder in (start, policy))
    assert any(not torch.equal(before[name], after[name]) for name in before)
    reward, tokens = written_by(policy, TOY)
    assert 0 <= reward <= 1
    assert 1 <= tokens <= TOY.length


def test_starts_are_compared_pairwise_by_their_seed():
    one = [{"seed": seed, "reward": seed / 10 + 0.1} for seed in range(8)]
    other = [{"seed": seed, "reward": seed / 10} for seed in reversed(range(8))]
    found = compared(one, other, "reward")
    assert (found["value"], found["low"], found["high"], found["n"]) == (0.1, 0.1, 0.1, 8)
    with pytest.raises(ValueError, match="one start"):
        compared(one, [{"seed": 9, "reward": 1.0}], "reward")
