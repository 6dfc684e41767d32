"""KTO on a tiny model with TRL's own trainer: thresholds divide, both sides weigh the same, and it learns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from rewards.errors import InputError, RunError
from rewards.select import Selected
from rewards.types import Message
from rl.kto import _weights, label, train_kto
from rl.training_settings import KTOSettings, LoraSettings


def rows_of(*rewards: float, good: str = "good answer", bad: str = "bad bad bad") -> list[Selected]:
    return [
        Selected(
            prompt_id=f"p{i}",
            candidate_id=f"p{i}/0",
            messages=(Message(role="user", content=f"Question {i}?"),),
            text=f"{good if reward >= 5 else bad} {i}",
            reward=reward,
            rank=1,
        )
        for i, reward in enumerate(rewards)
    ]


def settings_of(**values: Any) -> KTOSettings:
    tiny: dict[str, Any] = {
        "learning_rate": 1e-2,
        "warmup": 0.0,
        "max_steps": 4,
        "batch_size": 4,
        "gradient_accumulation": 1,
        "max_length": 128,
        "lora": LoraSettings(rank=4, alpha=8),
    }
    return KTOSettings(**(tiny | values))


@pytest.mark.parametrize(
    ("settings", "good", "bad", "between"),
    [
        ({}, [8, 9], [1, 2, 3], 2),
        ({"desirable_from": 8}, [8, 9], [1, 2, 3, 5, 5], 0),
        ({"undesirable_to": 2}, [3, 5, 5, 8, 9], [1, 2], 0),
        ({"desirable_from": 8, "undesirable_to": 3}, [8, 9], [1, 2, 3], 2),
    ],
)
def test_thresholds_divide(settings: dict[str, float], good: list[int], bad: list[int], between: int):
    found = label(rows_of(5, 1, 8, 3, 9, 2, 5), settings_of(**settings))
    assert sorted(row.reward for row in found.desirable) == good
    assert sorted(row.reward for row in found.undesirable) == bad
    assert found.between == between


def test_one_side_alone_is_refused_with_the_range_of_the_rewards():
    for rows, settings in (
        (rows_of(5, 5, 5), {}),
        (rows_of(5, 6), {"desirable_from": 9}),
        ([], {}),
    ):
        with pytest.raises(RunError, match="expected"):
            label(rows, settings_of(**settings))
    with pytest.raises(RunError, match="rewards from 5 to 6"):
        label(rows_of(5, 6), settings_of(desirable_from=9))


def test_thresholds_that_cross_and_single_examples_are_refused():
    with pytest.raises(ValidationError, match="below desirable_from"):
        settings_of(desirable_from=3, undesirable_to=4)
    with pytest.raises(ValidationError, match="batch_size"):
        settings_of(batch_size=1)


@pytest.mark.parametrize(("good", "bad"), [(10, 30), (30, 10), (7, 7)])
def test_both_sides_weigh_the_same(good: int, bad: int):
    weights = _weights(good, bad, {})
    assert weights["desirable_weight"] * good == pytest.approx(weights["undesirable_weight"] * bad)
    assert min(weights.values()) == 1.0
    assert _weights(good, bad, {"desirable_weight": 2.0}) == {}


def test_it_learns_what_is_desirable(tiny_model: Path, tmp_path: Path):
    rows = rows_of(9, 1, 8, 2, 9, 1, 8, 2, 5.2)
    result = train_kto(
        rows,
        model=str(tiny_model),
        output=tmp_path / "policy",
        settings=settings_of(max_steps=20, desirable_from=6, undesirable_to=3),
        trl={"lr_scheduler_type": "constant"},
    )
    assert result.kind == "kto"
    assert (result.examples, result.left_out) == (8, 1)
    assert result.final_loss < result.first_loss - 0.1
    assert result.metrics_after["rewards/margins"] > 0.5
    assert (tmp_path / "policy" / "adapter_model.safetensors").is_file()


def test_prompts_that_leave_no_room_are_refused(tiny_model: Path, tmp_path: Path):
    with pytest.raises(InputError, match="max_length"):
        train_kto(
            rows_of(9, 1, 8, 2), model=str(tiny_model), output=tmp_path / "policy", settings=settings_of(max_length=4)
        )
