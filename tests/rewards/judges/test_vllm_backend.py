"""The vLLM backend over an engine that is a tiny model: what it asks, and what it makes of the answers.

vLLM itself is asked by `test_vllm_real.py`, where it is installed.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from rewards.errors import InputError, MissingExtraError, MissingFileError, RunError
from rewards.judges import vllm_engine
from rewards.judges.base import Answer, Distribution, Question
from rewards.judges.choice_tree import branchings, build_tree, reported_probabilities
from rewards.judges.config import JudgeSettings, RaySettings, VllmSettings
from rewards.judges.generation import Generated, generate
from rewards.judges.load import load_generative_judge, load_judge
from rewards.judges.local_model import LocalModel, load_model
from rewards.judges.transformers_backend import TransformersBackend
from rewards.judges.vllm_backend import VllmBackend
from rewards.judges.vllm_engine import VllmEngine
from rewards.protocol.spec import ChatTokenizer, Decoding, Scale
from rewards.types import Unparsed
from tests.rewards.judges.test_local_model import make_adapter

CHOICES = Scale().strings


class TinyEngine:
    """The engine's part, done by a tiny model in torch."""

    def __init__(self, local: LocalModel) -> None:
        self.local = local
        self.max_positions = local.max_positions or 0
        self.calls: list[int] = []

    def write(
        self,
        contexts: Sequence[list[int]],
        *,
        max_new_tokens: int,
        temperature: float,
        top_p: float,
        seeds: Sequence[int],
        stops: Sequence[int],
    ) -> list[Generated]:
        assert tuple(stops) == self.local.eos_ids
        return generate(
            self.local, contexts, max_new_tokens=max_new_tokens, temperature=temperature, top_p=top_p, seeds=seeds
        )

    def token_logprobs(self, contexts: Sequence[list[int]], tokens: Sequence[Sequence[int]]) -> list[dict[int, float]]:
        self.calls.append(len(contexts))
        found = []
        for context, named in zip(contexts, tokens, strict=True):
            with torch.inference_mode():
                logits = self.local.model(input_ids=torch.tensor([context])).logits[0, -1].log_softmax(-1)
            found.append({token: float(logits[token]) for token in named})
        return found


@pytest.fixture(scope="module")
def local(tiny_model: Path) -> LocalModel:
    return load_model(str(tiny_model), device="cpu")


def backend_of(local: LocalModel, **options: int) -> tuple[VllmBackend, TinyEngine]:
    engine = TinyEngine(local)
    backend = VllmBackend(
        engine, local.tokenizer, ChatTokenizer(), name="tiny", revision="r", stops=local.eos_ids, **options
    )
    return backend, engine


def questions(count: int) -> list[Question]:
    return [
        Question(
            content=f"Rate. Number {i}: " + "the answer is good. " * (i % 4),
            answer_start="Rating: [[",
            answer_end="]]",
        )
        for i in range(count)
    ]


def test_distributions_are_those_of_the_transformers_backend(local: LocalModel) -> None:
    backend, engine = backend_of(local)
    found = dict(backend.score(questions(6), CHOICES))
    wanted = dict(TransformersBackend(local, ChatTokenizer()).score(questions(6), CHOICES))
    assert found.keys() == wanted.keys() == set(range(6))
    for position, one in wanted.items():
        mine = found[position]
        assert isinstance(one, Distribution)
        assert isinstance(mine, Distribution)
        assert mine.probabilities == pytest.approx(one.probabilities, abs=1e-5)
        assert mine.mass == pytest.approx(one.mass, abs=1e-5)
        assert mine.prompt_tokens == one.prompt_tokens
    assert engine.calls == [6, 6], "one call for the first token, one for what follows the 1"


def test_greedy_answers_are_those_of_the_transformers_backend(local: LocalModel) -> None:
    backend, _ = backend_of(local)
    decoding = Decoding(max_new_tokens=8)
    assert dict(backend.generate(questions(5), decoding)) == dict(
        TransformersBackend(local, ChatTokenizer()).generate(questions(5), decoding)
    )


def test_draws_depend_on_the_question_and_the_sample_alone(local: LocalModel) -> None:
    backend, _ = backend_of(local)
    drawn = Decoding(max_new_tokens=8, temperature=1.0, samples=2)
    asked = [Question("Say something.", sample=0), Question("Say something.", sample=1)]
    together, alone = dict(backend.generate(asked, drawn)), dict(backend.generate(asked[1:], drawn))
    assert together[0] != together[1]
    assert together[1] == alone[0]


