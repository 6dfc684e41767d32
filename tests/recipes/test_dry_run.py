"""`--dry-run`: what it says is what the job then asks, what it cannot know it says so, and it writes nothing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from recipes.cli import main
from recipes.design_questions import pairs_of_design
from recipes.dry_run_options import Options, split_options
from recipes.machine import machine_of
from recipes.sections import ComparisonSettings
from rewards.certificate import CERTIFICATE_FILE, JudgeCertificate, parts_of
from rewards.errors import InputError
from rewards.jsonl import read_records
from rewards.judges.cache import JudgmentCache
from rewards.judges.config import JudgeSettings
from rewards.judges.load import load_generative_judge
from rewards.protocol.builtin import builtin_protocol
from rewards.types import Comparison, Judgment
from rl.run_folder import RunFolder
from tests.judge_server import serving

SCRIPTED = ["--judge.backend", "scripted", "--track.mode", "off"]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def estimate(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    capsys.readouterr()
    assert main([*words, "--dry-run", "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def lines(found: dict[str, Any], key: str = "calls") -> dict[str, int]:
    return {line["name"]: line[key] for line in found["lines"]}


def everything(folder: Path) -> dict[Path, tuple[int, int]]:
    return {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in folder.rglob("*")}


@pytest.mark.parametrize("design", ["none", "all", "circular", "anchor"])
@pytest.mark.parametrize("both", ["true", "false"])
def test_the_calls_are_those_that_the_job_then_asks_and_caches(
    design: str, both: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["judge", "bundled", *SCRIPTED, "--compare.design", design, "--compare.both_orders", both]
    words += ["--output", str(tmp_path / "out")]
    before = estimate(capsys, *words)
    assert list(tmp_path.iterdir()) == []
    assert main(words) == 0
    job = RunFolder(tmp_path / "out")
    with JudgmentCache(job.cache) as cache:
        assert before["calls"] == cache.count()
    assert lines(before)["ratings"] == len(list(read_records(job.judgments, Judgment)))
    if design != "none":
        asked = [one for comparison in read_records(job.comparisons, Comparison) for one in comparison.judgments]
        assert lines(before)["comparisons"] == len(asked)
    assert not before["at_most"]
    there = everything(tmp_path)
    after = estimate(capsys, *words, "--probe", "0")  # the digest is the run's own
    assert (after["calls"], after["cached"]) == (0, before["calls"])
    assert after["seconds"] == 0
    assert everything(tmp_path) == there


def test_answers_of_another_judge_are_not_taken_for_cached(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["judge", "bundled", *SCRIPTED, "--output", str(tmp_path / "out")]
    assert main(words) == 0
    other = estimate(capsys, *words, "--judge.rule", "shorter", "--probe", "0")
    assert other["cached"] == 0
    assert any("are not known without loading the judge" in note for note in other["notes"])
    assert estimate(capsys, *words, "--judge.rule", "shorter")["cached"] == 0
    assert estimate(capsys, *words, "--probe", "1")["calls"] == 0


@pytest.mark.parametrize("n", [1, 2, 3, 8])
def test_a_design_makes_as_many_questions_as_its_formula(n: int, capsys: pytest.CaptureFixture[str]) -> None:
    wanted = {"none": 0, "all": n * (n - 1) // 2, "circular": n if n > 2 else n - 1, "anchor": n - 1}
    wanted["ties"] = wanted["circular"]
    for design, pairs in wanted.items():
        compare = ComparisonSettings.model_validate({"design": design})
        assert pairs_of_design(compare.design, n) == pairs
    words = ["run", "best_of_n/tiny", *SCRIPTED, "--prompts.limit", "5", "--sampling.n", str(n)]
    found = estimate(capsys, *words, "--compare.design", "all")
    assert lines(found).get("comparisons", 0) == 5 * n * (n - 1)
    assert lines(found)["ratings"] == 5 * n
    assert found["at_most"]  # nothing is sampled yet


def test_ties_are_at_most_a_ring(capsys: pytest.CaptureFixture[str]) -> None:
    ring = estimate(capsys, "judge", "bundled", *SCRIPTED, "--compare.design", "circular")
    ties = estimate(capsys, "judge", "bundled", *SCRIPTED, "--compare.design", "ties")
    assert lines(ties) == lines(ring)
    assert lines(ties, "at_most") == {"ratings": False, "comparisons": True}
    words = ["judge", "bundled", *SCRIPTED, "--compare.design", "ties", "--output", "out"]
    assert main(words) == 0
    rated = estimate(capsys, *words)  # and now it is known what ties
    assert not rated["at_most"]
    assert rated["calls"] == 0
    with JudgmentCache(Path("out/judgments.sqlite")) as cache:
        assert rated["cached"] == cache.count() < ring["calls"]


def test_a_judge_that_compares_by_ratings_is_asked_for_each_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    protocol = tmp_path / "judge_protocol.json"
    builtin_protocol().model_copy(update={"compare_by": "rating"}).save(tmp_path)
    words = ["judge", "bundled", *SCRIPTED, "--judge.protocol", str(protocol), "--compare.design", "all"]
    words += ["--output", str(tmp_path / "out")]
    before = estimate(capsys, *words)
    assert lines(before) == {"ratings": before["calls"], "comparisons": 0}
    assert main(words) == 0
    with JudgmentCache(tmp_path / "out" / "judgments.sqlite") as cache:
        assert before["calls"] == cache.count()
    sampled = ["run", "dpo/tiny", *SCRIPTED, "--judge.protocol", str(protocol), "--compare.design", "circular"]
    assert lines(estimate(capsys, *sampled)) == {"ratings": 8, "evaluation": 4}


def test_rounds_judge_their_prompts_again(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["run", "dpo/tiny", *SCRIPTED, "--compare.design", "circular"]
    once = lines(estimate(capsys, *words))
    thrice = lines(estimate(capsys, *words, "--rounds.count", "3"))
    assert thrice == {"ratings": 3 * once["ratings"], "comparisons": 3 * once["comparisons"], "evaluation": 4}
    assert lines(estimate(capsys, *words, "--rounds.count", "2", "--rounds.fresh_prompts", "true")) == once


def test_the_tokens_are_those_that_the_judge_then_reads(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["judge", "bundled", "--judge.model", str(tiny_model), "--track.mode", "off"]
    words += ["--output", str(tmp_path / "out"), "--failures.limit", "1"]
    found = estimate(capsys, *words)
    assert main(words) == 0
    read = [one.prompt_tokens for one in read_records(RunFolder(tmp_path / "out").judgments, Judgment)]
    assert found["prompt_tokens"] == sum(one or 0 for one in read)
    assert found["new_tokens"] == found["most_new_tokens"] == 0
    assert found["rate"]["tokens_per_second"] > 0
    assert "4 questions asked now" in found["rate"]["source"]
    assert found["seconds"] == pytest.approx(found["prompt_tokens"] / found["rate"]["tokens_per_second"])
    assert found["device_hours"] == pytest.approx(found["seconds"] * found["devices"] / 3600)


def test_critiques_count_as_the_probe_found_them_and_are_bounded_without(
    tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["judge", "bundled", "--judge.model", str(tiny_model), "--judge.mode", "critique"]
    words += ["--judge.decoding.max_new_tokens", "5"]
    unknown = estimate(capsys, *words, "--probe", "0", "--rate", "100")
    assert (unknown["new_tokens"], unknown["most_new_tokens"]) == (None, 5 * unknown["calls"])
    assert unknown["seconds"] == pytest.approx((unknown["prompt_tokens"] + unknown["most_new_tokens"]) / 100)
    assert unknown["at_most"]
    probed = estimate(capsys, *words, "--probe", "2")
    assert 0 < probed["new_tokens"] <= probed["most_new_tokens"]
    assert not probed["at_most"]


def test_what_is_not_known_is_said_with_what_would_tell_it(
    tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["judge", "bundled", "--judge.model", str(tiny_model)]
    assert main([*words, "--dry-run", "--probe", "0"]) == 0
    said = capsys.readouterr().out
    assert "time:         not known" in said
    assert "rate:         not known" in said
    assert "--probe N asks N questions, --rate T gives one" in said
    found = estimate(capsys, *words, "--probe", "0")
    assert (found["seconds"], found["rate"], found["device_hours"]) == (None, None, None)
    scripted = estimate(capsys, "judge", "bundled", *SCRIPTED)
    assert scripted["prompt_tokens"] is None
    assert scripted["seconds"] == pytest.approx(scripted["calls"] / scripted["rate"]["judgments_per_second"])


def test_a_given_rate_and_devices_are_used_and_nothing_is_asked(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("recipes.dry_run.load_generative_judge", None)
    found = estimate(capsys, "judge", "bundled", "--judge.model", str(tiny_model), "--rate", "50", "--devices", "8")
    assert found["seconds"] == pytest.approx(found["prompt_tokens"] / 50)
    assert found["device_hours"] == pytest.approx(8 * found["seconds"] / 3600)


def test_the_certificate_tells_the_rate_where_it_was_made_here(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "judge"
    shutil.copytree(tiny_model, folder)
    settings = JudgeSettings(model=str(folder))
    judge = load_generative_judge(settings)
    made = JudgeCertificate(judge=judge.card, parts=parts_of(judge), made="2026", judgments_per_second=4.0)
    words = ["judge", "bundled", "--judge.model", str(folder)]
    made.model_copy(update={"machine": "another machine"}).save(folder / CERTIFICATE_FILE)
    assert "asked now" in estimate(capsys, *words)["rate"]["source"]
    elsewhere = estimate(capsys, *words, "--probe", "0")
    assert elsewhere["rate"]["judgments_per_second"] == 4.0
    assert any("another machine's" in note for note in elsewhere["notes"])
    made.model_copy(update={"machine": machine_of(settings)}).save(folder / CERTIFICATE_FILE)
    monkeypatch.setattr("recipes.dry_run.load_generative_judge", None)
    found = estimate(capsys, *words)
    assert found["seconds"] == pytest.approx(found["calls"] / 4.0)
    assert "the certificate" in found["rate"]["source"]
    other_mode = estimate(capsys, *words, "--judge.mode", "critique", "--probe", "0")
    assert other_mode["rate"] is None  # it is of the judge in direct mode


def test_a_sampled_run_is_counted_by_its_own_candidates(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["run", "best_of_n/tiny", *SCRIPTED, "--policy.model", str(tiny_model), "--prompts.limit", "2"]
    words += ["--sampling.max_new_tokens", "4", "--output", str(tmp_path / "out")]
    assert estimate(capsys, *words)["at_most"]
    assert main(words) == 0
    found = estimate(capsys, *words)
    assert not found["at_most"]
    assert (found["calls"], found["cached"] > 0) == (0, True)


def test_a_training_recipe_counts_its_evaluation(tiny_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["run", "dpo/tiny", "--judge.model", str(tiny_model), "--evaluate.prompts", "3"]
    found = estimate(capsys, *words)
    assert lines(found) == {"ratings": 4 * 2, "evaluation": 3 * 2}
    longer = estimate(capsys, *words, "--probe", "0", "--sampling.max_new_tokens", "124")
    assert longer["prompt_tokens"] - found["prompt_tokens"] == 8 * (124 - 24)
    assert any("count with their limit of 24 tokens" in note for note in found["notes"])
    assert any("bundled responses" in note for note in found["notes"])


def test_a_server_is_asked_only_by_the_probe(capsys: pytest.CaptureFixture[str]) -> None:
    def act(path: str, body: dict[str, Any]) -> tuple[int, str]:
        words = sum(len(one["content"]) for one in body["messages"]) // 5
        message = {"role": "assistant", "content": "Rating: [[5]]"}
        usage = {"prompt_tokens": words, "completion_tokens": 7, "total_tokens": words + 7}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        content = {"id": "1", "object": "chat.completion", "created": 0, "model": "m", "usage": usage}
        return 200, json.dumps(content | {"choices": [choice]})

    with serving(act) as server:
        words = ["judge", "bundled", "--judge.backend", "endpoint", "--judge.model", "m", "--judge.mode", "critique"]
        words += ["--judge.endpoint.base_url", server.url, "--judge.endpoint.top_logprobs", "0"]
        silent = estimate(capsys, *words, "--probe", "0")
        assert server.requests == []
        assert silent["prompt_tokens"] is None
        assert silent["devices"] is None
        assert silent["device_hours"] is None
        assert any("only the server has the tokenizer" in note for note in silent["notes"])
        found = estimate(capsys, *words, "--probe", "3", "--devices", "2")
        assert found["new_tokens"] == 7 * found["calls"]
        assert found["prompt_tokens"] > 0
        assert found["device_hours"] == pytest.approx(2 * found["seconds"] / 3600)


def test_an_evaluation_and_a_certificate_say_what_they_would_ask(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scripted, out = ["--judge.backend", "scripted"], tmp_path / "out"
    pairs, rated = tmp_path / "pairs.jsonl", tmp_path / "rated.jsonl"
    row = {"response_1": "a long answer", "response_2": "short", "label": "first"}
    pairs.write_text("".join(json.dumps(row | {"prompt": f"Question {n}?"}) + "\n" for n in range(6)))
    one = {"response": "an answer", "reward": 3}
    rated.write_text("".join(json.dumps(one | {"prompt": f"Question {n}?"}) + "\n" for n in range(6)))
    there = everything(tmp_path)
    judged = ["evaluate-judge", "pairs", "--data", str(pairs), *scripted, "--output", str(out)]
    assert lines(estimate(capsys, *judged, "--limit", "4")) == {"comparisons": 8}
    assert lines(estimate(capsys, "evaluate-judge", "ratings", "--data", str(rated), *scripted)) == {"ratings": 6}
    words = ["certify", *scripted, "--pairs", str(pairs), "--ratings", str(rated), "--out", str(out)]
    found = estimate(capsys, *words)
    assert everything(tmp_path) == there
    assert main(words) == 0
    answers = out / "answers"
    asked = {
        "labelled pairs": 2 * len((answers / "pairs.jsonl").read_text().splitlines()),
        "rated responses": len((answers / "ratings.jsonl").read_text().splitlines()),
        "attack ratings": len((answers / "attack_ratings.jsonl").read_text().splitlines()),
        "attack pairs": 2 * len((answers / "attack_comparisons.jsonl").read_text().splitlines()),
    }
    bundled = JudgeCertificate.load(out).details["bundled"]
    assert isinstance(bundled, dict)
    asked |= {"bundled ratings": bundled["ratings"], "bundled pairs": 2 * bundled["comparisons"]}  # type: ignore[dict-item,operator]
    assert lines(found) == asked


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["judge", "bundled", "--judge.rival.kind", "longer"], "got rival.kind longer"),
        (["judge", "bundled", "--probe", "some"], "expected a whole number after --probe, got 'some'"),
        (["judge", "bundled", "--rate", "0"], "expected a number above 0 after --rate"),
        (["judge", "bundled", "--devices", "1.5"], "expected a whole number above 0 after --devices"),
        (["evaluate-judge", "eval-x"], "expected eval-p, eval-c, eval-r"),
    ],
)
def test_what_cannot_be_estimated_is_refused(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*words, "--dry-run"]) == 2
    assert said in capsys.readouterr().err


def test_the_options_are_taken_out_of_a_dry_run_only() -> None:
    assert split_options(["--train.beta", "1", "--probe", "2"]) == (None, ["--train.beta", "1", "--probe", "2"])
    options, rest = split_options(
        ["--dry-run", "--probe=2", "--rate", "9.5", "--json", "--clean", "--train.beta", "1"]
    )
    assert options == Options(probe=2, rate=9.5, as_json=True)
    assert rest == ["--train.beta", "1"]
    with pytest.raises(InputError, match="after --probe"):
        split_options(["--dry-run", "--probe"])
