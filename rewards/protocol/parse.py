"""Reading a judge's answer: the last complete verdict in it, or the reason why there is none.

Only what the judge wrote is ever read here, never the question. A rating is a number in double brackets
(`Rating: [[5]]`, or `[[5]]` alone) that is on the scale as it stands: `[[24/7]]` and `[[11]]` are verdicts off
the scale, not 24 and 1. A decision is "final decision", then "is" or a colon, then one whole label: a word that
merely contains a label, "Response 10", and a sentence that goes on to another label (except "better than …")
decide nothing. A verdict between quotation marks inside a sentence is a mention (of the instructions, or of what
the response claims of itself).

No verdict is guessed from the tone of a critique, and nothing becomes a number that the judge did not write.
Time is linear in the text's length, whatever the text.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import Literal

from rewards.protocol.spec import Scale, VerdictLabels
from rewards.types import Unparsed, Winner

FinishReason = Literal["stop", "length"]


@dataclass(frozen=True, slots=True)
class ParsedRating:
    """A rating and where it stands."""

    value: float
    text: str
    """The number as it was written: the answer's characters from `start` to `end`."""
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class ParsedVerdict:
    """A decision and where its label stands in the answer."""

    winner: Winner
    start: int
    end: int


def parse_rating(text: str, *, scale: Scale, finish_reason: FinishReason | None = None) -> ParsedRating | Unparsed:
    """The last complete rating in a judge's answer.

    An answer that was cut off at the token limit is read only as far as a rating is announced as one ("Rating:",
    or alone on its line), since a bracketed number inside an unfinished critique need not be the judge's rating.

    Unparsed reasons: off_scale (the last complete rating is not on the scale), cut_off, no_verdict.
    """
    for statement in reversed(list(_rating_statements(text))):
        if finish_reason == "length" and not statement.announced:
            continue
        written = text[statement.start : statement.end]
        number = unicodedata.normalize("NFKC", written)
        if not _NUMBER.fullmatch(number) or not scale.contains(Decimal(number)):
            return Unparsed(
                reason="off_scale",
                detail=f"expected {scale.low} to {scale.high} by {scale.step}, got {written!r}",
            )
        return ParsedRating(float(number), written, statement.start, statement.end)
    return _nothing(text, finish_reason, "a rating in double brackets")


def parse_verdict(
    text: str, *, labels: VerdictLabels, finish_reason: FinishReason | None = None
) -> ParsedVerdict | Unparsed:
    """The last complete decision in a judge's answer.

    Unparsed reasons: cut_off, no_verdict.
    """
    pattern = _decision_pattern(labels)
    for marker in reversed(list(_MARKER.finditer(text))):
        match = pattern.match(text, marker.end(), marker.end() + _REACH)
        if match is None or match.lastgroup is None:
            continue
        start, end = match.span(match.lastgroup)
        winner = _winner(text[start:end], labels)
        if not _names_another(text, end, labels, winner) and not is_mention(text, marker.start(), end):
            return ParsedVerdict(winner, start, end)
    return _nothing(text, finish_reason, "a final decision")


def _nothing(text: str, finish_reason: FinishReason | None, expected: str) -> Unparsed:
    reason: Literal["cut_off", "no_verdict"] = "cut_off" if finish_reason == "length" else "no_verdict"
    ending = text[-60:] if text.strip() else "an empty answer"
    return Unparsed(reason=reason, detail=f"expected {expected}, got {_printable(ending)!r}")


