"""`--dry-run` of every kind of recipe and evaluation that asks a model: it says what is then asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from recipes.cli import main
from recipes.design_questions import Comparing, training_questions
from rewards.jsonl import read_records, write_records
from rewards.judges.cache import JudgmentCache
from rewards.protocol.builtin import builtin_protocol
from rewards.types import Candidate, Message, Prompt
from tests.recipes.test_dry_run import SCRIPTED, estimate, everything
from tests.recipes.test_dry_run import lines as calls

JUDGE = SCRIPTED[:2]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def rows(path: Path, *content: object) -> Path:
    path.write_text("".join(json.dumps(one) + "\n" for one in content), encoding="utf-8")
    return path


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main([*words, "--dry-run"]) == 2
    return capsys.readouterr().err


# Training on the judge's word


@pytest.mark.parametrize(
    ("flags", "wanted"),
    [
        ((), {"ratings while it trains": 3 * 2, "evaluation": 2 * 2}),
        (("--train.max_steps", "null", "--train.epochs", "2"), {"ratings while it trains": 2 * 8, "evaluation": 4}),
        # Three optimizer steps of two a batch: two batches, each of 2 x 2 responses.
        (("--train.minibatches", "2"), {"ratings while it trains": 2 * 4, "evaluation": 4}),
        (("--train.passes", "3"), {"ratings while it trains": 2, "evaluation": 4}),
        (("--nproc", "2", "--strategy", "zero2"), {"ratings while it trains": 3 * 2 * 2, "evaluation": 4}),
    ],
)
def test_ppo_asks_about_every_response_of_every_batch(
    flags: tuple[str, ...], wanted: dict[str, int], capsys: pytest.CaptureFixture[str]
) -> None:
    found = estimate(capsys, "run", "ppo/tiny", *SCRIPTED, *flags)
    assert calls(found) == wanted
    assert found["at_most"]  # empty and equal responses are not asked about


@pytest.mark.parametrize("kind", ["grpo", "rloo"])
def test_the_critic_free_trainings_ask_about_every_group(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["run", f"{kind}/tiny", *SCRIPTED, "--train.responses_per_prompt", "4", "--train.batch_size", "8"]
    rated = estimate(capsys, *words, "--reward.compare", "null")
    assert calls(rated) == {"ratings while it trains": 3 * 8, "evaluation": 4}
    compared = estimate(capsys, *words, "--reward.rescale", "null", "--reward.compare", "circular")
    assert calls(compared) == {"comparisons while it trains": 3 * 2 * (2 * 4), "evaluation": 4}


@pytest.mark.parametrize(("every", "looks"), [("1", 4), ("2", 3), ("3", 2), ("50", 2)])
def test_the_guard_looks_every_so_many_steps_and_at_the_end(
    every: str, looks: int, capsys: pytest.CaptureFixture[str]
) -> None:
    guard = ["--guard.gold.backend", "scripted", "--guard.every", every]
    found = estimate(capsys, "run", "ppo/tiny", *SCRIPTED, *guard)
    assert calls(found)["guard"] == calls(found["others"][0])["guard"] == 2 * looks


@pytest.mark.parametrize(("design", "group"), [("all", 12), ("circular", 8), ("anchor", 6)])
def test_ppo_compares_the_responses_of_a_group_in_both_orders(
    design: str, group: int, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["run", "ppo/tiny", *SCRIPTED, "--reward.rescale", "null", "--reward.compare", design]
    words += ["--train.responses_per_prompt", "4", "--train.batch_size", "8"]
    assert calls(estimate(capsys, *words)) == {"comparisons while it trains": 3 * 2 * group, "evaluation": 4}


def test_ppo_by_a_judge_that_compares_by_ratings_rates_each_response_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    builtin_protocol().model_copy(update={"compare_by": "rating"}).save(tmp_path)
    words = ["run", "ppo/tiny", *SCRIPTED, "--reward.rescale", "null", "--reward.compare", "all"]
    words += ["--judge.protocol", str(tmp_path), "--train.responses_per_prompt", "2"]
    assert calls(estimate(capsys, *words)) == {"ratings while it trains": 3 * 2, "evaluation": 4}


@pytest.mark.parametrize("n", [2, 3, 8])
def test_a_design_in_a_training_asks_as_many_questions_as_its_formula(n: int) -> None:
    prompts = [Prompt(id=str(one), messages=(Message(role="user", content="Why?"),)) for one in range(3)]
    ring = n if n > 2 else 1
    wanted: dict[Comparing, int] = {"none": n, "all": n * (n - 1), "circular": 2 * ring, "anchor": 2 * (n - 1)}
    for design, questions in wanted.items():
        [found] = training_questions(
            prompts, builtin_protocol(), "direct", batches=5, responses=4 * n, group=n, tokens=7, design=design
        )
        assert found.count == 5 * 4 * questions
        assert found.unseen_tokens == (7 if design == "none" else 14)


def test_ppo_tokens_grow_with_the_limit_of_a_response(tiny_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["run", "ppo/tiny", "--judge.model", str(tiny_model), "--probe", "0", "--rate", "10"]
    short, long = (estimate(capsys, *words, "--train.max_new_tokens", tokens) for tokens in ("24", "124"))
    assert long["prompt_tokens"] - short["prompt_tokens"] == 6 * 100
    assert long["seconds"] == pytest.approx(long["prompt_tokens"] / 10)
    shared = estimate(capsys, *words, "--nproc", "2")
    assert any("each of 2 processes has a judge of its own" in note for note in shared["notes"])


def test_the_guard_has_a_look_before_and_after_every_round_by_both_judges(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["run", "dpo/tiny", *SCRIPTED, "--rounds.count", "3", "--evaluate.prompts", "2"]
    found = estimate(capsys, *words, "--guard.gold.backend", "scripted", "--guard.gold.rule", "shorter")
    [gold] = found["others"]
    assert calls(found)["guard"] == 2 * (3 + 1)
    assert calls(gold) == {"guard": 2 * (3 + 1)}
    assert gold["judge"] == "the gold judge scripted (direct mode)"
    other = estimate(capsys, *words, "--guard.gold.rival.kind", "longer")
    assert calls(other)["guard"] == 8
    assert other["others"] == []
    assert any("gold judge (longer) is not asked questions" in note for note in other["notes"])


# Training a judge


def test_training_a_judge_is_measured_in_writing_and_then_judged(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["run", "judge/tiny", "--base.model", str(tiny_model), "--measure.max_new_tokens", "4"]
    there = everything(tmp_path)
    found = estimate(capsys, *words)
    [judged] = found["others"]
    assert everything(tmp_path) == there
    assert calls(found) == {"answers before training": 6, "answers after training": 6}
    assert 0 < found["new_tokens"] <= found["most_new_tokens"] == 12 * 4
    assert "4 questions answered in writing now" in found["rate"]["source"]
    assert calls(judged) == {"ratings": 2, "comparisons": 4 * 2}  # of two ratings and six pairs held out, by turns
    assert judged["new_tokens"] == 0  # read from probabilities
    assert judged["judge"] == "the trained judge (direct mode)"
    silent = estimate(capsys, *words, "--probe", "0")
    assert (silent["seconds"], silent["most_new_tokens"]) == (None, 12 * 4)
    guided = estimate(capsys, *words, "--criteria", "true", "--probe", "0")
    assert guided["others"] == []
    assert guided["prompt_tokens"] > silent["prompt_tokens"]
    assert "trains without measuring" in refused(capsys, *words, "--measure.limit", "0")


# Evaluations


def sets(folder: Path) -> dict[str, list[str]]:
    """The words of every evaluation, on small data."""
    critiqued = [
        {"scenario": "planning", "prompt": f"q{n}", "response": "r", "critiques": {"autoj": "long " * (n + 3)}}
        for n in range(5)
    ]
    critiques = rows(folder / "testdata_critique.jsonl", *critiqued)
    rows(folder / "reference_chatgpt_critique.jsonl", *({"output": "not so short"} for _ in critiqued))
    outputs = [{"prompt_id": n, "model": name, "output": name * (n + 1)} for n in range(3) for name in ("a", "b")]
    board = folder / "board.csv"
    board.write_text(",win_rate\na,30\nb,20\n", encoding="utf-8")
    system = ["--leaderboard", str(board), "--outputs", str(rows(folder / "outputs.jsonl", *outputs))]
    prompts = rows(folder / "prompts.jsonl", *({"prompt_id": n, "instruction": f"question {n}"} for n in range(3)))
    pair = {"response_1": "a long answer", "response_2": "short"}
    labels = ("first", "second", "first", "tie")
    pairs = rows(
        folder / "pairs.jsonl", *(pair | {"prompt": f"Q{n}?", "label": label} for n, label in enumerate(labels))
    )
    rated = [{"prompt": f"Q{n}?", "response": "an answer" + "!" * n, "reward": n % 3} for n in range(6)]
    ratings = rows(folder / "rated.jsonl", *rated)
    return {
        "eval-c": ["--data", str(critiques), "--limit", "4"],
        "critiques": ["--data", str(critiques)],
        "system-level": [*system, "--prompts", str(prompts), "--limit", "2"],
        "pairs": ["--data", str(pairs)],
        "calibration": ["--data", str(pairs), "--limit", "3"],
        "ratings": ["--data", str(ratings)],
    }


@pytest.mark.parametrize(
    ("name", "wanted"),
    [("eval-c", 8), ("critiques", 5), ("system-level", 4), ("pairs", 8), ("calibration", 6), ("ratings", 6)],
)
def test_an_evaluation_asks_what_its_estimate_says(
    name: str, wanted: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["evaluate-judge", name, *sets(tmp_path)[name], *JUDGE, "--output", str(tmp_path / "out")]
    there = everything(tmp_path)
    found = estimate(capsys, *words)
    assert everything(tmp_path) == there
    assert found["calls"] == wanted
    main(words)  # whatever so few labels can be measured by: what counts here is what was asked
    with JudgmentCache(tmp_path / "out" / "judgments.sqlite") as cache:
        assert cache.count() == wanted


def test_calibration_of_ratings_asks_for_ratings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["evaluate-judge", "calibration", *sets(tmp_path)["ratings"], *JUDGE, "--kind", "ratings"]
    assert calls(estimate(capsys, *words)) == {"ratings": 6}


def test_every_rival_that_is_asked_questions_has_its_estimate(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pair = {"scenario": "open_question", "response 1": "one two", "response 2": "three", "label": 0}
    data = rows(tmp_path / "data.jsonl", *(pair | {"prompt": f"Question {n}?"} for n in range(4)))
    file = tmp_path / "judges.yaml"
    judges: dict[str, Any] = {
        "mine": {"judge": {"backend": "scripted"}},
        "longer": {"judge": {"rival": {"kind": "longer"}}},
        "also mine": {"judge": {"backend": "scripted", "rule": "shorter"}},
        "said": {"predictions": "said.jsonl"},
    }
    file.write_text(yaml.safe_dump(judges, sort_keys=False), encoding="utf-8")
    found = estimate(capsys, "evaluate-judge", "rivals", "--data", str(data), "--judges", str(file))
    assert [one["judge"] for one in (found, *found["others"])] == [
        "mine, scripted (direct mode)",
        "also mine, scripted (direct mode)",
    ]
    assert {one["calls"] for one in (found, *found["others"])} == {8}
    assert "longer (longer) is not asked questions: 4 comparisons, not estimated" in found["others"][0]["notes"]
    file.write_text(yaml.safe_dump({"longer": judges["longer"], "said": judges["said"]}), encoding="utf-8")
    said = refused(capsys, "evaluate-judge", "rivals", "--data", str(data), "--judges", str(file))
    assert "rival.kind longer" in said


@pytest.mark.parametrize(
    ("name", "given", "said"),
    [
        ("eval-c", ["--comparisons", "c.jsonl"], "expected no --comparisons with --dry-run"),
        ("system-level", ["--scores", "s.jsonl"], "expected no --scores and --run with --dry-run"),
        ("calibration", ["--comparisons", "c.jsonl"], "expected no --comparisons and --labels with --dry-run"),
        ("ratings", ["--scores", "reward"], "expected no --judgments and --scores with --dry-run"),
    ],
)
def test_where_the_answers_are_given_no_judge_is_asked(
    name: str, given: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said in refused(capsys, "evaluate-judge", name, *sets(tmp_path)[name], *given)


# Sampling


def test_sampling_counts_what_it_then_draws(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["sample", "--policy.model", str(tiny_model), "--prompts.limit", "3", "--sampling.n", "2"]
    words += ["--sampling.max_new_tokens", "5", "--track.mode", "off", "--output", str(tmp_path / "out")]
    found = estimate(capsys, *words)
    assert list(tmp_path.iterdir()) == []
    assert calls(found) == {"candidates": 6}
    assert 0 < found["new_tokens"] <= found["most_new_tokens"] == 6 * 5
    assert "3 candidates drawn now" in found["rate"]["source"]
    given = estimate(capsys, *words, "--rate", "10", "--devices", "4")
    assert given["at_most"]
    assert given["seconds"] == pytest.approx((given["prompt_tokens"] + 30) / 10)
    assert given["device_hours"] == pytest.approx(4 * given["seconds"] / 3600)
    assert estimate(capsys, *words, "--probe", "0")["seconds"] is None
    assert main(words) == 0
    drawn = list(read_records(tmp_path / "out" / "candidates.jsonl", Candidate))
    assert len(drawn) == 6
    write_records(tmp_path / "out" / "candidates.jsonl", drawn[:4])
    rest = estimate(capsys, *words, "--probe", "0")
    assert (rest["calls"], rest["cached"], rest["most_new_tokens"]) == (2, 4, 10)


def test_selecting_asks_no_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert "got select, which asks none" in refused(capsys, "select", "scored.jsonl")
