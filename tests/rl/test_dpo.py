"""DPO on a tiny model with TRL's own trainer: it learns, resumes, stops cleanly, and refuses pairs without signal."""

from __future__ import annotations

import math
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, TrainerCallback

from rewards.errors import InputError, MissingFileError, RunError
from rewards.jsonl import write_records
from rewards.judges.local_model import load_model
from rewards.types import Message, Pair
from rl.dpo import train_dpo
from rl.training import RESULT_FILE, TrainingResult, check_trl, hold_out, last_checkpoint
from rl.training_settings import DPOSettings, LoraSettings

Weights = dict[str, torch.Tensor]


def pairs_of(count: int, *, chosen: str = "good answer", rejected: str = "bad bad bad") -> list[Pair]:
    return [
        Pair(
            id=f"pair{i}",
            prompt_id=f"p{i}",
            messages=(Message(role="system", content="Be brief."), Message(role="user", content=f"Question {i}?")),
            chosen_id=f"p{i}/0",
            rejected_id=f"p{i}/1",
            chosen=f"{chosen} {i}",
            rejected=f"{rejected} {i}",
            margin=1.0,
        )
        for i in range(count)
    ]


def settings_of(**values: Any) -> DPOSettings:
    return DPOSettings(
        **(
            {
                "learning_rate": 5e-3,
                "warmup": 0.0,
                "max_steps": 4,
                "batch_size": 2,
                "gradient_accumulation": 1,
                "max_length": 128,
                "lora": LoraSettings(rank=4, alpha=8),
            }
            | values
        )
    )


def weights_in(folder: Path) -> Weights:
    from safetensors.torch import load_file

    (file,) = folder.glob("*.safetensors")
    return dict(load_file(file))


def logits_of(model: Any, tokenizer: Any) -> torch.Tensor:
    ids = tokenizer("The answer is", return_tensors="pt").input_ids
    with torch.no_grad():
        logits: torch.Tensor = model(ids).logits
    return logits


