"""What watches a training run: a bar that shows the loss, a stop at NaN, and Ctrl-C that loses nothing.

These are callbacks of the transformers Trainer, so this module imports transformers and is imported late.
"""

from __future__ import annotations

import math
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from tqdm.auto import tqdm
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from rewards.errors import RunError
from rewards.training.distributed import process_rank

_SHOWN = {"loss": "loss", "reward": "reward", "rewards/margins": "margin", "rewards/accuracies": "accuracy"}
"""Metrics on the bar, and what they are called there."""


class AlreadyEndedError(Exception):
    """Raised by a callback as training begins: an earlier start had come to its end, and no step is to be made.

    Trainer itself looks at `should_training_stop` after a step only. `run_trainer` then saves what there is.
    """


class ProgressBar(TrainerCallback):  # type: ignore[misc]  # transformers ships no types
    """One bar over the optimizer steps with the latest loss; Trainer's own prints a dictionary for every log."""

    def __init__(self, title: str) -> None:
        self.title = title
        self._bar: tqdm[Any] | None = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if state.is_world_process_zero:
            self._bar = tqdm(total=state.max_steps, initial=state.global_step, desc=self.title, unit="step")

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if self._bar is not None:
            self._bar.update(state.global_step - self._bar.n)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        if self._bar is not None and logs and "loss" in logs:
            shown = {name: logs[key] for key, name in _SHOWN.items() if logs.get(key) is not None}
            self._bar.set_postfix({name: f"{value:.4g}" for name, value in shown.items()})

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the bar, also after an error."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


class StopAtNaN(TrainerCallback):  # type: ignore[misc]  # transformers ships no types
    """Raises RunError at the first loss that is no number, and before broken weights are saved.

    Needs `logging_nan_inf_filter=False`: by default Trainer logs an earlier loss in place of a NaN.
    """

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        loss = (logs or {}).get("loss")
        if loss is not None and not math.isfinite(loss):
            raise RunError(f"expected a finite loss, got {loss} at step {state.global_step}. {_WHAT_TO_DO}")

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if control.should_save:
            _check_weights(kwargs["model"], state.global_step)


_WHAT_TO_DO = (
    "Lower the learning rate, add warm-up, or train in float32 (the policy's dtype); "
    "the last checkpoint, where there is one, is from before"
)


def _check_weights(model: torch.nn.Module, step: int) -> None:
    for name, weight in model.named_parameters():
        if weight.requires_grad and not torch.isfinite(weight).all():
            raise RunError(f"expected finite weights, got NaN or infinity in {name} after step {step}. {_WHAT_TO_DO}")


class StopAtRequest(TrainerCallback):  # type: ignore[misc]  # transformers ships no types
    """Ends training after the optimizer step under way, with a checkpoint, once `requested` is set.

    Stopping between steps is what makes the checkpoint whole. With several processes, all stop at the same step
    as soon as one was asked to.
    """

    def __init__(self) -> None:
        self.requested = False

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if args.world_size > 1:
            flag = torch.tensor(int(self.requested), device=args.device)
            torch.distributed.all_reduce(flag, op=torch.distributed.ReduceOp.MAX)
            self.requested = bool(flag.item())
        if self.requested:
            control.should_save = True
            control.should_training_stop = True


class FinishCheckpoint(TrainerCallback):  # type: ignore[misc]  # transformers ships no types
    """Calls `finish` with the folder of every checkpoint that was written, on the first process."""

    def __init__(self, finish: Callable[[Path], object]) -> None:
        self._finish = finish

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if state.is_world_process_zero:
            self._finish(Path(args.output_dir) / f"checkpoint-{state.global_step}")


@contextmanager
def interrupts_as_requests(stop: StopAtRequest) -> Iterator[None]:
    """Inside, the first Ctrl-C asks `stop` for an orderly end; the second one interrupts at once."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set signal handlers
        return

    def ask(number: int, frame: FrameType | None) -> None:
        if stop.requested:
            signal.default_int_handler(number, frame)
        if process_rank() == 0:
            tqdm.write("stopping after this step, with a checkpoint; press Ctrl-C again to stop at once")
        stop.requested = True

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
