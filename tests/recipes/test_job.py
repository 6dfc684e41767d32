"""A run folder from its first start to its last: refused, taken up, started over, held."""

import json
from pathlib import Path

import pytest

from recipes.cli import main
from recipes.job import opened_run
from recipes.loading import load_recipe
from rewards.errors import AutojError, InputError, JudgeUnavailableError, MissingExtraError

SCRIPTED = ["--judge.backend", "scripted", "--track.mode", "off"]


def judge(responses: Path, output: Path, *more: str) -> int:
    return main(["judge", str(responses), *SCRIPTED, "--output", str(output), *more])


def test_after_bad_input_the_corrected_command_runs_without_clean(tmp_path: Path) -> None:
    responses, output = tmp_path / "responses.jsonl", tmp_path / "run"
    responses.write_text('{"prompt": "Why is the sky blue?", "answer": "It scatters."}\n')
    assert judge(responses, output) == 2
    assert not output.exists()
    assert judge(responses, output, "--columns.response", "answer") == 0


def test_after_a_mistyped_model_the_corrected_command_runs_without_clean(tmp_path: Path) -> None:
    responses, output = tmp_path / "responses.jsonl", tmp_path / "run"
    responses.write_text('{"prompt": "Why is the sky blue?", "response": "It scatters."}\n')
    wrong = ["--judge.model", str(tmp_path / "none"), "--track.mode", "off", "--output", str(output)]
    assert main(["judge", str(responses), *wrong]) == 2
    assert not output.exists()
    assert judge(responses, output) == 0
    trained = ["run", "dpo/tiny", *SCRIPTED, "--allow-uncertified", "true", "--output", str(tmp_path / "trained")]
    assert main([*trained, "--policy.model", str(tmp_path / "none")]) == 2
    assert not (tmp_path / "trained").exists()


@pytest.mark.parametrize("error", [JudgeUnavailableError("no server"), MissingExtraError("no vllm")])
def test_a_judge_that_cannot_be_asked_leaves_no_empty_run_folder(error: AutojError, tmp_path: Path) -> None:
    recipe = load_recipe("filter/tiny", ["--output", str(tmp_path / "run")])
    with pytest.raises(type(error)), opened_run(recipe, resume=False, clean=False):
        raise error
    assert not (tmp_path / "run").exists()
    with pytest.raises(type(error)), opened_run(recipe, resume=True, clean=False) as run:
        run.candidates.write_text("{}\n")
        raise error
    assert run.candidates.exists() and run.recipe.exists()
    with pytest.raises(type(error)), opened_run(recipe, resume=True, clean=False):
        raise error
    assert run.candidates.exists()


def test_a_folder_that_was_there_stays(tmp_path: Path) -> None:
    recipe = load_recipe("filter/tiny", ["--output", str(tmp_path / "run")])
    with opened_run(recipe, resume=False, clean=False) as run:
        pass
    with pytest.raises(JudgeUnavailableError), opened_run(recipe, resume=True, clean=False):
        raise JudgeUnavailableError("no server")
    assert run.recipe.exists()


def test_what_was_finished_stays_after_bad_input(tmp_path: Path) -> None:
    responses, output = tmp_path / "responses.jsonl", tmp_path / "run"
    responses.write_text('{"prompt": "Why is the sky blue?", "response": "It scatters."}\n')
    assert judge(responses, output) == 0
    before = sorted(path.name for path in output.iterdir())
    assert judge(responses, output, "--columns.response", "answer") == 2
    assert judge(responses, output, "--columns.response", "answer", "--resume") == 2
    assert sorted(path.name for path in output.iterdir()) == before


def test_two_processes_do_not_work_in_one_run_folder(tmp_path: Path) -> None:
    recipe = load_recipe("filter/tiny", ["--output", str(tmp_path / "run")])
    with opened_run(recipe, resume=False, clean=False):
        for resume in (True, False):  # neither goes on in it nor empties it
            with (
                pytest.raises(InputError, match="another process"),
                opened_run(recipe, resume=resume, clean=not resume),
            ):
                pass
        assert (tmp_path / "run" / "recipe.json").is_file()
    with opened_run(recipe, resume=True, clean=False):
        pass


def test_a_resumed_run_notes_the_settings_that_hold_now(tmp_path: Path) -> None:
    flags = ["--output", str(tmp_path / "run")]
    with opened_run(load_recipe("filter/tiny", flags), resume=False, clean=False) as run:
        pass
    with opened_run(load_recipe("filter/tiny", [*flags, "--failures.limit", "0.5"]), resume=True, clean=False):
        pass
    assert json.loads(run.recipe.read_text())["recipe"]["failures"]["limit"] == 0.5


def test_clean_empties_a_run_folder_and_no_other(tmp_path: Path) -> None:
    recipe = load_recipe("filter/tiny", ["--output", str(tmp_path / "run")])
    with opened_run(recipe, resume=False, clean=False) as run:
        run.candidates.write_text("{}\n")
    with opened_run(recipe, resume=False, clean=True) as run:
        assert not run.candidates.exists()
    run.recipe.unlink()
    (run.path / "thesis.tex").write_text("three years")
    with pytest.raises(InputError, match="remove it yourself"), opened_run(recipe, resume=False, clean=True):
        pass
    assert (run.path / "thesis.tex").exists()


def test_a_damaged_recipe_file_is_an_error_that_says_so(tmp_path: Path) -> None:
    recipe = load_recipe("filter/tiny", ["--output", str(tmp_path / "run")])
    with opened_run(recipe, resume=False, clean=False) as run:
        pass
    run.recipe.write_text('{"digest": "ab')
    with pytest.raises(InputError, match="is damaged"), opened_run(recipe, resume=True, clean=False):
        pass


def test_an_output_that_is_a_file_is_an_error_that_says_so(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("")
    recipe = load_recipe("filter/tiny", ["--output", str(tmp_path / "run")])
    with pytest.raises(InputError, match="got the file"), opened_run(recipe, resume=False, clean=False):
        pass