@pytest.mark.parametrize("way", ["generate", "score"])
def test_a_question_that_is_too_long_is_said_to_be_so(local: LocalModel, way: str) -> None:
    short, long = Question("Hm?", answer_end="]]"), Question("word " * 300, answer_end="]]")
    backend, _ = backend_of(local, max_prompt_tokens=60)
    asked = [long, short]
    found = dict(
        backend.generate(asked, Decoding(max_new_tokens=4)) if way == "generate" else backend.score(asked, CHOICES)
    )
    failed = found[0]
    assert isinstance(failed, Unparsed)
    assert failed.reason == "prompt_too_long"
    assert isinstance(found[1], Answer | Distribution)


def test_only_places_where_the_choices_part_are_asked_for() -> None:
    tree = build_tree([(1, 9), (1, 0, 9), (2, 9), (3, 4, 9)])
    assert branchings(tree) == [((), (1, 2, 3)), ((1,), (9, 0))]
    shares, mass = reported_probabilities(
        tree,
        4,
        {(): {1: math.log(0.4), 2: math.log(0.3), 3: math.log(0.1)}, (1,): {9: math.log(0.1), 0: math.log(0.3)}},
    )
    assert shares == pytest.approx([0.125, 0.375, 0.375, 0.125])
    assert mass == pytest.approx(0.8)


def test_a_single_choice_is_certain_and_has_the_mass_of_its_first_token() -> None:
    assert reported_probabilities(build_tree([(1, 9)]), 1, {(): {1: math.log(0.25)}}) == ([1.0], pytest.approx(0.25))


@pytest.mark.parametrize("broken", [math.nan, -math.inf])
def test_logits_that_are_not_finite_stop_the_run(broken: float) -> None:
    with pytest.raises(RunError, match="not finite"):
        reported_probabilities(build_tree([(1,), (2,)]), 2, {(): {1: broken, 2: -math.inf}})


def test_without_vllm_it_says_what_to_do(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vllm_engine.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"environment of its own.*vllm serve"):
        load_judge(backend="vllm", model=str(tiny_model))


def test_a_card_needs_no_engine_and_knows_engine_dtype_and_adapter(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vllm_engine, "need_vllm", lambda: None)
    adapter = make_adapter(tiny_model, tmp_path / "adapter")
    plain = load_generative_judge(JudgeSettings(backend="vllm", model=str(tiny_model)))
    adapted = load_generative_judge(JudgeSettings(backend="vllm", model=str(tiny_model), adapter=adapter))
    half = load_generative_judge(JudgeSettings(backend="vllm", model=str(tiny_model), dtype="bfloat16"))
    here = load_generative_judge(JudgeSettings(model=str(tiny_model)))
    assert len({judge.card.digest for judge in (plain, adapted, half, here)}) == 4
    assert plain.card.backend == "vllm"
    assert plain.backend.revision.endswith("-vllm-float32") or torch.cuda.is_available()


def test_adapters_that_vllm_cannot_take_are_refused(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vllm_engine, "need_vllm", lambda: None)
    adapter = make_adapter(tiny_model, tmp_path / "adapter")
    told = json.loads((adapter / "adapter_config.json").read_text())
    for changes, said in (({"use_dora": True}, "use_dora"), ({"r": 4096}, "rank 512 at most")):
        (adapter / "adapter_config.json").write_text(json.dumps(told | changes))
        with pytest.raises(InputError, match=said):
            VllmEngine(tiny_model, adapter, "float32", VllmSettings())
    (adapter / "adapter_model.safetensors").unlink()
    with pytest.raises(InputError, match="safe serialization"):
        VllmEngine(tiny_model, adapter, "float32", VllmSettings())


def test_a_model_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vllm_engine, "need_vllm", lambda: None)
    with pytest.raises(MissingFileError, match="/nowhere"):
        load_judge(backend="vllm", model="/nowhere")


def test_settings_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValidationError, match="attention auto"):
        JudgeSettings(backend="vllm", attention="eager")
    with pytest.raises(ValidationError, match=r"as many as vllm\.tensor_parallel_size"):
        JudgeSettings(backend="vllm", engine="ray", ray=RaySettings(gpus=1), vllm=VllmSettings(tensor_parallel_size=2))
    with pytest.raises(ValidationError, match="expected backend transformers"):
        JudgeSettings(backend="vllm", quantization="int8")
    assert JudgeSettings(backend="vllm", engine="ray", ray=RaySettings(gpus=1)).ray.gpus == 1
