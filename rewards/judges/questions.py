"""From what is to be judged to the question about it, in a protocol's words; no question where nothing is to judge.

Used by the judge that asks and by the estimate of what asking would cost, so that both mean the same questions.
"""

from __future__ import annotations

from rewards.judges.base import CompareItem, Question, RateItem
from rewards.protocol.render import Mode, render_pairwise, render_single
from rewards.protocol.spec import JudgeProtocol
from rewards.protocol.view import query_text


def rate_question(item: RateItem, protocol: JudgeProtocol, mode: Mode) -> Question | None:
    """The question about a response, or None when there is no response to judge."""
    response = item.candidate.text
    if not response.strip():
        return None
    query = query_text(item.prompt, protocol.view)
    content = render_single(protocol, query=query, response=response, mode=mode)
    return Question(content=content, query=query, responses=(response,))


def compare_question(item: CompareItem, protocol: JudgeProtocol, mode: Mode) -> Question | None:
    """The question about two responses in their order, or None when one of them is empty.

    Raises InputError when the protocol only rates.
    """
    one, two = item.first.text, item.second.text
    if not one.strip() or not two.strip():
        return None
    query = query_text(item.prompt, protocol.view)
    content = render_pairwise(protocol, query=query, response_1=one, response_2=two, mode=mode)
    return Question(content=content, query=query, responses=(one, two))
