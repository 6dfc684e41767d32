"""`autoj sample`: draw candidates from a policy."""

from __future__ import annotations

from recipes.commands.shortcut import run_kind

EXAMPLE = "autoj sample --prompts.source prompts.jsonl --sampling.n 8 --output runs/sampled"


def main(arguments: list[str]) -> int:
    """Run the job."""
    return run_kind("sample", arguments, positional=None, example=EXAMPLE)
