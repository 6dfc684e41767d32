import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from recipes.cli import VERBS, main
from recipes.loading import (
    check_recipe,
    differing_keys,
    find_recipe,
    load_recipe,
    merge,
    parse_flags,
    recipe_digest,
    recipe_head,
    shipped_recipes,
)
from rewards.errors import InputError, MissingFileError

SHIPPED = shipped_recipes()


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_recipe_is_valid_and_says_what_it_is(name: str) -> None:
    recipe = load_recipe(name)
    head = recipe_head(SHIPPED[name])
    assert recipe.recipe in head.replace("-", "_").lower() or "Launch: autoj run" in head
    assert all(word in head for word in ("Needs:", "Launch:", "Expect:"))
    launch = next(line for line in head.splitlines() if "Launch:" in line)
    assert "Launch: autoj run" in launch
    assert f"recipes/{name}.yaml" in launch


@pytest.mark.parametrize("family", ["quickstart", "best_of_n", "filter", "rft", "dpo"])
def test_every_family_has_a_tiny_recipe_a_real_one_and_a_page(family: str) -> None:
    files = {path.name for path in (Path(str(find_recipe(f"{family}/tiny"))).parent).iterdir()}
    assert {"tiny.yaml", "README.md"} <= files
    more = {"filter": {"ray_vllm.yaml"}}.get(family, set())  # another way of running, not another size of model
    assert more <= files
    assert len([name for name in files if name.endswith(".yaml")]) == 2 + len(more)


def test_all_problems_are_reported_at_once_with_suggestions() -> None:
    content = {
        "recipe": "dpo",
        "sampling": {"n": "many"},
        "judge": {"mod": "direct"},
        "sede": 1,
        "train": {"beta": -1},
    }
    with pytest.raises(InputError) as caught:
        check_recipe(content, where="x.yaml")
    message = str(caught.value)
    assert "x.yaml: 4 problem(s)" in message
    assert "judge.mod: unknown key; did you mean mode?" in message
    assert "sede: unknown key; did you mean seed?" in message
    assert "sampling.n: " in message
    assert "got 'many'" in message
    assert "train.beta: " in message


def test_a_check_of_several_keys_says_its_own_words_and_not_the_whole_recipe() -> None:
    content = {"recipe": "rft", "output": "x", "prompts": {"source": "bundled"}, "rounds": {"threshold_step": 0.1}}
    with pytest.raises(InputError) as caught:
        check_recipe(content, where="x.yaml")
    assert str(caught.value).splitlines()[1:] == [
        "  the recipe: expected select.threshold with rounds.threshold_step, since it is what rises"
    ]


def test_a_problem_of_flags_names_the_command_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["judge", "x.jsonl", "--judge.mod", "direct", "--output", "x"]) == 2
    assert capsys.readouterr().err.count("autoj judge") == 1


def test_an_unknown_kind_is_suggested() -> None:
    with pytest.raises(InputError, match=r"got 'dop'; did you mean dpo\?"):
        check_recipe({"recipe": "dop"}, where="x")


def test_a_misspelt_recipe_is_suggested() -> None:
    with pytest.raises(MissingFileError, match="did you mean quickstart"):
        find_recipe("quickstat")


def test_flags_are_yaml_and_nest() -> None:
    assert parse_flags(["--train.beta", "0.2", "--judge.both-orders=false", "--reward.rescale", "[1, 10]"]) == {
        "train": {"beta": 0.2},
        "judge": {"both_orders": False},
        "reward": {"rescale": [1, 10]},
    }


def test_flags_as_the_help_writes_them() -> None:
    assert parse_flags(["--reward.rescale", "1", "10", "--reward.centre", "True", "--judge.cache", "None"]) == {
        "reward": {"rescale": [1, 10], "centre": True},
        "judge": {"cache": None},
    }


@pytest.mark.parametrize(
    "flags", [["beta", "1"], ["--beta"], ["--a", "--b", "1"], ["--a", "1", "--a.b", "2"], ["--a", "[1"]]
)
def test_flags_that_cannot_be_read_are_errors(flags: list[str]) -> None:
    with pytest.raises(InputError):
        parse_flags(flags)


def test_a_flag_overrides_one_key_and_leaves_its_neighbours() -> None:
    assert merge({"a": {"x": 1, "y": 2}, "b": 1}, {"a": {"y": 3}}) == {"a": {"x": 1, "y": 3}, "b": 1}
    recipe = load_recipe("dpo/tiny", ["--train.beta", "0.2"])
    assert recipe.recipe == "dpo"
    assert recipe.train.beta == 0.2
    assert recipe.train.max_steps == load_recipe("dpo/tiny").train.max_steps  # type: ignore[union-attr]


def test_small_numbers_as_yaml_writes_them_are_numbers() -> None:
    recipe = check_recipe(yaml.safe_load("{recipe: dpo, train: {learning_rate: 5e-7}}"), where="x")
    assert recipe.train.learning_rate == 5e-7  # type: ignore[union-attr]


def test_off_is_off_although_yaml_reads_it_as_false() -> None:
    assert load_recipe("dpo/tiny", ["--track.mode", "off"]).track.mode == "off"


@pytest.mark.parametrize(
    "flag",
    [
        "--failures.limit=0.5",
        "--judge.endpoint.timeout=9",
        "--judge.endpoint.concurrency=2",
        "--sampling.batch_size=2",
    ],
)
def test_a_run_that_was_stopped_may_be_resumed_with_what_the_error_advised(flag: str) -> None:
    base, other = load_recipe("best_of_n/tiny"), load_recipe("best_of_n/tiny", [flag])
    assert other != base
    assert recipe_digest(other) == recipe_digest(base)
    assert differing_keys(base.model_dump(mode="json"), other.model_dump(mode="json")) == []


def test_the_digest_ignores_where_a_run_lies_and_nothing_that_changes_a_result() -> None:
    base = load_recipe("dpo/tiny")
    assert recipe_digest(load_recipe("dpo/tiny", ["--output", "elsewhere"])) == recipe_digest(base)
    other = load_recipe("dpo/tiny", ["--sampling.n", "3"])
    assert recipe_digest(other) != recipe_digest(base)
    assert differing_keys(base.model_dump(mode="json"), other.model_dump(mode="json")) == ["sampling.n (2 -> 3)"]
    server = load_recipe("dpo/tiny", ["--judge.endpoint.base_url", "http://127.0.0.1:1/v1"])
    assert recipe_digest(server) != recipe_digest(base)


@pytest.mark.parametrize("content", ["[1, 2]", "a: [1", "\x00"])
def test_a_file_that_is_no_recipe_is_an_error(content: str, tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(content)
    with pytest.raises(InputError):
        load_recipe(str(path))


NO_TORCH = """
import sys
from recipes.cli import main
main({arguments!r})
heavy = sorted(name for name in ("torch", "transformers", "trl", "wandb", "polars", "datasets") if name in sys.modules)
assert not heavy, heavy
"""


@pytest.mark.parametrize(
    "arguments", [["--help"], ["check", "quickstart"], ["check", "--all"], ["list"], ["scenarios"]]
)
def test_help_and_check_load_nothing_heavy(arguments: list[str]) -> None:
    code = NO_TORCH.format(arguments=arguments)
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(verb: str) -> None:
    code = f"import sys; from recipes.cli import main; sys.exit(main([{verb!r}, '--help']))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "autoj" in result.stdout
