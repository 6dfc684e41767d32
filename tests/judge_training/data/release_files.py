"""Files in the layout of AUTO-J's release, with a template and content of our own."""

from __future__ import annotations

import json
from pathlib import Path

SINGLE = "Rate this.\n<data>\n[Q]: {query}\n--\n[R]: {response}\n--\n</data>\nEnd with the rating."
PAIR = (
    "Compare these.\n<data>\n[Q]: {query}\n--\n[R1]: {first}\n--\n[R2]: {second}\n--\n</data>\nEnd with the decision."
)


def single_row(query="Name a river.", response="The Elbe.", rating="5", **changes):
    row = {
        "usrmsg": SINGLE.replace("{query}", query).replace("{response}", response),
        "target_output": f"It names one.\nIt says no more.\n\nRating: [[{rating}]]",
        "pred_score": float(rating),
        "scenario": "open_question",
        "source_dataset": "chatbot_arena",
    }
    return row | changes


def pair_row(query="Name a lake.", label=1, **changes):
    first, second = (query[::-1], "Ontario.") if label else ("Ontario.", "Lake Garda.")
    decision = ("Response 1", "Response 2", "Tie")[label]
    row = {
        "usermsg": PAIR.replace("{query}", query).replace("{first}", first).replace("{second}", second),
        "target_output": f"1. Place: Response 2 says lake.\n2. Both are right. So, the final decision is {decision}.",
        "gt_label": label,
        "pred_label": label,
        "scenario": "default",
        "source_dataset": "mt_bench",
    }
    return row | changes


def write(path: Path, rows) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def write_release(folder: Path, *, pairwise: bool = True, selection: bool = True) -> Path:
    queries = ["Name a river.", "Where is Rome?", "Add 2 and 3.", "Who wrote it?"]
    ratings = ["5", "6.5", "10", "1"]
    singles = [single_row(query, f"Answer {place}.", ratings[place]) for place, query in enumerate(queries)]
    write(folder / "data/training/single_traindata.jsonl", singles)
    if pairwise:
        rows = [pair_row(f"{query} Twice.", place % 3) for place, query in enumerate(queries)]
        write(folder / "data/training/pairwise_traindata.jsonl", rows)
    meta = {"scenario": "planning", "protocol": "single", "prompt": "Plan a day.", "response": "Sleep."}
    for name in ("noscenario", "usescenario"):
        row = {"output": "1. It is bare.", "cost": 0.1, "finish_reason": "stop", "meta": meta}
        write(folder / f"data/training/single_independent/{name}.jsonl", [row])
    test = {"scenario": "planning", "prompt": "Plan a week.", "response 1": "Rest.", "response 2": "Walk.", "label": 2}
    write(folder / "data/test/testdata_pairwise.jsonl", [test, test | {"prompt": "Where is Rome?", "label": 0}])
    critique = {"scenario": "planning", "prompt": "Plan a week.", "response": "Rest.", "critiques": {"autoj": "Bare."}}
    write(folder / "data/test/testdata_critique.jsonl", [critique])
    if selection:
        outputs = {"outputs": ["Walk.", "Run."], "scores": {"autoj": [6.0, 4.0]}, "logprobs": [-1.0, -2.0]}
        row = {"scenario": "planning", "prompt": "Plan a year.", "outputs": {"own-7b": outputs}}
        write(folder / "data/test/testdata_selection.jsonl", [row])
    texts = [
        {"category": "default", "instruction": "Do it.", "input": ""},
        {"category": "planning", "instruction": "Plan.", "input": "A week."},
        {"category": "rejecting", "instruction": "No.", "input": ""},
    ]
    for part in ("train", "test"):
        write(folder / f"other_resources/scenario_classifier_data/{part}data.jsonl", texts)
    return folder
