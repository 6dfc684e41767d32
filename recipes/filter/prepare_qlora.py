"""GPT-4's ratings of the QLoRA evaluation as a table of scored candidates, as an example of input to `autoj select`.

Reads questions.jsonl, responses.jsonl.gz and ratings_gpt4_vs_gpt35.jsonl.gz (merged from the files of
https://github.com/artidoro/qlora, MIT) and writes scored.jsonl. A judgment there rates two responses, and most
responses were rated in both orders: the reward is the mean of a response's ratings. gpt35 stands in every judgment
as the opponent and is left out. A response that no judgment rates is written without a reward.

    python recipes/filter/prepare_qlora.py FOLDER scored.jsonl
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from statistics import fmean, pvariance
from typing import Any

from rewards.jsonl import write_records

OPPONENT = "gpt35"


def prepare(folder: Path, places: Iterable[str] = ("1", "2")) -> Iterator[dict[str, Any]]:
    """The rows of the table, in the order of the responses.

    places: where a response must have stood for its rating to count, "1" first and "2" second.
    """
    sides = tuple(places)
    questions = {row["question_id"]: row for row in _rows(folder / "questions.jsonl")}
    ratings: dict[tuple[int, str], list[float]] = defaultdict(list)
    for row in _rows(folder / "ratings_gpt4_vs_gpt35.jsonl.gz"):
        for side in sides:
            ratings[row["question_id"], row[f"system_{side}"]].append(row[f"score_{side}"])
    for row in _rows(folder / "responses.jsonl.gz"):
        if row["system"] != OPPONENT:
            given = ratings.get((row["question_id"], row["system"]), [])
            yield _scored(questions[row["question_id"]], row["system"], row["response"], given)


def _scored(question: dict[str, Any], system: str, response: str, ratings: list[float]) -> dict[str, Any]:
    prompt_id = f"vicuna-{question['question_id']}"
    return {
        "prompt_id": prompt_id,
        "candidate_id": f"{prompt_id}/{system}",
        "prompt": question["text"],
        "text": response,
        "reward": fmean(ratings) if ratings else None,
        "unscored": None if ratings else "not_rated",
        "variance": pvariance(ratings) if ratings else None,
        "scenario": question["category"],
        "source": system,
    }


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    data = path.read_bytes()
    yield from map(json.loads, (gzip.decompress(data) if path.suffix == ".gz" else data).splitlines())


def main() -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder with the three files")
    parser.add_argument("output", type=Path, help="the table to write, .jsonl")
    arguments = parser.parse_args()
    rows = list(prepare(arguments.folder))
    write_records(arguments.output, rows)
    scored = Counter(row["reward"] is not None for row in rows)
    prompts = len({row["prompt_id"] for row in rows})
    sys.stdout.write(
        f"{len(rows)} responses to {prompts} prompts in {arguments.output}: "
        f"{scored[True]} with a rating, {scored[False]} without\n"
    )


if __name__ == "__main__":
    main()
