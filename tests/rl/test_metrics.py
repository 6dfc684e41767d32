from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewards.errors import InputError
from rl.metrics import append_metrics, metrics_line, read_metrics, series
from rl.redact import REMOVED, is_secret_name, redact


def test_one_object_a_line_with_step_stage_and_metrics_by_name(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    append_metrics(path, "dpo", 3, {"loss": 0.5, "rewards/margins": np.float32(0.25)})
    append_metrics(path, "judge", 0, {"failures": 2})
    assert [json.loads(line) for line in path.read_text().splitlines()] == [
        {"step": 3, "stage": "dpo", "loss": 0.5, "rewards/margins": 0.25},
        {"step": 0, "stage": "judge", "failures": 2},
    ]


@given(st.floats(allow_nan=True, allow_infinity=True))
def test_every_line_is_strict_json(value: float) -> None:
    line = json.dumps(metrics_line("s", 1, {"x": value}), allow_nan=False)
    back = json.loads(line)["x"]
    assert back == value or back is None


def test_a_metric_cannot_overwrite_the_step() -> None:
    with pytest.raises(InputError, match="step"):
        metrics_line("dpo", 1, {"step": 9.0})


def test_series_take_the_last_value_of_a_step_and_skip_a_torn_line(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    for step, loss in [(1, 0.9), (2, 0.8), (1, 0.7), (3, float("nan"))]:
        append_metrics(path, "dpo", step, {"loss": loss})
    with path.open("a") as file:
        file.write('{"step": 4, "stage": "dpo", "lo')
    found, cut = series(path)
    assert found == {("dpo", "loss"): {1: 0.7, 2: 0.8, 3: None}}
    assert not cut
    assert len(list(read_metrics(path))) == 4


def test_series_say_when_they_are_cut(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    for step in range(10):
        append_metrics(path, "dpo", step, {"loss": 1.0})
    found, cut = series(path, limit=4)
    assert cut
    assert len(found[("dpo", "loss")]) == 4


@pytest.mark.parametrize(
    "name",
    ["api_key", "apiKey", "OPENAI_API_KEY", "hf_token", "token", "access_token", "password", "client_secret",
     "Authorization", "wandb_key", "aws_secret_access_key", "hub_token"],
)  # fmt: skip
def test_names_of_secrets(name: str) -> None:
    assert is_secret_name(name)


@pytest.mark.parametrize(
    "name",
    ["api_key_env", "max_new_tokens", "pad_token", "eos_token", "token_count", "dataset_key", "top_logprobs",
     "length_column_name", "keyword", "monkey", "prompt_tokens", "key", "eos_token_id"],
)  # fmt: skip
def test_names_that_stay(name: str) -> None:
    assert not is_secret_name(name)


def test_redact_goes_deep_and_reads_values() -> None:
    config = {
        "judge": {
            "endpoint": {"base_url": "https://me:hunter22@example.org/v1?api_key=abc&x=1", "api_key_env": "KEY"}
        },
        "list": [{"api_key": "x"}, "use sk-aaaaaaaaaaaaaaaaaaaaaaaa here"],
        "beta": 0.1,
    }
    shown = redact(config)
    text = json.dumps(shown)
    assert "hunter22" not in text and "abc" not in text and "sk-aaa" not in text
    assert shown["judge"]["endpoint"]["api_key_env"] == "KEY"
    assert shown["list"][0] == {} and REMOVED in shown["list"][1]
    assert shown["beta"] == 0.1
