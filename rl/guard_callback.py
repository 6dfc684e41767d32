"""The guard inside a training: looks between steps, and whatever it says is done by all processes.

Design decision. A look belongs to a checkpoint, which is written first: the policy that the guard finds best can then
be taken from there, and is kept when older checkpoints are removed. The first process looks, the others wait for its
word. A word that an earlier start heard and could not act on is heard again before the first step. What a look is, is
for who makes the callback; this module measures nothing but time. Imports transformers; is imported late.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from rewards.training.callbacks import AlreadyEndedError

_LEARN = "seconds/learn"


class Opinion(NamedTuple):
    """What the guard thinks after a look."""

    best: int
    """The step with the highest gold so far."""
    stop: bool


Look = Callable[[int, Any, Any], Opinion]
"""Called with the step, the model and its tokenizer, on the first process."""


class GuardCallback(TrainerCallback):  # type: ignore[misc]  # transformers ships no types
    """Looks before the first step and after every `every` steps; `look` is None on all processes but the first."""

    def __init__(self, every: int, look: Look | None) -> None:
        self._every, self._look = every, look
        self._spent = 0.0
        """Seconds of looks since the last step's log."""

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any
    ) -> None:
        for step in range(0, state.global_step + 1, self._every):
            self._ask(step, args, state, control, given)
        if control.should_training_stop:
            raise AlreadyEndedError

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any) -> None:
        if state.global_step % self._every == 0:
            control.should_save = True

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any) -> None:
        if state.global_step % self._every == 0:
            self._ask(state.global_step, args, state, control, given)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **given: Any,
    ) -> None:
        """Take the looks out of what the trainer counts as learning; callbacks that come later log it so."""
        if logs is None or _LEARN not in logs:
            return
        apart = {_LEARN: logs[_LEARN] - self._spent, "seconds/guard": self._spent}
        self._spent = 0.0
        for entry in (logs, state.log_history[-1]):  # the trainer has made a copy for its own history
            entry.update(apart)

    def _ask(
        self,
        step: int,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        given: dict[str, Any],
    ) -> None:
        started = time.perf_counter()
        said = [0, 0]
        if self._look is not None:
            # Loading an adapter draws from the generators that the training draws from.
            with torch.random.fork_rng():
                opinion = self._look(step, given["model"], given["processing_class"])
            said = [opinion.best, int(opinion.stop)]
        if args.world_size > 1:
            word = torch.tensor(said)  # on the CPU: a GPU would keep a kernel running for as long as it waits
            torch.distributed.broadcast(word, src=0)
            said = word.tolist()
        if said[0]:
            state.best_model_checkpoint = str(Path(args.output_dir) / f"checkpoint-{said[0]}")
        self._spent += time.perf_counter() - started
        control.should_training_stop = control.should_training_stop or bool(said[1])
