"""A model card says what is known, and nothing of the machine that it was written on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from judge_training.model_card import CardFacts, base_of, model_card
from rewards.errors import InputError
from rewards.judges.config import DEFAULT_JUDGE
from rewards.judges.shipped import checkpoint_folder
from rewards.protocol.builtin import builtin_protocol

FACTS = CardFacts(name="mine", protocol=builtin_protocol(), dtype="bfloat16", merged=True, weights="ab" * 32)


def head_of(card: str) -> dict[str, object]:
    _, head, _ = card.split("---\n", 2)
    found = yaml.safe_load(head)
    assert isinstance(found, dict)
    return found


def adapter_on(base: str, folder: Path) -> Path:
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": base}), encoding="utf-8")
    return folder


def test_it_says_what_the_judge_is_and_how_it_is_asked() -> None:
    card = model_card(FACTS, None)
    assert head_of(card) == {
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["judge", "reward-model", "autoj"],
    }
    assert f"digest `{builtin_protocol().digest[:12]}`" in card
    assert "digest `abababababab`" in card
    assert "load_judge(model=" in card
    assert "the adapter that it was trained as is merged in" in card
    assert "nobody measured this judge" in card
    full = CardFacts(name="mine", protocol=builtin_protocol(), dtype="float32", merged=False, weights="ab" * 32)
    assert "merged" not in model_card(full, None)


def test_the_base_is_named_by_its_name_on_the_hub_and_never_by_a_folder(tmp_path: Path) -> None:
    assert base_of(adapter_on("meta-llama/Llama-2-13b-chat-hf", tmp_path)) == "meta-llama/Llama-2-13b-chat-hf"
    assert base_of(adapter_on("smollm2-135m-instruct", tmp_path)) == "HuggingFaceTB/SmolLM2-135M-Instruct"
    for private in (str(tmp_path), "/home/me/models/base", "../base", "base"):
        assert base_of(adapter_on(private, tmp_path)) is None
        assert private not in model_card(FACTS, tmp_path)


def test_a_full_model_knows_its_base_by_its_training_record(tmp_path: Path) -> None:
    record = {"kind": "judge", "model": "me/base", "steps": 7, "output": "/home/me/runs/judge"}
    (tmp_path / "training.json").write_text(json.dumps(record), encoding="utf-8")
    card = model_card(FACTS, tmp_path)
    assert head_of(card)["base_model"] == "me/base"
    assert "| steps | 7 |" in card
    assert "/home/me" not in card
    (tmp_path / "training.json").write_text("{", encoding="utf-8")
    with pytest.raises(InputError, match="expected JSON"):
        model_card(FACTS, tmp_path)


def test_license_and_language_are_those_of_the_judges_own_card(tmp_path: Path) -> None:
    card = tmp_path / "README.md"
    card.write_text("---\nlicense: mit\nlanguage: [en]\ntags: [other]\n---\n# x\n", encoding="utf-8")
    head = head_of(model_card(FACTS, tmp_path))
    assert (head["license"], head["language"], head["tags"]) == ("mit", ["en"], ["judge", "reward-model", "autoj"])
    given = CardFacts(
        name="mine", protocol=builtin_protocol(), dtype="float32", merged=True, weights="ab" * 32, licence="apache-2.0"
    )
    assert head_of(model_card(given, tmp_path))["license"] == "apache-2.0"
    for nothing in ("no head\n---\n", "---\nlicense: [\n---\n", "---\nlicense: mit\n"):
        card.write_text(nothing, encoding="utf-8")
        assert "license" not in head_of(model_card(FACTS, tmp_path))


def test_the_shipped_judge_names_its_base_and_license() -> None:
    head = head_of(model_card(FACTS, checkpoint_folder(DEFAULT_JUDGE)))
    assert (head["base_model"], head["license"]) == ("HuggingFaceTB/SmolLM2-135M-Instruct", "apache-2.0")
