"""The shipped GRPO and RLOO recipes from the command to the report, and the guard within an on-policy training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from recipes.cli import main
from recipes.guarding import Guard
from recipes.loading import load_recipe
from recipes.schema import GRPORecipe, RLOORecipe
from rewards.errors import InputError
from rewards.jsonl import read_records
from rl.guard import GuardPoint
from rl.results import Evaluation
from rl.run_folder import RunFolder
from rl.training import TrainingResult
from tests.recipes.test_guarding import point

EVERY_STEP = {"reward", "kl", "entropy", "completion_length", "clip_fraction", "failure_rate", "seconds/judge"}
GOLD = ["--guard.gold.backend", "scripted", "--guard.gold.rule", "shorter", "--guard.every", "1"]


def flags(kind: str, model: Path, output: Path, *more: str) -> list[str]:
    judge = ["--judge.backend", "scripted", "--judge.rule", "longer", "--allow-uncertified", "true"]
    sizes = ["--train.max_length", "2000", "--train.max_new_tokens", "6", "--evaluate.max_new_tokens", "6"]
    policy = ["--policy.model", str(model), "--output", str(output), "--track.mode", "off"]
    return ["run", f"{kind}/tiny", *judge, *sizes, *policy, *more]


@pytest.mark.parametrize("kind", ["grpo", "rloo"])
def test_it_runs_to_its_report_and_a_second_start_does_nothing_again(
    kind: str, tiny_model: Path, tmp_path: Path
) -> None:
    arguments = flags(kind, tiny_model, tmp_path / "run", "--failures.limit", "1")
    assert main(arguments) == 0
    run = RunFolder(tmp_path / "run")
    assert set(run.finished()) == {"prompts", "train", "evaluate"}
    lines = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    steps = [line for line in lines if line["stage"] == "train" and "loss" in line]
    assert [line["step"] for line in steps] == [1, 2, 3]
    assert all(line.keys() >= EVERY_STEP for line in steps)
    assert TrainingResult.model_validate_json((run.policy / "training.json").read_bytes()).kind == kind
    found = Evaluation.model_validate_json(run.evaluation.read_bytes())
    assert found.wins + found.losses + found.ties + found.abstained == 2
    page = run.report.read_text(encoding="utf-8")
    assert "Training: train" in page
    assert "Where the time went" in page
    assert main([*arguments, "--resume"]) == 0
    assert len(run.metrics.read_text().splitlines()) == len(lines)


def test_a_group_that_is_compared_stays_in_one_process() -> None:
    split = ["--launch.processes", "2", "--train.batch_size", "2"]
    load_recipe("grpo/tiny", split)  # ratings need no group
    with pytest.raises(InputError, match="must not be split over processes"):
        load_recipe("grpo/tiny", [*split, "--reward.compare", "circular", "--reward.rescale", "null"])


def test_a_look_may_draw_random_numbers(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a judge with an adapter does when it is loaded; in a folder whose name is that of the checkpoints'."""
    drawn: list[float] = []

    def measure(self: Any, step: int, policy: Any, folder: Path, gold: Any) -> GuardPoint:
        drawn.append(float(torch.rand(7).sum()))
        return point(step, 5.0 - abs(step - 2))

    monkeypatch.setattr(Guard, "_measure", measure)
    more = ["--train.learning_rate", "0.1", "--train.warmup", "0"]
    assert main(flags("grpo", tiny_model, tmp_path / "plain", *more)) == 0
    output = tmp_path / "checkpoints" / "watched"
    assert main(flags("grpo", tiny_model, output, *more, *GOLD, "--guard.patience", "9")) == 0
    assert len(drawn) == 4
    last = adapter_of(output / "policy" / "checkpoints" / "checkpoint-3")
    assert all(torch.equal(last[name], weight) for name, weight in adapter(tmp_path / "plain").items())
    kept = adapter_of(output / "policy" / "checkpoints" / "checkpoint-2")
    assert all(torch.equal(kept[name], weight) for name, weight in adapter(output).items())


def adapter(run: Path) -> dict[str, torch.Tensor]:
    return dict(load_file(run / "policy" / "adapter_model.safetensors"))


@pytest.mark.parametrize("tuning", ["lora", "full"])
def test_the_guard_looks_between_steps_and_disturbs_nothing(tuning: str, tiny_model: Path, tmp_path: Path) -> None:
    more = ["--train.learning_rate", "0.1", "--train.warmup", "0", "--train.tuning", tuning]
    assert main(flags("grpo", tiny_model, tmp_path / "plain", *more)) == 0
    watched = flags("grpo", tiny_model, tmp_path / "watched", *more, *GOLD, "--guard.patience", "9")
    assert main(watched) == 0
    run = RunFolder(tmp_path / "watched")
    points = list(read_records(run.guard, GuardPoint))
    assert [one.step for one in points] == [0, 1, 2, 3]
    assert points[0].kl == 0.0
    assert any(one.kl > 0 for one in points[1:])
    best = max(points[1:], key=lambda one: (one.gold.value, -one.step)).step
    assert run.finished()["keep"].counts["kept_step"] == best
    last = run.policy / "checkpoints" / "checkpoint-3"
    (file,) = last.glob("*model.safetensors")
    after, without = load_file(file), load_file(tmp_path / "plain" / "policy" / file.name)
    assert all(torch.equal(after[name], weight) for name, weight in without.items())
    page = run.report.read_text(encoding="utf-8")
    assert "gold (never trained on)" in page and "the guard&#39;s looks" in page
    files = {path: path.stat().st_mtime_ns for path in (run.path / "guard").rglob("*.json*")}
    assert main([*watched, "--resume"]) == 0
    assert {path: path.stat().st_mtime_ns for path in files} == files


