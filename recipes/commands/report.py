"""`autoj report RUN`: write report.html of a run folder again."""

from __future__ import annotations

from recipes.job import run_path

USAGE = "usage: autoj report RUN_FOLDER"


def main(arguments: list[str]) -> int:
    """Write the report and print its path."""
    if len(arguments) != 1 or arguments[0].startswith("-"):
        print(USAGE)
        return 0 if arguments in (["-h"], ["--help"]) else 2
    from rl.report import write_report

    print(write_report(run_path(arguments[0])))
    return 0
