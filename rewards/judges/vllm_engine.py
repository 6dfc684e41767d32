"""vLLM's offline engine, as far as a judge needs it: writing, and the probabilities of named tokens.

The engine starts when it is first asked, not when the judge is made: a card, a finished run and the driver of a Ray
cluster need none. The keys are the same on GPUs and CPUs; prefixes are always shared, so that the candidates of one
prompt are read from where they differ. Adapters go in as vLLM's LoRA requests, unmerged. vLLM's usage statistics are
switched off, unless the environment says otherwise.

vllm is imported inside functions. It runs its own processes, so a script that uses it from Python must
guard its top level by `if __name__ == "__main__":`.
"""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from rewards.errors import InputError, JudgeUnavailableError, MissingExtraError
from rewards.judges.config import VllmSettings
from rewards.judges.generation import Generated

_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""Ranks of adapters that vLLM makes room for."""
_MOST_TOKENS = 128
"""Tokens whose probabilities vLLM tells in one request."""
_GIB = 2**30


def need_vllm() -> None:
    """Raise MissingExtraError when the package is not there."""
    if importlib.util.find_spec("vllm") is None:
        raise MissingExtraError(
            "backend vllm needs the package vllm, which asks for an older transformers than autoj's trainers: make an "
            "environment of its own, as recipes/filter/README.md says, or start `vllm serve` in one and use backend: "
            "endpoint"
        )


class VllmEngine:
    """A model folder, with a LoRA adapter where one is given, in vLLM."""

    def __init__(
        self,
        folder: Path,
        adapter: Path | None,
        dtype: Literal["float32", "bfloat16", "float16"],
        settings: VllmSettings,
    ) -> None:
        need_vllm()
        self._folder = folder
        self._adapter = adapter
        self._rank = None if adapter is None else _rank(adapter)
        self._dtype = dtype
        self._settings = settings

    @property
    def max_positions(self) -> int:
        """Tokens of a question and its answer at most. Starts the engine."""
        return int(self._llm.model_config.max_model_len)

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
        """Continue every context until a token of `stops` or `max_new_tokens`; greedy at temperature 0."""
        from vllm import SamplingParams

        draws = temperature > 0
        params = [
            SamplingParams(
                temperature=temperature,
                top_p=top_p if draws else 1.0,
                seed=seed if draws else None,
                max_tokens=max_new_tokens,
                stop_token_ids=list(stops),
                detokenize=False,
            )
            for seed in seeds
        ]
        written = [done.outputs[0] for done in self._generate(contexts, params)]
        return [
            Generated(tuple(one.token_ids), "length" if one.finish_reason == "length" else "stop", None)
            for one in written
        ]

    def token_logprobs(self, contexts: Sequence[list[int]], tokens: Sequence[Sequence[int]]) -> list[dict[int, float]]:
        """The log-probability of each of a context's `tokens` as the next one, from the whole vocabulary."""
        from vllm import SamplingParams

        asked = [
            (number, part)
            for number, named in enumerate(tokens)
            for part in (list(named[at : at + _MOST_TOKENS]) for at in range(0, len(named), _MOST_TOKENS))
        ]
        params = [
            SamplingParams(temperature=0.0, max_tokens=1, logprob_token_ids=part, detokenize=False)
            for _, part in asked
        ]
        found: list[dict[int, float]] = [{} for _ in contexts]
        answers = self._generate([contexts[number] for number, _ in asked], params)
        for (number, part), answer in zip(asked, answers, strict=True):
            told = answer.outputs[0].logprobs[0]
            found[number].update({token: float(told[token].logprob) for token in part})
        return found

    def _generate(self, contexts: Sequence[list[int]], params: list[Any]) -> list[Any]:
        from vllm.v1.engine.exceptions import EngineDeadError

        prompts = [{"prompt_token_ids": context} for context in contexts]
        try:
            done: list[Any] = self._llm.generate(prompts, params, use_tqdm=False, lora_request=self._lora)
        except EngineDeadError as error:
            raise JudgeUnavailableError(
                f"vLLM's engine with {self._folder} died while it was asked; its reason stands above. Where the "
                "memory was full, lower vllm.gpu_memory_utilization or vllm.max_model_len; finished judgments are kept"
            ) from error
        return done

    @cached_property
    def _lora(self) -> Any:
        from vllm.lora.request import LoRARequest

        return None if self._adapter is None else LoRARequest("judge", 1, str(self._adapter))

    @cached_property
    def _llm(self) -> Any:
        """The engine; starting it takes a minute."""
        os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
        os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
        from vllm import LLM

        given = self._settings
        options: dict[str, Any] = {} if self._rank is None else {"enable_lora": True, "max_lora_rank": self._rank}
        if given.kv_cache_gb is not None:
            options["kv_cache_memory_bytes"] = int(given.kv_cache_gb * _GIB)
        if given.tensor_parallel_size > 1:
            options["distributed_executor_backend"] = "mp"  # also inside a Ray actor, whose GPUs are all here
        try:
            return LLM(
                model=str(self._folder),
                dtype=self._dtype,
                load_format="safetensors",
                trust_remote_code=False,
                max_model_len=given.max_model_len,
                gpu_memory_utilization=given.gpu_memory_utilization,
                enforce_eager=given.enforce_eager,
                tensor_parallel_size=given.tensor_parallel_size,
                enable_prefix_caching=True,
                **options,
            )
        except (ValueError, RuntimeError, OSError) as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise InputError(
                f"vLLM could not start with {self._folder}: {reason}. Its log above says more; where the memory is "
                "the reason, lower vllm.gpu_memory_utilization or vllm.max_model_len, or set vllm.kv_cache_gb"
            ) from error


def _rank(adapter: Path) -> int:
    """Room that vLLM must make for the adapter; raises InputError for one that it cannot take."""
    if not (adapter / "adapter_model.safetensors").is_file():
        raise InputError(
            f"expected adapter_model.safetensors in {adapter}, found none; save it with safe serialization"
        )
    told = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
    for key in ("modules_to_save", "use_dora", "trainable_token_indices", "rank_pattern", "alpha_pattern"):
        if told.get(key):
            raise InputError(
                f"expected a plain LoRA adapter for backend vllm, {adapter} has {key}: write it into the model with "
                "`autoj export`, and name that folder as the model"
            )
    wanted = int(told["r"])
    for rank in _RANKS:
        if wanted <= rank:
            return rank
    raise InputError(
        f"expected an adapter of rank {_RANKS[-1]} at most for backend vllm, {adapter} has {wanted}; write it into "
        "the model with `autoj export`, and name that folder as the model"
    )
