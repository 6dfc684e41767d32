import json
from pathlib import Path

import pytest

from judge_training.data.card import DataCard
from judge_training.examples import read_examples
from recipes.cli import main


def rated(path: Path, n: int) -> Path:
    rows = [
        {"prompt": f"How do I bake bread number {i}?", "response": f"Mix, knead, rise, bake {i}.", "score": 1 + i % 10}
        for i in range(n)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_ratings_become_a_data_set_apart_from_a_test_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ratings = rated(tmp_path / "ratings.jsonl", 30)
    apart = tmp_path / "test_prompts.jsonl"
    apart.write_text(json.dumps({"prompt": "how do I bake BREAD number 7"}) + "\n")
    flags = ["--columns.reward", "score", "--apart", str(apart), "--settings.valid-share", "0.2"]
    # The prompts differ in one word: only whole prompts are to be compared.
    assert (
        main(
            ["judge-data", "--ratings", str(ratings), *flags, "--settings.ngram", "None", "--out", str(tmp_path / "d")]
        )
        == 0
    )
    train, valid = (tuple(read_examples(tmp_path / "d" / name)) for name in ("train.jsonl", "valid.jsonl"))
    assert len(train) + len(valid) == 29
    assert not any("number 7?" in one.prompt.messages[0].content for one in (*train, *valid))
    card = DataCard.model_validate_json((tmp_path / "d" / "card.json").read_bytes())
    assert sum(sum(reasons.values()) for reasons in card.dropped.values()) == 1
    assert "to train on" in capsys.readouterr().out


def test_no_source_and_an_unknown_source_are_errors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["judge-data", "--out", str(tmp_path / "d")]) == 2
    assert main(["judge-data", "--source", "chatbot_aren", "--out", str(tmp_path / "d")]) == 2
    assert "did you mean chatbot_arena?" in capsys.readouterr().err


@pytest.mark.shared_data
def test_the_released_judgments_apart_from_the_released_tests(
    shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    release = str(shared_data / "auto-j")
    assert main(["judge-data", "--release", release, "--apart", release, "--out", str(tmp_path / "d")]) == 0
    card = DataCard.model_validate_json((tmp_path / "d" / "card.json").read_bytes())
    assert card.dropped["test prompts"]["prompt_in_eval_p"] == 112
    assert sum(part.examples for part in card.parts.values()) == 960 - 2 - 112 - 25
