"""The classifier that ships, labelling prompts, evaluating, and the numbers on the release's test file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from judge_training.scenario_classifier import (
    LabelledText,
    label_prompts,
    open_classifier,
    own_texts,
    read_labelled,
)
from judge_training.scenario_classifier.evaluate import evaluate_classifier, scenario_rows, summary_rows
from judge_training.scenario_classifier.outside import outside_texts
from judge_training.scenario_classifier.texts import digest_of
from judge_training.scenario_classifier.train import train_classifier
from judge_training.scenarios import scenario_names
from recipes.bundled import bundled_prompts
from recipes.cli import main
from rewards.errors import InputError
from rewards.jsonl import read_records, write_records
from rewards.scenario_labels import is_outside
from rewards.types import Message, Prompt

DATA = "auto-j/other_resources/scenario_classifier_data"


def prompt(identifier: str, text: str, scenario: str | None = None) -> Prompt:
    return Prompt(id=identifier, messages=(Message(role="user", content=text),), scenario=scenario)


# The classifier that ships


def test_the_shipped_classifier_was_trained_on_our_present_texts_and_is_small() -> None:
    classifier = open_classifier("bundled")
    assert classifier.card.trained_on["digest"] == digest_of(own_texts(bundled_prompts())), (
        "our texts changed: autoj classify-scenarios train --data bundled "
        "--out judge_training/scenario_classifier/default"
    )
    assert set(classifier.card.classes) == set(scenario_names())
    assert classifier.weights.nbytes < 2_000_000


def test_the_shipped_classifier_knows_plain_requests_and_what_is_none() -> None:
    classifier = open_classifier("bundled")
    said = classifier.predict(
        [
            "Translate the following letter into Spanish",
            "Write a cover letter for a job as a gardener",
            "Write a Python function that reverses a string",
        ]
    )
    assert [one.scenario for one in said] == ["text_to_text_translation", "writing_job_application", "code_generation"]
    for kind, texts in outside_texts().items():
        missed = [text for text, one in zip(texts, classifier.predict(texts), strict=True) if one.scenario]
        assert len(missed) <= 0.15 * len(texts), (kind, missed)


# Labelling


def test_only_prompts_without_a_scenario_are_labelled() -> None:
    given = prompt("a", "Translate this into Spanish", "roleplay")
    labelled = label_prompts(
        [given, prompt("b", "Translate this into Spanish"), prompt("c", "#!%&/ zxqv 0xff $$ kkjw")],
        open_classifier("bundled"),
    )
    assert labelled[0] == given
    assert labelled[1].scenario == "text_to_text_translation"
    assert labelled[1].columns["scenario_by"] == "classifier"
    assert 0 < labelled[1].columns["scenario_confidence"] <= 1
    assert labelled[2].scenario is None
    assert [is_outside(one) for one in labelled] == [False, False, True]
    assert label_prompts(labelled, open_classifier("bundled")) == labelled


# Reading


def test_the_releases_layout_and_ours_are_read(tmp_path: Path) -> None:
    release = tmp_path / "train.jsonl"
    rows = [
        {"category": "default", "instruction": "Say ok", "input": ""},
        {"category": "ranking", "instruction": "Rank these", "input": "a, b"},
        {"category": "rejecting", "instruction": "Do harm", "input": ""},
        {"category": "ranking", "instruction": None, "input": ""},
    ]
    release.write_text("".join(json.dumps(row) + "\n" for row in rows))
    read = read_labelled(release)
    assert [(text.scenario, text.text) for text in read.texts] == [
        ("others", "Say ok"),
        ("ranking", "Rank these\n\na, b"),
    ]
    assert [text.scenario for text in read.elsewhere] == ["rejecting"]
    assert sum(read.skipped.values()) == 2

    ours = tmp_path / "prompts.jsonl"
    write_records(ours, [prompt("a", "Hello", "chitchat"), prompt("b", "Hm")])
    assert read_labelled(ours).texts == (LabelledText(text="Hello", scenario="chitchat"),)
    assert read_labelled(ours).skipped == {"no_scenario": 1}
    write_records(ours, [prompt("b", "Hm")])
    with pytest.raises(InputError, match="58 scenarios"):
        read_labelled(ours)


# Evaluating


def test_evaluation_counts_by_hand() -> None:
    classifier = open_classifier("bundled")
    texts = [
        LabelledText(text="Translate the following letter into Spanish", scenario="text_to_text_translation"),
        LabelledText(text="Translate the following letter into German", scenario="ranking"),
        LabelledText(text="Write a Python function that reverses a string", scenario="code_generation"),
        LabelledText(text="Write a Python function that sorts a list", scenario="code_simplification"),
    ]
    result = evaluate_classifier(classifier, texts, [LabelledText(text="zxq", scenario="rejecting")])
    assert result.accuracy.value == 0.5
    assert result.group_accuracy.value == 1.0
    assert result.macro_f1.value == pytest.approx((2 / 3 + 0 + 2 / 3 + 0) / 4)
    assert result.majority == 0.25
    by_name = {one.name: one for one in result.scenarios}
    assert by_name["code_generation"].precision == 0.5
    assert by_name["ranking"].precision is None
    assert result.noticed["label rejecting"].n == 1
    assert len(scenario_rows(result)) == 4
    assert any(row[0] == "macro F1" for row in summary_rows(result))
    with pytest.raises(InputError, match="got none"):
        evaluate_classifier(classifier, [])


# The command


def test_the_command_trains_predicts_and_evaluates(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labelled, asked = tmp_path / "labelled.jsonl", tmp_path / "asked.jsonl"
    rows = [
        prompt(f"{scenario}-{n}", f"{opening} number {n}", scenario)
        for scenario, opening in (("ranking", "Rank these by size:"), ("chitchat", "Hello my friend"))
        for n in range(6)
    ]
    write_records(labelled, rows)
    write_records(asked, [prompt("a", "Hello my dear friend"), prompt("b", "Ж" * 40), rows[0]])
    assert main(["classify-scenarios", "train", "--data", str(labelled), "--out", str(tmp_path / "mine")]) == 0
    out = tmp_path / "out.jsonl"
    command = ["classify-scenarios", "predict", str(asked), "--classifier", str(tmp_path / "mine")]
    assert main([*command, "--out", str(out)]) == 0
    assert "3 prompts: 2 classified, 1 of them outside" in capsys.readouterr().out
    assert [one.scenario for one in read_records(out, Prompt)] == ["chitchat", None, "ranking"]
    command = ["classify-scenarios", "evaluate", "--data", str(labelled), "--classifier", str(tmp_path / "mine")]
    assert main([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["accuracy"]["value"] == 1.0
    assert main(["classify-scenarios", "predict", str(asked), "--classifier", str(tmp_path / "none")]) == 2
    assert main(["classify-scenarios", "guess"]) == 2


# Real data


@pytest.mark.shared_data
def test_accuracy_on_the_releases_test_file(shared_data: Path) -> None:
    """The numbers of judge_training/README.md, of the file's 609 texts with one of the 58 scenarios."""
    test = read_labelled(shared_data / DATA / "testdata.jsonl")
    assert len(test.texts) == 609
    shipped = evaluate_classifier(open_classifier("bundled"), test.texts, test.elsewhere)
    assert shipped.accuracy.value == pytest.approx(0.409, abs=0.01)
    assert shipped.inside.value == pytest.approx(0.961, abs=0.01)
    trained = train_classifier(read_labelled(shared_data / DATA / "traindata.jsonl").texts)
    result = evaluate_classifier(trained, test.texts, test.elsewhere)
    assert result.accuracy.value == pytest.approx(0.555, abs=0.02)
    assert result.macro_f1.value == pytest.approx(0.561, abs=0.03)
    assert result.unseen == ()
    assert result.calibration_error.value < 0.1
    assert min(share.value for kind, share in result.noticed.items() if kind in outside_texts()) > 0.95
