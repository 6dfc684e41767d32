"""The guard of a run: gold beside proxy on held-out prompts, a stop when gold falls, and the best policy kept."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from recipes.cli import main
from recipes.guarding import Guard
from recipes.loading import load_recipe
from rewards.errors import InputError
from rewards.intervals import Interval
from rewards.jsonl import read_records
from rewards.judges.chat_tokens import chat_ids
from rewards.judges.local_model import load_model
from rewards.types import Candidate, Message, Prompt
from rl.guard import GuardPoint
from rl.response_logprobs import response_logprobs
from rl.run_folder import RunFolder
from rl.sampling import sample

SMALL = ["--prompts.limit", "3", "--sampling.max_new_tokens", "6", "--sampling.n", "3", "--train.max_steps", "2"]
EVALUATE = ["--evaluate.max_new_tokens", "6", "--evaluate.prompts", "3", "--train.max_length", "2000"]
JUDGE = ["--judge.backend", "scripted", "--judge.rule", "longer", "--allow-uncertified", "true"]
GOLD = ["--guard.gold.backend", "scripted", "--guard.gold.rule", "shorter"]


def flags(model: Path, output: Path, *more: str) -> list[str]:
    policy = ["--policy.model", str(model), "--track.mode", "off"]
    return [*SMALL, *EVALUATE, *JUDGE, *GOLD, *policy, "--output", str(output), *more]


def looks(output: Path) -> list[GuardPoint]:
    return list(read_records(RunFolder(output).guard, GuardPoint))


def test_every_round_is_looked_at_and_a_second_start_looks_no_more(tiny_model: Path, tmp_path: Path):
    output = tmp_path / "run"
    arguments = ["run", "dpo/tiny", *flags(tiny_model, output, "--rounds.count", "2", "--guard.patience", "5")]
    assert main(arguments) == 0
    points = looks(output)
    assert [point.step for point in points] == [0, 1, 2]
    assert points[0].kl == 0.0
    assert any(point.kl > 0 for point in points[1:])
    assert all(1 <= point.proxy.value <= 10 and 1 <= point.gold.value <= 10 for point in points)
    page = RunFolder(output).report.read_text(encoding="utf-8")
    assert "gold (never trained on)" in page
    files = {path: path.stat().st_mtime_ns for path in (output / "guard").rglob("*.json*")}
    assert len(files) == 3 * 4
    assert main([*arguments, "--resume"]) == 0
    assert {path: path.stat().st_mtime_ns for path in files} == files


def test_one_round_has_a_look_before_and_after(tiny_model: Path, tmp_path: Path):
    output = tmp_path / "run"
    assert main(["run", "kto/tiny", *flags(tiny_model, output)]) == 0
    assert [point.step for point in looks(output)] == [0, 1]
    assert not RunFolder(output).policy.is_symlink()


def point(step: int, gold: float) -> GuardPoint:
    around = Interval(value=gold, low=gold - 0.1, high=gold + 0.1, n=9)
    return GuardPoint(step=step, kl=step, proxy=around, gold=around, length=5.0, repetition=0.0)


def test_falling_gold_ends_the_rounds_and_the_best_policy_is_kept(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    golds = [5.0, 6.0, 4.0, 3.0, 9.0]
    monkeypatch.setattr(Guard, "_measure", lambda self, step, policy, folder, gold: point(step, golds[step]))
    output = tmp_path / "run"
    more = ["--rounds.count", "4", "--guard.patience", "2"]
    assert main(["run", "dpo/tiny", *flags(tiny_model, output, *more)]) == 0
    assert [one.step for one in looks(output)] == [0, 1, 2, 3]
    assert not (output / "rounds" / "4").exists()
    assert RunFolder(output).policy.resolve() == (output / "rounds" / "1" / "policy").resolve()
    assert "stopped by the guard" in capsys.readouterr().err


def test_a_guard_needs_one_process():
    with pytest.raises(InputError, match="one process with a guard"):
        load_recipe("dpo/tiny", [*GOLD, "--launch.processes", "2"])


def test_log_probabilities_are_those_of_one_response_alone(tiny_model: Path):
    local = load_model(str(tiny_model), device="cpu")
    prompts = {
        f"p{i}": Prompt(id=f"p{i}", messages=(Message(role="user", content="Why? " * (1 + i)),)) for i in range(3)
    }
    drawn = list(sample(local, list(prompts.values()), n=2, max_new_tokens=9))
    drawn.append(Candidate(id="empty", prompt_id="p0", text="", finish_reason="length"))
    found = response_logprobs(local, prompts, drawn, batch_size=3)
    for one in drawn:
        context = chat_ids(local.tokenizer, list(prompts[one.prompt_id].messages))
        response = local.tokenizer.encode(one.text, add_special_tokens=False)
        response += [local.tokenizer.eos_token_id] if one.finish_reason == "stop" else []
        total = 0.0
        for place, token in enumerate(response):
            with torch.inference_mode():
                logits = local.model(torch.tensor([context + response[:place]])).logits[0, -1]
            total += float(logits.log_softmax(-1)[token])
        assert found[one.id] == pytest.approx(total, abs=1e-3)