class InterruptAt(TrainerCallback):
    """Ctrl-C in the middle of a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == self.step - 1:
            os.kill(os.getpid(), signal.SIGINT)


def test_lora_learns_a_separable_preference_and_the_adapter_reloads(tiny_model: Path, tmp_path: Path) -> None:
    result = train_dpo(
        pairs_of(8),
        model=str(tiny_model),
        output=tmp_path / "policy",
        settings=settings_of(max_steps=20, batch_size=4, learning_rate=1e-2),
        trl={"lr_scheduler_type": "constant"},
    )
    assert result.first_loss == pytest.approx(math.log(2), abs=1e-4)  # the adapter starts as the reference
    assert result.final_loss < 0.2
    assert result.metrics_before["rewards/margins"] == pytest.approx(0.0, abs=1e-4)
    assert result.metrics_after["rewards/margins"] > 1.0
    assert result.metrics_after["rewards/accuracies"] == 1.0
    assert (result.steps, result.examples, result.held_out) == (20, 8, 0)
    assert 0 < result.trained_parameters < result.parameters
    assert (tmp_path / "policy" / "adapter_model.safetensors").is_file()
    assert TrainingResult.model_validate_json((tmp_path / "policy" / RESULT_FILE).read_bytes()) == result
    base = load_model(str(tiny_model))
    adapted = load_model(str(tiny_model), adapter=tmp_path / "policy")
    difference = logits_of(base.model, base.tokenizer) - logits_of(adapted.model, adapted.tokenizer)
    assert difference.abs().max() > 1e-2
    untouched = AutoModelForCausalLM.from_pretrained(tiny_model)
    assert torch.equal(logits_of(base.model, base.tokenizer), logits_of(untouched, base.tokenizer))


def test_full_tuning_moves_the_weights_and_accumulation_changes_nothing(tiny_model: Path, tmp_path: Path) -> None:
    # Plain SGD without clipping: Adam and clipping would hide a gradient that is scaled wrongly.
    trl: dict[str, Any] = {"optim": "sgd", "max_grad_norm": 0.0}
    results = [
        train_dpo(
            pairs_of(8),
            model=str(tiny_model),
            output=tmp_path / str(batch),
            settings=settings_of(
                tuning="full", learning_rate=0.3, max_steps=2, batch_size=batch, gradient_accumulation=4 // batch
            ),
            trl=trl,
        )
        for batch in (4, 1)
    ]
    start, at_once, one_by_one = (weights_in(path) for path in (tiny_model, tmp_path / "4", tmp_path / "1"))
    assert all(result.trained_parameters == result.parameters for result in results)
    assert max((at_once[name] - start[name]).abs().max().item() for name in start) > 1e-3
    for name in start:
        torch.testing.assert_close(one_by_one[name], at_once[name], rtol=0, atol=2e-5)
    assert results[0].final_loss == pytest.approx(results[1].final_loss, abs=1e-4)


def test_resumed_after_an_interrupt_is_the_same_as_never_stopped(tiny_model: Path, tmp_path: Path) -> None:
    settings, pairs = settings_of(max_steps=4, lora=LoraSettings(rank=4, dropout=0.1)), pairs_of(8)
    trl = {"disable_dropout": False, "weight_decay": 0.1}  # dropout, so that the random state counts too
    straight = train_dpo(pairs, model=str(tiny_model), output=tmp_path / "a", settings=settings, trl=trl)
    handler = signal.getsignal(signal.SIGINT)
    stopped: dict[str, Any] = {"model": str(tiny_model), "output": tmp_path / "b", "settings": settings, "trl": trl}
    with pytest.raises(KeyboardInterrupt, match="after step 2"):
        train_dpo(pairs, **stopped, callbacks=[InterruptAt(2)])
    assert signal.getsignal(signal.SIGINT) is handler
    found = last_checkpoint(tmp_path / "b")
    assert found is not None
    assert found.name == "checkpoint-2"
    with pytest.raises(InputError, match="resume it"):
        train_dpo(pairs, **stopped)
    resumed = train_dpo(pairs, **stopped, resume=True)
    assert (resumed.steps, resumed.resumed_from) == (4, 2)
    for name, weight in weights_in(tmp_path / "a").items():
        assert torch.equal(weight, weights_in(tmp_path / "b")[name]), name
    assert resumed.first_loss == straight.first_loss
    assert resumed.final_loss == straight.final_loss
    again = train_dpo(pairs, **stopped, resume=True)
    assert (again.steps, again.resumed_from, again.final_loss) == (4, 4, straight.final_loss)


def test_training_goes_on_with_an_adapter_whose_start_is_the_reference(tiny_model: Path, tmp_path: Path) -> None:
    common: dict[str, Any] = {"model": str(tiny_model)}
    train_dpo(pairs_of(4), output=tmp_path / "first", settings=settings_of(), **common)
    second = train_dpo(
        pairs_of(4), output=tmp_path / "second", settings=settings_of(), adapter=tmp_path / "first", **common
    )
    assert second.first_loss == pytest.approx(math.log(2), abs=1e-4)
    assert sorted(path.name for path in (tmp_path / "second").glob("*/adapter_config.json")) == []
    before, after = weights_in(tmp_path / "first"), weights_in(tmp_path / "second")
    assert before.keys() == after.keys()
    assert any(not torch.equal(before[name], after[name]) for name in before)


def test_held_out_prompts_are_measured_and_not_trained_on(tiny_model: Path, tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    write_records(path, pairs_of(8))
    result = train_dpo(
        path, model=str(tiny_model), output=tmp_path / "out", settings=settings_of(max_steps=8, eval_fraction=0.25)
    )
    assert (result.examples, result.held_out) == (6, 2)
    assert result.held_out_before["loss"] == pytest.approx(math.log(2), abs=1e-4)
    assert result.held_out_after["loss"] < result.held_out_before["loss"]
    assert result.held_out_after["rewards/margins"] > 0


def test_hold_out_takes_whole_prompts() -> None:
    held = hold_out(["a", "a", "b", "c", "d"], 0.5, seed=0)
    assert len(held) == 2
    assert held == hold_out(["d", "c", "b", "a"], 0.5, seed=0)
    assert hold_out(["a", "b"], 0.0, seed=0) == set()
    assert hold_out(["a"], 0.5, seed=0) == set()  # something must be left to train on
    assert len(hold_out(["a", "b"], 0.99, seed=0)) == 1


def test_a_loss_that_is_no_number_stops_the_run(tiny_model: Path, tmp_path: Path) -> None:
    settings = settings_of(tuning="full", learning_rate=1e38, max_steps=6, save_steps=1)
    with pytest.raises(RunError, match=r"expected (a finite loss|finite weights).*Lower the learning rate"):
        train_dpo(pairs_of(4), model=str(tiny_model), output=tmp_path / "out", settings=settings)
    assert not (tmp_path / "out" / RESULT_FILE).exists()


def test_mistake_03_pairs_that_truncation_makes_identical_are_refused(tiny_model: Path, tmp_path: Path) -> None:
    same_start = pairs_of(1, chosen="the same words " * 20 + "good", rejected="the same words " * 20 + "bad")
    pairs = [same_start[0].model_copy(update={"id": "cut", "prompt_id": "cut"}), *pairs_of(3)]
    common: dict[str, Any] = {"model": str(tiny_model), "output": tmp_path / "out"}
    with pytest.raises(InputError, match=r"1 of 4 pairs do not \(cut\)"):
        train_dpo(pairs, settings=settings_of(), **common)
    long_prompt = pairs_of(1)[0].model_copy(
        update={"id": "filled", "messages": (Message(role="user", content="why " * 200),)}
    )
    with pytest.raises(InputError, match=r"1 of 4 pairs do not \(filled\)"):
        train_dpo([long_prompt, *pairs_of(3)], settings=settings_of(), **common)
    with pytest.raises(InputError, match=r"4 of 4 pairs do not"):
        train_dpo(pairs_of(4), settings=settings_of(max_length=8), **common)


def test_no_pairs_says_why_and_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="manifest"):
        train_dpo([], model="nowhere", output=tmp_path, settings=settings_of())
    (tmp_path / "pairs.jsonl").touch()
    with pytest.raises(RunError, match="manifest"):
        train_dpo(tmp_path / "pairs.jsonl", model="nowhere", output=tmp_path, settings=settings_of())
    with pytest.raises(MissingFileError):
        train_dpo(tmp_path / "absent.jsonl", model="nowhere", output=tmp_path, settings=settings_of())


def test_a_pair_without_a_prompt_is_refused(tmp_path: Path) -> None:
    bare = pairs_of(2)[0].model_copy(update={"messages": ()})
    with pytest.raises(InputError, match=r"1 have none \(pair0\)"):
        train_dpo([bare, *pairs_of(2)[1:]], model="nowhere", output=tmp_path, settings=settings_of())


def test_trl_block_is_checked_whole() -> None:
    with pytest.raises(InputError) as caught:
        check_trl(
            "dpo",
            {"label_smothing": 0.1, "beta": 0.2, "report_to": "wandb", "weight_decay": "heavy", "logging_steps": 5},
        )
    message = str(caught.value)
    assert "label_smothing: unknown key, did you mean label_smoothing?" in message
    assert "beta: set `beta` in the `train` section instead" in message
    assert "report_to: this is set by the `track` section" in message
    assert "weight_decay: " in message
    assert "'heavy'" in message
    assert "logging_steps" not in message
    assert check_trl("dpo", {"weight_decay": "1e-2"}) == {"weight_decay": 0.01}
    assert check_trl("sft", {"loss_type": "dft"}) == {"loss_type": "dft"}
    assert check_trl("dpo", {}) == {}


def test_a_trl_value_that_trl_refuses_is_an_input_error(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="SchedulerType"):
        train_dpo(
            pairs_of(2),
            model=str(tiny_model),
            output=tmp_path / "out",
            settings=settings_of(),
            trl={"lr_scheduler_type": "sideways"},
        )


def test_policies_that_cannot_be_trained_are_refused(tiny_model: Path, tmp_path: Path) -> None:
    common: dict[str, Any] = {"output": tmp_path / "out"}
    with pytest.raises(InputError, match="expected a causal language model at"):
        train_dpo(pairs_of(2), model=str(tmp_path / "absent"), settings=settings_of(), **common)
    with pytest.raises(InputError, match="float16"):
        train_dpo(pairs_of(2), model=str(tiny_model), settings=settings_of(), dtype="float16", **common)
    with pytest.raises(InputError, match="no_such_layer"):
        train_dpo(
            pairs_of(2),
            model=str(tiny_model),
            settings=settings_of(lora=LoraSettings(targets=("no_such_layer",))),
            **common,
        )
    with pytest.raises(InputError, match="merge the adapter"):
        train_dpo(pairs_of(2), model=str(tiny_model), settings=settings_of(tuning="full"), adapter=tmp_path, **common)


def test_last_checkpoint_passes_over_one_that_was_cut_off(tmp_path: Path) -> None:
    for step, state in {1: "{}", 9: "{}", 10: '{"glob'}.items():
        folder = tmp_path / "checkpoints" / f"checkpoint-{step}"
        folder.mkdir(parents=True)
        (folder / "trainer_state.json").write_text(state)
    (tmp_path / "checkpoints" / "checkpoint-11").mkdir()
    found = last_checkpoint(tmp_path)
    assert found is not None
    assert found.name == "checkpoint-9"
    assert last_checkpoint(tmp_path / "absent") is None
