"""Small sets of scored candidates for tests of selection."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from rewards.scored_table import ScoredTable
from rewards.types import Abstained, Candidate, Comparison, Judgment, Message, Prompt, Reward, Unscored, Verdict

Given = tuple[str, float | None]
"""A response and its reward (None: unscored)."""


def records(
    groups: dict[str, Sequence[Given]], *, scenario: str | None = None
) -> tuple[list[Prompt], list[Candidate], list[Reward | Unscored]]:
    """Prompts named as the keys, candidates p/0, p/1, ..., rewards with the judgment ids of their ratings."""
    prompts, candidates, scored = [], [], []
    for prompt_id, given in groups.items():
        question = Message(role="user", content=f"Question {prompt_id}?")
        prompts.append(Prompt(id=prompt_id, messages=(question,), scenario=scenario))
        for index, (text, value) in enumerate(given):
            name = f"{prompt_id}/{index}"
            candidates.append(Candidate(id=name, prompt_id=prompt_id, text=text, index=index))
            scored.append(score(prompt_id, name, value))
    return prompts, candidates, scored


def score(prompt_id: str, candidate_id: str, value: float | None) -> Reward | Unscored:
    """A reward, or for None a judgment that failed."""
    ids = (Judgment.rating_id(candidate_id),)
    if value is None:
        return Unscored(candidate_id=candidate_id, prompt_id=prompt_id, reason="timeout", judgment_ids=ids)
    return Reward(candidate_id=candidate_id, prompt_id=prompt_id, value=value, judgment_ids=ids)


def table(groups: dict[str, Sequence[Given]], *, scenario: str | None = None) -> ScoredTable:
    """The same as a table."""
    return ScoredTable.from_records(*records(groups, scenario=scenario))


def compared(prompt_id: str, first: str, second: str, said: str, *, orders: int = 2) -> Comparison:
    """A comparison that said first, second or tie, or abstained as orders_disagree or unparsed."""
    outcome = (
        Abstained(reason=said) if said in {"orders_disagree", "unparsed"} else Verdict(winner=said)  # type: ignore[arg-type]
    )
    shown = [(first, second), (second, first)][:orders]
    judgments = tuple(
        Judgment(
            id=Judgment.verdict_id(a, b), prompt_id=prompt_id, candidate_ids=(a, b), outcome=Verdict(winner="tie")
        )
        for a, b in shown
    )
    name = Judgment.verdict_id(first, second)
    return Comparison(
        id=name, prompt_id=prompt_id, first_id=first, second_id=second, outcome=outcome, judgments=judgments
    )


def write_lines(path: Path, rows: Sequence[dict[str, object]]) -> Path:
    """A JSONL file of these rows."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def row(candidate_id: str, reward: float | None, text: str | None = "An answer.", **more: object) -> dict[str, object]:
    """A row of a file; its prompt is what stands before the slash of the id."""
    prompt_id = candidate_id.split("/", maxsplit=1)[0]
    given = {"prompt_id": prompt_id, "candidate_id": candidate_id, "text": text, "reward": reward}
    return given | {"prompt": f"Question {prompt_id}?"} | more
