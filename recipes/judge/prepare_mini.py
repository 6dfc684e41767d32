"""GPT-4's ratings of the QLoRA evaluation as judgments to train a small judge on: what autoj-mini is made from.

Reads questions.jsonl, responses.jsonl.gz and ratings_gpt4_vs_gpt35.jsonl.gz (merged from the files of
https://github.com/artidoro/qlora, MIT) and writes train.jsonl (examples), held_out.jsonl (rated responses to the
prompts that were not trained on, for `autoj evaluate-judge ratings | eval-r`), pairs.jsonl (the same as pairs) and
card.json.

    python recipes/judge/prepare_mini.py FOLDER OUT --apart TEST_SET …            # all prompts that no test set has
    python recipes/judge/prepare_mini.py FOLDER OUT --apart … --fold 0             # one fold of three
    python recipes/judge/prepare_mini.py FOLDER OUT --apart … --fold 0 --systems   # and systems left out too

A rating is the mean of GPT-4's in both orders; with `--copies 2` a mean between two ratings is taught as both in
proportion. Pairs are made of the ratings: half of them of responses of about equal length, so that length alone
decides nothing; a tie where the means are nearly equal. A fold leaves out a share of the prompts and, with
`--systems`, also whole families of the systems that wrote the responses.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from judge_training.data.decontaminate import TestPrompts
from judge_training.examples import JudgeExample, example_id, write_examples
from recipes.commands.judge_data import prompts_apart
from recipes.filter.prepare_qlora import prepare
from rewards.jsonl import write_records
from rewards.row_parts import digest
from rewards.types import Message, Prompt, Winner

Row = dict[str, Any]

SOURCE = "qlora-vicuna80"
FAMILIES = (
    ("alpaca", "self-instruct"),
    ("guanaco", "flan"),
    ("longform", "bard", "gpt4", "vicuna-13b"),
)
"""Systems that a fold may leave out, by a part of their names."""
CLEAR = 1.5
"""Difference of two mean ratings from which one response is the better one."""
EQUAL = 0.3
"""Difference up to which they are a tie."""
SAME_LENGTH = (0.75, 1.34)
"""Ratio of the lengths of responses of about equal length."""


def examples(rows: Sequence[Row], *, copies: int, pairs: int) -> Iterator[JudgeExample]:
    """Ratings and pairs of rated rows. pairs: for each prompt, beside ties (a quarter as many), in both orders."""
    for row in rows:
        for copy in range(copies):
            yield _single(row, copy, copies)
    prompts: dict[str, list[Row]] = {}
    for row in rows:
        prompts.setdefault(row["prompt_id"], []).append(row)
    for members in prompts.values():
        for first, second, label in _pairs(members, pairs):
            yield _pair(first, second, label)
            yield _pair(second, first, {"first": "second", "second": "first", "tie": "tie"}[label])


def _single(row: Row, copy: int, copies: int) -> JudgeExample:
    # Copies of a mean of 6.75 are 6 and 7 in proportion, of 6 only 6.
    rating = min(10.0, max(1.0, (row["reward"] + (copy + 0.5) / copies) // 1))
    return JudgeExample(
        id=f"{example_id('single', SOURCE, row['prompt'], (row['text'],))}-{row['source']}-{copy}",
        kind="single",
        prompt=_prompt(row),
        responses=(row["text"],),
        source=SOURCE,
        rating=rating,
        columns={"mean_rating": row["reward"]},
    )


def _pair(first: Row, second: Row, label: Any) -> JudgeExample:
    texts = (first["text"], second["text"])
    return JudgeExample(
        id=f"{example_id('pairwise', SOURCE, first['prompt'], texts)}-{first['source']}-{second['source']}",
        kind="pairwise",
        prompt=_prompt(first),
        responses=texts,
        source=SOURCE,
        label=label,
    )


def _prompt(row: Row) -> Prompt:
    return Prompt(id=row["prompt_id"], messages=(Message(role="user", content=row["prompt"]),))


def _pairs(rows: Sequence[Row], count: int) -> Iterator[tuple[Row, Row, Winner]]:
    """Pairs of one prompt: half of about equal length, half of any, and ties; drawn by a hash."""
    drawn = sorted(combinations(rows, 2), key=lambda two: digest(two[0]["candidate_id"], two[1]["candidate_id"]))
    drawn = [two for two in drawn if two[0]["text"] != two[1]["text"]]
    clear = [two for two in drawn if abs(_difference(two)) >= CLEAR]
    matched = [two for two in clear if _same_length(two)][: count // 2]
    chosen = matched + [two for two in clear if two not in matched][: count - len(matched)]
    for first, second in chosen:
        yield first, second, "first" if _difference((first, second)) > 0 else "second"
    for first, second in [two for two in drawn if abs(_difference(two)) <= EQUAL][: count // 4]:
        yield first, second, "tie"


def _difference(two: tuple[Row, Row]) -> float:
    return float(two[0]["reward"] - two[1]["reward"])


def _same_length(two: tuple[Row, Row]) -> bool:
    first, second = (max(1, len(row["text"])) for row in two)
    return SAME_LENGTH[0] <= first / second <= SAME_LENGTH[1]


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
    made = list(examples(train, copies=arguments.copies, pairs=arguments.pairs))
    made.sort(key=lambda example: digest("order", example.id))
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
        "ratings": sum(example.kind == "single" for example in made),
        "pairs": sum(example.kind == "pairwise" for example in made),
        "ties": sum(example.label == "tie" for example in made),
        "longer_wins": _longer_wins(made),
    }
    (out / "card.json").write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
    return card


def _longer_wins(made: Sequence[JudgeExample]) -> float:
    """Share of the pairs with a winner in which the longer response is it."""
    decided = [one for one in made if one.label in ("first", "second")]
    longer = ["first" if len(one.responses[0]) > len(one.responses[-1]) else "second" for one in decided]
    return sum(one.label == other for one, other in zip(decided, longer, strict=True)) / max(1, len(decided))


def main() -> None:
    """Write the files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder with the three files")
    parser.add_argument("out", type=Path, help="folder to write")
    parser.add_argument("--apart", type=Path, nargs="*", default=[], help="test sets whose prompts are left out")
    parser.add_argument("--fold", type=int, help="leave this fold out")
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--systems", action="store_true", help="the fold leaves out a family of systems as well")
    parser.add_argument("--copies", type=int, default=2, help="times that a rating is taught")
    parser.add_argument("--pairs", type=int, default=6, help="pairs with a winner for each prompt")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    tests = prompts_apart(tuple(arguments.apart))
    card = write(list(prepare(arguments.folder)), arguments.out, tests=tests, arguments=arguments)
    sys.stdout.write(json.dumps(card, indent=2) + "\n")


if __name__ == "__main__":
    main()
