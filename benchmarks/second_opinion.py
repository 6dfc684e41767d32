"""GPT-4 against itself: how far its ratings in one order tell those in the other, as the ceiling for a judge.

    AUTOJ_DATA=FOLDER python -m benchmarks.second_opinion

The QLoRA evaluation had each response rated twice, beside the same opponent, once as the first and once as the second
text. One rating is taken as the reference and the other as a judge, and measured as `autoj evaluate-judge ratings`
measures any: rank within a question, and how often the longer of two responses with equal references is rated higher.
Writes benchmarks/results/second_opinion.json.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from benchmarks.machine import machine

RESULTS = Path(__file__).parent / "results"


def main() -> int:
    from judge_training.rating_agreement import RatedResponse, rating_agreement
    from recipes.filter.prepare_qlora import prepare

    data = Path(os.environ.get("AUTOJ_DATA", "")) / "qlora-vicuna80"
    if not data.is_dir():
        print("skipped: AUTOJ_DATA names no folder with qlora-vicuna80")
        return 0
    place = {
        side: {row["candidate_id"]: row for row in prepare(data, [side]) if row["reward"] is not None} for side in "12"
    }
    both = [name for name in place["1"] if name in place["2"]]
    found = {}
    for reference, judge in ("12", "21"):
        measured = rating_agreement([
            RatedResponse(
                id=name,
                prompt_id=place[reference][name]["prompt_id"],
                reference=place[reference][name]["reward"],
                judge=place[judge][name]["reward"],
                characters=len(place[reference][name]["text"]),
            )
            for name in both
        ])  # fmt: skip
        assert measured.within and measured.within.spearman and measured.longer_at_equal
        found[f"reference as text {reference}, judge as text {judge}"] = {
            "responses": measured.n,
            "spearman within a question": _interval(measured.within.spearman.model_dump()),
            "longer rated higher at equal reference": _interval(measured.longer_at_equal.model_dump()),
        }
    result = {
        "command": "python -m benchmarks.second_opinion",
        "machine": machine("numpy"),
        "found": found,
    }
    (RESULTS / "second_opinion.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=2))
    return 0


def _interval(found: dict[str, float]) -> list[float]:
    return [round(found[name], 3) for name in ("value", "low", "high")]


if __name__ == "__main__":
    sys.exit(main())
