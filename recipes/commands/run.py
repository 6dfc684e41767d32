"""`autoj run RECIPE [--key value ...] [--resume | --clean]`: run a recipe to its report."""

from __future__ import annotations

from recipes.commands.shortcut import dry_run, show_keys
from recipes.launcher import launch, split_flags
from recipes.loading import find_recipe, load_recipe, recipe_head
from recipes.schema import Recipe
from rewards.errors import InputError

SWITCHES = ("--resume", "--clean")
USAGE = """usage: autoj run RECIPE [--key value ...] [--output FOLDER] [--resume | --clean]
       autoj run RECIPE --nproc N [--strategy S] [--nnodes M --rdzv HOST:PORT] [--key value ...]

RECIPE is a YAML file or the short name of a shipped recipe (autoj list).
--key value   set any key of the recipe, dotted: --train.beta 0.2 --judge.mode critique
--output DIR  the run folder
--resume      go on with a run that was stopped; nothing finished is done again
--clean       remove the run folder first
--nproc N     train on N processes of this machine, one for each GPU (recipes that train)
--strategy S  how they share the model: ddp, zero2, zero3 (DeepSpeed) or fsdp2 (GPUs only)
--nnodes M --rdzv HOST:PORT   on M machines: the same command on each, HOST one of them, PORT a free port there
--dry-run     print calls, tokens, time and device-hours of all models it asks; writes nothing. With it:
              --probe N (ask N questions now to measure the rate, 4; 0 asks none), --rate TOKENS_PER_SECOND,
              --devices N (that the judge runs on), --json
autoj run RECIPE --help lists the keys of that recipe."""


def main(arguments: list[str]) -> int:
    """Run one recipe."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE)
        return 0
    name, flags = arguments[0], arguments[1:]
    if "-h" in flags or "--help" in flags:
        return _show_keys(name)
    switches = [flag for flag in flags if flag in SWITCHES]
    if "--dry-run" in flags:
        return dry_run(flags, lambda rest: _launched(name, rest))
    world, rest = split_flags([flag for flag in flags if flag not in SWITCHES])
    if world is not None:
        return launch(name, rest, world, switches=switches)
    recipe = load_recipe(name, rest)
    from recipes.jobs import run_recipe

    run_recipe(recipe, resume="--resume" in switches, clean="--clean" in switches)
    return 0


def _launched(name: str, flags: list[str]) -> Recipe:
    """The recipe as each of its processes would have it, on whatever machine: nothing is started."""
    world, rest = split_flags(flags)
    if world is not None:
        rest += [f"--launch.processes={world.processes}"]
        rest += [] if world.strategy is None else [f"--launch.strategy={world.strategy}"]
    return load_recipe(name, rest)


def _show_keys(name: str) -> int:
    if name.startswith("-"):
        raise InputError("expected a recipe before the flags; see autoj run --help")
    recipe = load_recipe(name)
    print(recipe_head(find_recipe(name)))
    show_keys(recipe, prog=f"autoj run {name}")
    return 0
