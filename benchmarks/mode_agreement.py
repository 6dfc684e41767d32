"""Do the two modes of one judge agree: the rating after a critique, and the one read at once?

    autoj run judge/tiny --mode critique --train.max_steps 80 --train.batch_size 4 --train.learning_rate 1e-3 \\
      --train.max_length 768 --output JUDGE
    AUTOJ_DATA=FOLDER python -m benchmarks.mode_agreement JUDGE/trained_judge [--queries 4]

The judge is an adapter on the embedded model with its protocol, such as the first command leaves: the untrained model
writes no verdict, so of `benchmarks.judging_ways` nothing can be told. The requests are those of that benchmark. Of
those with a rating in both modes: how far the written (whole) and the expected ratings are apart, and their rank
correlation, over all and within a query. Writes benchmarks/results/mode_agreement.json.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any, Literal

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the autoj command does

from benchmarks.judging_ways import NEW_TOKENS, Row, requests_of
from benchmarks.machine import machine

RESULTS = Path(__file__).parent / "results"
Mode = Literal["critique", "direct"]
MODES: tuple[Mode, ...] = ("critique", "direct")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("judge", type=Path, help="folder with adapter and protocol")
    parser.add_argument("--queries", type=int, default=4, help="each with 8 candidates")
    options = parser.parse_args()
    rows, source = requests_of(options.queries)
    modes = {mode: _rated(options.judge, mode, rows) for mode in MODES}
    both = [place for place in modes["critique"]["ratings"] if place in modes["direct"]["ratings"]]
    result = {
        "command": f"python -m benchmarks.mode_agreement JUDGE --queries {options.queries}",
        "machine": machine("torch", "transformers"),
        "requests": {"source": source, "all": len(rows)},
        "rated": {mode: len(found["ratings"]) for mode, found in modes.items()},
        "judgments a second": {mode: round(len(rows) / found["seconds"], 3) for mode, found in modes.items()},
        "agreement": _agreement(rows, both, modes) if len(both) > 1 else None,
    }
    (RESULTS / "mode_agreement.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=2))
    return 0


def _rated(folder: Path, mode: Mode, rows: list[Row]) -> dict[str, Any]:
    """The (written, expected) rating of each request that got one, by its place, and the seconds that it took."""
    from rewards.judges.base import RateItem
    from rewards.judges.config import DEFAULT_MODEL, DecodingSettings
    from rewards.judges.load import load_judge
    from rewards.types import Candidate, Message, Prompt, Rating

    decoding = DecodingSettings(max_new_tokens=NEW_TOKENS)
    judge = load_judge(
        model=DEFAULT_MODEL, adapter=folder, protocol=folder, mode=mode, decoding=decoding, dtype="float32"
    )
    items = [
        RateItem(
            prompt=Prompt(id=row["prompt"][:40], messages=(Message(role="user", content=row["prompt"]),)),
            candidate=Candidate(id=str(place), prompt_id=row["prompt"][:40], text=row["response"]),
        )
        for place, row in enumerate(rows)
    ]
    started = time.perf_counter()
    judged = {int(one.candidate_ids[0]): one.outcome for one in judge.rate(items)}
    seconds = time.perf_counter() - started
    return {
        "seconds": seconds,
        "ratings": {place: (one.value, one.score) for place, one in judged.items() if isinstance(one, Rating)},
    }


def _agreement(rows: list[Row], both: list[int], modes: dict[Mode, Any]) -> dict[str, Any]:
    from judge_training.rating_agreement import RatedResponse, rating_agreement

    written, expected = (
        [[modes[mode]["ratings"][place][which] for place in both] for mode in ("critique", "direct")]
        for which in (0, 1)
    )
    measured = rating_agreement(
        [
            RatedResponse(id=str(place), prompt_id=rows[place]["prompt"], reference=after, judge=at_once)
            for place, after, at_once in zip(both, *expected, strict=True)
        ]
    )
    within = measured.within and measured.within.spearman
    return {
        "rated in both": len(both),
        "same whole rating": round(statistics.fmean(one == other for one, other in zip(*written, strict=True)), 3),
        "mean distance of whole ratings": round(_distance(*written), 3),
        "mean distance of expected ratings": round(_distance(*expected), 3),
        "spearman": measured.spearman and measured.spearman.model_dump(),
        "spearman within a query": within and within.model_dump(),
    }


def _distance(ones: list[float], others: list[float]) -> float:
    return statistics.fmean(abs(one - other) for one, other in zip(ones, others, strict=True))


if __name__ == "__main__":
    sys.exit(main())
