"""`autoj check RECIPE [--key value ...]`: everything that is wrong with a recipe, without running it."""

from __future__ import annotations

import yaml

from recipes.loading import load_recipe, recipe_digest, shipped_recipes
from rewards.errors import InputError

USAGE = """usage: autoj check RECIPE [--key value ...]     check one recipe and print it resolved
       autoj check --all                        check every shipped recipe"""


def main(arguments: list[str]) -> int:
    """Check one recipe, or all shipped ones."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE)
        return 0
    if arguments == ["--all"]:
        return _check_all()
    recipe = load_recipe(arguments[0], arguments[1:])
    print(yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True).rstrip())
    print(f"# fine; digest {recipe_digest(recipe)[:12]}")
    return 0


def _check_all() -> int:
    problems = []
    for name, path in shipped_recipes().items():
        try:
            load_recipe(str(path))
            print(f"fine  {name}")
        except InputError as error:
            problems.append(str(error))
    if problems:
        raise InputError("\n".join(problems))
    return 0
