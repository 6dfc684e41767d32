"""What makes training on a CPU affordable changes no loss: the output layer at the labels only, batches by length."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM
from trl.trainer.utils import add_fused_lm_head

from judge_training.batches import batched_by_length
from judge_training.labelled_positions import score_labelled_only
from judge_training.train import IGNORED, TokenizedExample, train_judge
from judge_training.training_settings import JudgeTrainingSettings
from rewards.errors import InputError
from rewards.training.settings import LoraSettings
from tests.judge_training.judge_examples import mixed

FIELDS = ("log_probs", "entropy", "is_top1")


def batch() -> dict[str, torch.Tensor]:
    """Three rows, the second padded and the third without any label."""
    ids = torch.arange(36).reshape(3, 12) % 200 + 10
    labels = torch.full_like(ids, IGNORED)
    labels[0, -4:], labels[1, 3:6] = ids[0, -4:], ids[1, 3:6]
    mask = torch.ones_like(ids)
    mask[1, 8:] = 0
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def fused(folder: Path, *, narrow: bool):
    model = AutoModelForCausalLM.from_pretrained(folder)
    add_fused_lm_head(model, outputs=FIELDS)
    if narrow:
        score_labelled_only(model)
    return model


def test_the_same_record_and_gradient_as_trl(tiny_model: Path):
    whole, narrow = fused(tiny_model, narrow=False), fused(tiny_model, narrow=True)
    expected, found = (model(**batch(), fused_lm_head=True) for model in (whole, narrow))
    assert torch.equal(found.label_mask, expected.label_mask)
    for name in ("loss", *FIELDS):
        torch.testing.assert_close(getattr(found, name), getattr(expected, name), rtol=1e-5, atol=1e-5)
    assert expected.loss > 1
    expected.loss.backward()
    found.loss.backward()
    for one, other in zip(whole.parameters(), narrow.parameters(), strict=True):
        torch.testing.assert_close(other.grad, one.grad, rtol=1e-4, atol=1e-6)


def test_the_output_layer_sees_the_labelled_positions_only(tiny_model: Path):
    model, seen = fused(tiny_model, narrow=True), []
    model.get_output_embeddings().register_forward_hook(lambda _, given, __: seen.append(given[0].shape))
    model(**batch(), fused_lm_head=True)
    # It sees seven labels of 36 positions, and any other call as it was.
    assert [shape.numel() // shape[-1] for shape in seen] == [7]
    given = batch()
    assert model(given["input_ids"]).logits.shape[:2] == (3, 12)


def test_a_batch_without_a_label_is_a_differentiable_zero(tiny_model: Path):
    model, given = fused(tiny_model, narrow=True), batch()
    loss = model(**given | {"labels": torch.full_like(given["labels"], IGNORED)}, fused_lm_head=True).loss
    loss.backward()
    assert loss.item() == 0
    assert all(not weight.grad.any() for weight in model.parameters() if weight.grad is not None)


def example(length: int, name: str = "") -> TokenizedExample:
    return TokenizedExample(f"{name}{length:03d}", (1,) * (length - 1), (2,))


def test_batches_by_length_hold_everything_once_and_little_padding():
    rows = [example(length) for length in (9, 50, 10, 51, 11, 52, 12, 53, 13, 54, 99)]
    found = batched_by_length(rows, 2, seed=3)
    assert sorted(found, key=lambda one: one.length) == sorted(rows, key=lambda one: one.length)
    batches = [[one.length for one in found[start : start + 2]] for start in range(0, len(found), 2)]
    assert batches[-1] == [99]  # the batch that is not full would shift the others
    assert sum(max(several) - min(several) for several in batches) <= 41
    assert batches[:-1] != sorted(batches[:-1])
    assert batched_by_length(rows[::-1], 2, seed=3) == found != batched_by_length(rows, 2, seed=4)


def test_training_by_length_is_repeatable_and_refuses_another_order(tiny_model: Path, tmp_path: Path):
    settings = JudgeTrainingSettings(max_steps=2, batch_size=2, gradient_accumulation=1, batch_by_length=True)
    found = [
        train_judge(mixed(4, 4), model=str(tiny_model), output=tmp_path / name, settings=settings, mode="direct")
        for name in "ab"
    ]
    assert found[0].final_loss == found[1].final_loss
    with pytest.raises(InputError, match="batch_by_length"):
        train_judge(
            mixed(4, 4),
            model=str(tiny_model),
            output=tmp_path / "c",
            settings=settings,
            mode="direct",
            trl={"train_sampling_strategy": "group_by_length"},
        )


def test_only_the_last_blocks_are_adapted(tiny_model: Path, tmp_path: Path):
    from safetensors.torch import load_file

    lora = LoraSettings(rank=2, alpha=4, last_blocks=1)
    settings = JudgeTrainingSettings(max_steps=2, batch_size=2, gradient_accumulation=1, lora=lora, learning_rate=1e-2)
    train_judge(mixed(4, 4), model=str(tiny_model), output=tmp_path / "judge", settings=settings, mode="direct")
    weights = load_file(tmp_path / "judge" / "adapter_model.safetensors")
    blocks = {name.split("layers.")[1].split(".")[0] for name in weights}
    layers = {name.split(".lora_")[0].rpartition(".")[2] for name in weights}
    assert blocks == {"1"}  # the tiny model has blocks 0 and 1
    assert layers == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
    assert any(weight.any() for name, weight in weights.items() if "lora_B" in name)


def test_more_blocks_than_there_are_is_an_error(tiny_model: Path, tmp_path: Path):
    settings = JudgeTrainingSettings(max_steps=1, lora=LoraSettings(last_blocks=3))
    with pytest.raises(InputError, match=r"last_blocks of at most 2.*got 3"):
        train_judge(mixed(2, 0), model=str(tiny_model), output=tmp_path / "judge", settings=settings, mode="direct")


def test_loss_on_the_verdict_is_on_the_tokens_that_are_scored(tiny_model: Path):
    from transformers import AutoTokenizer

    from judge_training.train import tokenize
    from rewards.judges.chat_tokens import ChatEncoder
    from rewards.protocol.builtin import builtin_protocol
    from rewards.protocol.render import render_single
    from rewards.protocol.write import rating_choices

    tokenizer, protocol = AutoTokenizer.from_pretrained(tiny_model), builtin_protocol()
    found = tokenize(mixed(6, 4), tokenizer, protocol, mode="direct", loss_on="verdict")
    for one, made in zip(mixed(6, 4), found, strict=True):
        written = tokenizer.decode(made.answer_ids)
        context = tokenizer.decode(made.prompt_ids)
        if one.kind == "single":
            assert context.endswith("Rating: [[")
            assert written == f"{one.rating:.0f}]]"
        else:
            assert context.endswith("Final decision:")
            assert written.startswith({"first": " Response 1", "second": " Response 2", "tie": " Tie"}[one.label])
    single = next(one for one in mixed(6, 4) if one.kind == "single")
    question = render_single(
        protocol, query=single.prompt.messages[-1].content, response=single.responses[0], mode="direct"
    )
    scored = ChatEncoder(tokenizer, protocol.chat).choices(
        question, "Rating: [[", tuple(rating_choices(protocol)), "]]"
    )
    made = next(made for one, made in zip(mixed(6, 4), found, strict=True) if one.id == single.id)
    assert list(made.prompt_ids) == scored.context
    assert made.answer_ids in scored.sequences


def test_a_critique_is_not_learned_with_the_loss_on_the_verdict(tiny_model: Path):
    from transformers import AutoTokenizer

    from judge_training.train import tokenize
    from rewards.protocol.builtin import builtin_protocol

    with pytest.raises(InputError, match="mode: direct"):
        tokenize(
            mixed(1, 0),
            AutoTokenizer.from_pretrained(tiny_model),
            builtin_protocol(),
            mode="critique",
            loss_on="verdict",
        )
