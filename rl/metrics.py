"""`metrics.jsonl`: every scalar that a run measures, one object a line with `step`, `stage` and the metrics by name.

This file is always written, whatever a tracking service does, so that a report and a script of the user need no
account anywhere. A value that is not finite is written as null, since JSON knows no NaN, and so stays visible
as a step where the measurement broke. A stage that was started again after a kill appends its steps again;
`series` takes the last value of each step.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path

from pydantic import JsonValue, TypeAdapter

from rewards.errors import InputError
from rewards.jsonl import AppendLog, read_records

RESERVED = frozenset({"step", "stage"})
Scalar = int | float

_LINE: TypeAdapter[dict[str, JsonValue]] = TypeAdapter(dict[str, JsonValue])


def metrics_line(stage: str, step: int, values: Mapping[str, Scalar]) -> dict[str, JsonValue]:
    """One line of the file; raises InputError when a metric is called `step` or `stage`."""
    taken = sorted(RESERVED & values.keys())
    if taken:
        raise InputError(f"expected metric names other than step and stage, got {', '.join(taken)}; rename the metric")
    numbers: dict[str, JsonValue] = {name: _finite(value) for name, value in values.items()}
    return {"step": step, "stage": stage, **numbers}


def _finite(value: Scalar) -> Scalar | None:
    """A plain int or float (numpy's scalars are turned into Python's), None when it is not finite."""
    if isinstance(value, int):
        return int(value)
    number = float(value)
    return number if math.isfinite(number) else None


def append_metrics(path: Path, stage: str, step: int, values: Mapping[str, Scalar]) -> None:
    """Append one line to a metrics file."""
    with AppendLog(path) as log:
        log.write(metrics_line(stage, step, values))


def read_metrics(path: Path) -> Iterator[dict[str, JsonValue]]:
    """The lines of a metrics file; a torn last line counts as not written."""
    return read_records(path, _LINE)


Series = dict[tuple[str, str], dict[int, float | None]]
"""(stage, metric) -> step -> value; None where the value was not finite."""


def series(path: Path, limit: int = 200_000) -> tuple[Series, bool]:
    """Every metric as a series, and whether lines after the first `limit` values were left out."""
    found: Series = {}
    count = 0
    for line in read_metrics(path):
        step, stage = line.get("step"), line.get("stage")
        if not isinstance(step, int) or not isinstance(stage, str):
            continue
        for name, value in line.items():
            if name not in RESERVED and (value is None or isinstance(value, int | float)):
                count += 1
                found.setdefault((stage, name), {})[step] = None if value is None else float(value)
        if count >= limit:
            return found, True
    return found, False
