"""Judges side by side on every rated or labelled set that is there: the table in judge_training/README.md.

    AUTOJ_DATA=FOLDER python -m benchmarks.judge_table --trained-on data/mini/train.jsonl --output runs/judge_table

Asks autoj-mini, and the model that it was made from in the same words, about the same rows (benchmarks/judge_sets.py),
and puts the floors beside them: the longer response wins, and chance. Of pairs: how often both orders say the same
verdict (consistency), how often that is the label (agreement, three ways), and, of the pairs with a winner, how often
the right one has the higher mean probability over both orders. Of ratings: the mean over prompts of Spearman's
correlation within a prompt, the mean reference rating of the response rated highest, and how often the longer of two
equally good ones is rated higher.

Every answer is kept in the output folder and not asked again. Results: results.json there, and Markdown on the screen.
`--beside FILE` takes the judges that are not asked now from an earlier results.json of the same rows.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.judge_sets import SETS, JudgedSet, rows_of
from benchmarks.machine import machine
from judge_training.data.decontaminate import TestPrompts
from judge_training.examples import read_examples
from judge_training.pair_sets import compare_items, judged_pairs, read_pair_set
from judge_training.rated_sets import rated_responses, read_rated_set, scores_of
from judge_training.rating_agreement import rating_agreement
from rewards.intervals import Interval, bootstrap, wilson
from rewards.jsonl import write_records
from rewards.judges.base import Judge
from rewards.judging import compare_to_file, rate_to_file
from rewards.row_parts import digest

JUDGES = {"autoj-mini": {}, "untrained": {"model": "smollm2-135m-instruct"}}


def main() -> int:
    options = _options()
    data = Path(os.environ.get("AUTOJ_DATA", ""))
    if "AUTOJ_DATA" not in os.environ or not data.is_dir():
        print("skipped: set AUTOJ_DATA to the folder that holds the sets")
        return 0
    trained_on = None
    if options.trained_on is not None:
        prompts = {one.prompt.messages[-1].content for one in read_examples(options.trained_on)}
        trained_on = TestPrompts({"training": prompts})
    earlier = json.loads(options.beside.read_text(encoding="utf-8"))["sets"] if options.beside else {}
    found: dict[str, Any] = {}
    written = {
        "command": shlex.join(["python", "-m", "benchmarks.judge_table", *sys.argv[1:]]),
        "machine": machine("torch", "transformers", "peft"),
        "sets": found,
    }
    for one in SETS:
        rows, dropped = rows_of(one, data, limit=options.limit, trained_on=trained_on)
        if not rows:
            print(f"{one.name}: not there, or every prompt was trained on ({dropped} rows)", file=sys.stderr)
            continue
        path = options.output / "sets" / f"{_slug(one)}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_records(path, rows)
        about = {"kind": one.kind, "labels": one.labels, "trained_on": dropped, "rows": digest(json.dumps(rows))}
        before = earlier.get(one.name, about)
        if before["rows"] != about["rows"]:
            sys.exit(f"{one.name}: --beside has answers to other rows; give its --limit and --trained-on")
        found[one.name] = about | {"judges": dict(before.get("judges", {}))}
        for name in options.judges:
            measure = _pairs if one.kind == "pairs" else _ratings
            judge = _judge(name, options)
            kept = options.output / f"{name}-{judge.card.digest[:12]}" / _slug(one)
            kept.mkdir(parents=True, exist_ok=True)
            found[one.name]["judges"][name] = measure(judge, path, kept)
        found[one.name] |= _floors(one, path)
        (options.output / "results.json").write_text(json.dumps(written, indent=2) + "\n", encoding="utf-8")
    print(_markdown(found))
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trained-on", type=Path, help="the examples that autoj-mini was trained on")
    parser.add_argument(
        "--limit", type=int, default=100, help="pairs, or prompts with their rated responses, of a set"
    )
    parser.add_argument("--judges", nargs="+", choices=list(JUDGES), default=list(JUDGES))
    parser.add_argument("--beside", type=Path, help="earlier results, for the judges that are not asked now")
    parser.add_argument("--adapter", help="another folder in place of autoj-mini")
    parser.add_argument("--output", type=Path, default=Path("runs/judge_table"))
    return parser.parse_args()


_loaded: dict[str, Judge] = {}


def _judge(name: str, options: argparse.Namespace) -> Judge:
    """Each judge is loaded once; both are asked in autoj-mini's words."""
    from rewards.judges.load import load_judge
    from rewards.judges.shipped import FOLDER

    if name not in _loaded:
        named = {"model": options.adapter} if options.adapter and name == "autoj-mini" else JUDGES[name]
        _loaded[name] = load_judge(protocol=FOLDER, mode="direct", batch_size=16, **named)
    return _loaded[name]


def _slug(one: JudgedSet) -> str:
    return "".join(letter if letter.isalnum() else "_" for letter in one.name.lower())


