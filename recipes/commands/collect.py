"""`autoj collect`: a teacher model writes judgments to train a judge on."""

from __future__ import annotations

from pydantic import JsonValue

from recipes.commands.shortcut import recipe_from_flags, run_kind

EXAMPLE = """autoj collect pairs.jsonl --kind pairs --teacher.model NAME --teacher.endpoint.base_url https://…/v1 \\
    --teacher.endpoint.api_key_env TEACHER_KEY --output runs/collected
--dry-run                      print calls, tokens and cost; sends and writes nothing
--price-in 2.5 --price-out 10  prices of a million tokens
--max-calls N --max-cost C     stop before exceeding either; everything is kept"""
REQUIRED: dict[str, JsonValue] = {"teacher": {"model": "…"}}


def main(arguments: list[str]) -> int:
    """Run the job, or print what it would ask."""
    if "--dry-run" not in arguments or "-h" in arguments or "--help" in arguments:
        return run_kind("collect", arguments, positional="data", example=EXAMPLE, required=REQUIRED)
    from recipes.collecting import print_estimate
    from recipes.schema import CollectRecipe
    from rewards.errors import InputError

    rest = [argument for argument in arguments if argument not in ("--dry-run", "--resume", "--clean")]
    recipe = recipe_from_flags("collect", rest, positional="data")
    if not isinstance(recipe, CollectRecipe):
        raise InputError("expected flags of a collection, got another recipe's")
    print_estimate(recipe)
    return 0
