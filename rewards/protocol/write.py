"""How verdicts are written: the strings a judge may answer with, and whole answers as training targets.

The counterpart of `parse.py`, and tied to it: nothing is written that the parser does not read back as the
same verdict, whatever the critique holds. It does not judge whether the critique agrees with the verdict.
"""

from __future__ import annotations

from decimal import Decimal

from rewards.errors import InputError
from rewards.protocol.parse import ParsedRating, ParsedVerdict, parse_rating, parse_verdict
from rewards.protocol.spec import Asking, JudgeProtocol
from rewards.types import Winner

WINNERS: tuple[Winner, ...] = ("first", "second", "tie")


def rating_choices(protocol: JudgeProtocol) -> dict[str, float]:
    """Every rating as the exact text that follows `answer_start`, without `answer_end`, and its value."""
    gap = _gap(protocol.single.answer_start)
    return {gap + text: float(text) for text in protocol.scale.strings}


def verdict_choices(protocol: JudgeProtocol) -> dict[str, Winner]:
    """Every verdict as the exact text that follows `answer_start`, without `answer_end`, and its winner.

    Raises InputError when the protocol cannot ask for comparisons.
    """
    gap = _gap(_pairwise(protocol).answer_start)
    return {gap + protocol.labels.label(winner): winner for winner in WINNERS}


def write_rating(critique: str, value: float, protocol: JudgeProtocol) -> str:
    """A judge's answer that ends in this rating.

    Raises InputError when the value is not on the protocol's scale.
    """
    number = Decimal(str(value))
    if not number.is_finite() or not protocol.scale.contains(number):
        raise InputError(f"expected a rating on the scale ({_ends(protocol)}), got {value}")
    asking = protocol.single
    text = _after(critique, asking, format(number.normalize(), "f"))
    read = parse_rating(text, scale=protocol.scale)
    if not isinstance(read, ParsedRating) or Decimal(read.text) != number:
        raise InputError(_unreadable(asking, "Rating: [[", "]]"))
    return text


def write_verdict(critique: str, winner: Winner, protocol: JudgeProtocol) -> str:
    """A judge's answer that ends in this decision.

    Raises InputError when the protocol cannot ask for comparisons.
    """
    asking = _pairwise(protocol)
    text = _after(critique, asking, protocol.labels.label(winner))
    read = parse_verdict(text, labels=protocol.labels)
    if not isinstance(read, ParsedVerdict) or read.winner != winner:
        raise InputError(_unreadable(asking, "Final decision:", ""))
    return text


def _pairwise(protocol: JudgeProtocol) -> Asking:
    if protocol.pairwise is None:
        raise InputError(
            f"expected a protocol that can compare two responses, got {protocol.name!r}, which only rates; "
            "use another protocol, or learn this one again with its pairwise training file"
        )
    return protocol.pairwise


def _gap(answer_start: str) -> str:
    """The space between `answer_start` and the verdict: one after a Latin word or mark, else none."""
    last = answer_start[-1:]
    return " " if last.isascii() and (last.isalnum() or last in tuple(":.,;=")) else ""


def _after(critique: str, asking: Asking, verdict: str) -> str:
    statement = f"{asking.answer_start}{_gap(asking.answer_start)}{verdict}{asking.answer_end}"
    return f"{critique}\n\n{statement}" if critique else statement


def _ends(protocol: JudgeProtocol) -> str:
    return f"{protocol.scale.low} to {protocol.scale.high} by {protocol.scale.step}"


def _unreadable(asking: Asking, start: str, end: str) -> str:
    return (
        f"expected a protocol whose verdicts can be read back, got answer_start {asking.answer_start!r} and "
        f"answer_end {asking.answer_end!r}; {start!r} and {end!r} are read"
    )
