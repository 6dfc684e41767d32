"""Fine-tuning on selected responses: the loss falls on the response alone, and the result reloads and resumes."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from rewards.errors import InputError, RunError
from rewards.jsonl import write_records
from rewards.judges.local_model import load_model
from rewards.select import Selected
from rewards.types import Message
from rl.rejection_sampling import train_on_selected
from rl.training import RESULT_FILE
from rl.training_settings import LoraSettings, SFTSettings


def rows_of(count: int, *, question: str = "Question", text: str = "a good answer") -> list[Selected]:
    return [
        Selected(
            prompt_id=f"p{i}",
            candidate_id=f"p{i}/0",
            messages=(Message(role="user", content=f"{question} {i}?"),),
            text=f"{text} {i}",
            reward=5.0,
            rank=1,
        )
        for i in range(count)
    ]


def settings_of(**values: Any) -> SFTSettings:
    usual: dict[str, Any] = {
        "learning_rate": 5e-3,
        "warmup": 0.0,
        "max_steps": 4,
        "batch_size": 4,
        "gradient_accumulation": 1,
        "max_length": 128,
        "lora": LoraSettings(rank=4, alpha=8),
    }
    return SFTSettings(**(usual | values))


def weights_in(folder: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    (file,) = folder.glob("*.safetensors")
    return dict(load_file(file))


def response_loss(folder: Path, adapter: Path | None, row: Selected) -> float:
    """Mean negative log-likelihood of a response and its end of turn, computed without TRL."""
    loaded = load_model(str(folder), adapter=adapter)
    messages = [message.model_dump() for message in row.messages]
    start = loaded.tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    whole = loaded.tokenizer.apply_chat_template(
        [*messages, {"role": "assistant", "content": row.text}], tokenize=False
    )
    ids = loaded.tokenizer(whole, return_tensors="pt", add_special_tokens=False).input_ids
    length = len(loaded.tokenizer(start, add_special_tokens=False).input_ids)
    labels = ids.clone()
    labels[:, :length] = -100
    with torch.no_grad():
        return float(loaded.model(ids, labels=labels).loss)


def test_lora_learns_and_the_adapter_reloads(tiny_model: Path, tmp_path: Path) -> None:
    path, rows = tmp_path / "selected.jsonl", rows_of(8)
    write_records(path, rows)
    result = train_on_selected(
        path,
        model=str(tiny_model),
        output=tmp_path / "policy",
        settings=settings_of(max_steps=40, learning_rate=2e-2, eval_fraction=0.25),
    )
    assert math.isfinite(result.final_loss)
    assert result.final_loss < 0.5 * result.first_loss
    assert (result.kind, result.steps, result.examples, result.held_out, result.left_out) == ("sft", 40, 6, 2, 0)
    assert result.held_out_after["loss"] < result.held_out_before["loss"]
    assert (tmp_path / "policy" / RESULT_FILE).is_file()
    assert not list((tmp_path / "policy").glob("*.bin"))  # nothing pickled beside the weights
    before = response_loss(tiny_model, None, rows[0])
    assert response_loss(tiny_model, tmp_path / "policy", rows[0]) < 0.6 * before


def test_the_loss_is_on_the_response_alone(tiny_model: Path, tmp_path: Path) -> None:
    (row,) = rows_of(1, question="A long question with many words to predict, number")
    result = train_on_selected(
        [row], model=str(tiny_model), output=tmp_path / "out", settings=settings_of(max_steps=1)
    )
    assert result.first_loss == pytest.approx(response_loss(tiny_model, None, row), abs=1e-3)


def test_accumulation_changes_nothing(tiny_model: Path, tmp_path: Path) -> None:
    # Responses of different length: a mean of means over the four batches would weigh their tokens unequally.
    rows = [row.model_copy(update={"text": "good " * (3 * i + 1)}) for i, row in enumerate(rows_of(8))]
    for batch in (4, 1):
        train_on_selected(
            rows,
            model=str(tiny_model),
            output=tmp_path / str(batch),
            settings=settings_of(
                tuning="full", learning_rate=0.3, max_steps=2, batch_size=batch, gradient_accumulation=4 // batch
            ),
            trl={"optim": "sgd", "max_grad_norm": 0.0},
        )
    start, at_once, one_by_one = (weights_in(path) for path in (tiny_model, tmp_path / "4", tmp_path / "1"))
    assert max((at_once[name] - start[name]).abs().max().item() for name in start) > 1e-3
    for name in start:
        torch.testing.assert_close(one_by_one[name], at_once[name], rtol=0, atol=2e-5)


def test_resumed_is_the_same_as_never_stopped(tiny_model: Path, tmp_path: Path) -> None:
    import shutil

    settings = settings_of(max_steps=4, save_steps=2)
    common: dict[str, Any] = {"model": str(tiny_model), "settings": settings}
    train_on_selected(rows_of(8), output=tmp_path / "a", **common)
    (tmp_path / "b").mkdir()
    shutil.copytree(
        tmp_path / "a" / "checkpoints" / "checkpoint-2", tmp_path / "b" / "checkpoints" / "checkpoint-2"
    )  # what is left after a kill between steps 2 and 4
    resumed = train_on_selected(rows_of(8), output=tmp_path / "b", resume=True, **common)
    assert resumed.resumed_from == 2
    for name, weight in weights_in(tmp_path / "a").items():
        assert torch.equal(weight, weights_in(tmp_path / "b")[name]), name


def test_responses_with_nothing_left_are_counted_or_an_error(tiny_model: Path, tmp_path: Path) -> None:
    long = rows_of(1, question="why " * 200)[0].model_copy(update={"prompt_id": "long", "candidate_id": "long/0"})
    common: dict[str, Any] = {"model": str(tiny_model), "settings": settings_of()}
    result = train_on_selected([long, *rows_of(4)], output=tmp_path / "a", **common)
    assert (result.examples, result.left_out) == (4, 1)
    with pytest.raises(InputError, match="Raise max_length"):
        train_on_selected([long], output=tmp_path / "b", **common)


def test_nothing_selected_and_rows_without_prompts_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no candidate passed the selection"):
        train_on_selected([], model="nowhere", output=tmp_path, settings=settings_of())
    bare = rows_of(1)[0].model_copy(update={"messages": ()})
    with pytest.raises(InputError, match="1 have none"):
        train_on_selected([bare], model="nowhere", output=tmp_path, settings=settings_of())


def test_keys_of_dpo_are_unknown_to_fine_tuning(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="discopop_tau: unknown key") as caught:
        train_on_selected(
            rows_of(1), model="nowhere", output=tmp_path, settings=settings_of(), trl={"discopop_tau": 1, "packng": 1}
        )
    assert "packng: unknown key, did you mean packing?" in str(caught.value)
