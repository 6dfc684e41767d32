"""A written judgment, taken apart into its critique and the verdict that it ends with.

The verdict is read by the same parser that reads a judge. Its sentence is taken off the critique only where the
critique ends with it and it says little else; else the critique stays whole, and the target repeats the verdict.
"""

from __future__ import annotations

import re

from rewards.protocol.parse import ParsedRating, ParsedVerdict, parse_rating, parse_verdict
from rewards.protocol.spec import JudgeProtocol
from rewards.types import Winner
from rewards.values import BadValue

_SENTENCE = re.compile(r"\n|(?<=[.!?。！？])\s+(?=\S)")
_SHORT = 80
"""Characters that may stand before a verdict in its sentence without being part of the critique."""
_CLOSING = " \t\r\n.。!！*_`\"'”’]］】)）"
_OPENING = " \t*_`\"'“‘[［【(（"


def split_rating(text: str, protocol: JudgeProtocol) -> tuple[str, float]:
    """The critique and the rating that a judgment ends with; reasons: those of `parse_rating`."""
    parsed = parse_rating(text, scale=protocol.scale)
    if not isinstance(parsed, ParsedRating):
        raise BadValue(parsed.reason, parsed.detail)
    return _before(text, parsed.start, parsed.end), parsed.value


def split_verdict(text: str, protocol: JudgeProtocol) -> tuple[str, Winner]:
    """The critique and the decision that a judgment ends with; reasons: those of `parse_verdict`."""
    parsed = parse_verdict(text, labels=protocol.labels)
    if not isinstance(parsed, ParsedVerdict):
        raise BadValue(parsed.reason, parsed.detail)
    return _before(text, parsed.start, parsed.end), parsed.winner


def _before(text: str, start: int, end: int) -> str:
    if text[end:].strip(_CLOSING):
        return text.rstrip()
    begin = max((match.end() for match in _SENTENCE.finditer(text, 0, start)), default=0)
    while begin > 0 and not text[begin:start].strip(_OPENING):  # the label alone on its line, below its announcement
        begin = max((match.end() for match in _SENTENCE.finditer(text, 0, begin - 1)), default=0)
    return text[:begin].rstrip() if start - begin <= _SHORT else text.rstrip()
