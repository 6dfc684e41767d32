"""A judge on many machines: actors of a Ray cluster that each hold one.

It is a `Judge` like any other, so files, resuming, budgets, rewards and reports are those of a judge in this process;
only where the questions are answered differs (`ray_cluster`). An answer that was under way in an actor that died is
asked again: nothing is lost, and since judgments are keyed by id, nothing is there twice.

A vLLM judge is held like any other, one engine an actor. There the engine runs inside the actor's own process, so that
an actor that is killed or let go leaves no engine behind on its GPU. (On a CPU vLLM's worker is a process of its own.)

The card comes from a judge that was loaded by a worker, so that the machine that drives needs no GPU. The cache is a
file: actors share it on one machine; on a cluster it is left out, and the run's file of judgments is what is kept.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any, Literal

from rewards.judges.base import CompareItem, Judge, JudgeCard, RateItem
from rewards.judges.config import JudgeSettings
from rewards.judges.ray_cluster import answers, join, need_ray
from rewards.types import Comparison, Judgment

Asked = Literal["rate", "compare", "compare_once"]


class RayJudge:
    """The judge that the settings describe, in the actors of a Ray cluster."""

    def __init__(self, settings: JudgeSettings) -> None:
        need_ray("judge.engine ray")
        self._ray = settings.ray
        local = settings.model_copy(update={"engine": "local"})
        self._settings = local if self._ray.address is None else local.model_copy(update={"cache": None})

    @cached_property
    def card(self) -> JudgeCard:
        """What identifies the judge: the card of the same judge in one process."""
        import ray

        join(self._ray)
        remote = ray.remote(num_cpus=self._ray.cpus, num_gpus=self._ray.gpus)(_card)
        return JudgeCard.model_validate_json(ray.get(remote.remote(self._settings.model_dump_json())))

    def rate(self, items: Iterable[RateItem]) -> Iterator[Judgment]:
        """One judgment for every item, as it comes."""
        for line in self._answers("rate", [item.model_dump_json() for item in items]):
            yield Judgment.model_validate_json(line)

    def compare(self, items: Iterable[CompareItem], *, both_orders: bool = True) -> Iterator[Comparison]:
        """One comparison for every item, as it comes."""
        asked: Asked = "compare" if both_orders else "compare_once"
        for line in self._answers(asked, [item.model_dump_json() for item in items]):
            yield Comparison.model_validate_json(line)

    def _answers(self, asked: Asked, lines: Sequence[str]) -> Iterator[str]:
        return answers(self._ray, _Asker, (self._settings.model_dump_json(), asked), lines)


class _Asker:
    """What an actor holds: one judge, loaded once."""

    def __init__(self, settings: str, asked: Asked) -> None:
        self._judge = _load(settings)
        self._asked = asked

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[str]]:
        lines = [str(line) for line in batch["item"]]
        return {"answer": [answer.model_dump_json() for answer in self._ask(lines)]}

    def _ask(self, lines: Sequence[str]) -> Iterator[Judgment] | Iterator[Comparison]:
        if self._asked == "rate":
            return self._judge.rate(map(RateItem.model_validate_json, lines))
        items = map(CompareItem.model_validate_json, lines)
        return self._judge.compare(items, both_orders=self._asked == "compare")


def _load(settings: str) -> Judge:
    from rewards.judges.load import load_judge

    read = JudgeSettings.model_validate_json(settings)
    if read.backend == "vllm":
        os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
    return load_judge(read)


def _card(settings: str) -> str:
    return _load(settings).card.model_dump_json()
