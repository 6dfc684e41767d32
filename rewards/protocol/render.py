"""Filling a protocol's templates: one pass, so that data can never become template.

Where a template has a fence, it is chosen for each question so that it occurs in none of the data: a response
cannot close the part that it stands in. A learned template without a fence is filled as it is, since a judge
must be asked in the words it was trained on. A long response is cut where the protocol says so, and nowhere else;
nothing here cleans or escapes the data.
"""

from __future__ import annotations

import re
from typing import Literal

from rewards.errors import InputError
from rewards.protocol.spec import Asking, FieldName, JudgeProtocol, Template

Mode = Literal["critique", "direct"]

_FENCE = "~"
_FENCE_LENGTH = 5
_RUNS = re.compile(_FENCE + "+")


def render_single(protocol: JudgeProtocol, *, query: str, response: str, mode: Mode) -> str:
    """The question that asks for a rating of one response."""
    return _fill(_template(protocol.single, mode), {"query": query, "response": _shown(response, protocol.single)})


def render_pairwise(protocol: JudgeProtocol, *, query: str, response_1: str, response_2: str, mode: Mode) -> str:
    """The question that asks for a decision between two responses, in the order given.

    Raises InputError when the protocol has no pairwise question.
    """
    if protocol.pairwise is None:
        raise InputError(f"expected a protocol with a pairwise question, got {protocol.name!r}, which only rates")
    asking = protocol.pairwise
    values: dict[FieldName, str] = {
        "query": query,
        "response_1": _shown(response_1, asking),
        "response_2": _shown(response_2, asking),
    }
    return _fill(_template(asking, mode), values)


def choose_fence(values: list[str]) -> str:
    """The shortest run of tildes, five or more, that occurs in none of the values."""
    longest = max((len(run) for value in values for run in _RUNS.findall(value)), default=0)
    return _FENCE * max(_FENCE_LENGTH, longest + 1)


def _shown(response: str, asking: Asking) -> str:
    return response if asking.clip is None else asking.clip.cut(response)


def _template(asking: Asking, mode: Mode) -> Template:
    return asking.direct if mode == "direct" and asking.direct is not None else asking.critique


def _fill(template: Template, values: dict[FieldName, str]) -> str:
    return template.fill({**values, "fence": choose_fence(list(values.values()))})
