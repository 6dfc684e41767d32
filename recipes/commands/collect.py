"""`autoj collect`: a teacher model writes judgments to train a judge on."""

from __future__ import annotations

from pydantic import JsonValue

from recipes.commands.shortcut import run_kind

EXAMPLE = """autoj collect pairs.jsonl --kind pairs --teacher.model NAME --teacher.endpoint.base_url https://…/v1 \\
    --teacher.endpoint.api_key_env TEACHER_KEY --output runs/collected
--dry-run                      print calls, tokens and cost; sends and writes nothing. With it:
--rate R --devices N --json    tokens a second of the server, for the time; its GPUs, for their hours; JSON
--price-in 2.5 --price-out 10  prices of a million tokens
--max-calls N --max-cost C     stop before exceeding either; everything is kept"""
REQUIRED: dict[str, JsonValue] = {"teacher": {"model": "…"}}


def main(arguments: list[str]) -> int:
    """Run the job, or print what it would ask."""
    return run_kind("collect", arguments, positional="data", example=EXAMPLE, required=REQUIRED)
