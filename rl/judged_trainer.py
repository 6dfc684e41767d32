"""What PPO, GRPO and RLOO share on top of TRL's trainers: rewards that may be missing, a clock, and exact resuming.

Design decisions. A response for which any reward function gave None has no reward at all: TRL would add up what the
others say, which makes a judge that failed a reward of 0. A failure budget that is used up, or a judge that is lost,
on one process stops all of them, with the last finished step saved. A judge behind a server rates each response as
soon as it has ended. A batch of responses that is not used up is saved beside the optimizer, so that a resumed run
goes on with the same one.

A mixin, since TRL has two trainers that do the same things by the same names. It depends on these of trl>=1.16,<1.17:
`_calculate_rewards` (rewards of all processes, (N, functions), NaN where a function gave None), `_generate`,
`_step`, `_buffered_inputs`, and of transformers on `log`, `_save_optimizer_and_scheduler` and
`_load_optimizer_and_scheduler`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch

from rewards.errors import FailureBudgetError, InputError
from rewards.packed_weights import packed_weights
from rl.early_end import hearing_ends
from rl.format_reward import judge_behind
from rl.reward_boundary import STOPPING, HeldBack

STATE = "on_policy_state.json"
Batch = dict[str, Any]


class JudgedTrainer:
    """In front of GRPOTrainer or RLOOTrainer in the order of inheritance.

    reward_funcs: behind their boundary (`rl.reward_boundary`).
    """

    accelerator: Any
    args: Any
    model: Any
    state: Any
    control: Any
    callback_handler: Any
    reward_weights: torch.Tensor
    num_iterations: int
    use_vllm: bool
    eos_token_ids: Sequence[int]
    _tokenizer: Any
    _metrics: dict[str, dict[str, list[float]]]
    _step: int
    _buffered_inputs: list[Batch] | None

    def __init__(self, *, reward_funcs: Sequence[HeldBack], **more: Any) -> None:
        super().__init__(reward_funcs=list(reward_funcs), **more)  # type: ignore[call-arg]  # the parent is TRL's
        self.boundaries = list(reward_funcs)
        self._raw_rewards = torch.empty(0)
        self._stopped = False
        self._spent = {"generate": 0.0, "judge": 0.0}
        self._logged_at = time.perf_counter()

    def train(self, *args: Any, **more: Any) -> Any:
        """As the parent's; before the error of a used-up failure budget or a lost judge the last step is saved."""
        self._logged_at = time.perf_counter()
        try:
            return super().train(*args, **more)  # type: ignore[misc]  # the parent is TRL's
        except STOPPING:
            # Not for an error of a callback, which the other processes do not know of, nor over the step's checkpoint.
            there = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"
            if self._stopped and self.state.global_step and not there.exists():
                self._save_checkpoint(self.model, trial=None)  # type: ignore[attr-defined]
                self.callback_handler.on_save(self.args, self.state, self.control)
            raise

    # Rewards

    def _calculate_rewards(self, *args: Any, **more: Any) -> torch.Tensor:
        with self._clock("judge"):
            rewards: torch.Tensor = super()._calculate_rewards(*args, **more)  # type: ignore[misc]
            self._stop_together()
        self._raw_rewards = rewards.masked_fill(rewards.isnan().any(dim=1, keepdim=True), torch.nan)
        return self._raw_rewards

    def _stop_together(self) -> None:
        """Raise on every process when any of them holds an error."""
        errors = [boundary.error for boundary in self.boundaries if boundary.error is not None]
        if self._total(torch.tensor([float(bool(errors))], device=self.accelerator.device)).item():
            self._stopped = True
            raise (
                errors[0]
                if errors
                else FailureBudgetError(
                    "another process of this job has used up its failure budget or lost its judge; its own message "
                    "says why"
                )
            )

    def _mine(self, count: int) -> slice:
        """Where the `count` responses of this process are among those of all."""
        return slice(self.accelerator.process_index * count, (self.accelerator.process_index + 1) * count)

    def _total(self, values: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.accelerator.reduce(values, reduction="sum")
        return found

    def _note_batch(self) -> None:
        """Log what every on-policy job logs of a batch, beside what TRL does."""
        metrics = self._metrics["train"]
        metrics["failure_rate"].append(self._raw_rewards[:, 0].isnan().float().mean().item())
        metrics["completion_length"].append(metrics["completions/mean_length"][-1])

    # Time

    def _generate(self, prompts: list[Any], *args: Any, **more: Any) -> Any:
        with self._clock("generate"), self._asking_early(prompts), packed_weights(self.model, len(prompts)):
            return super()._generate(prompts, *args, **more)  # type: ignore[misc]

    def _asking_early(self, prompts: Sequence[Any]) -> AbstractContextManager[None]:
        """Let judges behind servers rate each response as soon as it has ended, while the others are written."""
        judges = [judge for judge in map(judge_behind, self.boundaries) if judge is not None]
        # Where TRL parses a response, the text that it gives to the judge is another.
        parsed = any(getattr(self._tokenizer, name, None) for name in ("response_template", "response_schema"))
        if not judges or self.use_vllm or parsed:
            return nullcontext()

        def ended(row: int, ids: list[int]) -> None:
            text = self._tokenizer.decode(ids, skip_special_tokens=True)
            for judge in judges:
                judge.ask_early(prompts[row], [{"role": "assistant", "content": text}])

        return hearing_ends(self.model, self.eos_token_ids, ended)

    @contextmanager
    def _clock(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            self._spent[name] += time.perf_counter() - started

    def log(self, logs: dict[str, float], *args: Any, **more: Any) -> None:
        """As the parent's, with the seconds since the last step's log: sampling, waiting for the judge, the rest."""
        if "loss" in logs:
            now = time.perf_counter()
            rest = now - self._logged_at - sum(self._spent.values())
            logs |= {f"seconds/{name}": spent for name, spent in self._spent.items()} | {"seconds/learn": rest}
            self._logged_at, self._spent = now, dict.fromkeys(self._spent, 0.0)
        super().log(logs, *args, **more)  # type: ignore[misc]

    # Resuming

    def _split(self) -> list[int]:
        """How a batch of responses is split, which a resumed run must not change."""
        args = self.args
        return [args.world_size, args.per_device_train_batch_size, args.gradient_accumulation_steps,
                args.steps_per_generation]  # fmt: skip

    def _extra_state(self) -> dict[str, Any]:
        """More that a resumed run must know, as JSON."""
        return {}

    def _take_extra_state(self, state: dict[str, Any]) -> None:
        """Take up what `_extra_state` gave."""

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        super()._save_optimizer_and_scheduler(output_dir)  # type: ignore[misc]
        from safetensors.torch import save_file

        folder = Path(output_dir)
        folder.mkdir(parents=True, exist_ok=True)  # another process may be the first to write
        if self._buffered_inputs is not None and self._step % (self.args.steps_per_generation * self.num_iterations):
            tensors = {
                f"{number}.{name}": value.detach().to("cpu", copy=True).contiguous()
                for number, part in enumerate(self._buffered_inputs)
                for name, value in part.items()
            }
            save_file(tensors, folder / _batch_file(self.args.process_index))
        if self.args.should_save:
            state = {"step": self._step, "split": self._split()} | self._extra_state()
            (folder / STATE).write_text(json.dumps(state) + "\n", encoding="utf-8")

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)  # type: ignore[misc]
        if checkpoint is None:
            return
        from safetensors.torch import load_file

        state = json.loads((Path(checkpoint) / STATE).read_text(encoding="utf-8"))
        if state.pop("split") != self._split():
            raise InputError(
                f"expected as many processes, batch_size, gradient_accumulation and minibatches as {checkpoint} was "
                "made with: on-policy training goes on in the middle of a batch of responses; give the same, or start "
                "over"
            )
        self._step = state.pop("step")
        self._take_extra_state(state)
        path = Path(checkpoint) / _batch_file(self.args.process_index)
        if path.is_file():
            parts: list[Batch] = [{} for _ in range(self.args.steps_per_generation)]
            for key, value in load_file(path, device=str(self.args.device)).items():
                number, _, name = key.partition(".")
                parts[int(number)][name] = value
            self._buffered_inputs = parts


def _batch_file(process: int) -> str:
    return f"on_policy_batch_{process}.safetensors"
