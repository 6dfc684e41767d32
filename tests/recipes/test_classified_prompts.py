"""Prompts without a scenario in a run: labelled, counted, put aside, and named in the report."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from recipes.cli import main
from recipes.stages import SCORED
from rewards.errors import InputError
from rewards.jsonl import read_records
from rewards.review import read_review, review_items
from rewards.scenario_labels import CLASSIFIER, SCENARIO_BY, with_scenario
from rewards.types import Judgment, Prompt, Rating, Reward
from rl.report_findings import findings
from rl.report_summary import OUTSIDE, summarise
from rl.run_folder import RunFolder
from tests.scored_records import records

NOISE = "%%&/ zxqv 0xff $$ kkjw =§= 77 ||| qpq"
JUDGE = ["--judge.backend", "scripted", "--judge.rule", "longer", "--judge.mode", "critique"]


@pytest.fixture
def responses(tmp_path: Path) -> Path:
    path = tmp_path / "responses.jsonl"
    prompts = ["Translate this letter into Spanish", "Write a Python function that reverses a string", NOISE]
    rows = [
        {"prompt": prompt, "response": response}
        for prompt in prompts
        for response in ("Yes.", "A rather longer answer to it.", f"On {prompt[:9]}: this one is the longest of all.")
    ]
    rows.append({"prompt": "Translate it", "response": "No.", "scenario": "roleplay"})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def run(responses: Path, output: Path, *flags: str) -> RunFolder:
    common = ["--candidates", str(responses), *JUDGE, "--output", str(output), "--track.mode", "off"]
    assert main(["run", "filter/tiny", *common, *flags]) == 0
    return RunFolder(output)


def test_a_run_labels_prompts_and_says_which_are_outside(responses: Path, tmp_path: Path) -> None:
    folder = run(responses, tmp_path / "run", "--classify", "bundled")
    prompts = {one.messages[-1].content: one for one in read_records(folder.prompts, Prompt)}
    assert [one.scenario for one in prompts.values()] == [
        "text_to_text_translation",
        "code_generation",
        None,
        "roleplay",
    ]
    assert [one.columns.get(SCENARIO_BY) for one in prompts.values()] == [CLASSIFIER] * 3 + [None]
    counts = folder.finished()["candidates"].counts
    assert (counts["classified"], counts["outside"]) == (3, 1)

    summary = summarise(folder)
    assert summary.scenarios[OUTSIDE].prompts == 1
    assert summary.scenarios[OUTSIDE].pairs >= 1
    said = next(one for one in findings(summary) if one.topic == "Scenarios")
    assert said.text.startswith("Outside the scenarios by the classifier: 1 of 4 prompts.")
    assert "(their mean is" in said.text
    assert OUTSIDE in folder.report.read_text(encoding="utf-8")

    rewards = [one for one in read_records(folder.rewards, SCORED) if isinstance(one, Reward)]
    assert {one.prompt_id for one in rewards if one.notes == ("outside_scenarios",)} == {prompts[NOISE].id}
    assert {one.notes for one in rewards if one.prompt_id != prompts[NOISE].id} == {()}

    aside = [item for item in read_review(folder.review) if item.prompt_id == prompts[NOISE].id]
    assert aside
    assert all("prompt outside the scenarios" in item.detail for item in aside)


def test_the_best_response_outside_is_put_aside_when_nothing_else_is_wrong_with_it() -> None:
    prompts, candidates, scored = records({"in": [("a", 0.2)], "out": [("b", 0.3), ("c", 0.9)]}, scenario="chitchat")
    prompts = [with_scenario(one, None, 0.1) if one.id == "out" else one for one in prompts]
    judgments = [
        Judgment(
            id=Judgment.rating_id(one.id),
            prompt_id=one.prompt_id,
            candidate_ids=(one.id,),
            outcome=Rating(value=3.0 + one.index),
        )
        for one in candidates
    ]
    found = review_items(judgments, [], scored, candidates, prompts, close_margin=0.0)
    assert [(item.reason, item.candidate_id) for item in found if item.kind == "rating"] == [
        ("outside_scenarios", "out/1")
    ]


def test_nothing_is_classified_unless_asked(responses: Path, tmp_path: Path) -> None:
    folder = run(responses, tmp_path / "run")
    assert [one.scenario for one in read_records(folder.prompts, Prompt)] == [None, None, None, "roleplay"]
    assert "classified" not in folder.finished()["candidates"].counts
    assert not any(one.topic == "Scenarios" for one in findings(summarise(folder)))
    assert not any(item.reason == "outside_scenarios" for item in read_review(folder.review))


def test_a_quota_holds_for_classified_prompts(responses: Path, tmp_path: Path) -> None:
    rows = [{"prompt": f"Translate letter {n} into Spanish", "response": f"Answer {n}"} for n in range(6)]
    responses.write_text("".join(json.dumps(row) + "\n" for row in rows))
    folder = run(responses, tmp_path / "run", "--classify", "bundled", "--select.per_scenario_quota", "2")
    assert len(folder.selected.read_text().splitlines()) == 2


def test_prompts_are_balanced_over_their_predicted_scenarios(tmp_path: Path) -> None:
    from recipes.sections import PromptSettings
    from recipes.splitting import choose_prompts
    from recipes.stages import read_source, with_scenarios

    path = tmp_path / "prompts.jsonl"
    texts = [f"Translate letter {n} into Spanish" for n in range(9)] + ["Write a Python function that adds numbers"]
    path.write_text("".join(json.dumps({"prompt": text}) + "\n" for text in texts))
    prompts, _ = read_source(PromptSettings(source=str(path)))
    chosen, _ = choose_prompts(with_scenarios(prompts, "bundled", {}), limit=2, held_out=0, seed=0)
    assert {one.scenario for one in chosen} == {"text_to_text_translation", "code_generation"}


def test_a_classifier_that_is_not_there_is_an_error(responses: Path, tmp_path: Path, capsys) -> None:
    from recipes.stages import with_scenarios

    with pytest.raises(InputError, match="scenario classifier"):
        with_scenarios([], str(tmp_path / "nowhere"), {})
    flags = ["--candidates", str(responses), *JUDGE, "--output", str(tmp_path / "run"), "--classify", "bundeld"]
    assert main(["run", "filter/tiny", *flags]) == 2
    assert "bundeld" in capsys.readouterr().err