def _pairs(judge: Judge, path: Path, kept: Path) -> dict[str, Any]:
    pairs = read_pair_set(path)
    comparisons = compare_to_file(judge, compare_items(pairs), kept / "comparisons.jsonl", limit=1.0)
    judged, _ = judged_pairs(pairs, comparisons)
    same = [one for one in judged if one.verdict is not None]
    decided = [one for one in judged if one.label != "tie"]
    read = [one for one in decided if one.probabilities is not None]
    higher = [
        ("first" if one.probabilities.first > one.probabilities.second else "second") == one.label
        for one in read
        if one.probabilities is not None
    ]
    longer = [one for one in read if one.longer in ("first", "second")]
    prefers = [(one.probabilities.first > one.probabilities.second) == (one.longer == "first") for one in longer]
    return {
        "n": len(judged),
        "consistency": _plain(wilson(len(same), len(judged))),
        "agreement": _plain(wilson(sum(one.verdict == one.label for one in same), len(judged))),
        "winner": _plain(wilson(sum(higher), len(higher))),
        "prefers_longer": _plain(wilson(sum(prefers), len(prefers))),
        "unread": sum(one.unparsed for one in judged),
    }


def _mean(values: Sequence[float], prompts: Sequence[str]) -> Interval | None:
    import numpy as np

    every = np.array(values)
    return bootstrap(lambda at: float(every[at].mean()), prompts)


def _ratings(judge: Judge, path: Path, kept: Path) -> dict[str, Any]:
    rated = read_rated_set(path)
    judgments = rate_to_file(judge, rated.items, kept / "ratings.jsonl", limit=1.0)
    responses, _ = rated_responses(rated, scores_of(judgments))
    found = rating_agreement(responses)
    scores = {one.id: one.judge for one in responses if one.judge is not None}
    return {
        "n": found.n,
        "spearman_within": _plain(None if found.within is None else found.within.spearman),
        "spearman": _plain(found.spearman),
        "best_of_n": _plain(_best([(one.prompt_id, scores.get(one.id), one.reference) for one in responses])),
        "longer_at_equal": _plain(found.longer_at_equal),
        "unread": found.unparsed,
    }


def _best(responses: Sequence[tuple[str, float | None, float]]) -> Interval | None:
    """Mean over prompts of the reference rating of the response with the highest score; of equals the mean."""
    prompts: dict[str, list[tuple[float, float]]] = {}
    for prompt, score, reference in responses:
        if score is not None:
            prompts.setdefault(prompt, []).append((score, reference))
    best = []
    for several in prompts.values():
        top = max(score for score, _ in several)
        chosen = [reference for score, reference in several if score == top]
        best.append(sum(chosen) / len(chosen))
    return _mean(best, list(prompts))


def _floors(one: JudgedSet, path: Path) -> dict[str, Any]:
    """The longer response, chance, and of ratings the best that could be chosen."""
    if one.kind == "pairs":
        rows = [row for row in read_pair_set(path).rows if row.label != "tie"]
        sizes = [(len(row.first.text), len(row.second.text), row.label) for row in rows]
        right = [0.5 if a == b else float(("first" if a > b else "second") == label) for a, b, label in sizes]
        return {"longer": _plain(_mean(right, [row.prompt.id for row in rows]))}
    rated = read_rated_set(path)
    responses, _ = rated_responses(rated, dict.fromkeys(rated.reference, 0.0))
    by_length = [(item.prompt.id, float(len(item.candidate.text)), rated.reference[item.candidate.id])
                 for item in rated.items if item.candidate.id in rated.reference]  # fmt: skip
    found = rating_agreement(responses)
    return {
        "longer": _plain(None if found.length_within is None else found.length_within.spearman),
        "longest_of_n": _plain(_best(by_length)),
        "random_of_n": _plain(_best([(name, 0.0, reference) for name, _, reference in by_length])),
        "oracle_of_n": _plain(_best([(name, reference, reference) for name, _, reference in by_length])),
    }


def _plain(one: Interval | None) -> dict[str, float] | None:
    return None if one is None else {"value": one.value, "low": one.low, "high": one.high, "n": one.n}


def _markdown(found: dict[str, Any]) -> str:
    columns = (
        ("winner", "winner, both orders %", 100),
        ("agreement", "agreement %", 100),
        ("consistency", "consistency %", 100),
        ("prefers_longer", "prefers longer %", 100),
    )
    lines = [_head("pairs (labels)", "n", "the longer wins %", "judge", *(title for _, title, _ in columns))]
    rated = [_head("ratings (labels)", "n", "length", "judge", "Spearman within", "Best-of-N", "longer at equal %")]
    for name, one in found.items():
        for number, (judge, got) in enumerate(one["judges"].items()):
            first = "" if number else f"{name} ({one['labels']})"
            if one["kind"] == "pairs":
                cells = [_cell(got[key], scale) for key, _, scale in columns]
                lines.append(_line(first, got["n"], _cell(one["longer"], 100), judge, *cells))
            else:
                cells = [
                    _cell(got["spearman_within"], 1),
                    f"{_cell(got['best_of_n'], 1)} (random {one['random_of_n']['value']:.2f}, longest "
                    f"{one['longest_of_n']['value']:.2f}, best {one['oracle_of_n']['value']:.2f})",
                    _cell(got["longer_at_equal"], 100),
                ]
                rated.append(_line(first, got["n"], _cell(one["longer"], 1), judge, *cells))
    return "\n".join([*lines, "", *rated])


def _head(*titles: str) -> str:
    return f"| {' | '.join(titles)} |\n|{'---|' * len(titles)}"


def _line(*cells: Any) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def _cell(one: dict[str, float] | None, scale: float) -> str:
    if one is None:
        return "–"
    digits = 1 if scale == 100 else 2
    value, low, high = (f"{scale * one[key]:.{digits}f}" for key in ("value", "low", "high"))
    return f"{value} ({low} to {high})"


if __name__ == "__main__":
    sys.exit(main())
