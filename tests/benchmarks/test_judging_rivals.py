"""Sides of the comparison with other packages are counted alike, and a side that skips requests is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.judging_rivals import check_complete, of_side, without_paths
from benchmarks.rival_sides import noted
from tests.tiny_model import build_tiny_model


class Package:
    """What is noted of a package: the method that it asks its model by."""

    def write(self, asked: list[str], **given: Any) -> list[str]:
        return [f"{one} {given['length']}" for one in asked]


def found(**changed: Any) -> dict[str, Any]:
    asked = [[{"role": "user", "content": text}] for text in "aba"]
    texts = ["abc", "de", "fghij"]
    usual = {"seconds": 4.0, "seconds to first answers": 2.0, "asked": asked, "completions": texts}
    return usual | {"texts": texts[:2], "ratings": [None, 3], "versions": {}, "peak": 1.0} | changed


def test_what_is_asked_and_answered_is_noted_and_handed_on():
    package = Package()
    calls = noted(package, "write")
    assert package.write(["a", "b"], length=3) == ["a 3", "b 3"]
    assert package.write(["b"], length=4) == ["b 4"]
    assert [(asked, texts) for asked, texts, _ in calls] == [(["a", "b"], ["a 3", "b 3"]), (["b"], ["b 4"])]
    assert calls[0][2] <= calls[1][2]


def test_retries_are_completions_and_no_judgments(tmp_path: Path):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(build_tiny_model(tmp_path, hidden=16, layers=1, vocabulary=259, seed=0))
    runs = [found(), found(seconds=8.0), found(seconds=2.0, peak=2.0)]
    one = of_side(runs, tokenizer)
    assert (one["judgments"], one["rated"], one["peak GiB"]) == (2, 1, 2.0)
    assert (one["judgments a second"], one["without retries"], one["completions a second"]) == (0.5, 1.0, 0.75)
    assert one["completions a judgment"] == 1.5
    assert (one["written a second"], one["written a completion"]) == (10 / 4, 10 / 3), "a byte is a token"
    ended = [found(completions=[text + tokenizer.eos_token for text in run["completions"]]) for run in runs]
    assert of_side(ended, tokenizer)["written a completion"] == one["written a completion"], "end tokens apart"
    assert "answers that the server counted" not in one
    assert of_side([found(answered=3)], tokenizer)["answers that the server counted"] == 3


def test_a_side_that_leaves_out_a_text_is_refused():
    check_complete("flow", found(), 2)
    for wrong in ({"texts": ["abc"]}, {"texts": ["abc", " "]}, {"ratings": [1]}):
        with pytest.raises(SystemExit, match="2 texts and outcomes of flow"):
            check_complete("flow", found(**wrong), 2)


def test_the_command_names_no_paths():
    given = ["--flow", "/a/b", "--prometheus", "/c/python", "--vllm", "/d/python", "--runs", "2"]
    assert without_paths(given) == ["--flow", "FOLDER", "--prometheus", "PYTHON", "--vllm", "PYTHON", "--runs", "2"]
