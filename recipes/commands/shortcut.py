"""Verbs that are recipes of one section: `autoj judge FILE --key value` is a recipe written as a command."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from pydantic import BaseModel, JsonValue

from recipes.loading import check_recipe, parse_flags, settings_class
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
    """Run a recipe of this kind from flags, or print what it would cost (`--dry-run`).

    The first argument may fill the key named `positional`.
    required: stands in for other keys without a default when the help is printed.
    """
    what = f" {positional.upper()}" if positional else ""
    usage = f"usage: autoj {kind}{what} --output FOLDER [--key value ...] [--resume | --clean]\n\n{example}\n"
    if "-h" in arguments or "--help" in arguments or (positional and not arguments):
        return _help(kind, usage, {**({positional: "…"} if positional else {}), **(required or {})})
    if "--dry-run" in arguments:
        return dry_run(arguments, lambda rest: recipe_from_flags(kind, rest, positional=positional))
    resume, clean = "--resume" in arguments, "--clean" in arguments
    rest = [argument for argument in arguments if argument not in ("--resume", "--clean")]
    recipe = recipe_from_flags(kind, rest, positional=positional)
    from recipes.jobs import run_recipe

    run_recipe(recipe, resume=resume, clean=clean)
    return 0


def dry_run(arguments: list[str], read: Callable[[list[str]], Recipe]) -> int:
    """Print what the recipe that `read` makes of the other arguments would ask, and what that costs."""
    from recipes.cost_of import dry_run_recipe
    from recipes.dry_run_options import Options, split_options

    options, rest = split_options(arguments)
    return dry_run_recipe(read(rest), options or Options())


def engine_of(section: str, arguments: list[str]) -> list[str]:
    """The arguments with `--engine X` as the key of the section that does the work."""
    return [f"--{section}.{flag[2:]}" if flag.partition("=")[0] == "--engine" else flag for flag in arguments]


def recipe_from_flags(kind: str, flags: list[str], *, positional: str | None) -> Recipe:
    """The checked recipe that flags describe."""
    rest, content = list(flags), {"recipe": kind}
    if positional and rest and not rest[0].startswith("--"):
        content[positional] = rest.pop(0)
    recipe = check_recipe(content | parse_flags(rest), where="the flags")
    if not recipe.output.is_absolute() and recipe.output == Path():
        raise InputError("expected --output to name a folder of its own, got the current folder")
    return recipe


def _help(kind: str, usage: str, required: Mapping[str, JsonValue]) -> int:
    print(usage)
    show_keys(KINDS[kind].model_validate({"recipe": kind, **required}), prog=f"autoj {kind}")
    return 0


def show_keys(recipe: Recipe, *, prog: str) -> None:
    """Print every key of a recipe as the flag that `parse_flags` reads: no bare switches, no subcommands."""
    import tyro

    config = (tyro.conf.FlagConversionOff, tyro.conf.AvoidSubcommands)
    with contextlib.suppress(SystemExit):  # tyro leaves after help
        tyro.cli(type(recipe), default=recipe, args=["--help"], prog=prog, config=config)
    for line in _further_keys(recipe):
        print(line)


def _further_keys(settings: BaseModel, prefix: str = "--") -> Iterator[str]:
    """A line for every key that tyro does not show: mappings, and sections that are off until a key is set."""
    for name, field in type(settings).model_fields.items():
        value, section = dict(settings)[name], settings_class(field.annotation)
        if isinstance(value, BaseModel):
            yield from _further_keys(value, f"{prefix}{name}.")
        elif value is None and section:
            keys = ", ".join(_keys_of(section, f"{prefix}{name}."))
            yield f"{keys}: {field.description} Off without them."
        elif value == {}:
            yield f"{prefix}{name} '{{KEY: VALUE, ...}}': {field.description}"


def _keys_of(section: type[BaseModel], prefix: str) -> Iterator[str]:
    """Every key of a section, and of the sections in it."""
    for name, field in section.model_fields.items():
        inner = settings_class(field.annotation)
        yield from _keys_of(inner, f"{prefix}{name}.") if inner else [f"{prefix}{name}"]
