"""`autoj judge`: rate responses and compare pairs."""

from __future__ import annotations

from recipes.commands.shortcut import run_kind

EXAMPLE = "autoj judge responses.jsonl --judge.mode critique --compare.design circular --output runs/judged"


def main(arguments: list[str]) -> int:
    """Run the job."""
    return run_kind("judge", arguments, positional="candidates", example=EXAMPLE)
