"""The text of a control token in a prompt or a response is text to DPO, KTO and fine-tuning, as it is in sampling."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from recipes.loading import load_recipe
from recipes.schema import DPORecipe
from recipes.selecting import truncation
from rewards.errors import InputError, RunError
from rewards.types import Message
from rl.dpo import train_dpo
from rl.kto import train_kto
from rl.rejection_sampling import train_on_selected
from tests.rl import test_dpo, test_kto, test_rejection_sampling

Rows = Callable[[str], list[Any]]


def _asked(rows: list[Any], text: str) -> list[Any]:
    return [row.model_copy(update={"messages": (Message(role="user", content=text),)}) for row in rows]


def _pairs(text: str) -> list[Any]:
    return _asked(test_dpo.pairs_of(2, chosen=text, rejected=text + " not"), text)


def _rated(text: str) -> list[Any]:
    return _asked(test_kto.rows_of(9, 1, 8, 2, good=text, bad=text), text)


def _selected(text: str) -> list[Any]:
    return _asked(test_rejection_sampling.rows_of(2, text=text), text)


@pytest.mark.parametrize(
    ("train", "rows", "settings"),
    [
        (train_dpo, _pairs, test_dpo.settings_of()),
        (train_kto, _rated, test_kto.settings_of()),
        (train_on_selected, _selected, test_rejection_sampling.settings_of()),
    ],
)
def test_it_closes_no_turn(
    train: Any, rows: Rows, settings: Any, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    made: list[Any] = []

    def look(trainer: Any, **_: Any) -> None:
        made.append(trainer.train_dataset)
        raise RunError("seen")

    monkeypatch.setattr("rl.offline.run_trainer", look)
    control = tokenizer.eos_token
    for number, text in enumerate(("one two", f"one {control} two")):
        with pytest.raises(RunError, match="seen"):
            train(rows(text), settings=settings, model=str(tiny_model), output=tmp_path / str(number))
    controls = set(tokenizer.all_special_ids)
    counts = []
    for dataset in made:
        columns = [name for name in dataset.column_names if name.endswith("ids")]
        counts.append([sum(i in controls for name in columns for i in row[name]) for row in dataset])
        texts = [tokenizer.decode(row[name]) for row in dataset for name in columns]
    assert counts[0] == counts[1]
    assert sum(counts[0]) > 0, "the template's own turns"
    assert any(f"one {control} two" in text for text in texts), "nothing of the text is gone"


def test_selection_counts_it_as_the_trainer_does(tiny_model: Path, tmp_path: Path) -> None:
    """Of a pair that the trainer's cut makes identical, the check before it says so; else the training would stop."""
    control = AutoTokenizer.from_pretrained(tiny_model).eos_token * 20
    (pair,) = test_dpo.pairs_of(1, chosen=f"{control} good", rejected=f"{control} bad")
    recipe = load_recipe("dpo/tiny", ["--policy.model", str(tiny_model), "--train.max_length", "100"])
    assert isinstance(recipe, DPORecipe)
    assert truncation(recipe)([pair]) == ["same_after_truncation"]
    with pytest.raises(InputError, match="do not"):
        settings = test_dpo.settings_of(max_length=100)
        train_dpo([pair] * 2, settings=settings, model=str(tiny_model), output=tmp_path)
    roomy = load_recipe("dpo/tiny", ["--policy.model", str(tiny_model), "--train.max_length", "2000"])
    assert isinstance(roomy, DPORecipe)
    assert truncation(roomy)([pair]) == [None]
