"""SteamSHP (Ethayarajh et al. 2022): an encoder-decoder that answers A or B with its first token.

Format: POST, RESPONSE A and RESPONSE B; inputs up to 512 tokens, beyond which it was not trained (longer
questions are counted as too long, not cut; line breaks become spaces in T5's tokenizer). The verdict is read from the
probabilities of the two letters as the decoder's first token, so it never ties unless they are equal, and nothing
is generated. It compares only.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import torch

from rewards.errors import InputError, RunError
from rewards.judges.base import CompareItem, JudgeCard, RateItem
from rewards.judges.batch_context import memory_errors
from rewards.judges.cache import Reading
from rewards.judges.chat_tokens import ChatEncoder
from rewards.judges.local_model import LocalModel
from rewards.judges.readings import MINIMUM_MASS
from rewards.judges.rivals.asking import compare_with, digest_of
from rewards.judges.rivals.batching import by_length, ends_with_eos, right_padded, token_limit, too_long
from rewards.protocol.spec import ChatText, Template
from rewards.protocol.view import query_text
from rewards.types import Comparison, Judgment, Unparsed, Verdict, VerdictProbabilities

MAX_TOKENS = 512


class SteamSHPJudge:
    """A `Judge` over an encoder-decoder. `template` has {{query}}, {{response_1}} and {{response_2}}."""

    def __init__(
        self,
        model: LocalModel,
        template: Template,
        *,
        batch_size: int = 8,
        max_prompt_tokens: int = MAX_TOKENS,
        warnings: tuple[str, ...] = (),
    ) -> None:
        self._local = model
        self._template = template
        self._batch_size = batch_size
        self._limit = min(MAX_TOKENS, token_limit(model, max_prompt_tokens))
        self._encoder = ChatEncoder(model.tokenizer, ChatText(before="", after=""))
        self._closing = [int(model.tokenizer.eos_token_id)] if ends_with_eos(model.tokenizer) else []
        self._letters = _letter_ids(model)
        self._warnings = warnings

    @property
    def card(self) -> JudgeCard:
        """What identifies the judge."""
        return JudgeCard(
            name=f"{self._local.name} (SteamSHP)",
            digest=digest_of(
                "steamshp", self._local.revision, str(self._local.model.dtype), self._template.model_dump_json()
            ),
            backend="encoder-decoder",
            mode="direct",
            protocol="steamshp",
            trained=True,
            warnings=("compares only, and gives no ties", *self._warnings),
        )

    def rate(self, items: Iterable[RateItem]) -> Iterator[Judgment]:
        """Raises InputError: it compares only."""
        raise InputError("expected a judge that rates, got SteamSHP, which only compares; use comparisons")

    def compare(self, items: Iterable[CompareItem], *, both_orders: bool = True) -> Iterator[Comparison]:
        """A comparison of each pair, with the probabilities of the letters."""
        return compare_with(self._ask, items, self.card.digest, both_orders=both_orders)

    def _ask(self, items: Sequence[CompareItem]) -> Iterator[tuple[int, Reading]]:
        rows = [self._ids(item) for item in items]
        fitting = [index for index, row in enumerate(rows) if len(row) <= self._limit]
        yield from (
            (index, Reading(outcome=too_long(len(row), self._limit)))
            for index, row in enumerate(rows)
            if len(row) > self._limit
        )
        for part in by_length([rows[index] for index in fitting], self._batch_size):
            batch = [rows[fitting[place]] for place in part]
            for place, row, (first, second) in zip(part, batch, self._probabilities(batch), strict=True):
                yield fitting[place], _reading(first, second, len(row))

    def _ids(self, item: CompareItem) -> list[int]:
        query = query_text(item.prompt, "conversation")
        content = self._template.fill({"query": query, "response_1": item.first.text, "response_2": item.second.text})
        return [*self._encoder.ids(content, ""), *self._closing]

    def _probabilities(self, rows: Sequence[list[int]]) -> list[tuple[float, float]]:
        """Probabilities of the letters A and B as the first token written, of all tokens."""
        ids, mask = right_padded(rows, self._local.pad_id, self._local.device)
        start = self._local.model.config.decoder_start_token_id
        begun = torch.full((len(rows), 1), start, device=self._local.device)
        with memory_errors(self._batch_size), torch.inference_mode():
            logits = self._local.model(input_ids=ids, attention_mask=mask, decoder_input_ids=begun).logits[:, -1]
        if not torch.isfinite(logits).all():
            raise RunError(
                "the model gave logits that are not finite; load it with dtype float32 (T5 overflows in float16)"
            )
        shares = logits.float().softmax(-1)[:, list(self._letters)].tolist()
        return [(first, second) for first, second in shares]


def _letter_ids(model: LocalModel) -> tuple[int, int]:
    """The tokens of A and B; raises InputError when they are no single, different tokens or nothing starts a text."""
    if model.model.config.decoder_start_token_id is None:
        raise InputError(f"expected an encoder-decoder with a decoder_start_token_id, {model.name} has none")
    letters = [model.tokenizer.encode(letter, add_special_tokens=False) for letter in ("A", "B")]
    if any(len(ids) != 1 for ids in letters) or letters[0] == letters[1]:
        raise InputError(f"expected A and B to be one token each for {model.name}, got {letters}")
    return int(letters[0][0]), int(letters[1][0])


def _reading(first: float, second: float, tokens: int) -> Reading:
    """The verdict of the two probabilities; with hardly anything on either letter there is none."""
    mass = min(first + second, 1.0)
    if mass < MINIMUM_MASS:
        detail = f"expected A or B next, but the model gave them a probability of {mass:.2g}"
        return Reading(outcome=Unparsed(reason="no_verdict", detail=detail), mass=mass, prompt_tokens=tokens)
    shares = VerdictProbabilities(first=first / mass, second=second / mass, tie=0.0)
    winner = "tie" if first == second else "first" if first > second else "second"
    return Reading(outcome=Verdict(winner=winner, probabilities=shares), mass=mass, prompt_tokens=tokens)
