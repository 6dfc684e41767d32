"""Verbs that are recipes of one section: `autoj judge FILE --key value` is a recipe written as a command."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pydantic import JsonValue

from recipes.loading import check_recipe, parse_flags
from recipes.schema import KINDS, Recipe
from rewards.errors import InputError


def run_kind(
    kind: str,
    arguments: list[str],
    *,
    positional: str | None,
    example: str,
    required: Mapping[str, JsonValue] | None = None,
) -> int:
    """Run a recipe of this kind from flags; the first argument may fill the key named `positional`.

    required: stands in for other keys without a default when the help is printed.
    """
    what = f" {positional.upper()}" if positional else ""
    usage = f"usage: autoj {kind}{what} --output FOLDER [--key value ...] [--resume | --clean]\n\n{example}\n"
    if "-h" in arguments or "--help" in arguments or (positional and not arguments):
        return _help(kind, usage, {**({positional: "…"} if positional else {}), **(required or {})})
    resume, clean = "--resume" in arguments, "--clean" in arguments
    rest = [argument for argument in arguments if argument not in ("--resume", "--clean")]
    recipe = recipe_from_flags(kind, rest, positional=positional)
    from recipes.jobs import run_recipe

    run_recipe(recipe, resume=resume, clean=clean)
    return 0


def recipe_from_flags(kind: str, flags: list[str], *, positional: str | None) -> Recipe:
    """The checked recipe that flags describe."""
    rest, content = list(flags), {"recipe": kind}
    if positional and rest and not rest[0].startswith("--"):
        content[positional] = rest.pop(0)
    recipe = check_recipe(content | parse_flags(rest), where=f"autoj {kind}")
    if not recipe.output.is_absolute() and recipe.output == Path():
        raise InputError("expected --output to name a folder of its own, got the current folder")
    return recipe


def _help(kind: str, usage: str, required: Mapping[str, JsonValue]) -> int:
    import tyro

    print(usage)
    model = KINDS[kind]
    default = model.model_validate({"recipe": kind, **required})
    tyro.cli(model, default=default, args=["--help"], prog=f"autoj {kind}")
    return 0
