"""The two kinds of policy that the guard looks at: one that lies in a folder, and one that is being trained.

Both give responses to held-out prompts, and how much more probable those are to it than to the start policy. A policy
in training is asked as it stands in memory, so no second copy of a large model is loaded; under LoRA the start policy
is the same model with its adapter off.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, Protocol

from recipes.sections import PolicySettings, SamplingSettings
from recipes.stages import draw
from rewards.jsonl import read_records
from rewards.types import Candidate, Prompt

if TYPE_CHECKING:
    from rewards.judges.local_model import LocalModel


class Watched(Protocol):
    """A policy that the guard looks at."""

    def draw(self, prompts: Sequence[Prompt], sampling: SamplingSettings, path: Path, seed: int) -> list[Candidate]:
        """Responses, into a file and going on from what it holds."""

    def gap(self, prompts: Mapping[str, Prompt], drawn: Sequence[Candidate], batch_size: int) -> float:
        """Mean over responses of log policy - log start policy, in nats."""


@dataclass(frozen=True, slots=True)
class StoredPolicy:
    """A policy to be loaded, as the start policy is."""

    policy: PolicySettings
    start: PolicySettings

    def draw(self, prompts: Sequence[Prompt], sampling: SamplingSettings, path: Path, seed: int) -> list[Candidate]:
        """Responses of the loaded policy."""
        return draw(self.policy, sampling, prompts, path, seed=seed)

    def gap(self, prompts: Mapping[str, Prompt], drawn: Sequence[Candidate], batch_size: int) -> float:
        """By loading one after the other; 0 where they are the same."""
        if self.policy == self.start:
            return 0.0
        return _gap(*(_logprobs(_loaded(policy), prompts, drawn, batch_size) for policy in (self.policy, self.start)))


@dataclass(frozen=True, slots=True)
class TrainedPolicy:
    """A policy as it stands in its training."""

    model: Any
    """A `PreTrainedModel`, or a `PeftModel` on one."""
    tokenizer: Any
    start: PolicySettings

    def draw(self, prompts: Sequence[Prompt], sampling: SamplingSettings, path: Path, seed: int) -> list[Candidate]:
        """Responses of the policy as it is; its generator of random numbers is its own, and training goes on alike."""
        from rl.sampling import sample_to_file

        with self._at_rest() as local:
            sample_to_file(
                local,
                prompts,
                path,
                n=sampling.n,
                max_new_tokens=sampling.max_new_tokens,
                temperature=sampling.temperature,
                batch_size=sampling.batch_size,
                seed=seed,
                progress=False,
            )
        return list(read_records(path, Candidate))

    def gap(self, prompts: Mapping[str, Prompt], drawn: Sequence[Candidate], batch_size: int) -> float:
        """With the adapter on and off; the start policy is loaded where it is not the bare model."""
        with self._at_rest() as local:
            mine = _logprobs(local, prompts, drawn, batch_size)
            if hasattr(self.model, "disable_adapter") and self.start.adapter is None:
                with self.model.disable_adapter():
                    return _gap(mine, _logprobs(local, prompts, drawn, batch_size))
        # In the numbers of the policy: those of 16 bits would count as a distance.
        start = self.start.model_copy(update={"dtype": str(self.model.dtype).removeprefix("torch.")})
        return _gap(mine, _logprobs(_loaded(start), prompts, drawn, batch_size))

    @contextmanager
    def _at_rest(self) -> Iterator[LocalModel]:
        from rewards.judges.local_model import LocalModel

        training = self.model.training
        self.model.eval()
        try:
            yield LocalModel(self.model, self.tokenizer, revision="in training", name="policy in training")
        finally:
            self.model.train(training)


def _loaded(policy: PolicySettings) -> LocalModel:
    from rewards.judges.local_model import load_model

    return load_model(policy.model, adapter=policy.adapter, dtype=policy.dtype, attention=policy.attention)


def _logprobs(
    local: LocalModel, prompts: Mapping[str, Prompt], drawn: Sequence[Candidate], batch_size: int
) -> dict[str, float]:
    from rl.response_logprobs import response_logprobs

    return response_logprobs(local, prompts, drawn, batch_size=batch_size)


def _gap(mine: Mapping[str, float], start: Mapping[str, float]) -> float:
    return fmean(mine[name] - start[name] for name in mine)
