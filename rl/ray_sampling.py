"""Sampling on many machines: actors of a Ray cluster that each hold the policy.

What is drawn depends on the prompt, the number of the candidate and the seed alone, so it is what one process draws,
to the last digits of floating point. An actor that dies loses nothing: its chunk is drawn again by another.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rewards.judges.config import RaySettings
from rewards.judges.ray_cluster import answers, need_ray
from rewards.types import Candidate, Prompt
from rl.sampling import candidate_id


def sample_on_ray(
    settings: RaySettings,
    policy: Mapping[str, Any],
    prompts: Sequence[Prompt],
    *,
    n: int,
    skip: Collection[str] = (),
    **drawing: Any,
) -> Iterator[Candidate]:
    """Draw `n` candidates for every prompt, as they come; see `rl.sampling.sample`, whose keys `drawing` holds.

    policy: keys of `rewards.judges.local_model.load_model` (name, adapter, dtype, attention). Raises MissingExtraError
    without ray, InputError when the cluster cannot be reached.
    """
    need_ray("sampling.engine ray")
    wanted = [prompt for prompt in prompts if any(candidate_id(prompt.id, index) not in skip for index in range(n))]
    there = {prompt.id: [i for i in range(n) if candidate_id(prompt.id, i) in skip] for prompt in wanted}
    lines = [json.dumps({"prompt": one.model_dump(mode="json"), "there": there[one.id]}) for one in wanted]
    given = (json.dumps({**policy, "adapter": _text(policy.get("adapter"))}), json.dumps({"n": n, **drawing}))
    for line in answers(settings, _Sampler, given, lines):
        yield Candidate.model_validate_json(line)


def _text(path: Any) -> str | None:
    return None if path is None else str(path)


class _Sampler:
    """What an actor holds: the policy, loaded once."""

    def __init__(self, policy: str, drawing: str) -> None:
        from rewards.judges.local_model import load_model

        named = json.loads(policy)
        adapter = named.pop("adapter")
        self._model = load_model(**named, adapter=None if adapter is None else Path(adapter))
        self._drawing = json.loads(drawing)

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[str]]:
        from rl.sampling import sample

        asked = [json.loads(str(line)) for line in batch["item"]]
        prompts = [Prompt.model_validate(one["prompt"]) for one in asked]
        skip = {candidate_id(one["prompt"]["id"], index) for one in asked for index in one["there"]}
        drawn = sample(self._model, prompts, skip=skip, **self._drawing)
        return {"answer": [candidate.model_dump_json() for candidate in drawn]}
