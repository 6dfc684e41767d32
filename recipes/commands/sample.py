"""`autoj sample`: draw candidates from a policy."""

from __future__ import annotations

from recipes.commands.shortcut import engine_of, run_kind

EXAMPLE = """autoj sample --prompts.source prompts.jsonl --sampling.n 8 --output runs/sampled
--engine ray      sample in the actors of a Ray cluster (--sampling.ray.address auto, .max_actors 8, ...)"""


def main(arguments: list[str]) -> int:
    """Run the job."""
    return run_kind("sample", engine_of("sampling", arguments), positional=None, example=EXAMPLE)
