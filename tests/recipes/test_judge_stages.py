"""The judge's recipe from the command to its report, on a tiny model built in code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from judge_training.data.swap import swap_example
from judge_training.examples import read_examples, write_examples
from judge_training.written_answers import WrittenAnswers
from recipes.cli import main
from recipes.jobs import run_recipe
from recipes.judge_stages import BUNDLED_EXAMPLES
from recipes.loading import load_recipe
from rewards.errors import InputError
from rewards.jsonl import read_records
from rewards.judges.base import JudgeCard
from rewards.protocol.builtin import builtin_protocol
from rewards.protocol.spec import JudgeProtocol
from rewards.types import Candidate, Comparison, Judgment
from rl.run_folder import RunFolder
from tests.judge_training.judge_examples import mixed, rating


def flags(model: Path, output: Path, *more: str) -> list[str]:
    small = ["--train.max_steps", "2", "--train.max_length", "2000", "--measure.max_new_tokens", "4"]
    return ["--base.model", str(model), "--output", str(output), "--failures.limit", "1", *small, *more]


def test_the_tiny_recipe_trains_a_judge_that_judges_and_a_second_start_does_nothing_again(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "run"
    arguments = flags(tiny_model, output)
    estimate = ["run", "judge/tiny", *arguments, "--dry-run", "--json", "--probe", "0"]
    assert main(estimate) == 0
    expected = json.loads(capsys.readouterr().out)
    assert main(["run", "judge/tiny", *arguments]) == 0
    run = RunFolder(output)
    trained, held_out = list(read_examples(run.examples)), list(read_examples(run.held_out_examples))
    assert len(trained) + len(held_out) == 40
    assert not {one.prompt.id for one in trained} & {one.prompt.id for one in held_out}
    assert JudgeProtocol.load(run.trained_judge) == builtin_protocol()
    for when in ("before", "after"):
        answers = WrittenAnswers.model_validate_json((output / f"answers_{when}.json").read_bytes())
        assert answers.asked == 6 == answers.parsed + sum(answers.failures.values())
    assert JudgeCard.model_validate_json(run.judge.read_bytes()).trained
    texts = {one.id: one.text for one in read_records(run.candidates, Candidate)}
    judged = [*read_records(run.judgments, Judgment)]
    compared = list(read_records(run.comparisons, Comparison))
    assert len(judged) + len(compared) == 6
    asked = [len(judged), sum(len(one.judgments) for one in compared)]
    assert [line["calls"] for line in expected["others"][0]["lines"]] == asked
    assert main(estimate) == 2  # nothing is left to ask
    assert "the run has measured already" in capsys.readouterr().err
    responses = {text for one in held_out for text in one.responses}
    assert {texts[name] for one in judged for name in one.candidate_ids} <= responses
    assert run.report.exists()
    times = {path: path.stat().st_mtime_ns for path in output.rglob("*.safetensors")}
    assert times
    assert main(["run", "judge/tiny", *arguments, "--resume"]) == 0
    assert {path: path.stat().st_mtime_ns for path in output.rglob("*.safetensors")} == times


def test_own_examples_with_their_swaps_and_criteria(tiny_model: Path, tmp_path: Path) -> None:
    write_examples(tmp_path / "train.jsonl", mixed(4, 3))
    write_examples(tmp_path / "valid.jsonl", [rating(8), rating(9)])
    files = ["--data.examples", str(tmp_path / "train.jsonl"), "--data.held_out", str(tmp_path / "valid.jsonl")]
    switches = ["--data.swap", "true", "--criteria", "true", "--track.mode", "off"]
    recipe = load_recipe("judge/tiny", flags(tiny_model, tmp_path / "run", *files, *switches))
    run = run_recipe(recipe)
    trained = list(read_examples(run.examples))
    assert [one.id for one in read_examples(run.held_out_examples)] == ["s8", "s9"]
    pairs = [one for one in trained if one.kind == "pairwise"]
    assert pairs[1::2] == [swap_example(one) for one in pairs[::2]]
    assert not run.judgments.exists()  # no other recipe would ask it with criteria


def test_examples_that_nobody_judged_are_refused(tiny_model: Path, tmp_path: Path) -> None:
    path = tmp_path / "waiting.jsonl"
    write_examples(path, [rating(1).model_copy(update={"rating": None}), rating(2)])
    recipe = load_recipe("judge/tiny", flags(tiny_model, tmp_path / "run", "--data.examples", str(path)))
    with pytest.raises(InputError, match=r"1 have none \(s1, …\); let a teacher judge them first"):
        run_recipe(recipe)


def test_the_bundled_examples_are_of_both_kinds_and_any_protocol_writes_them() -> None:
    examples = list(read_examples(BUNDLED_EXAMPLES))
    assert len({one.id for one in examples}) == 40
    assert {one.label for one in examples if one.kind == "pairwise"} == {"first", "second", "tie"}
    assert len({one.rating for one in examples if one.kind == "single"}) >= 6
    assert all(one.critique and one.scenario and one.judged for one in examples)
