"""GPT-4's ratings of the QLoRA evaluation as judgments to train a small judge on: what autoj-mini is made from.

Reads questions.jsonl, responses.jsonl.gz and ratings_gpt4_vs_gpt35.jsonl.gz (merged from the files of
https://github.com/artidoro/qlora, MIT) and writes train.jsonl (examples), held_out.jsonl (rated responses to the
prompts that were not trained on, for `autoj evaluate-judge ratings | eval-r`) and card.json.

    python recipes/judge/prepare_mini.py FOLDER OUT --apart TEST_SET …            # all prompts that no test set has
    python recipes/judge/prepare_mini.py FOLDER OUT --apart … --fold 0             # one fold of three
    python recipes/judge/prepare_mini.py FOLDER OUT --apart … --fold 0 --systems   # and systems left out too

A rating is the mean of GPT-4's in both orders, which `loss_on: rating` teaches as it is. A fold leaves out a share of
the prompts and, with `--systems`, also whole families of the systems that wrote the responses.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from judge_training.data.decontaminate import TestPrompts
from judge_training.examples import JudgeExample, example_id, write_examples
from recipes.commands.judge_data import prompts_apart
from recipes.filter.prepare_qlora import prepare
from rewards.jsonl import write_records
from rewards.row_parts import digest
from rewards.types import Message, Prompt

Row = dict[str, Any]

SOURCE = "qlora-vicuna80"
FAMILIES = (
    ("alpaca", "self-instruct"),
    ("guanaco", "flan"),
    ("longform", "bard", "gpt4", "vicuna-13b"),
)
"""Systems that a fold may leave out, by a part of their names."""


def examples(rows: Sequence[Row]) -> Iterator[JudgeExample]:
    """The ratings of rated rows, as they are: a mean may lie between two ratings of the scale."""
    for row in rows:
        yield JudgeExample(
            id=f"{example_id('single', SOURCE, row['prompt'], (row['text'],))}-{row['source']}",
            kind="single",
            prompt=Prompt(id=row["prompt_id"], messages=(Message(role="user", content=row["prompt"]),)),
            responses=(row["text"],),
            source=SOURCE,
            rating=row["reward"],
        )


def folds(prompts: Iterable[str], count: int) -> dict[str, int]:
    """The fold of every prompt: about equally many each, drawn by a hash."""
    ordered = sorted(set(prompts), key=lambda prompt: digest("fold", prompt))
    return {prompt: place % count for place, prompt in enumerate(ordered)}


def _left_out(arguments: argparse.Namespace) -> tuple[str, ...]:
    """Parts of the names of the systems that are left out."""
    return FAMILIES[arguments.fold % len(FAMILIES)] if arguments.systems and arguments.fold is not None else ()


def write(rows: Sequence[Row], out: Path, *, tests: Mapping[str, Iterable[str]], arguments: argparse.Namespace) -> Row:
    """Write the files of a fold, or of all prompts that no test set has; returns the card."""
    found = TestPrompts(tests)
    apart = {row["prompt_id"]: reason for row in rows if (reason := found.find(row["prompt"])) is not None}
    rated = [row for row in rows if row["reward"] is not None and row["text"].strip()]
    of_fold = folds((row["prompt_id"] for row in rated if row["prompt_id"] not in apart), arguments.folds)
    held = {prompt for prompt, fold in of_fold.items() if fold == arguments.fold} or set(apart)
    there = [row for row in rated if row["prompt_id"] not in held | apart.keys()]
    left_out = _left_out(arguments)
    train = [row for row in there if not any(name in row["source"] for name in left_out)]
    made = sorted(examples(train), key=lambda example: digest("order", example.id))
    write_examples(out / "train.jsonl", made)
    unseen = [
        row | {"systems": "not trained on" if any(name in row["source"] for name in left_out) else "trained on"}
        for row in rated
        if row["prompt_id"] in held
    ]
    write_records(out / "held_out.jsonl", unseen)
    card = {
        "source": SOURCE,
        "fold": arguments.fold,
        "prompts_apart": dict(Counter(apart.values())),
        "prompts_trained_on": len({row["prompt_id"] for row in train}),
        "prompts_held_out": len(held),
        "systems_trained_on": len({row["source"] for row in train}),
        "ratings": len(made),
    }
    (out / "card.json").write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
    return card


def main() -> None:
    """Write the files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder with the three files")
    parser.add_argument("out", type=Path, help="folder to write")
    parser.add_argument("--apart", type=Path, nargs="*", default=[], help="test sets whose prompts are left out")
    parser.add_argument("--fold", type=int, help="leave this fold out")
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--systems", action="store_true", help="the fold leaves out a family of systems as well")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    tests = prompts_apart(tuple(arguments.apart))
    card = write(list(prepare(arguments.folder)), arguments.out, tests=tests, arguments=arguments)
    sys.stdout.write(json.dumps(card, indent=2) + "\n")


if __name__ == "__main__":
    main()
