"""PandaLM (Wang et al. 2023, arXiv 2306.05087): compares two responses and explains itself afterwards.

Format: instruction, response 1, response 2; the answer's first line is 1, 2 or Tie, then come a reason and a
reference answer, which are kept as the critique. Only the first line is read, since everything after it is about both
responses. A first line that is anything else is `Unparsed` (its own reader takes it for a tie).

The conversation around the prompt is plain text. It gives no ratings, and its scale has no distribution read here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from rewards.errors import InputError
from rewards.judges.base import Answer, Backend, CompareItem, JudgeCard, Question, RateItem
from rewards.judges.cache import Reading
from rewards.judges.rivals.asking import compare_with, digest_of
from rewards.protocol.parse import FinishReason
from rewards.protocol.spec import ChatText, Decoding, Template
from rewards.protocol.view import query_text
from rewards.types import Comparison, Judgment, Unparsed, Verdict, Winner

PANDALM_CHAT = ChatText(before="", after="")
"""The prompt stands alone."""
PANDALM_DECODING = Decoding(max_new_tokens=512)

_FIRST_LINES: dict[str, Winner] = {"1": "first", "2": "second", "tie": "tie"}


class PandaLMJudge:
    """A `Judge` that compares in PandaLM's format. `template` has {{query}}, {{response_1}} and {{response_2}}."""

    def __init__(
        self,
        backend: Backend,
        template: Template,
        *,
        decoding: Decoding = PANDALM_DECODING,
        warnings: tuple[str, ...] = (),
    ) -> None:
        self._backend = backend
        self._template = template
        self._decoding = decoding
        self._warnings = warnings

    @property
    def card(self) -> JudgeCard:
        """What identifies the judge."""
        return JudgeCard(
            name=f"{self._backend.name} (PandaLM)",
            digest=digest_of(
                "pandalm", self._backend.revision, self._template.model_dump_json(), self._decoding.model_dump_json()
            ),
            backend=type(self._backend).__name__.removesuffix("Backend").lower(),
            mode="critique",
            protocol="pandalm",
            trained=True,
            warnings=self._warnings,
        )

    def rate(self, items: Iterable[RateItem]) -> Iterator[Judgment]:
        """Raises InputError: PandaLM only compares."""
        raise InputError("expected a judge that rates, got PandaLM, which only compares; use comparisons")

    def compare(self, items: Iterable[CompareItem], *, both_orders: bool = True) -> Iterator[Comparison]:
        """A comparison of each pair, as it comes."""
        return compare_with(self._ask, items, self.card.digest, both_orders=both_orders)

    def _ask(self, items: Sequence[CompareItem]) -> Iterator[tuple[int, Reading]]:
        questions = [self._question(item) for item in items]
        for index, answer in self._backend.generate(questions, self._decoding):
            yield index, _reading(answer)

    def _question(self, item: CompareItem) -> Question:
        query, one, two = query_text(item.prompt, "conversation"), item.first.text, item.second.text
        content = self._template.fill({"query": query, "response_1": one, "response_2": two})
        return Question(content=content, query=query, responses=(one, two))


def read_first_line(text: str, finish_reason: FinishReason | None = None) -> Verdict | Unparsed:
    """The verdict on the first line that is not blank. Unparsed reasons: no_verdict, cut_off (nothing else came)."""
    line, newline, _ = text.lstrip().partition("\n")
    winner = _FIRST_LINES.get(line.strip().casefold())
    if winner is not None:
        return Verdict(winner=winner)
    reason = "cut_off" if finish_reason == "length" and not newline else "no_verdict"
    return Unparsed(reason=reason, detail=f"expected 1, 2 or Tie on the first line, got {line[:60]!r}")


def _reading(answer: Answer | Unparsed) -> Reading:
    if isinstance(answer, Unparsed):
        return Reading(outcome=answer)
    return Reading(
        outcome=read_first_line(answer.text, answer.finish_reason),
        critique=answer.text,
        prompt_tokens=answer.prompt_tokens,
        new_tokens=answer.new_tokens,
    )
