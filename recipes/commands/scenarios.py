"""`autoj scenarios [NAME] [--json]`: the scenarios and their criteria."""

from __future__ import annotations

import json

from rich.console import Console
from rich.table import Table

from judge_training.scenarios import group_of, load_scenarios, scenario_rows
from rewards.errors import InputError

USAGE = """usage: autoj scenarios           list all
       autoj scenarios NAME      show one with its criteria
       autoj scenarios --json    everything as JSON"""


def main(arguments: list[str]) -> int:
    """List the scenarios or show one."""
    if "-h" in arguments or "--help" in arguments:
        print(USAGE)
        return 0
    names = [argument for argument in arguments if argument != "--json"]
    if len(names) > 1 or any(name.startswith("-") for name in names):
        raise InputError(f"expected one scenario and perhaps --json, got {' '.join(arguments)}")
    catalog = load_scenarios()
    if not names:
        if "--json" in arguments:
            print(catalog.model_dump_json(indent=2))
        else:
            _list()
        return 0
    group = group_of(names[0])
    criteria = catalog.criteria_of(names[0])
    if "--json" in arguments:
        print(json.dumps([criterion.model_dump(mode="json") for criterion in criteria], indent=2, ensure_ascii=False))
        return 0
    table = Table("criterion", "type", "text", title=f"{names[0]} ({group}): {catalog.scenario(names[0]).description}")
    for criterion in criteria:
        table.add_row(criterion.name, criterion.type, criterion.text)
    Console().print(table)
    return 0


def _list() -> None:
    table = Table("group", "scenario", "shared", "own", "description")
    for row in scenario_rows():
        table.add_row(row.group, row.name, str(row.shared_criteria), str(row.own_criteria), row.description)
    Console().print(table)
