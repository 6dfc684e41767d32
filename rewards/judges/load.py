"""From settings to a judge that can be asked.

The protocol is the one named, else the checkpoint's own (`judge_protocol.json` with the adapter or the model, in a
folder or on the hub), else the built-in one. A model counts as trained to judge when it brings its own protocol, or is
one of AUTO-J's released judges; the card says so, and warns when a trained judge is asked in words it was not trained
on.

This module imports torch only when an in-process backend is asked for.
"""

from __future__ import annotations

from pathlib import Path
from typing import Unpack

from pydantic import ValidationError
from typing_extensions import TypedDict

from rewards.errors import InputError
from rewards.judges.base import Backend, Judge
from rewards.judges.cache import JudgmentCache
from rewards.judges.config import (
    Attention,
    DecodingSettings,
    Dtype,
    EndpointSettings,
    JudgeSettings,
    Quantization,
    RivalSettings,
    VllmSettings,
)
from rewards.judges.generative import GenerativeJudge, Mode
from rewards.judges.rivals.chat_rival import with_chat
from rewards.judges.scripted import Rule, rule_backend
from rewards.judges.server_probe import Needs
from rewards.judges.shipped import judge_file
from rewards.protocol.builtin import builtin_protocol
from rewards.protocol.spec import PROTOCOL_FILE, ChatFormat, Decoding, JudgeProtocol

RELEASED_JUDGES = ("autoj-13b", "autoj-bilingual-6b")
"""Models of the AUTO-J release, by the part of their names that they share with copies and quantisations."""


_ASKED_IN_WORDS = ("none", "chat")
"""Kinds of rivals that are the ordinary judge."""


class JudgeOverrides(TypedDict, total=False):
    """The fields of `JudgeSettings`, each optional."""

    backend: str
    model: str
    adapter: Path | None
    protocol: Path | None
    mode: Mode
    decoding: DecodingSettings
    require_expected: bool
    dtype: Dtype
    attention: Attention
    quantization: Quantization
    batch_size: int
    max_prompt_tokens: int
    rule: Rule
    endpoint: EndpointSettings
    vllm: VllmSettings
    rival: RivalSettings
    cache: Path | None


def load_judge(settings: JudgeSettings | None = None, **overrides: Unpack[JudgeOverrides]) -> Judge:
    """The judge that the settings describe; `overrides` are fields of `JudgeSettings`.

    Raises InputError for settings, protocols or models that cannot be used. A server is not asked yet.
    """
    settings = _merged(settings or JudgeSettings(), overrides)
    if settings.engine == "ray":
        from rewards.judges.ray_judge import RayJudge

        return RayJudge(settings)
    if settings.rival.kind not in _ASKED_IN_WORDS:
        from rewards.judges.rivals.load import load_rival

        return load_rival(settings, settings.rival)
    return load_generative_judge(settings)


def load_generative_judge(settings: JudgeSettings) -> GenerativeJudge:
    """The judge that asks a generative model in the words of a protocol; raises as `load_judge` does."""
    rival = settings.rival
    if rival.kind not in _ASKED_IN_WORDS:
        raise InputError(f"expected a judge that is asked in the words of a protocol, got rival.kind {rival.kind}")
    protocol, own = find_protocol(settings)
    protocol = with_chat(protocol, rival.chat)
    released = is_released_judge(settings.model)
    trained = settings.backend != "scripted" and (own or released)
    warnings = []
    if released and not own and settings.protocol is None:
        warnings.append(
            "this AUTO-J model is asked with the built-in prompts, which it was not trained on; "
            "`autoj import-protocol` learns its own from the release's files"
        )
    # vLLM fills its own batches: it gets many questions at once, and all their verdicts to score at once.
    together = {"window": settings.vllm.window, "chunk": settings.vllm.window} if settings.backend == "vllm" else {}
    return GenerativeJudge(
        load_backend(settings, protocol.chat, trained=trained, protocol=protocol),
        protocol,
        settings.mode,
        decoding=merged_decoding(protocol.decoding, settings.decoding),
        cache=None if settings.cache is None else JudgmentCache(settings.cache),
        lenient=rival.kind == "chat",
        require_expected=settings.require_expected,
        warnings=tuple(warnings),
        **together,
    )


def find_protocol(settings: JudgeSettings) -> tuple[JudgeProtocol, bool]:
    """The protocol to ask with, and whether the checkpoint brings one of its own."""
    own = judge_file(settings, PROTOCOL_FILE)
    chosen = settings.protocol or own
    return JudgeProtocol.load(chosen) if chosen else builtin_protocol(), own is not None


def is_released_judge(model: str) -> bool:
    """Whether a name is that of one of AUTO-J's released judges (or of a copy that kept the name)."""
    name = Path(model).name.lower()
    return any(name.startswith(released) for released in RELEASED_JUDGES)


def _merged(settings: JudgeSettings, overrides: JudgeOverrides) -> JudgeSettings:
    try:
        return JudgeSettings.model_validate({**settings.model_dump(), **overrides})
    except ValidationError as error:
        named = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors(include_url=False))
        raise InputError(f"these are not settings of a judge: {named}") from error


def merged_decoding(base: Decoding, given: DecodingSettings) -> Decoding:
    """The decoding with the user's overrides; raises InputError when they do not fit together."""
    try:
        return Decoding.model_validate(base.model_dump() | given.model_dump(exclude_none=True))
    except ValidationError as error:
        raise InputError(f"the judge's decoding does not fit together: {error.errors()[0]['msg']}") from error


def load_backend(
    settings: JudgeSettings, chat: ChatFormat, *, trained: bool, protocol: JudgeProtocol | None = None
) -> Backend:
    """The backend that the settings name, with this conversation around its questions."""
    if settings.backend == "scripted":
        return rule_backend(settings.rule, protocol or builtin_protocol())
    if settings.backend == "endpoint":
        from rewards.judges.endpoint import EndpointBackend

        return EndpointBackend(
            settings.model, settings.endpoint, chat, trained=trained, needs=_needs(settings, protocol)
        )
    if settings.backend == "vllm":
        from rewards.judges.vllm_backend import open_vllm

        return open_vllm(settings, chat, trained=trained)
    from rewards.judges.local_model import load_model
    from rewards.judges.transformers_backend import TransformersBackend

    model = load_model(
        settings.model,
        adapter=settings.adapter,
        dtype=settings.dtype,
        attention=settings.attention,
        quantization=settings.quantization,
    )
    return TransformersBackend(
        model,
        chat,
        batch_size=settings.batch_size,
        max_prompt_tokens=settings.max_prompt_tokens,
        trained=trained,
    )


def _needs(settings: JudgeSettings, protocol: JudgeProtocol | None) -> Needs:
    """What the judge will ask of its server."""
    base = (protocol or builtin_protocol()).decoding
    return Needs(
        starts=settings.mode == "direct",
        draws=merged_decoding(base, settings.decoding).samples > 1,
        expected=settings.require_expected,
    )
