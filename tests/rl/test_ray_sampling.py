"""Sampling in Ray's actors draws what one process draws, goes on from a file, and is reached from the command."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest

from recipes.cli import main
from rewards.errors import MissingExtraError
from rewards.jsonl import read_records
from rewards.judges import ray_cluster
from rewards.judges.config import RaySettings
from rewards.types import Candidate, Message, Prompt
from rl.ray_sampling import sample_on_ray
from rl.run_folder import RunFolder

needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray (autoj[ray]) is not installed")
PROMPTS = [Prompt(id=f"p{i}", messages=(Message(role="user", content=f"Question {i}?"),)) for i in range(5)]


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    import ray

    yield
    ray.shutdown()


def flags(model: Path, output: Path, *more: str) -> list[str]:
    drawing = ["--policy.model", str(model), "--sampling.n", "3", "--sampling.max_new_tokens", "8"]
    return ["sample", "--prompts.limit", "4", *drawing, "--track.mode", "off", "--output", str(output), *more]


def texts(output: Path) -> dict[str, str]:
    found = list(read_records(RunFolder(output).candidates, Candidate))
    assert len({one.id for one in found}) == len(found) == 12
    return {one.id: one.text for one in found}


def test_without_ray_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ray_cluster.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"sampling\.engine ray needs .*autoj\[ray\]"):
        list(sample_on_ray(RaySettings(), {"name": "m"}, PROMPTS, n=2))


@needs_ray
@pytest.mark.usefixtures("cluster")
def test_the_command_draws_the_same_on_ray_and_in_one_process(tiny_model: Path, tmp_path: Path):
    actors = ["--engine", "ray", "--sampling.ray.max_actors", "2", "--sampling.ray.chunk", "2"]
    assert main(flags(tiny_model, tmp_path / "ray", *actors, "--sampling.ray.cpus", "0.5")) == 0
    assert main(flags(tiny_model, tmp_path / "local")) == 0
    assert texts(tmp_path / "ray") == texts(tmp_path / "local")


@needs_ray
@pytest.mark.usefixtures("cluster")
def test_what_is_there_is_not_drawn_again(tiny_model: Path):
    there = {"p0/0", "p0/1", "p1/1"}
    settings = RaySettings(max_actors=1, chunk=2, cpus=0.5)
    model = {"name": str(tiny_model), "adapter": None}
    drawn = list(sample_on_ray(settings, model, PROMPTS, n=2, skip=there, max_new_tokens=6))
    assert {one.id for one in drawn} == {f"p{i}/{index}" for i in range(5) for index in range(2)} - there