@pytest.mark.parametrize("kind", ["grpo", "ppo"])
def test_falling_gold_ends_the_training_and_the_best_policy_is_kept(
    kind: str, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    golds = [5.0, 4.5, 6.0, 4.0, 3.0, 9.0, 9.0, 9.0, 9.0]

    def measure(self: Any, step: int, policy: Any, folder: Path, gold: Any) -> GuardPoint:
        return point(step, golds[step])

    monkeypatch.setattr(Guard, "_measure", measure)
    more = ["--train.max_steps", "8", "--train.learning_rate", "0.01", "--train.save_steps", "1"]
    if kind == "ppo":
        more += ["--train.critic.warmup_steps", "0"]
    assert main(flags(kind, tiny_model, tmp_path / "run", *more, *GOLD, "--guard.patience", "2")) == 0
    run = RunFolder(tmp_path / "run")
    assert [one.step for one in read_records(run.guard, GuardPoint)] == [0, 1, 2, 3, 4]
    assert TrainingResult.model_validate_json((run.policy / "training.json").read_bytes()).steps == 4
    kept, last = (run.policy / "checkpoints" / f"checkpoint-{step}" for step in (2, 4))
    trained = adapter(run.path)
    assert all(torch.equal(trained[name], weight) for name, weight in adapter_of(kept).items())
    assert any(not torch.equal(trained[name], weight) for name, weight in adapter_of(last).items())
    if kind == "ppo":
        critic = load_file(run.policy / "critic" / "critic.safetensors")
        before = load_file(kept / "critic" / "critic.safetensors")
        assert all(torch.equal(critic[name], weight) for name, weight in before.items())


def test_a_word_of_the_guard_that_a_kill_cut_off_is_heard_before_another_step(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    golds = [5.0, 6.0, 4.0, 3.0]
    monkeypatch.setattr(Guard, "_measure", lambda self, step, policy, folder, gold: point(step, golds[step]))
    stops = Guard.stops

    def killed(self: Guard) -> bool:
        if len(self.points) == 4:
            raise RuntimeError("killed")
        return False

    monkeypatch.setattr(Guard, "stops", property(killed))
    more = ["--train.max_steps", "8", "--train.save_steps", "1", "--guard.patience", "2"]
    command = flags("grpo", tiny_model, tmp_path / "run", *more, *GOLD)
    with pytest.raises(RuntimeError, match="killed"):
        main(command)
    run = RunFolder(tmp_path / "run")
    run.guard.write_text("".join(run.guard.read_text().splitlines(keepends=True)[:-1]))
    monkeypatch.setattr(Guard, "stops", stops)
    assert main([*command, "--resume"]) == 0
    assert TrainingResult.model_validate_json((run.policy / "training.json").read_bytes()).steps == 3
    assert not (run.policy / "checkpoints" / "checkpoint-4").exists()
    assert [one.step for one in read_records(run.guard, GuardPoint)] == [0, 1, 2, 3]
    kept = adapter_of(run.policy / "checkpoints" / "checkpoint-1")
    assert all(torch.equal(adapter(run.path)[name], weight) for name, weight in kept.items())


def adapter_of(checkpoint: Path) -> dict[str, torch.Tensor]:
    return dict(load_file(checkpoint / "adapter_model.safetensors"))


def test_a_guard_needs_whole_weights() -> None:
    with pytest.raises(InputError, match="ddp or zero2 with a guard"):
        load_recipe("grpo/tiny", [*GOLD, "--launch.strategy", "zero3", "--launch.processes", "2"])


def test_a_group_has_more_than_one() -> None:
    with pytest.raises(InputError, match="responses_per_prompt"):
        load_recipe("rloo/tiny", ["--train.responses_per_prompt", "1"])


def test_the_real_recipes_are_whole() -> None:
    for name, kind in (("grpo/autoj_13b", GRPORecipe), ("rloo/autoj_13b", RLOORecipe)):
        recipe = load_recipe(name)
        assert isinstance(recipe, kind)
        train = recipe.train  # type: ignore[union-attr]
        responses = train.batch_size * train.gradient_accumulation * recipe.launch.processes  # type: ignore[union-attr]
        assert responses == 256
        assert responses % train.responses_per_prompt == 0