def _printable(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8")


# Ratings

_MARKS = " \t*_`"
_BRACKETED = re.compile(r"[\[［【]{2}([^\[\]［］【】\n]{1,64}+)[\]］】]{2}")
_BEGINS_NUMBER = re.compile(r"[-+]?\d")
_NUMBER = re.compile(r"(?:0|[1-9][0-9]{0,3})(?:\.[0-9]{1,3})?")
_ANNOUNCES = re.compile(
    r"""(?:rating|score|评分|评级|打分|得分|分数)[ \t*_`"'“”]{0,6}+"""
    r"(?:is|of|as|为|是)?[ \t*_`]{0,6}+[:：=]?[ \t*_`]{0,6}+\Z",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class _Statement:
    start: int
    end: int
    announced: bool


def _rating_statements(text: str) -> Iterator[_Statement]:
    """Everything in double brackets that begins like a number and is not a mention."""
    for match in _BRACKETED.finditer(text):
        inside = match[1]
        number = inside.strip(_MARKS)
        if not _BEGINS_NUMBER.match(number):
            continue
        start = match.start(1) + inside.index(number)
        head = text[max(0, match.start() - 48) : match.start()]
        announcement = _ANNOUNCES.search(head)
        begin = match.start() - (len(head) - announcement.start() if announcement else 0)
        if not is_mention(text, begin, match.end()):
            announced = announcement is not None or _is_alone(text, begin, match.end())
            yield _Statement(start, start + len(number), announced)


# Decisions

_WINNERS: tuple[Winner, ...] = ("first", "second", "tie")
_REACH = 512
_MARKER = re.compile(
    r"final[ \t\xa0]{1,3}(?:decision|verdict)|最终的?(?:决定|决策|判定|判断|裁决|结论|选择)", re.IGNORECASE
)
_NOISE = r"""[ \t*_`"'“”‘’「」『』\[\]［］【】()（）<>《》]{0,16}+"""
_CLOSING = r"""[ \t*_`"'”’」』\]］】)）>》]{0,16}+"""
_LINK = r"(?:(?:is|was)\b|[:：=]|是|为|->|→|[-–—])"
_FILLER = (
    r"(?:(?:that|it|is|it['’]s|a|an|the|as|follows|in|favou?r|of|for|to|choose|select|go|with)\b"
    r"|[:：]|选择|应为|是|为)"
)
_BOUNDARY = r"(?![A-Za-z0-9_０-９]|[.．,\-–—/][0-9０-９])"
_GOES_ON = (
    r"(?:\Z|\n|[.,;:!?。，；：！？、(（–—-]"
    r"|(?:because|since|as|due|by|overall|wins?|for|between|over|rather)\b"
    r"|(?:is|was)\s(?:(?:the|clearly|slightly|much|overall|a|an)\s){0,3}(?:better|best|winner|preferred|superior|stronger)\b"
    r"|更好|更优|更佳|获胜|胜出|因为)"
)
_WORDS = re.compile(r"\d+|[^\W\d]+|[^\w\s]")
_SENTENCE_END = re.compile(r"[.!?](?=\s|\Z)|[。！？\n]")


def _label(text: str) -> str:
    return r"[ \t]{0,4}".join(re.escape(word) for word in _WORDS.findall(text)) + _BOUNDARY


@lru_cache(maxsize=32)
def _decision_pattern(labels: VerdictLabels) -> re.Pattern[str]:
    """What may follow a marker in a decision: a link and a label, or a label alone on the next line."""
    label = "|".join(_label(labels.label(winner)) for winner in _WINNERS)
    linked = (
        rf"{_LINK}(?:{_NOISE}\n){{0,2}}{_NOISE}(?:{_FILLER}{_NOISE}){{0,6}}(?P<linked>{label}){_CLOSING}{_GOES_ON}"
    )
    headed = rf"(?:\n{_NOISE}){{1,2}}(?P<headed>{label}){_CLOSING}[.。!！]?{_CLOSING}(?:\Z|\n)"
    return re.compile(rf"{_NOISE}(?:{linked}|{headed})", re.IGNORECASE)


def _winner(written: str, labels: VerdictLabels) -> Winner:
    return next(w for w in _WINNERS if re.fullmatch(_label(labels.label(w)), written, re.IGNORECASE))


@lru_cache(maxsize=96)
def _others(labels: VerdictLabels, winner: Winner) -> re.Pattern[str]:
    names = "|".join(_label(labels.label(other)) for other in _WINNERS if other != winner)
    return re.compile(rf"(?<![A-Za-z0-9])(?<!than )(?<!over )(?:{names})", re.IGNORECASE)


def _names_another(text: str, end: int, labels: VerdictLabels, winner: Winner) -> bool:
    """Whether the sentence goes on to another label: an echo of the choices, not a decision."""
    stop = _SENTENCE_END.search(text, end, end + _REACH)
    return _others(labels, winner).search(text, end, stop.start() if stop else end + _REACH) is not None


# Mentions

_WINDOW = 32
_OPENS = "\"'“‘「『`"
_CLOSES = "\"'”’」』`"
_DRESS = " \t*_`\"'“”‘’「」『』#>.。!！-()（）"


def is_mention(text: str, start: int, end: int) -> bool:
    """Whether a statement stands between quotation marks inside a sentence."""
    before = text[max(0, start - 4) : start].rstrip("*_ ")[-1:]
    after = text[end : end + 4].lstrip("*_. ")[:1]
    quoted = before != "" and after != "" and before in _OPENS and after in _CLOSES
    return quoted and not _is_alone(text, start, end)


def _is_alone(text: str, start: int, end: int) -> bool:
    """Whether a statement has its line for itself, but for markup and punctuation."""
    before = text[max(0, start - _WINDOW) : start].rpartition("\n")
    after = text[end : end + _WINDOW].partition("\n")
    if (not before[1] and start > _WINDOW) or (not after[1] and end + _WINDOW < len(text)):
        return False
    return not before[2].strip(_DRESS) and not after[0].strip(_DRESS)
