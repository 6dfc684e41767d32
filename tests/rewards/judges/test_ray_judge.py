"""A judge in Ray's actors answers as it does in this process, also when one of them is killed in the middle."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import psutil
import pytest
from pydantic import ValidationError

from recipes.cli import main
from rewards.errors import MissingExtraError
from rewards.jsonl import read_records, write_records
from rewards.judges import ray_cluster
from rewards.judges.base import CompareItem, RateItem
from rewards.judges.config import DecodingSettings, JudgeSettings, RaySettings
from rewards.judges.load import load_judge
from rewards.judging import rate_to_file
from rewards.types import Candidate, Comparison, Judgment, Message, Prompt
from rl.run_folder import RunFolder

needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray (autoj[ray]) is not installed")
REQUESTS = 400
PROMPT = Prompt(id="p", messages=(Message(role="user", content="Why is the sky blue?"),))


def rate_items(count: int) -> list[RateItem]:
    texts = [f"Because of the answer {number}. " * (1 + number % 5) for number in range(count)]
    return [
        RateItem(prompt=PROMPT, candidate=Candidate(id=f"c{i}", prompt_id="p", text=text, index=i))
        for i, text in enumerate(texts)
    ]


def settings_of(model: Path, **ray: int) -> JudgeSettings:
    return JudgeSettings(
        model=str(model),
        mode="critique",
        decoding=DecodingSettings(max_new_tokens=24),
        engine="ray",
        ray=RaySettings(**({"min_actors": 2, "max_actors": 2, "chunk": 4, "cpus": 0.5} | ray)),
    )


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    import ray

    yield
    ray.shutdown()


def by_id(judgments: list[Judgment]) -> dict[str, Judgment]:
    assert len({one.id for one in judgments}) == len(judgments)
    return {one.id: one for one in judgments}


def test_without_ray_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ray_cluster.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"autoj\[ray\]"):
        load_judge(engine="ray")


def test_settings_that_do_not_fit_together_are_refused():
    with pytest.raises(ValidationError, match="at least min_actors"):
        RaySettings(min_actors=3, max_actors=2)


@needs_ray
@pytest.mark.usefixtures("cluster")
def test_it_answers_as_in_this_process(tiny_model: Path):
    settings = settings_of(tiny_model)
    far, near = load_judge(settings), load_judge(settings, engine="local")
    assert far.card == near.card
    items = rate_items(12)
    assert by_id(list(far.rate(items))) == by_id(list(near.rate(items)))
    pairs = [CompareItem(prompt=PROMPT, first=one.candidate, second=other.candidate) for one, other in pairwise(items)]

    def compared(found: list[Comparison]) -> dict[str, Comparison]:
        return {one.id: one for one in found}

    assert compared(list(far.compare(pairs))) == compared(list(near.compare(pairs)))


@needs_ray
@pytest.mark.usefixtures("cluster")
def test_an_actor_killed_in_the_middle_loses_and_doubles_nothing(tiny_model: Path, tmp_path: Path):
    settings = settings_of(tiny_model, chunk=2)
    judge = load_judge(settings)
    killed: list[int] = []

    class Killing:
        """The judge, one of whose actors is killed when the third answer is there."""

        card = judge.card

        def rate(self, items: list[RateItem]) -> Iterator[Judgment]:
            for number, one in enumerate(judge.rate(items)):
                if number == 2 and not killed:
                    actors = [process for process in psutil.process_iter(["cmdline"]) if _is_actor(process)]
                    assert len(actors) >= 2
                    os.kill(actors[0].pid, signal.SIGKILL)
                    killed.append(actors[0].pid)
                yield one

    path = tmp_path / "judgments.jsonl"
    items = rate_items(48)
    rate_to_file(Killing(), items, path, limit=1.0)  # type: ignore[arg-type]
    assert killed
    kept = by_id(list(read_records(path, Judgment)))
    assert kept == by_id(list(load_judge(settings, engine="local").rate(items)))


def _is_actor(process: psutil.Process) -> bool:
    words = " ".join(process.info["cmdline"] or [])
    return "MapWorker" in words and "_Asker" in words


@needs_ray
def test_it_joins_a_cluster_by_its_address_and_outlives_a_node_that_came_later(tiny_model: Path, tmp_path: Path):
    from ray.cluster_utils import Cluster

    responses, output = tmp_path / "responses.jsonl", tmp_path / "run"
    write_records(responses, [{"prompt": "Why?", "response": f"Because of {n}. " * 3} for n in range(REQUESTS)])
    words = ["judge", str(responses), "--judge.model", str(tiny_model), "--judge.mode", "critique"]
    words += ["--judge.decoding.max_new_tokens", "96", "--track.mode", "off", "--failures.limit", "1"]
    there = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    actors = ["--engine", "ray", "--judge.ray.address", there.address, "--judge.ray.min_actors", "1"]
    actors += ["--judge.ray.max_actors", "2", "--judge.ray.chunk", "2", "--judge.ray.cpus", "1"]
    log = tmp_path / "log"
    with log.open("w") as file:
        command = [sys.executable, "-m", "recipes.cli", *words, *actors, "--output", str(output)]
        run = subprocess.Popen(command, stderr=file)
    try:
        path = RunFolder(output).judgments
        _wait(run, log, lambda: path.exists() and path.read_text().count("\n") >= 4)
        second = there.add_node(num_cpus=1)
        _wait(run, log, lambda: sum(map(_is_actor, psutil.process_iter(["cmdline"]))) >= 2)
        there.remove_node(second, allow_graceful=False)
        assert run.wait(300) == 0, log.read_text()
    finally:
        run.kill()
        there.shutdown()
    assert main([*words, "--output", str(tmp_path / "local")]) == 0
    kept, near = (list(read_records(RunFolder(one).judgments, Judgment)) for one in (output, tmp_path / "local"))
    assert by_id(kept) == by_id(near)
    assert len(kept) == REQUESTS


def _wait(run: subprocess.Popen[bytes], log: Path, ready: Callable[[], bool]) -> None:
    until = time.monotonic() + 120
    while not ready():
        assert run.poll() is None and time.monotonic() < until, log.read_text()
        time.sleep(0.05)
