"""`autoj judge`: rate responses and compare pairs."""

from __future__ import annotations

from recipes.commands.shortcut import engine_of, run_kind

EXAMPLE = """autoj judge responses.jsonl --judge.model NAME --judge.mode critique --compare.design circular
--engine ray                   judge in the actors of a Ray cluster (--judge.ray.address auto, .max_actors 8, ...)
--dry-run                      print judge calls, tokens, time and device-hours; writes nothing. With it:
--probe N                      ask N questions now to measure the rate (4; 0 asks none)
--rate R --devices N --json    tokens a second, measured elsewhere; devices that the judge runs on; JSON"""


def main(arguments: list[str]) -> int:
    """Run the job, or print what it would ask."""
    return run_kind("judge", engine_of("judge", arguments), positional="candidates", example=EXAMPLE)
