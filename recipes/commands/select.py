"""`autoj select`: keep the best, make pairs, put cases aside for a person."""

from __future__ import annotations

from recipes.commands.shortcut import run_kind

EXAMPLE = (
    "autoj select runs/judged --select.method top_fraction --select.fraction 0.2 "
    "--review review.jsonl --output runs/selected"
)


def main(arguments: list[str]) -> int:
    """Run the job."""
    return run_kind("select", arguments, positional="scored", example=EXAMPLE)
