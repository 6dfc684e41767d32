"""The help of a verb that is a recipe names its keys, and names them as the command reads them."""

import re
from collections.abc import Iterator

import pytest
from pydantic import BaseModel

from recipes.cli import main
from recipes.loading import find_recipe, recipe_head, settings_class, shipped_recipes
from recipes.schema import KINDS


def leaf_keys(model: type[BaseModel], prefix: str = "--") -> Iterator[str]:
    for name, field in model.model_fields.items():
        below = settings_class(field.annotation)
        if below is None:
            yield prefix + name
        else:
            yield from leaf_keys(below, f"{prefix}{name}.")


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        (["judge", "--help"], "judge"),
        (["select", "--help"], "select"),
        (["sample", "--help"], "sample"),
        (["run", "dpo/tiny", "--help"], "dpo"),
    ],
)
def test_the_help_names_every_key_and_no_flag_that_is_not_read(
    arguments: list[str], kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 0
    shown = capsys.readouterr().out
    named = {flag.replace("-", "_") for flag in re.findall(r"--([a-z][a-z0-9_.-]+)", shown)}
    keys = {flag.removeprefix("--") for flag in leaf_keys(KINDS[kind])}
    assert keys - named == set()
    dry_run = {"dry_run", "probe", "rate", "devices", "json"} if arguments[0] in ("judge", "sample") else set()
    engine = {"engine"} if arguments[0] in ("judge", "sample") else set()  # short for the section's own
    others = named - keys - {"help", "resume", "clean", "key"} - dry_run - engine
    assert others == set()  # such as --compare.no-both-orders, which the command would refuse


@pytest.mark.parametrize("columns", ["60", "200"])
def test_the_list_shows_every_recipe_with_its_whole_purpose(
    columns: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert main(["list"]) == 0
    shown = capsys.readouterr().out
    for name, path in shipped_recipes().items():
        paragraph = recipe_head(path).partition("\n\n")[0]
        assert name in shown
        assert " ".join(paragraph.split()) in " ".join(shown.split())
    assert all(len(line) <= int(columns) for line in shown.splitlines())
    assert "\n" in recipe_head(find_recipe("filter/autoj_13b")).partition("\n\n")[0]  # which was cut at its first line
