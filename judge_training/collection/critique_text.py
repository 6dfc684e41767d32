"""The critique in a teacher's reply: what stands before its verdict, without the words that announce the verdict.

A training target is put together again from the critique and the verdict, in the judge's own grammar, so the verdict
must not stand in the critique as well. What a teacher writes after its verdict is left out.
"""

from __future__ import annotations

import re

from judge_training.examples import ExampleKind
from rewards.protocol.parse import ParsedRating, ParsedVerdict, parse_rating, parse_verdict
from rewards.protocol.spec import JudgeProtocol
from rewards.types import Winner

_REACH = 80
"""Characters before a verdict in which its announcement is looked for."""
_BEFORE = r"(?:\b(?:so|thus|hence|therefore|my|the|i|give|this|response|it|a|an|overall|final)\b[\s*_#:,]*)*"
_AFTER = r"(?:[\s*_:=\"'\[(—–-]|\b(?:is|of|as|for|to|be|would|this|response|it|a|an)\b)*"
_ANNOUNCEMENT = re.compile(
    rf"{_BEFORE}\b(?:rating|score|decision|verdict)\b{_AFTER}\Z|[\s*_#>\[(:—–-]+\Z", re.IGNORECASE
)
_HEADING = re.compile(
    r"[\s*_#=-]*(?:(?:\d+[.)]\s*)?(?:(?:my|the|overall|final)[\s*_]+)*"
    r"(?:rating|score|decision|verdict)[\s*_#=:.-]*)?",
    re.IGNORECASE,
)


def critique_before_verdict(text: str, kind: ExampleKind, protocol: JudgeProtocol) -> str | None:
    """The reply without its verdict and what follows it; None when what is left states another verdict."""
    verdict = _parse(text, kind, protocol)
    lines = (text if verdict is None else text[: verdict.start]).split("\n")
    if verdict is not None:
        lines[-1] = lines[-1][:-_REACH] + _ANNOUNCEMENT.sub("", lines[-1][-_REACH:], count=1)
    while lines and _HEADING.fullmatch(lines[-1]):
        lines.pop()
    critique = "\n".join(lines).strip()
    left = _parse(critique, kind, protocol)
    return critique if left is None or _said(left) == _said(verdict) else None


def _parse(text: str, kind: ExampleKind, protocol: JudgeProtocol) -> ParsedRating | ParsedVerdict | None:
    if kind == "single":
        rating = parse_rating(text, scale=protocol.scale)
        return rating if isinstance(rating, ParsedRating) else None
    verdict = parse_verdict(text, labels=protocol.labels)
    return verdict if isinstance(verdict, ParsedVerdict) else None


def _said(parsed: ParsedRating | ParsedVerdict | None) -> float | Winner | None:
    if parsed is None:
        return None
    return parsed.value if isinstance(parsed, ParsedRating) else parsed.winner
