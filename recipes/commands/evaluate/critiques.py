"""`autoj evaluate-judge eval-c`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from recipes.commands.evaluate import asking
from recipes.commands.evaluate.showing import Judging, show

if TYPE_CHECKING:
    from judge_training.eval_c import CritiquedResponse
    from rewards.judges.base import CompareItem


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
    from judge_training.eval_c import compare_items, evaluate_eval_c, read_comparisons
    from judge_training.sheets import eval_c_sheet

    second_source = _second_source(arguments)
    rows, first, second = _read(arguments)
    path = arguments.comparisons
    if path is None:
        rows = rows[: arguments.limit]
        folder = eval_c_folder(arguments)
        sources = [Path(one) for one in (arguments.first, second_source) if Path(one).is_file()]
        data = asking.data_digest([arguments.data, *sources], arguments.first, second_source)
        asking.compare(arguments.judge, compare_items(rows, first, second), folder, data)
        path = folder / asking.COMPARISONS
    names = {"first": _name(arguments.first), "second": _name(second_source)}
    result = evaluate_eval_c(read_comparisons(rows, path, first, second), **names)
    about = {"data": str(arguments.data), "first": arguments.first, "second": second_source, "comparisons": str(path)}
    about["judge"] = asking.who(path.parent)
    show(arguments, [eval_c_sheet(result)], result, about)


def eval_c_folder(arguments: EvalCArguments) -> Path:
    """Where the judge's answers are kept."""
    return arguments.output or Path("runs/eval-c")


def eval_c_items(arguments: EvalCArguments) -> list[CompareItem]:
    """What the judge is asked about, where no comparisons are given."""
    from judge_training.eval_c import compare_items

    rows, first, second = _read(arguments)
    return compare_items(rows[: arguments.limit], first, second)


def _second_source(arguments: EvalCArguments) -> str:
    return arguments.second or str(arguments.data.with_name("reference_chatgpt_critique.jsonl"))


def _read(arguments: EvalCArguments) -> tuple[Sequence[CritiquedResponse], Mapping[str, str], Mapping[str, str]]:
    """The responses, and the critiques of both sources by their ids."""
    from judge_training.eval_c import read_critiques, read_eval_c

    rows = read_eval_c(arguments.data)
    return rows, read_critiques(rows, arguments.first), read_critiques(rows, _second_source(arguments))


def _name(source: str) -> str:
    """A source by its name or its file's, without what all such files have in common."""
    return Path(source).stem.removeprefix("reference_").removesuffix("_critique")
