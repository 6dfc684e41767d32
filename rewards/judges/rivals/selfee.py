"""SelFee (Ye et al. 2023): feedback on a response, for comparing critiques (Eval-C).

The model was trained to answer, give feedback, and revise, one heading after another. Here the answer is the response
to be judged, and what it writes under the feedback's heading, up to the next one, is the critique. It gives no rating
and compares nothing: the outcome of every judgment is `Unparsed`, with the feedback as its critique.

The conversation around the prompt is plain text. Nothing is revised here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from rewards.errors import InputError
from rewards.judges.base import Answer, Backend, CompareItem, JudgeCard, Question, RateItem
from rewards.judges.cache import Reading
from rewards.judges.rivals.asking import digest_of, rate_with
from rewards.protocol.spec import ChatText, Decoding, Template
from rewards.protocol.view import query_text
from rewards.types import Comparison, Judgment, Unparsed

SELFEE_CHAT = ChatText(before="", after="")
"""The prompt stands alone."""
SELFEE_DECODING = Decoding(max_new_tokens=1024)

NO_RATING = "a critic writes feedback and no rating"
_NEXT = re.compile(r"^[ \t]*###[ \t]*(?:Revision|Feedback|Answer|Instruction)\b", re.MULTILINE)


class SelfeeCritic:
    """A `Judge` whose judgments have a critique and no rating. `template` has {{query}} and {{response}}."""

    def __init__(
        self,
        backend: Backend,
        template: Template,
        *,
        decoding: Decoding = SELFEE_DECODING,
        warnings: tuple[str, ...] = (),
    ) -> None:
        self._backend = backend
        self._template = template
        self._decoding = decoding
        self._warnings = warnings

    @property
    def card(self) -> JudgeCard:
        """What identifies the critic."""
        return JudgeCard(
            name=f"{self._backend.name} (SelFee)",
            digest=digest_of(
                "selfee", self._backend.revision, self._template.model_dump_json(), self._decoding.model_dump_json()
            ),
            backend=type(self._backend).__name__.removesuffix("Backend").lower(),
            mode="critique",
            protocol="selfee",
            trained=True,
            warnings=(NO_RATING, *self._warnings),
        )

    def rate(self, items: Iterable[RateItem]) -> Iterator[Judgment]:
        """The feedback on each response as the critique of a judgment without a rating."""
        return rate_with(self._ask, items, self.card.digest)

    def compare(self, items: Iterable[CompareItem], *, both_orders: bool = True) -> Iterator[Comparison]:
        """Raises InputError: SelFee compares nothing."""
        raise InputError("expected a judge that compares, got SelFee, which only writes feedback; use it for Eval-C")

    def _ask(self, items: Sequence[RateItem]) -> Iterator[tuple[int, Reading]]:
        questions = [self._question(item) for item in items]
        for index, answer in self._backend.generate(questions, self._decoding):
            yield index, _reading(answer)

    def _question(self, item: RateItem) -> Question:
        query, response = query_text(item.prompt, "conversation"), item.candidate.text
        content = self._template.fill({"query": query, "response": response})
        return Question(content=content, query=query, responses=(response,))


def read_feedback(text: str) -> tuple[str, bool]:
    """The feedback up to the next heading, and whether a heading ended it."""
    heading = _NEXT.search(text)
    return text[: heading.start() if heading else len(text)].strip(), heading is not None


def _reading(answer: Answer | Unparsed) -> Reading:
    if isinstance(answer, Unparsed):
        return Reading(outcome=answer)
    feedback, ended = read_feedback(answer.text)
    cut = answer.finish_reason == "length" and not ended
    return Reading(
        outcome=Unparsed(reason="cut_off" if cut else "no_verdict", detail=NO_RATING),
        critique=feedback,
        prompt_tokens=answer.prompt_tokens,
        new_tokens=answer.new_tokens,
    )
