"""The judge's model in this process: batched writing and exact distributions over whole strings.

Questions are encoded, those too long are said to be so (never cut), and the rest is answered in batches of similar
length, or of the same beginning; each answer carries the position of its question. What a question draws depends on
its content, its sample number and the seed, never on its batch. This module knows nothing of ratings or verdicts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

import torch

from rewards.errors import InputError
from rewards.judges.base import Answer, Distribution, Question
from rewards.judges.batch_context import BatchContext, batches, memory_errors
from rewards.judges.chat_tokens import ChatEncoder, ChoiceTokens
from rewards.judges.choice_tree import build_tree, choice_probabilities
from rewards.judges.generation import Generated, decode, draw_seed, write
from rewards.judges.local_model import LocalModel
from rewards.protocol.spec import ChatFormat, Decoding
from rewards.types import Unparsed


class TransformersBackend:
    """A `Backend` over a loaded model. `trained` says whether the model was trained to judge."""

    def __init__(
        self,
        model: LocalModel,
        chat: ChatFormat,
        *,
        batch_size: int = 8,
        max_prompt_tokens: int = 4096,
        trained: bool = False,
    ) -> None:
        if batch_size < 1 or max_prompt_tokens < 1:
            raise InputError(
                f"expected batch_size and max_prompt_tokens of at least 1, got {batch_size} and {max_prompt_tokens}"
            )
        self._local = model
        self._encoder = ChatEncoder(model.tokenizer, chat)
        self._batch_size = batch_size
        self._max_prompt_tokens = max_prompt_tokens
        self._trained = trained

    @property
    def name(self) -> str:
        """The model's name."""
        return self._local.name

    @property
    def revision(self) -> str:
        """Digest of the weights, and the dtype where it is not float32 (16-bit numbers rate a little otherwise)."""
        dtype = str(self._local.model.dtype).removeprefix("torch.")
        return self._local.revision if dtype == "float32" else f"{self._local.revision}-{dtype}"

    @property
    def trained(self) -> bool:
        """Whether the model was trained to judge."""
        return self._trained

    @property
    def turn_marks(self) -> tuple[str, str]:
        """The text between a question and its answer, and the text before a question."""
        return self._encoder.turn_marks()

    @property
    def can_score(self) -> bool:
        """Always: the model's logits are at hand."""
        return True

    def generate(self, questions: Sequence[Question], decoding: Decoding) -> Iterator[tuple[int, Answer | Unparsed]]:
        """An answer for each question with its position, as it comes; see `Backend`."""
        limit = self._limit(decoding.max_new_tokens)
        positions: list[int] = []
        contexts: list[list[int]] = []
        for position, question in enumerate(questions):
            ids = self._encoder.ids(question.content, question.answer_start)
            if len(ids) > limit:
                yield position, too_long(len(ids), limit)
            else:
                positions.append(position)
                contexts.append(ids)
        with memory_errors(self._batch_size):
            for index, row in write(
                self._local,
                contexts,
                together=self._batch_size,
                max_new_tokens=decoding.max_new_tokens,
                temperature=decoding.temperature,
                top_p=decoding.top_p,
                seeds=[question_seed(questions[position], decoding.seed) for position in positions],
            ):
                yield positions[index], self._answer(row, len(contexts[index]))

    def score(
        self, questions: Sequence[Question], choices: tuple[str, ...]
    ) -> Iterator[tuple[int, Distribution | Unparsed]]:
        """The distribution over `choices` for each question with its position, batch by batch; see `Backend`."""
        groups: dict[tuple[tuple[int, ...], ...], list[tuple[int, ChoiceTokens]]] = {}
        for position, question in enumerate(questions):
            tokens = self._encoder.choices(question.content, question.answer_start, choices, question.answer_end)
            limit = self._limit(max(len(sequence) for sequence in tokens.sequences))
            if len(tokens.context) > limit:
                yield position, too_long(len(tokens.context), limit)
            else:
                groups.setdefault(tokens.sequences, []).append((position, tokens))
        for group in groups.values():
            yield from self._score_alike(group, choices)

    def _score_alike(
        self, group: list[tuple[int, ChoiceTokens]], choices: tuple[str, ...]
    ) -> Iterator[tuple[int, Distribution]]:
        """Score questions whose choices are the same tokens."""
        tree = build_tree(group[0][1].sequences)
        contexts = [tokens.context for _, tokens in group]
        for part in batches(contexts, self._batch_size):
            with memory_errors(self._batch_size), torch.inference_mode():
                ask = BatchContext(self._local, [contexts[index] for index in part])
                probabilities, mass = choice_probabilities(tree, len(choices), ask)
                rows, masses = probabilities.tolist(), mass.tolist()
            for index, row, share in zip(part, rows, masses, strict=True):
                yield (
                    group[index][0],
                    Distribution(dict(zip(choices, row, strict=True)), share, prompt_tokens=len(contexts[index])),
                )

    def _limit(self, new_tokens: int) -> int:
        """Longest prompt that can be answered with this many new tokens."""
        positions = self._local.max_positions
        return self._max_prompt_tokens if positions is None else min(self._max_prompt_tokens, positions - new_tokens)

    def _answer(self, row: Generated, prompt_tokens: int) -> Answer:
        return Answer(
            text=decode(self._local, row.ids),
            finish_reason=row.finish_reason,
            prompt_tokens=prompt_tokens,
            new_tokens=len(row.ids),
        )


def too_long(tokens: int, limit: int) -> Unparsed:
    """What is said of a question that the judge cannot take."""
    return Unparsed(
        reason="prompt_too_long",
        detail=f"the question has {tokens} tokens, the judge can take {max(limit, 0)} beside its answer",
    )


def question_seed(question: Question, seed: int) -> int:
    """Seed of one question's draw: from its content, never from its place in a batch."""
    content = hashlib.sha256(f"{question.content}\0{question.answer_start}".encode()).hexdigest()
    return draw_seed("judge", seed, content, question.sample)
