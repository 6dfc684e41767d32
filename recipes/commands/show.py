"""`autoj show WHAT`: a run folder, a recipe, or a judge protocol, in the terminal."""

from __future__ import annotations

import json
from pathlib import Path

from rich.console import Console
from rich.table import Table

from recipes.loading import find_recipe
from rewards.protocol.spec import PROTOCOL_FILE, JudgeProtocol
from rl.run_folder import RunFolder

USAGE = """usage: autoj show RUN_FOLDER | RECIPE | PROTOCOL

a run folder: its stages, counts and results
a recipe: its file
a judge protocol (a judge_protocol.json, its folder, or `builtin`): what a judge is asked"""


def main(arguments: list[str]) -> int:
    """Show one thing."""
    if len(arguments) != 1 or arguments[0].startswith("-"):
        print(USAGE)
        return 0 if arguments in (["-h"], ["--help"]) else 2
    path = Path(arguments[0])
    if arguments[0] == "builtin":
        from rewards.protocol.builtin import builtin_protocol

        _show_protocol(builtin_protocol())
    elif path.name == PROTOCOL_FILE or (path / PROTOCOL_FILE).is_file():
        _show_protocol(JudgeProtocol.load(path))
    elif path.is_dir():
        _show_run(RunFolder(path))
    else:
        print(find_recipe(arguments[0]).read_text(encoding="utf-8"), end="")
    return 0


def _show_protocol(protocol: JudgeProtocol) -> None:
    for name, asking in (("single", protocol.single), ("pairwise", protocol.pairwise)):
        for mode, template in (("critique", asking.critique), ("direct", asking.direct)) if asking else ():
            if template is not None:
                print(
                    f"=== {name}, {mode}\n{template.fill({field: '{' + field + '}' for field in template.fields})}\n"
                )
    rest = protocol.model_dump(mode="json", exclude={"single", "pairwise"})
    print(json.dumps(rest | {"digest": protocol.digest}, indent=2, ensure_ascii=False))


def _show_run(run: RunFolder) -> None:
    console = Console()
    table = Table("stage", "seconds", "counts", title=str(run.path))
    for record in run.finished().values():
        counts = ", ".join(f"{key} {value:,.4g}" for key, value in record.counts.items())
        table.add_row(record.stage, f"{record.seconds:.1f}", counts)
    console.print(table)
    for path in (run.manifest, run.evaluation):
        if path.is_file():
            console.print(f"[bold]{path.name}[/bold]")
            console.print_json(path.read_text(encoding="utf-8"))
    console.print(f"report: {run.report}" if run.report.is_file() else "no report yet; autoj report makes one")
