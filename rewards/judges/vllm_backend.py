"""The judge's model in vLLM, in this process: what `transformers_backend` does, by another engine.

Questions are encoded by the same code, so both engines see the same tokens. Written answers come from vLLM's own
sampler (greedy ones agree with transformers' but for ties of rounding; draws are seeded by what a question says, and
are other draws than transformers'). Distributions over whole strings are exact: at every branching of the choices'
tokens vLLM is asked for the probability of just those tokens, so that no top-k cuts one off.

All questions of a call go to the engine at once, and their answers come together.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import torch

from rewards.errors import InputError
from rewards.judges.base import Answer, Distribution, Question
from rewards.judges.chat_tokens import ChatEncoder, ChoiceTokens
from rewards.judges.choice_tree import Node, branchings, build_tree, reported_probabilities
from rewards.judges.config import DEFAULT_JUDGE, JudgeSettings
from rewards.judges.generation import Generated
from rewards.judges.local_model import choose_dtype, find_folder, load_tokenizer_alone, weights_revision
from rewards.judges.quantized import stored_quantization
from rewards.judges.shipped import split_adapter
from rewards.judges.transformers_backend import question_seed, too_long
from rewards.judges.vllm_engine import VllmEngine
from rewards.protocol.spec import ChatFormat, Decoding
from rewards.types import Unparsed


class Engine(Protocol):
    """What the backend asks of vLLM (`VllmEngine`)."""

    @property
    def max_positions(self) -> int: ...

    def write(
        self,
        contexts: Sequence[list[int]],
        *,
        max_new_tokens: int,
        temperature: float,
        top_p: float,
        seeds: Sequence[int],
        stops: Sequence[int],
    ) -> list[Generated]: ...

    def token_logprobs(
        self, contexts: Sequence[list[int]], tokens: Sequence[Sequence[int]]
    ) -> list[dict[int, float]]: ...


class VllmBackend:
    """A `Backend` over a vLLM engine.

    revision: digest of the weights, the engine and the dtype. stops: tokens that end a turn.
    """

    def __init__(
        self,
        engine: Engine,
        tokenizer: Any,
        chat: ChatFormat,
        *,
        name: str,
        revision: str,
        stops: Sequence[int],
        max_prompt_tokens: int = 4096,
        trained: bool = False,
    ) -> None:
        if max_prompt_tokens < 1:
            raise InputError(f"expected max_prompt_tokens of at least 1, got {max_prompt_tokens}")
        self.name = name
        self.revision = revision
        self.trained = trained
        self.can_score = True
        self._engine = engine
        self._tokenizer = tokenizer
        self._encoder = ChatEncoder(tokenizer, chat)
        self._stops = tuple(stops)
        self._max_prompt_tokens = max_prompt_tokens

    @property
    def turn_marks(self) -> tuple[str, str]:
        """The text between a question and its answer, and the text before a question."""
        return self._encoder.turn_marks()

    def generate(self, questions: Sequence[Question], decoding: Decoding) -> Iterator[tuple[int, Answer | Unparsed]]:
        """An answer for each question with its position; see `Backend`."""
        limit = self._limit(decoding.max_new_tokens)
        asked: list[tuple[int, list[int]]] = []
        for position, question in enumerate(questions):
            ids = self._encoder.ids(question.content, question.answer_start)
            if len(ids) > limit:
                yield position, too_long(len(ids), limit)
            else:
                asked.append((position, ids))
        written = self._engine.write(
            [ids for _, ids in asked],
            max_new_tokens=decoding.max_new_tokens,
            temperature=decoding.temperature,
            top_p=decoding.top_p,
            seeds=[question_seed(questions[position], decoding.seed) for position, _ in asked],
            stops=self._stops,
        )
        for (position, ids), row in zip(asked, written, strict=True):
            yield position, self._answer(row, len(ids))

    def score(
        self, questions: Sequence[Question], choices: tuple[str, ...]
    ) -> Iterator[tuple[int, Distribution | Unparsed]]:
        """The distribution over `choices` for each question with its position; see `Backend`."""
        asked: list[tuple[int, ChoiceTokens]] = []
        for position, question in enumerate(questions):
            tokens = self._encoder.choices(question.content, question.answer_start, choices, question.answer_end)
            limit = self._limit(max(len(sequence) for sequence in tokens.sequences))
            if len(tokens.context) > limit:
                yield position, too_long(len(tokens.context), limit)
            else:
                asked.append((position, tokens))
        trees = {tokens.sequences: build_tree(tokens.sequences) for _, tokens in asked}
        reported = self._ask_branchings([tokens for _, tokens in asked], trees)
        for (position, tokens), told in zip(asked, reported, strict=True):
            shares, mass = reported_probabilities(trees[tokens.sequences], len(choices), told)
            named = dict(zip(choices, shares, strict=True))
            yield position, Distribution(named, mass, prompt_tokens=len(tokens.context))

    def _ask_branchings(
        self, asked: Sequence[ChoiceTokens], trees: dict[tuple[tuple[int, ...], ...], Node]
    ) -> list[dict[tuple[int, ...], dict[int, float]]]:
        """Log-probabilities at every branching of each question's choices.

        The branchings of one depth are asked for together, the shallow ones first: a deeper one finds what it begins
        with in the engine's cache.
        """
        told: list[dict[tuple[int, ...], dict[int, float]]] = [{} for _ in asked]
        places = {sequences: branchings(tree) for sequences, tree in trees.items()}
        for depth in sorted({len(path) for found in places.values() for path, _ in found}):
            level = [
                (number, path, branches)
                for number, tokens in enumerate(asked)
                for path, branches in places[tokens.sequences]
                if len(path) == depth
            ]
            contexts = [[*asked[number].context, *path] for number, path, _ in level]
            found = self._engine.token_logprobs(contexts, [branches for _, _, branches in level])
            for (number, path, _), logprobs in zip(level, found, strict=True):
                told[number][path] = logprobs
        return told

    def _limit(self, new_tokens: int) -> int:
        """Longest prompt that can be answered with this many new tokens."""
        return min(self._max_prompt_tokens, self._engine.max_positions - new_tokens)

    def _answer(self, row: Generated, prompt_tokens: int) -> Answer:
        text: str = self._tokenizer.decode(list(row.ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return Answer(text, row.finish_reason, prompt_tokens=prompt_tokens, new_tokens=len(row.ids))


def open_vllm(settings: JudgeSettings, chat: ChatFormat, *, trained: bool) -> VllmBackend:
    """The backend that the settings describe; its engine starts when it is first asked.

    Raises InputError (and MissingFileError) for a model or an adapter that cannot be used, and MissingExtraError
    without vLLM.
    """
    name, adapter = settings.model, settings.adapter
    if name == DEFAULT_JUDGE and adapter is not None:
        name, adapter = str(adapter), None  # nobody named a model: the adapter knows its own base
    base, adapter = split_adapter(name, adapter)
    folder = find_folder(base)
    place = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dtype = str(choose_dtype(settings.dtype, place, stored_quantization(folder))).removeprefix("torch.")
    engine = VllmEngine(folder, adapter, dtype, settings.vllm)  # type: ignore[arg-type] # one of three names
    tokenizer = load_tokenizer_alone(str(folder))
    return VllmBackend(
        engine,
        tokenizer,
        chat,
        name=settings.model,
        revision=f"{weights_revision(base, folder, adapter, 'none')}-vllm-{dtype}",
        stops=_stops(folder, tokenizer),
        max_prompt_tokens=settings.max_prompt_tokens,
        trained=trained,
    )


def _stops(folder: Any, tokenizer: Any) -> tuple[int, ...]:
    """Tokens that end a turn: the tokenizer's and those of the checkpoint's generation settings."""
    from transformers import GenerationConfig

    try:
        told = GenerationConfig.from_pretrained(folder).eos_token_id
    except OSError:  # a checkpoint may have no such file
        told = None
    several = told if isinstance(told, list) else [told]
    return tuple(sorted({token for token in [*several, tokenizer.eos_token_id] if token is not None}))
