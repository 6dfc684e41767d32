"""The shipped PPO recipe, run from the command to its report on a tiny model; what its sections refuse."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from recipes.cli import main
from recipes.loading import load_recipe
from recipes.schema import PPORecipe
from rewards.errors import InputError
from rewards.reward_function import JudgeReward
from rl.results import Evaluation
from rl.run_folder import RunFolder
from rl.training import TrainingResult

TINY = ["--judge.backend", "scripted", "--judge.mode", "critique", "--allow-uncertified", "true"]
EVERY_STEP = {
    "reward",
    "kl",
    "entropy",
    "completion_length",
    "value_loss",
    "explained_variance",
    "clip_fraction",
    "kl_coefficient",
    "failure_rate",
}


def flags(model: Path, output: Path) -> list[str]:
    sizes = ["--train.max_length", "2000", "--train.max_new_tokens", "6", "--evaluate.max_new_tokens", "6"]
    return ["--policy.model", str(model), *TINY, *sizes, "--output", str(output), "--track.mode", "off"]


def asked(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> dict[str, int]:
    """What a dry run says that the judge would be asked."""
    capsys.readouterr()
    assert main(["run", "ppo/tiny", *arguments, "--dry-run", "--json"]) == 0
    return {line["name"]: line["calls"] for line in json.loads(capsys.readouterr().out)["lines"]}


def test_it_runs_to_its_report_and_a_second_start_does_nothing_again(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [*flags(tiny_model, tmp_path / "run"), "--reward.format.pattern", ".*", "--failures.limit", "1"]
    expected, scored, score = asked(capsys, arguments), list[object](), JudgeReward.score

    def counting(self: JudgeReward, prompts: Any, completions: Any, **columns: Any) -> list[float | None]:
        scored.extend(completions)
        return score(self, prompts, completions, **columns)

    monkeypatch.setattr(JudgeReward, "score", counting)
    assert main(["run", "ppo/tiny", *arguments]) == 0
    assert expected == {"ratings while it trains": len(scored), "evaluation": 4}
    assert asked(capsys, arguments) == {}  # nothing is left to ask
    run = RunFolder(tmp_path / "run")
    assert set(run.finished()) == {"prompts", "train", "evaluate"}
    lines = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    steps = [line for line in lines if line["stage"] == "train" and "loss" in line]
    assert [line["step"] for line in steps] == [1, 2, 3]
    for line in steps:
        assert line.keys() >= EVERY_STEP
        assert line["format"] == 1.0
    assert TrainingResult.model_validate_json((run.policy / "training.json").read_bytes()).kind == "ppo"
    assert (run.policy / "adapter_model.safetensors").is_file()
    assert (run.policy / "critic" / "critic.safetensors").is_file()
    found = Evaluation.model_validate_json(run.evaluation.read_bytes())
    assert found.wins + found.losses + found.ties + found.abstained == 2
    assert "Training: train" in run.report.read_text(encoding="utf-8")
    assert main(["run", "ppo/tiny", *arguments, "--resume"]) == 0
    assert len(run.metrics.read_text().splitlines()) == len(lines)


def test_a_judge_that_nobody_measured_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    arguments = [*flags(tiny_model, tmp_path / "run"), "--allow-uncertified", "false"]
    assert main(["run", "ppo/tiny", *arguments]) == 2
    assert not (tmp_path / "run" / "policy").exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--reward.compare", "circular", "--reward.rescale", "null"], "responses_per_prompt of at least 2"),
        (["--reward.length.weight", "0.1"], "length.target"),
        (["--reward.format.pattern", "("], "regular expression"),
        (["--train.critic.model", "x"], "shared critic"),
        (["--train.kl.target", "5", "--train.kl.coefficient", "0"], "coefficient above 0"),
        (["--sampling.n", "4"], "sampling"),
    ],
)
def test_sections_that_do_not_fit_are_refused(flags: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_recipe("ppo/tiny", flags)


def test_the_real_recipe_is_whole() -> None:
    recipe = load_recipe("ppo/autoj_13b")
    assert isinstance(recipe, PPORecipe)
    assert recipe.train.batch_size * recipe.train.gradient_accumulation * recipe.launch.processes == 260
