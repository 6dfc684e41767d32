"""`autoj evaluate-judge eval-c`."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from recipes.commands.evaluate import asking
from recipes.commands.evaluate.showing import Judging, show


class EvalCArguments(Judging):
    """Eval-C: critiques of two sources, compared by a judge; the win rate of the first, by group and scenario."""

    data: Path
    """testdata_critique.jsonl of the AUTO-J release."""
    comparisons: Path | None = None
    """Comparisons: the release's (gpt-4-Eval_auto-j_vs_chatgpt.jsonl), or ours. Without it the judge is asked."""
    first: str = "autoj"
    """Whose critiques: a name in the data's `critiques`, or a file of {"output": critique} a line."""
    second: str | None = None
    """Against whose; without it reference_chatgpt_critique.jsonl beside the data."""
    limit: int | None = Field(default=None, ge=1)
    """Ask the judge about this many responses only."""


def eval_c(arguments: EvalCArguments) -> None:
    """Run it."""
    from judge_training.eval_c import (
        compare_items,
        evaluate_eval_c,
        read_comparisons,
        read_critiques,
        read_eval_c,
    )
    from judge_training.sheets import eval_c_sheet

    second_source = arguments.second or str(arguments.data.with_name("reference_chatgpt_critique.jsonl"))
    rows = read_eval_c(arguments.data)
    first, second = read_critiques(rows, arguments.first), read_critiques(rows, second_source)
    path = arguments.comparisons
    if path is None:
        rows = rows[: arguments.limit]
        folder = arguments.output or Path("runs/eval-c")
        sources = [Path(one) for one in (arguments.first, second_source) if Path(one).is_file()]
        data = asking.data_digest([arguments.data, *sources], arguments.first, second_source)
        asking.compare(arguments.judge, compare_items(rows, first, second), folder, data)
        path = folder / asking.COMPARISONS
    names = {"first": _name(arguments.first), "second": _name(second_source)}
    result = evaluate_eval_c(read_comparisons(rows, path, first, second), **names)
    about = {"data": str(arguments.data), "first": arguments.first, "second": second_source, "comparisons": str(path)}
    about["judge"] = asking.who(path.parent)
    show(arguments, [eval_c_sheet(result)], result, about)


def _name(source: str) -> str:
    """A source by its name or its file's, without what all such files have in common."""
    return Path(source).stem.removeprefix("reference_").removesuffix("_critique")
