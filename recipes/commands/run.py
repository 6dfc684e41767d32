"""`autoj run RECIPE [--key value ...] [--resume | --clean]`: run a recipe to its report."""

from __future__ import annotations

from recipes.commands.shortcut import show_keys
from recipes.loading import find_recipe, load_recipe, recipe_head
from rewards.errors import InputError

USAGE = """usage: autoj run RECIPE [--key value ...] [--output FOLDER] [--resume | --clean]

RECIPE is a YAML file or the short name of a shipped recipe (autoj list).
--key value   set any key of the recipe, dotted: --train.beta 0.2 --judge.mode critique
--output DIR  the run folder
--resume      go on with a run that was stopped; nothing finished is done again
--clean       remove the run folder first
autoj run RECIPE --help lists the keys of that recipe."""


def main(arguments: list[str]) -> int:
    """Run one recipe."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE)
        return 0
    name, flags = arguments[0], arguments[1:]
    if "-h" in flags or "--help" in flags:
        return _show_keys(name)
    resume, clean = "--resume" in flags, "--clean" in flags
    recipe = load_recipe(name, [flag for flag in flags if flag not in ("--resume", "--clean")])
    from recipes.jobs import run_recipe

    run_recipe(recipe, resume=resume, clean=clean)
    return 0


def _show_keys(name: str) -> int:
    if name.startswith("-"):
        raise InputError("expected a recipe before the flags; see autoj run --help")
    recipe = load_recipe(name)
    print(recipe_head(find_recipe(name)))
    show_keys(recipe, prog=f"autoj run {name}")
    return 0
