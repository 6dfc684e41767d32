"""Several rounds: each samples from the policy of the one before, says so, resumes, and its threshold rises."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from recipes.cli import main
from recipes.loading import load_recipe
from recipes.rounds import rounds_of
from rewards.errors import InputError
from rewards.jsonl import read_records
from rewards.judges.weights_digest import folder_digest
from rewards.select import Selected
from rewards.types import Candidate, Prompt
from rl.results import Reference, RoundRecord
from rl.run_folder import RunFolder
from rl.training import TrainingResult

SMALL = ["--prompts.limit", "4", "--sampling.max_new_tokens", "6", "--sampling.n", "3", "--train.max_steps", "2"]
EVALUATE = ["--evaluate.max_new_tokens", "6", "--evaluate.prompts", "2", "--train.max_length", "2000"]
JUDGE = ["--judge.backend", "scripted", "--judge.rule", "longer", "--allow-uncertified", "true"]


def flags(model: Path, output: Path, *more: str) -> list[str]:
    policy = ["--policy.model", str(model), "--track.mode", "off", "--rounds.count", "2"]
    return [*SMALL, *EVALUATE, *JUDGE, *policy, "--output", str(output), *more]


def test_each_round_starts_from_the_policy_of_the_one_before(tiny_model: Path, tmp_path: Path):
    output = tmp_path / "run"
    assert main(["run", "dpo/tiny", *flags(tiny_model, output)]) == 0
    run = RunFolder(output)
    one, two = (RunFolder(output / "rounds" / str(number)) for number in (1, 2))
    records = list(read_records(run.rounds, RoundRecord))
    assert [record.number for record in records] == [1, 2]
    first, second = (record.reference for record in records)
    assert (first.model, first.adapter) == (str(tiny_model), None)
    assert first.digest == folder_digest(tiny_model)
    assert second == Reference(model=str(tiny_model), adapter=str(one.policy), digest=folder_digest(one.policy))
    assert second == Reference.model_validate_json((two.path / "reference.json").read_bytes())
    assert all(record.mean_reward is not None and record.trained_on for record in records)
    drawn = [[candidate.text for candidate in read_records(part.candidates, Candidate)] for part in (one, two)]
    assert drawn[0] != drawn[1]
    result = TrainingResult.model_validate_json((two.policy / "training.json").read_bytes())
    assert result.metrics_before["rewards/margins"] == pytest.approx(0.0, abs=1e-4)  # its reference is where it starts
    assert run.policy.resolve() == two.policy.resolve()
    assert folder_digest(one.policy) != folder_digest(two.policy)
    assert "started from (the reference)" in run.report.read_text(encoding="utf-8")


def test_a_second_start_does_nothing_again_and_a_lost_round_is_made_again(tiny_model: Path, tmp_path: Path):
    output = tmp_path / "run"
    arguments = ["run", "kto/tiny", *flags(tiny_model, output)]
    assert main(arguments) == 0
    kept = {
        path: path.stat().st_mtime_ns for path in (output / "rounds").rglob("*.jsonl") if path.name != "review.jsonl"
    }
    assert main([*arguments, "--resume"]) == 0
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    stages = output / "rounds" / "2" / "stages.jsonl"
    lines = stages.read_text(encoding="utf-8").splitlines(keepends=True)
    stages.write_text("".join(line for line in lines if '"train"' not in line), encoding="utf-8")
    (output / "stages.jsonl").write_text(
        "".join(
            line
            for line in (output / "stages.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
            if '"evaluate"' not in line
        ),
        encoding="utf-8",
    )
    assert main([*arguments, "--resume"]) == 0
    assert {json.loads(line)["stage"] for line in stages.read_text(encoding="utf-8").splitlines()} >= {"train"}


def test_the_threshold_rises_and_prompts_are_shared_out(tiny_model: Path, tmp_path: Path):
    output = tmp_path / "run"
    select = ["--select.method", "threshold", "--select.threshold", "0.0", "--rounds.threshold_step", "0.01"]
    rising = [*select, "--rounds.fresh_prompts", "true", "--judge.mode", "critique"]
    assert main(["run", "rft/tiny", *flags(tiny_model, output, *rising)]) == 0
    rounds = [RunFolder(output / "rounds" / str(number)) for number in (1, 2)]
    manifests = [json.loads(part.manifest.read_text(encoding="utf-8"))["selected"] for part in rounds]
    assert [one["settings"]["threshold"] for one in manifests] == [0.0, 0.01]
    assert min(row.reward for row in read_records(rounds[1].selected, Selected)) >= 0.01
    shares = [{prompt.id for prompt in read_records(part.prompts, Prompt)} for part in rounds]
    assert not shares[0] & shares[1]
    assert shares[0] | shares[1] == {prompt.id for prompt in read_records(RunFolder(output).prompts, Prompt)}


def test_one_round_is_the_run_itself_and_full_tuning_names_models(tmp_path: Path):
    run = RunFolder(tmp_path)
    (only,) = rounds_of(run, load_recipe("dpo/tiny"))  # type: ignore[arg-type]
    assert only.run is run
    recipe = load_recipe("dpo/tiny", ["--rounds.count", "3", "--train.tuning", "full"])
    policies = [part.recipe.policy for part in rounds_of(run, recipe)]  # type: ignore[arg-type]
    assert [policy.model for policy in policies][1:] == [str(tmp_path / "rounds" / n / "policy") for n in ("1", "2")]
    assert all(policy.adapter is None for policy in policies)


def test_a_step_without_a_threshold_is_refused():
    with pytest.raises(InputError, match=r"select\.threshold"):
        load_recipe("rft/tiny", ["--rounds.count", "2", "--rounds.threshold_step", "0.5"])
