"""What the guard's looks do to a training's log: their time stands apart from learning."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from transformers import TrainerControl, TrainerState, TrainingArguments

from rl import guard_callback
from rl.guard_callback import GuardCallback, Opinion


def test_the_time_of_looks_is_taken_out_of_learning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0

    def look(step: int, model: Any, tokenizer: Any) -> Opinion:
        nonlocal now
        now += 7.0
        return Opinion(best=step, stop=False)

    monkeypatch.setattr(guard_callback.time, "perf_counter", lambda: now)
    arguments = TrainingArguments(output_dir=str(tmp_path), report_to="none", use_cpu=True)
    state, control = TrainerState(), TrainerControl()
    callback = GuardCallback(2, look)
    given = {"model": None, "processing_class": None}
    callback.on_train_begin(arguments, state, control, **given)  # a look before the first step

    def logged(step: int, learn: float) -> dict[str, float]:
        logs = {"loss": 1.0, "seconds/judge": 2.0, "seconds/learn": learn}
        state.global_step = step
        state.log_history.append(dict(logs))
        callback.on_log(arguments, state, control, logs=logs)
        callback.on_save(arguments, state, control, **given)
        assert logs == state.log_history[-1]
        return logs

    assert logged(1, 10.0) == {"loss": 1.0, "seconds/judge": 2.0, "seconds/learn": 3.0, "seconds/guard": 7.0}
    assert logged(2, 5.0)["seconds/guard"] == 0.0  # its own look comes after it
    assert logged(3, 9.0) == {"loss": 1.0, "seconds/judge": 2.0, "seconds/learn": 2.0, "seconds/guard": 7.0}
    others = {"eval_loss": 1.0}
    callback.on_log(arguments, state, control, logs=others)
    assert others == {"eval_loss": 1.0}
