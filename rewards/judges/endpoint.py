"""A judge behind any OpenAI-compatible server.

Design decisions. The openai client owns connections, retries and timeouts; this module owns what is asked, how much at
once, and what counts as an answer. What a server can do is found out by asking it once (`server_probe`). What it
cannot do is switched off and named in `warnings`, or refused where the judge has no use without it: an expected
rating comes from reported probabilities that settle it, or not at all.

It does not load balance, does not cache, and cannot see weights: the revision is the server's address and the
model's name, so swap a model under the same name only with a fresh cache.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import TYPE_CHECKING

from rewards.errors import InputError, JudgeUnavailableError
from rewards.judges import bridge
from rewards.judges.base import Answer, Distribution, Question
from rewards.judges.config import EndpointSettings
from rewards.judges.replies import read_chat, read_completion
from rewards.judges.server_probe import Abilities, Needs, Request, find_abilities
from rewards.judges.token_path import settle, share_level
from rewards.protocol.spec import ChatFormat, ChatText, ChatTokenizer, Decoding
from rewards.types import Unparsed

if TYPE_CHECKING:
    from openai import APIStatusError, AsyncOpenAI

REFUSED_IN_A_ROW = 5
"""Connections refused one after the other (each after the client's own retries) before the server counts as dead."""
_MAX_FORKS = 64
"""Requests for one distribution at most."""
_ONE_TOKEN = Decoding(max_new_tokens=1)
_UNSURE = frozenset({400, 404, 405, 422, 500, 501})
"""Statuses with which servers answer to what they do not have; a trial request decides."""


class EndpointBackend:
    """Asks `model` on the server of `settings`.

    needs: what the judge will ask of the server; it is probed for nothing else.
    chat: the judge's conversation. `completions` needs it written out (`ChatText`); `chat` uses the server's template.
    Raises InputError when the key's variable is not set or the two do not go together; the first use raises
    JudgeUnavailableError when the server does not answer.
    """

    def __init__(
        self,
        model: str,
        settings: EndpointSettings,
        chat: ChatFormat,
        *,
        trained: bool = False,
        needs: Needs = Needs(),  # noqa: B008 - frozen
    ) -> None:
        if settings.api == "completions" and not isinstance(chat, ChatText):
            raise InputError(
                "expected a protocol with its chat wrapping written out (chat.kind: text) for api: completions, got "
                "one that uses the tokenizer's template, which only the server has; use api: chat"
            )
        self.model = model
        self.settings = settings
        self.trained = trained
        self._chat = chat
        self._needs = needs
        self._key = _read_key(settings.api_key_env)
        self._abilities: Abilities | None = None
        self._refused = 0

    @property
    def name(self) -> str:
        """The model's name on the server."""
        return self.model

    @property
    def revision(self) -> str:
        """Address, model, API and abilities; the weights behind them cannot be seen. Probes the server."""
        seen = self.probe()
        server = self.settings
        return (
            f"endpoint:{server.base_url}:{self.model}:{server.api}:"
            f"logprobs={server.top_logprobs if seen.logprobs else 0}:continues={seen.continues}"
        )

    @property
    def can_score(self) -> bool:
        """Whether the server continues a started answer and reports alternatives. Probes the server."""
        seen = self.probe()
        return seen.logprobs and seen.continues

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a reader of the results must know about the server. Probes the server."""
        return self.probe().warnings

    def probe(self) -> Abilities:
        """Find out, once, what the server does; raises JudgeUnavailableError when it does not answer."""
        if self._abilities is None:
            [(_, self._abilities)] = bridge.stream(self._client, lambda client, _: self._probe(client), 1, 1)
        return self._abilities

    def generate(self, questions: Sequence[Question], decoding: Decoding) -> Iterator[tuple[int, Answer | Unparsed]]:
        """An answer to each question as it comes; raises JudgeUnavailableError when the server is gone.

        Questions that need nothing special of the server are asked without finding out what it can do.
        """
        needed = (
            self.settings.top_logprobs or self._needs.draws or any(question.answer_start for question in questions)
        )
        seen = self.probe() if needed else Abilities(logprobs=False, continues=False)
        logprobs = seen.logprobs and not seen.continues

        async def ask(client: AsyncOpenAI, index: int) -> Answer | Unparsed:
            question = questions[index]
            start = question.answer_start if seen.continues else ""
            return await self._send(client, Request(question.content, decoding, start, question.sample, logprobs))

        return bridge.stream(self._client, ask, len(questions), self.settings.concurrency)

    def score(
        self, questions: Sequence[Question], choices: tuple[str, ...]
    ) -> Iterator[tuple[int, Distribution | Unparsed]]:
        """The distribution over `choices` after each `answer_start`, one request for every fork between them."""

        async def ask(client: AsyncOpenAI, index: int) -> Distribution | Unparsed:
            return await self._distribution(client, questions[index], choices)

        return bridge.stream(self._client, ask, len(questions), self.settings.concurrency)

    async def _distribution(
        self, client: AsyncOpenAI, question: Question, choices: tuple[str, ...]
    ) -> Distribution | Unparsed:
        whole = {choice + question.answer_end: choice for choice in choices}
        found = dict.fromkeys(whole, 0.0)
        forks, undecided, cut, prompt_tokens = {"": 1.0}, 0.0, 0.0, None
        for _ in range(_MAX_FORKS):
            if not forks:
                break
            written = max(forks, key=lambda text: forks[text])
            reached = forks.pop(written)
            one_token = Request(question.content, _ONE_TOKEN, question.answer_start + written, logprobs=True)
            answer = await self._send(client, one_token)
            if isinstance(answer, Unparsed):
                return answer
            prompt_tokens = prompt_tokens or answer.prompt_tokens
            if not answer.steps:
                return Unparsed(
                    reason="ambiguous_distribution", detail="the server reported no alternatives this time"
                )
            shares = _probabilities(answer)
            ours = {written + token: share for token, share in shares.items()}
            lost, unseen, deeper = share_level(ours, shares.values(), reached, written, found)
            undecided, cut = undecided + lost, cut + unseen
            for text, share in deeper.items():
                forks[text] = forks.get(text, 0.0) + share
        settled = settle(found, undecided + sum(forks.values()), cut)
        if isinstance(settled, Unparsed):
            return settled
        shares = {whole[text]: share for text, share in settled.probabilities.items()}
        return Distribution(shares, settled.mass, prompt_tokens)

    async def _probe(self, client: AsyncOpenAI) -> Abilities:
        await self._check_models(client)
        server = self.settings
        seen = await find_abilities(
            lambda request: self._send(client, request),
            self._needs,
            server=f"{server.base_url} with model {self.model!r}",
            top=server.top_logprobs,
            always_continues=server.api == "completions",
        )
        if server.api == "chat" and isinstance(self._chat, ChatText):
            told = "the server's own chat template is used, not the protocol's chat wrapping"
            return replace(seen, warnings=(*seen.warnings, told))
        return seen

    async def _check_models(self, client: AsyncOpenAI) -> None:
        from openai import APIConnectionError, APIStatusError, APITimeoutError

        try:
            await client.models.with_raw_response.list()
        except APITimeoutError as error:
            raise self._unavailable(f"no answer within {self.settings.timeout:g} s") from error
        except APIConnectionError as error:
            raise self._unavailable("no connection") from error
        except APIStatusError as error:
            if error.status_code not in _UNSURE:
                raise self._unavailable(self._describe(error)) from error

    async def _send(self, client: AsyncOpenAI, request: Request) -> Answer | Unparsed:
        """One request; every way in which it can go wrong becomes an `Unparsed`, unless asking on is pointless."""
        from openai import APIConnectionError, APIStatusError, APITimeoutError

        try:
            body = await self._post(client, request)
        except APITimeoutError:
            return Unparsed(reason="timeout", detail=f"no answer within {self.settings.timeout:g} s")
        except APIConnectionError as error:
            self._refused += 1
            if self._refused >= REFUSED_IN_A_ROW:
                raise self._unavailable(f"{self._refused} connections failed one after the other") from error
            return Unparsed(reason="backend_error", detail="no connection to the server")
        except APIStatusError as error:
            self._refused = 0
            return self._read_status(error)
        self._refused = 0
        return read_chat(body) if self.settings.api == "chat" else read_completion(body)

    async def _post(self, client: AsyncOpenAI, request: Request) -> bytes:
        from openai import omit

        top, decoding = self.settings.top_logprobs, request.decoding
        seed = decoding.seed + request.sample if decoding.temperature > 0 else omit
        if isinstance(self._chat, ChatText) and self.settings.api == "completions":
            text = await client.completions.with_raw_response.create(
                model=self.model,
                prompt=self._chat.before + request.content + self._chat.after + request.start,
                max_tokens=decoding.max_new_tokens,
                temperature=decoding.temperature,
                top_p=decoding.top_p,
                seed=seed,
                logprobs=top if request.logprobs else omit,
            )
            return text.http_response.content
        chat = await client.chat.completions.with_raw_response.create(
            model=self.model,
            messages=self._messages(request),  # type: ignore[arg-type] # a union of TypedDicts
            max_tokens=decoding.max_new_tokens,
            temperature=decoding.temperature,
            top_p=decoding.top_p,
            seed=seed,
            logprobs=True if request.logprobs else omit,
            top_logprobs=top if request.logprobs else omit,
            # vLLM and SGLang need these two to continue the last message; servers that do not know them refuse.
            extra_body={"continue_final_message": True, "add_generation_prompt": False} if request.start else None,
        )
        return chat.http_response.content

    def _messages(self, request: Request) -> list[dict[str, str]]:
        system = self._chat.system if isinstance(self._chat, ChatTokenizer) else None
        turns = [("system", system), ("user", request.content), ("assistant", request.start)]
        return [{"role": role, "content": text} for role, text in turns if text]

    def _read_status(self, error: APIStatusError) -> Unparsed:
        detail = self._describe(error)
        text = f"{error.code} {error.message}".lower()
        if error.status_code in {401, 404}:
            raise self._unavailable(detail) from error
        if "content_filter" in text or "content management policy" in text:
            return Unparsed(reason="refused", detail=detail)
        if error.status_code in {400, 413, 422} and ("context length" in text or "context_length" in text):
            return Unparsed(reason="prompt_too_long", detail=detail)
        if error.status_code in {408, 504}:
            return Unparsed(reason="timeout", detail=detail)
        return Unparsed(reason="backend_error", detail=detail)

    def _describe(self, error: APIStatusError) -> str:
        """The status and the beginning of the server's message; servers are known to repeat the key in it."""
        said = error.message.replace(self._key, "[key]") if self._key else error.message
        return f"HTTP {error.status_code}: {said[:200]}".encode("utf-8", "replace").decode("utf-8")

    def _unavailable(self, what: str) -> JudgeUnavailableError:
        return JudgeUnavailableError(
            f"expected an OpenAI-compatible server with model {self.model!r} at {self.settings.base_url}, "
            f"got: {what}. Start the server, or correct endpoint.base_url, model or endpoint.api_key_env; finished "
            "judgments are kept"
        )

    def _client(self) -> AbstractAsyncContextManager[AsyncOpenAI]:
        from openai import AsyncOpenAI

        return AsyncOpenAI(
            base_url=self.settings.base_url,
            # Without a key of ours the client would send the one it finds in OPENAI_API_KEY to any server.
            api_key=self._key or "none",
            timeout=self.settings.timeout,
            max_retries=self.settings.max_retries,
        )


def _read_key(variable: str | None, environment: Mapping[str, str] = os.environ) -> str | None:
    if variable is None:
        return None
    key = environment.get(variable, "").strip()
    if not key:
        raise InputError(
            f"expected the server's key in the environment variable {variable} (endpoint.api_key_env), found none; "
            f"export {variable}=… and start again"
        )
    return key


def _probabilities(answer: Answer) -> dict[str, float]:
    step = answer.steps[0]
    return {token: math.exp(logprob) for token, logprob in {step.token: step.logprob, **step.top}.items()}
