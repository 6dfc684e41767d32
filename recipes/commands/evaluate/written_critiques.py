"""`autoj evaluate-judge critiques`: critiques of Eval-C's responses by a judge or a critic, as a source for eval-c."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from recipes.commands.evaluate import asking
from rewards.judges.config import JudgeSettings, Settings

if TYPE_CHECKING:
    from rewards.judges.base import RateItem


class CritiquesArguments(Settings):
    """Have a judge write critiques of Eval-C's responses; the file is a source for eval-c (--first FILE)."""

    data: Path
    """testdata_critique.jsonl of the AUTO-J release."""
    judge: JudgeSettings = JudgeSettings(mode="critique")
    """Who writes."""
    output: Path = Path("runs/critiques")
    """Folder for critiques.jsonl and the judge's answers; started again it goes on where it stopped."""


def critiques(arguments: CritiquesArguments) -> None:
    """Run it. A response without a critique has an empty one, which wins no comparison."""
    from rewards.jsonl import write_records

    items = critique_items(arguments.data)
    judgments = asking.rate(arguments.judge, items, arguments.output, asking.data_digest([arguments.data]))
    path = arguments.output / "critiques.jsonl"
    write_records(path, ({"id": one.prompt_id, "output": one.critique} for one in judgments))
    empty = sum(not one.critique.strip() for one in judgments)
    print(f"{path}: {len(judgments)} critiques" + (f", {empty} of them empty" if empty else ""))


def critique_items(data: Path) -> list[RateItem]:
    """What the judge is asked about: each response of the set."""
    from judge_training.eval_c import read_eval_c
    from rewards.judges.base import RateItem
    from rewards.types import Candidate, Message, Prompt

    return [
        RateItem(
            prompt=Prompt(id=row.id, messages=(Message(role="user", content=row.prompt),), scenario=row.scenario),
            candidate=Candidate(id=f"{row.id}:response", prompt_id=row.id, text=row.response),
        )
        for row in read_eval_c(data)
    ]
