"""What an OpenAI-compatible server really does, found out by asking it once.

Servers accept `logprobs`, a started answer or a seed and ignore them without saying so, so nothing is taken on trust:
each feature that the judge needs costs a tiny request or two before the first judgment, and what it does not need is
not asked for. What can be done without is worked around and named in `Abilities.warnings`; what cannot be raises
`JudgeUnavailableError`. `n` is not needed: every sample of a question is a request of its own.

A probe sees the server of that moment. What a server leaves out later is noticed answer by answer (`token_path`).
It cannot see whether a server cuts long prompts silently; name `max_prompt_tokens` or a server that refuses them.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from rewards.errors import JudgeUnavailableError
from rewards.judges.base import Answer, TokenStep
from rewards.protocol.spec import Decoding
from rewards.types import Unparsed

TRIAL = Decoding(max_new_tokens=4)
_DRAW = Decoding(max_new_tokens=16, temperature=1.0)
_SURE = -69.0
"""Log-probability (1e-30) that no second alternative of a language model's own distribution falls below."""
_SUM = 1.01
"""Reported probabilities of one token may add up to this, with rounding; more is no distribution, and as much less
is an incomplete one."""


@dataclass(frozen=True, slots=True)
class Needs:
    """What a judge asks of its server."""

    starts: bool = True
    """Its answers are begun for it (direct mode), so a server that continues them is asked less."""
    draws: bool = False
    """It draws several samples of one question, unless it reads whole distributions instead."""
    expected: bool = False
    """Without expected ratings it is of no use."""


@dataclass(frozen=True, slots=True)
class Abilities:
    """What a server was seen to do; False also where nobody needed to know."""

    logprobs: bool
    """It reports alternatives for generated tokens when asked."""
    continues: bool
    """It continues an answer that was begun for it."""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Request:
    """What one request says."""

    content: str
    decoding: Decoding
    start: str = ""
    """What the answer is begun with."""
    sample: int = 0
    logprobs: bool = False


Send = Callable[[Request], Awaitable[Answer | Unparsed]]


async def find_abilities(send: Send, needs: Needs, *, server: str, top: int, always_continues: bool) -> Abilities:
    """Ask the server for what the judge needs of it.

    top: alternatives that are asked for at every token, 0 for none. always_continues: the API has no turns.
    Raises JudgeUnavailableError when it does not answer at all, or cannot do what nothing stands in for.
    """
    plain = await send(Request("Say yes.", TRIAL))
    if isinstance(plain, Unparsed) and plain.reason != "refused":
        raise JudgeUnavailableError(
            f"expected {server} to answer a trial question, got {plain.reason}: {plain.detail}. Check the model's "
            "name and the server's log"
        )
    reported, why = await _reported(send, top) if top else (0, "")
    if needs.expected and not reported:
        raise JudgeUnavailableError(_no_expected(server, why))
    continues = always_continues or ((needs.starts or reported > 0) and await _continues(send))
    warnings = _name_shortfalls(top, reported, why, continues)
    exact = needs.starts and reported > 0 and continues
    if needs.draws and not exact:
        warnings += await _check_draws(send, server)
    return Abilities(reported > 0, continues, warnings)


async def _reported(send: Send, top: int) -> tuple[int, str]:
    """How many alternatives of a token the server reports, and why none of them counts where none does.

    It is `top` as well where fewer are all that there are.
    """
    answer = await send(Request("Say yes.", TRIAL, logprobs=True))
    if isinstance(answer, Unparsed):
        return 0, f"a request for them was answered with {answer.reason}: {answer.detail}"
    if not answer.steps:
        return 0, "it ignores the request for them, or reports tokens that do not spell its answer"
    alternatives = max(len(step.top) for step in answer.steps)
    if alternatives < 2:
        return 0, "it reports the written token only, and no alternatives"
    if any(sum(_shares(step).values()) > _SUM for step in answer.steps):
        return 0, "the probabilities that it reports for one token add up to more than 1"
    if all(_one_hot(step) for step in answer.steps):
        return 0, "it gives every written token a probability of 1: those are not the model's own probabilities"
    left_out = any(sum(_shares(step).values()) < 2 - _SUM for step in answer.steps)
    return (alternatives if left_out else top), ""


def _shares(step: TokenStep) -> dict[str, float]:
    return {token: math.exp(logprob) for token, logprob in {step.token: step.logprob, **step.top}.items()}


def _one_hot(step: TokenStep) -> bool:
    """Whether all but one alternative are impossible, as after greedy choice rather than before it."""
    return sum(logprob > _SURE for logprob in {step.token: step.logprob, **step.top}.values()) == 1


async def _continues(send: Send) -> bool:
    # A counting row can only go on in one way; a model that cannot count is taken as not continuing.
    question = "Count from 1 to 20, separated by commas, without spaces."
    answer = await send(Request(question, TRIAL, "1,2,3,4,5,6,7,8,"))
    return isinstance(answer, Answer) and answer.text.lstrip().startswith("9")


async def _check_draws(send: Send, server: str) -> tuple[str, ...]:
    """Whether seeds tell draws apart, and repeat them; raises when every draw is the same."""
    texts = []
    for sample in (0, 0, 1):
        answer = await send(Request("Write ten random words.", _DRAW, sample=sample))
        if isinstance(answer, Unparsed):
            raise JudgeUnavailableError(
                f"expected {server} to draw an answer at temperature 1, got {answer.reason}: {answer.detail}. Set "
                "decoding.samples to 1 and decoding.temperature to 0, or use another server"
            )
        texts.append(answer.text)
    if len(set(texts)) == 1:
        raise JudgeUnavailableError(
            f"expected {server} to draw different answers for different seeds (decoding.samples is more than 1), got "
            f"{texts[0][:60]!r} three times: it ignores the temperature or the seed, and the samples would be copies. "
            "Set decoding.samples to 1, or use another server"
        )
    repeated = texts[0] == texts[1]
    return () if repeated else ("the server ignores seeds: its draws differ when they are made again",)


def _no_expected(server: str, why: str) -> str:
    return (
        f"expected {server} to report token probabilities, which expected ratings need (require_expected), got none "
        f"that can be used: {why}. Start a server that reports them (vLLM does), or set require_expected to false"
    )


def _name_shortfalls(top: int, reported: int, why: str, continues: bool) -> tuple[str, ...]:
    named = []
    if top and not reported:
        named.append(
            "the server reports no token probabilities, so ratings have no expected value and no variance, and "
            f"comparisons no probabilities: {why}"
        )
    if 0 < reported < top:
        named.append(
            f"the server reports {reported} alternatives of a token where {top} were asked for: expected ratings are "
            "left out where one that matters may be cut off"
        )
    if reported and not continues:
        named.append(
            "the server does not continue a started answer: expected ratings are read along the path it wrote, and "
            "left out where that does not settle them"
        )
    return tuple(named)
