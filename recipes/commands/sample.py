"""`autoj sample`: draw candidates from a policy."""

from __future__ import annotations

from recipes.commands.shortcut import engine_of, run_kind

EXAMPLE = """autoj sample --prompts.source prompts.jsonl --sampling.n 8 --output runs/sampled
--engine ray      sample in the actors of a Ray cluster (--sampling.ray.address auto, .max_actors 8, ...)
--dry-run         print candidates, tokens, time and device-hours; writes nothing. With it:
                  --probe N (draw N candidates now to measure the rate, 4; 0 draws none), --rate TOKENS_PER_SECOND,
                  --devices N (that the policy runs on), --json"""


def main(arguments: list[str]) -> int:
    """Run the job, or print what it would draw."""
    return run_kind("sample", engine_of("sampling", arguments), positional=None, example=EXAMPLE)
