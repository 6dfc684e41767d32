"""A reward model with a sequence-classification head as a judge: one score for each response.

Scores are the ratings, on the model's own scale. A comparison scores both responses on their own, so the order
cannot matter, and a difference within the tie threshold is a tie (`tie_threshold` searches one). Its probabilities are
those of Rao and Kupper's model of ties (1967) with that threshold; with threshold 0 they are Bradley and Terry's,
which such models are trained on.

The input is the user's template, else the conversation in the tokenizer's chat template, else the query and the
response as the tokenizer's pair of texts. Nothing is cut. Where the checkpoint names no padding token, its pooling
cannot tell padding from text, so each response is scored alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

import torch

from rewards.errors import InputError, RunError
from rewards.judges.base import CompareItem, JudgeCard, RateItem
from rewards.judges.batch_context import memory_errors
from rewards.judges.cache import Reading
from rewards.judges.chat_tokens import CHAT_TEMPLATE, ChatEncoder
from rewards.judges.local_model import LocalModel
from rewards.judges.rivals.asking import compare_with, digest_of, rate_with
from rewards.judges.rivals.batching import by_length, ends_with_eos, right_padded, token_limit, too_long
from rewards.judges.rivals.tie_threshold import winner_of
from rewards.protocol.spec import ChatText, Template
from rewards.protocol.view import query_text
from rewards.types import Candidate, Comparison, Judgment, Prompt, Rating, Unparsed, Verdict, VerdictProbabilities


class ScalarJudge:
    """A `Judge` over a reward model. `template`, where there is one, has {{query}} and {{response}}."""

    def __init__(
        self,
        model: LocalModel,
        *,
        template: Template | None = None,
        tie_threshold: float = 0.0,
        batch_size: int = 8,
        max_prompt_tokens: int = 4096,
        warnings: tuple[str, ...] = (),
    ) -> None:
        labels = int(model.model.config.num_labels)
        if labels != 1:
            raise InputError(f"expected a reward model with one score, {model.name} has {labels} outputs")
        self._local = model
        self._template = template
        self._threshold = tie_threshold
        pad = model.model.config.get_text_config().pad_token_id
        self._pad = 0 if pad is None else int(pad)
        self._batch_size = 1 if pad is None else batch_size
        self._limit = token_limit(model, max_prompt_tokens)
        self._encoder = ChatEncoder(model.tokenizer, ChatText(before="", after="")) if template else None
        self._closing = [int(model.tokenizer.eos_token_id)] if ends_with_eos(model.tokenizer) else []
        self._warnings = warnings

    @property
    def card(self) -> JudgeCard:
        """What identifies the judge."""
        template = self._template.model_dump_json() if self._template else ""
        return JudgeCard(
            name=f"{self._local.name} (scalar)",
            digest=digest_of(
                "scalar", self._local.revision, str(self._local.model.dtype), template, repr(self._threshold)
            ),
            backend="scalar",
            mode="direct",
            protocol="scalar",
            trained=True,
            warnings=("ratings are scores on the model's own scale", *self._warnings),
        )

    def with_tie_threshold(self, threshold: float) -> ScalarJudge:
        """The same model with another threshold."""
        return ScalarJudge(
            self._local,
            template=self._template,
            tie_threshold=threshold,
            batch_size=self._batch_size,
            max_prompt_tokens=self._limit,
            warnings=self._warnings,
        )

    def rate(self, items: Iterable[RateItem]) -> Iterator[Judgment]:
        """The score of each response as its rating."""
        return rate_with(self._ratings, items, self.card.digest)

    def compare(self, items: Iterable[CompareItem], *, both_orders: bool = True) -> Iterator[Comparison]:
        """A comparison of each pair's scores; the second order costs nothing."""
        return compare_with(self._verdicts, items, self.card.digest, both_orders=both_orders)

    def differences(self, items: Sequence[CompareItem]) -> list[float | Unparsed]:
        """Score of the first less score of the second, for each item, or why there is none."""
        scores = self._scores([pair for item in items for pair in _sides(item)])
        return [_difference(first, second) for first, second in zip(scores[::2], scores[1::2], strict=True)]

    def _ratings(self, items: Sequence[RateItem]) -> Iterator[tuple[int, Reading]]:
        for index, score in enumerate(self._scores([(item.prompt, item.candidate) for item in items])):
            yield index, Reading(outcome=score if isinstance(score, Unparsed) else Rating(value=score))

    def _verdicts(self, items: Sequence[CompareItem]) -> Iterator[tuple[int, Reading]]:
        for index, difference in enumerate(self.differences(items)):
            outcome = difference if isinstance(difference, Unparsed) else _verdict(difference, self._threshold)
            yield index, Reading(outcome=outcome)

    def _scores(self, pairs: Sequence[tuple[Prompt, Candidate]]) -> list[float | Unparsed]:
        """The score of each response; equal inputs are scored once."""
        rows = [tuple(self._ids(prompt, candidate)) for prompt, candidate in pairs]
        found: dict[tuple[int, ...], float | Unparsed] = {
            row: too_long(len(row), self._limit) for row in rows if len(row) > self._limit
        }
        asked = sorted(set(rows) - found.keys())
        for part in by_length(asked, self._batch_size):
            batch = [asked[place] for place in part]
            found.update(zip(batch, self._forward(batch), strict=True))
        return [found[row] for row in rows]

    def _ids(self, prompt: Prompt, candidate: Candidate) -> list[int]:
        tokenizer, query = self._local.tokenizer, query_text(prompt, "conversation")
        if self._template and self._encoder:
            content = self._template.fill({"query": query, "response": candidate.text})
            return [*self._encoder.ids(content, ""), *self._closing]
        if tokenizer.chat_template is None:
            paired: list[int] = tokenizer(query, candidate.text, split_special_tokens=True)["input_ids"]
            return paired
        messages = [message.model_dump() for message in prompt.messages]
        ids: list[int] = tokenizer.apply_chat_template(
            [*messages, {"role": "assistant", "content": candidate.text}],
            return_dict=True,
            **CHAT_TEMPLATE,
        )["input_ids"]
        return ids

    def _forward(self, rows: Sequence[tuple[int, ...]]) -> list[float]:
        ids, mask = right_padded(rows, self._pad, self._local.device)
        with memory_errors(self._batch_size), torch.inference_mode():
            scores = self._local.model(input_ids=ids, attention_mask=mask).logits[:, 0].float()
        if not torch.isfinite(scores).all():
            raise RunError("the reward model gave a score that is not finite; load it with dtype float32 or bfloat16")
        values: list[float] = scores.tolist()
        return values


def _sides(item: CompareItem) -> tuple[tuple[Prompt, Candidate], tuple[Prompt, Candidate]]:
    return (item.prompt, item.first), (item.prompt, item.second)


def _difference(first: float | Unparsed, second: float | Unparsed) -> float | Unparsed:
    if isinstance(first, Unparsed):
        return first
    return second if isinstance(second, Unparsed) else first - second


def _verdict(difference: float, threshold: float) -> Verdict:
    first, second = _logistic(difference - threshold), _logistic(-difference - threshold)
    shares = VerdictProbabilities(first=first, second=second, tie=max(0.0, 1.0 - first - second))
    return Verdict(winner=winner_of(difference, threshold), probabilities=shares)


def _logistic(value: float) -> float:
    return 1.0 / (1.0 + math.exp(-value)) if value >= 0 else 1.0 - 1.0 / (1.0 + math.exp(value))
