"""What an OpenAI-compatible server sends back, checked at the door.

Servers differ, and some lie: 200 with an error page, no choices, null content, probabilities above 1. Whatever is not
the documented shape becomes an `Unparsed` with the reason, never an empty answer and never an exception. Details
carry no key and no header.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rewards.judges.base import Answer, TokenStep
from rewards.types import Unparsed

LogProb = Annotated[float, Field(le=1e-3)]  # refuses NaN as well


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)


class _Top(_Part):
    token: str
    logprob: LogProb


class _Token(_Top):
    top_logprobs: list[_Top] = Field(default_factory=list)


class _ChatLogprobs(_Part):
    content: list[_Token] | None = None


class _Message(_Part):
    content: str | None = None
    refusal: str | None = None


class _ChatChoice(_Part):
    finish_reason: str | None = None
    message: _Message
    logprobs: _ChatLogprobs | None = None


class _TextLogprobs(_Part):
    tokens: list[str] | None = None
    token_logprobs: list[LogProb | None] | None = None
    top_logprobs: list[dict[str, LogProb] | None] | None = None


class _TextChoice(_Part):
    finish_reason: str | None = None
    text: str
    logprobs: _TextLogprobs | None = None


class _Usage(_Part):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class _ChatReply(_Part):
    choices: list[_ChatChoice] = Field(min_length=1)
    usage: _Usage | None = None


class _TextReply(_Part):
    choices: list[_TextChoice] = Field(min_length=1)
    usage: _Usage | None = None


def read_chat(body: bytes) -> Answer | Unparsed:
    """The answer in a reply of /chat/completions."""
    try:
        reply = _ChatReply.model_validate_json(body)
    except ValidationError as error:
        return _not_a_reply(error)
    choice = reply.choices[0]
    if choice.message.refusal:
        return Unparsed(reason="refused", detail=choice.message.refusal[:200])
    if choice.message.content is None and choice.finish_reason != "content_filter":
        return Unparsed(reason="backend_error", detail="the server's answer has no content")
    reported = (choice.logprobs.content if choice.logprobs else None) or []
    steps = tuple(
        TokenStep(one.token, one.logprob, {t.token: t.logprob for t in one.top_logprobs}) for one in reported
    )
    return _answer(choice.message.content or "", choice.finish_reason, steps, reply.usage)


def read_completion(body: bytes) -> Answer | Unparsed:
    """The answer in a reply of /completions."""
    try:
        reply = _TextReply.model_validate_json(body)
    except ValidationError as error:
        return _not_a_reply(error)
    choice = reply.choices[0]
    return _answer(choice.text, choice.finish_reason, _text_steps(choice.logprobs), reply.usage)


def _text_steps(reported: _TextLogprobs | None) -> tuple[TokenStep, ...]:
    if reported is None or not (reported.tokens and reported.token_logprobs and reported.top_logprobs):
        return ()
    if not len(reported.tokens) == len(reported.token_logprobs) == len(reported.top_logprobs):
        return ()
    steps = []
    for token, logprob, top in zip(reported.tokens, reported.token_logprobs, reported.top_logprobs, strict=True):
        if logprob is None or top is None:
            return ()
        steps.append(TokenStep(token, logprob, top))
    return tuple(steps)


def _answer(
    text: str, finish_reason: str | None, steps: tuple[TokenStep, ...], usage: _Usage | None
) -> Answer | Unparsed:
    if finish_reason == "content_filter":
        return Unparsed(reason="refused", detail="the server's content filter stopped the answer")
    spelled = "".join(step.token for step in steps)
    finish: Literal["stop", "length"] = "length" if finish_reason == "length" else "stop"
    return Answer(
        text=text,
        finish_reason=finish,
        prompt_tokens=usage.prompt_tokens if usage else None,
        new_tokens=usage.completion_tokens if usage else None,
        # Tokens that do not spell the text (or spell its end of turn after it) cannot say where the verdict is.
        steps=steps if spelled.startswith(text) else (),
    )


def _not_a_reply(error: ValidationError) -> Unparsed:
    first = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    return Unparsed(
        reason="backend_error", detail=f"the server's reply is not an answer: {where or 'body'}: {first['msg']}"
    )
