"""Training on the distribution of ratings: means in proportion, the ranking within a prompt, what is refused."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from judge_training.batches import batched_by_prompt
from judge_training.rating_targets import rated_tokens, shares
from judge_training.rating_trainer import ranking_loss
from judge_training.train import train_judge
from judge_training.training_settings import JudgeTrainingSettings
from rewards.errors import InputError
from rewards.judges.base import RateItem
from rewards.judges.chat_tokens import ChatEncoder
from rewards.judges.choice_tree import build_tree, choice_logprobs
from rewards.judges.load import load_judge
from rewards.protocol.builtin import builtin_protocol
from rewards.protocol.spec import Scale
from rewards.types import Candidate
from tests.judge_training.judge_examples import mixed, rating

SCALE = tuple(map(float, range(1, 11)))


@pytest.mark.parametrize("value", [1.0, 1.25, 6.75, 9.5, 10.0])
def test_a_mean_is_taught_as_both_its_neighbours(value: float):
    found = shares(value, SCALE)
    assert sum(found) == pytest.approx(1)
    assert sum(np.multiply(found, SCALE)) == pytest.approx(value)
    assert sum(share > 0 for share in found) == (1 if value.is_integer() else 2)


def test_a_rating_beyond_the_scale_is_refused():
    with pytest.raises(InputError, match=r"from 1 to 10, got 10\.5"):
        shares(10.5, SCALE)


def test_a_length_penalty_moves_ratings_about_their_prompts_mean_length(tiny_model: Path):
    texts = ("a" * 10, "b" * 1000, "c" * 77)
    examples = [rating(number, text=text) for number, text in enumerate(texts)]
    shared = examples[0].prompt
    examples = [
        example.model_copy(update={"rating": 9.75, "prompt": prompt})
        for example, prompt in zip(examples, (shared, shared, examples[2].prompt), strict=True)
    ]
    tokenizer, protocol = AutoTokenizer.from_pretrained(tiny_model), builtin_protocol()
    encoder = ChatEncoder(tokenizer, protocol.chat)
    plain = rated_tokens(examples, encoder, protocol)
    assert [np.dot(row.targets, SCALE) for row in plain] == pytest.approx([9.75] * 3)
    moved = rated_tokens(examples, encoder, protocol, length_penalty=0.5)
    half = 0.5 * np.log(100) / 2  # from 10 and from 1,000 characters to 100, their geometric mean
    wanted = [10, 9.75 - half, 9.75]  # cut at the scale's end; lower; a prompt's only response stays
    assert [np.dot(row.targets, SCALE) for row in moved] == pytest.approx(wanted)
    with pytest.raises(ValueError, match="length_penalty"):
        JudgeTrainingSettings(loss_on="verdict", length_penalty=0.3)


def test_one_pass_reads_what_the_judge_reads(tiny_model: Path):
    """The distribution that is trained is the one that the finished judge gives, "10" and "1" told apart."""
    examples = [rating(number, text="some words " * (1 + 3 * number)) for number in range(4)]
    tokenizer, protocol = AutoTokenizer.from_pretrained(tiny_model), builtin_protocol()
    rows = rated_tokens(examples, ChatEncoder(tokenizer, protocol.chat), protocol)
    assert tokenizer.decode(rows[0].scale.spine) == "1"
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    tree = build_tree(rows[0].scale.sequences)
    judge = load_judge(model=str(tiny_model), mode="direct")
    items = [
        RateItem(prompt=one.prompt, candidate=Candidate(id=one.id, prompt_id=one.prompt.id, text=one.responses[0]))
        for one in examples
    ]
    for row, judgment in zip(rows, judge.rate(items), strict=True):
        with torch.no_grad():
            logits = model(torch.tensor([row.row()["input_ids"]])).logits[:, -2:]
            logprobs, _ = choice_logprobs(tree, 10, lambda path, logits=logits: logits[:, len(path)])
        assert (logprobs.exp() @ torch.tensor(SCALE)).item() == pytest.approx(judgment.outcome.expected, abs=1e-4)


def test_the_ranking_loss_is_of_pairs_of_one_prompt():
    expected, reference = torch.tensor([5.0, 7.0, 1.0]), torch.tensor([4.0, 8.0, 9.0])
    group = torch.tensor([1, 1, 2])
    wanted, said = 1 / (1 + np.exp(-4)), 1 / (1 + np.exp(-2))
    by_hand = -(wanted * np.log(said) + (1 - wanted) * np.log(1 - said))
    assert ranking_loss(expected, reference, group).item() == pytest.approx(by_hand, abs=1e-6)
    alone = ranking_loss(expected.requires_grad_(), reference, torch.tensor([1, 2, 3]))
    alone.backward()
    assert alone.item() == 0
    assert not expected.grad.any()


def test_of_equal_references_neither_should_be_higher():
    expected = torch.tensor([5.0, 7.0], requires_grad=True)
    same, group = torch.tensor([6.0, 6.0]), torch.tensor([1, 1])
    said = 1 / (1 + np.exp(2))
    loss = ranking_loss(expected, same, group)
    assert loss.item() == pytest.approx(-(np.log(said) + np.log(1 - said)) / 2, abs=1e-6)
    loss.backward()
    assert expected.grad[0] < 0 < expected.grad[1]


class Row(NamedTuple):
    """What the batches ask of a row."""

    id: str
    length: int


@pytest.mark.parametrize("by_length", [False, True])
def test_batches_of_one_prompt_hold_everything_once(by_length: bool):
    rows = [Row(str(number), (number * 7) % 23) for number in range(23)]
    prompts = [f"p{number % 3}" for number in range(23)]
    prompt_of = dict(zip(rows, prompts, strict=True))
    found = batched_by_prompt(rows, prompts, 3, seed=1, by_length=by_length)
    assert sorted(found) == sorted(rows)
    batches = [found[start : start + 3] for start in range(0, 6 * 3, 3)]
    assert all(len({prompt_of[row] for row in batch}) == 1 for batch in batches)
    assert found != batched_by_prompt(rows, prompts, 3, seed=2, by_length=by_length)
    for prompt in set(prompts):
        lengths = [sorted(row.length for row in batch) for batch in batches if prompt_of[batch[0]] == prompt]
        apart = all(one[-1] <= other[0] for one, other in pairwise(sorted(lengths)))
        assert apart is by_length, "batches of a prompt overlap in length only where they were drawn"


def learned(model: Path, output: Path, **more: float) -> tuple[list[float], list[float]]:
    """Ratings to learn, between those of the scale, and what a judge says of the same responses afterwards."""
    texts = ("good " * 6, "bad " * 6, "fair " * 6)
    wanted = (8.5, 1.5, 4.75)
    prompt = rating(0).prompt
    examples = [
        rating(0, text=text).model_copy(update={"id": f"{name}{copy}", "rating": value})
        for copy in range(4)
        for name, text, value in zip("abc", texts, wanted, strict=True)
    ]
    settings = JudgeTrainingSettings(
        loss_on="rating", tuning="full", learning_rate=5e-3, batch_size=3, gradient_accumulation=1, epochs=20,
        save_steps=1000, eval_fraction=0, **more,
    )  # fmt: skip
    trained = train_judge(examples, model=str(model), output=output, settings=settings, mode="direct")
    assert trained.tokens > 80 * 3 * 20
    judge = load_judge(model=str(output / "checkpoints" / "checkpoint-80"), mode="direct")
    items = [
        RateItem(prompt=prompt, candidate=Candidate(id=name, prompt_id=prompt.id, text=text))
        for name, text in zip("abc", texts, strict=True)
    ]
    return list(wanted), [one.outcome.expected for one in judge.rate(items)]


@pytest.mark.parametrize("rank_weight", [0.0, 1.0])
def test_a_judge_learns_ratings_between_two_of_the_scale(tiny_model: Path, tmp_path: Path, rank_weight: float):
    wanted, found = learned(tiny_model, tmp_path / "judge", rank_weight=rank_weight)
    np.testing.assert_allclose(found, wanted, atol=0.5)


def test_what_cannot_be_learned_so_is_refused(tiny_model: Path, tmp_path: Path):
    settings = JudgeTrainingSettings(loss_on="rating", max_steps=1)
    given = {"model": str(tiny_model), "output": tmp_path / "judge", "settings": settings}
    with pytest.raises(InputError, match=r"rating of one response.*got none in example 'd0'"):
        train_judge(mixed(2, 1), mode="direct", **given)
    with pytest.raises(InputError, match="mode: direct"):
        train_judge(mixed(2, 0), mode="critique", **given)
    protocol = builtin_protocol()
    hundred = protocol.model_copy(update={"scale": Scale(high=100)})
    with pytest.raises(InputError, match="share one beginning"):
        train_judge(mixed(2, 0), mode="direct", protocol=hundred, **given)


def test_ratings_are_never_packed(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(ValueError, match="packing"):
        JudgeTrainingSettings(loss_on="rating", packing=True)
    monkeypatch.setattr("judge_training.train.packs", lambda wanted, attention: True)  # as with FlashAttention 2
    settings = JudgeTrainingSettings(loss_on="rating", max_steps=1, batch_size=2, gradient_accumulation=1)
    assert not train_judge(mixed(4, 0), model=str(tiny_model), output=tmp_path / "judge", settings=settings,
                           mode="direct").packed  # fmt: skip


@pytest.mark.parametrize("more", [{"loss_on": "verdict"}, {"batch_size": 1}])
def test_ranking_needs_ratings_of_one_prompt_in_a_batch(more: dict):
    with pytest.raises(ValueError, match="rank_weight"):
        JudgeTrainingSettings(**({"loss_on": "rating", "rank_weight": 1.0, "batch_size": 2} | more))
