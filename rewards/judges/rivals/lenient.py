"""Lenient reading: the verdict of a model that was never taught the grammar.

A chat model asked by prompt may write `[[A]]`, "Answer: Response 2" or "Response 1 is better than Response 2". The
strict parser goes first; then come, in this order, verdicts in double brackets or behind an announcement (the last
one counts), an answer that is nothing but a label, and sentences that say which response is better (all of them must
say the same). An answer that names both sides, only supposes or denies one, or asks, gives no verdict.

The answer may echo its question. Lines that stand in the question are blanked out first: runs of two or more, and
single long ones unless they are all that the answer ends on. Letters and numbers alone count only between brackets,
behind an announcement or as the whole answer. Lenient is not guessing: the tone of a critique is never read, and
what is in doubt is `Unparsed`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from itertools import pairwise

from rewards.protocol.parse import (
    FinishReason,
    ParsedRating,
    ParsedVerdict,
    is_mention,
    parse_rating,
    parse_verdict,
)
from rewards.protocol.spec import Scale, VerdictLabels
from rewards.types import Unparsed, Winner

LENIENT_VERSION = "lenient-1"
"""Part of a judge's digest: another way to read makes another judge."""

_LONG_LINE = 24
_WINNERS: tuple[Winner, ...] = ("first", "second", "tie")


def read_verdict(
    text: str, asked: str, finish_reason: FinishReason | None = None, *, labels: VerdictLabels
) -> ParsedVerdict | Unparsed:
    """The verdict in an answer to the question `asked`. Unparsed reasons: no_verdict, cut_off."""
    text = without_echo(text, asked)
    strict = parse_verdict(text, labels=labels, finish_reason=finish_reason)
    if isinstance(strict, ParsedVerdict):
        return strict
    sentences = list(_sentences(text, labels))
    announced = [*_bracketed(text, labels), *_announced(text, labels), *(one for one in sentences if one.concluding)]
    if announced:
        return _last_announced(text, announced, sentences)
    if finish_reason == "length":
        return strict
    return _whole(text, labels) or _all_sentences(sentences) or strict


def read_rating(
    text: str, asked: str, finish_reason: FinishReason | None = None, *, scale: Scale
) -> ParsedRating | Unparsed:
    """The rating in an answer to the question `asked`. Unparsed reasons: off_scale, no_verdict, cut_off.

    Beside the strict form: "Rating: 7", "7/10" and "7 out of 10" (with the scale's own maximum), "rate it a 7", or an
    answer that is only a number. Several must agree, unless one is called overall, final or total.
    """
    text = without_echo(text, asked)
    strict = parse_rating(text, scale=scale, finish_reason=finish_reason)
    if isinstance(strict, ParsedRating) or strict.reason == "off_scale":
        return strict
    found = list(_ratings(text, scale))
    final = [one for one in found if one.final]
    if finish_reason == "length" and not final:
        return strict
    counted = final[-1:] or found
    if not counted:
        return strict
    if len({one.number for one in counted}) > 1:
        return Unparsed(reason="no_verdict", detail=f"expected one rating, got {len(found)} that differ")
    written, start = counted[-1].number, counted[-1].start
    if not _NUMBER.fullmatch(written) or not scale.contains(Decimal(written)):
        return Unparsed(reason="off_scale", detail=f"expected {scale.low} to {scale.high}, got {written!r}")
    return ParsedRating(float(written), written, start, start + len(written))


def without_echo(text: str, asked: str) -> str:
    """The answer with what it repeats of its question blanked out; every other character keeps its place."""
    lines = text.splitlines(keepends=True)
    told = [line.strip() for line in lines]
    filled = [index for index, line in enumerate(told) if line]
    known = [line.strip() for line in asked.splitlines() if line.strip()]
    runs = set(pairwise(known))
    echoed = {index for index in filled[:-1] if len(told[index]) >= _LONG_LINE and told[index] in set(known)}
    for one, other in pairwise(filled):
        if (told[one], told[other]) in runs:
            echoed |= {one, other}
    return "".join(re.sub(r"[^\r\n]", " ", line) if index in echoed else line for index, line in enumerate(lines))


# Verdicts


@dataclass(frozen=True, slots=True)
class _Found:
    """A statement of who is better, where it stands, and whether it begins with a word of conclusion."""

    winner: Winner
    start: int
    end: int
    concluding: bool = False

    @property
    def parsed(self) -> ParsedVerdict:
        return ParsedVerdict(self.winner, self.start, self.end)


_NOUN = r"(?:(?:ai\s)?(?:response|answer|assistant|output|option|model|candidate|system|reply|completion)s?)"
_GAP = r"""[ \t*_#"'`“”\[(]{0,4}"""
_EDGE = r"(?![A-Za-z0-9_]|[.,\-–/]\d)"
_SIDES: dict[Winner, tuple[str, str]] = {
    "first": (rf"{_NOUN}{_GAP}(?:1|(?-i:A)|one){_EDGE}|(?:first|1st){_GAP}{_NOUN}\b", r"(?:1|(?-i:A))"),
    "second": (rf"{_NOUN}{_GAP}(?:2|(?-i:B)|two){_EDGE}|(?:second|2nd){_GAP}{_NOUN}\b", r"(?:2|(?-i:B))"),
}
_TIE = r"(?:tied?|draw|equal(?:ly)?|both|neither|same)\b"
_ADVERB = (
    r"(?:(?:the|a|an|by|far|clear|clearly|slightly|much|overall|significantly|generally|somewhat|marginally|also|still|"
    r"therefore|thus|definitely|considerably|noticeably|obviously|more|of|two|to|be|one|my|choice|response|answer)\s){0,6}"
)
_BETTER = r"(?:better|best|superior|preferred|preferable|stronger|winner|favou?red)\b"
_SAYS = (
    rf"(?:['’]s\s(?:response|answer)\s)?{_GAP}\s?"
    rf"(?:(?:is|was|are|seems|appears|would be|remains)\s{_ADVERB}{_BETTER}|wins\b|won\b)"
)
_PREFERS = (
    r"\b(?:i|we)\s(?:(?:would|will|do|therefore|thus|clearly|slightly|also|must)\s){0,2}"
    r"(?:prefer|choose|select|pick|favou?r|go with|vote for)\s(?:the\s)?"
)
_EVEN = (
    r"\b(?:it|this|that|the result)(?:\sis|['’]s)\s(?:(?!not\b|no\b)\w+\s){0,2}(?:tie|draw)\b"
    r"|\b(?:equally\s(?:good|bad|helpful|strong|weak|well|valid|matched)|evenly matched"
    r"|(?:are|is)\s(?:all\s)?(?:tied|equal)\b|of\s(?:equal|similar|the\ssame|comparable)\squality"
    r"|no\sclear\swinner|neither\b[^.\n]{0,60}?\sis\sbetter)"
)
_CONCLUDES = re.compile(
    r"\b(?:overall|in conclusion|in summary|to sum up|to conclude|therefore|ultimately|finally|all in all|in the end|"
    r"on balance|taken together)\b",
    re.IGNORECASE,
)
_ANNOUNCES = (
    r"\b(?:decision|verdict|answer|judge?ment|choice|winner|preference|preferred|preferred\sresponse|better\sresponse|"
    r"better\sanswer|best\sresponse|better\sone|conclusion|result|pick)\b"
    r"[ \t*_\"'`]{0,4}(?:is|was|would be|goes to|[:：=]|->|→)"
)
_NOISE = r"""[ \t\n*_"'`“”‘’\[\]()（）#>]{0,12}"""
_FILLER = (
    r"(?:(?:that|it|is|the|a|an|clearly|in|favou?r|of|for|to|i|we|choose|prefer|select|would|be|:)"
    rf"{_NOISE}(?<!\w)){{0,5}}"
)
_DOUBTS = re.compile(
    r"\b(?:if|whether|unless|could|might|may|not|never|neither|nor|cannot|doubt|should i)\b|n['’]t\b", re.IGNORECASE
)
_STOP = re.compile(r"[.!?](?=[\s\"'”*)]|\Z)|[。！？]|\n")
_THAN = re.compile(
    r"(?:than|over|to|against|beats?|outperforms?|versus|vs\.?)\s(?:the\s|that of\s)?[\"'*_\[]{0,3}\Z", re.IGNORECASE
)
_CONDITION = re.compile(r"[\"'`”’*\])]{0,4}\s{0,3}(?:if|when|in case)\b", re.IGNORECASE)
_OR = re.compile(r"[\"'`”’*\])]{0,4}\s?(?:/|or\b|\|)", re.IGNORECASE)
_SAME = re.compile(r"\bequal|\bsame\b|\btie", re.IGNORECASE)
_BUT = re.compile(r"\b(?:but|however|better|although)\b", re.IGNORECASE)
_BRACKETS = re.compile(r"[\[［【]{2}\s{0,3}([^\[\]\n]{1,40}?)\s{0,3}[\]］】]{2}")


def _last_announced(text: str, announced: list[_Found], sentences: list[_Found]) -> ParsedVerdict | Unparsed:
    """The last verdict of those announced, unless its line or a later sentence says another."""
    last = max(announced, key=lambda one: one.end)
    line = text.rfind("\n", 0, last.start)
    later = [one.winner for one in announced if one.start > line]
    later += [one.winner for one in sentences if one.start > last.start]
    return _both() if set(later) - {last.winner} else last.parsed


def _all_sentences(sentences: list[_Found]) -> ParsedVerdict | Unparsed | None:
    """What all sentences say."""
    if len({one.winner for one in sentences}) > 1:
        return _both()
    return sentences[-1].parsed if sentences else None


def _both() -> Unparsed:
    return Unparsed(reason="no_verdict", detail="expected one verdict, got an answer that names more than one")


@lru_cache(maxsize=32)
def _names(labels: VerdictLabels) -> dict[Winner, str]:
    """A pattern of every way to name a verdict, the protocol's own label first."""
    own = {winner: re.escape(labels.label(winner)) + _EDGE for winner in _WINNERS}
    return {
        "first": f"{own['first']}|{_SIDES['first'][0]}",
        "second": f"{own['second']}|{_SIDES['second'][0]}",
        "tie": f"{own['tie']}|{_TIE}",
    }


def _bracketed(text: str, labels: VerdictLabels) -> Iterator[_Found]:
    for match in _BRACKETS.finditer(text):
        winner = _label_alone(match[1], labels, brackets=True)
        if winner and not is_mention(text, *match.span()) and not _CONDITION.match(text, match.end()):
            yield _Found(winner, *match.span(1))


@lru_cache(maxsize=32)
def _announcement(labels: VerdictLabels) -> re.Pattern[str]:
    names = _names(labels)
    bare = {
        winner: _SIDES[winner][1] + r"(?=[ \t*_\"'`\])]{0,4}(?:[.,;:!\n]|\Z|because|since|as\b))" for winner in _SIDES
    }
    options = "|".join(
        f"(?P<{winner}>{names[winner]}{'|' + bare[winner] if winner in bare else ''})" for winner in _WINNERS
    )
    return re.compile(rf"{_ANNOUNCES}{_NOISE}{_FILLER}(?:{options})", re.IGNORECASE)


def _announced(text: str, labels: VerdictLabels) -> Iterator[_Found]:
    for match in _announcement(labels).finditer(text):
        winner = _group(match)
        start, end = match.span(winner)
        if _CONDITION.match(text, end) or _doubted(text, match.start(), end):
            continue
        yield _Found(winner, start, end)
        if _OR.match(text, end):
            yield from (_Found(other, start, end) for other in _SIDES)
        for other in _others_named(text, end, winner, labels):
            yield _Found(other, start, end)


@lru_cache(maxsize=32)
def _statement(labels: VerdictLabels) -> re.Pattern[str]:
    names = _names(labels)
    options = [f"(?P<{winner}>(?<![A-Za-z0-9])(?:{names[winner]}){_SAYS})" for winner in _SIDES]
    prefers = [f"{_PREFERS}(?P<{winner}_chosen>{names[winner]})" for winner in _SIDES]
    return re.compile("|".join([*options, *prefers, f"(?P<tie>{_EVEN})"]), re.IGNORECASE)


def _sentences(text: str, labels: VerdictLabels) -> Iterator[_Found]:
    for match in _statement(labels).finditer(text):
        winner = _group(match)
        begin = _sentence_start(text, match.start())
        doubted = _doubted(text, match.start(), match.end()) or is_mention(text, *match.span())
        if not doubted or (winner == "tie" and match[0].lower().startswith("neither")):
            yield _Found(winner, *match.span(), concluding=bool(_CONCLUDES.search(text, begin, match.start())))


def _group(match: re.Match[str]) -> Winner:
    """Which of the named groups matched."""
    return next(
        winner for winner in _WINNERS for name, found in match.groupdict().items() if found and name.startswith(winner)
    )


def _whole(text: str, labels: VerdictLabels) -> ParsedVerdict | None:
    """An answer that is a label and nothing else."""
    alone = text.strip().strip("*_`\"'“”.!()[]# \t").strip()
    winner = _label_alone(alone, labels, brackets=False)
    if winner is None:
        return None
    start = text.index(alone)
    return ParsedVerdict(winner, start, start + len(alone))


def _label_alone(text: str, labels: VerdictLabels, *, brackets: bool) -> Winner | None:
    """The verdict that a text names when it holds nothing else; between brackets C is a tie."""
    for winner in _WINNERS:
        bare = _SIDES[winner][1] if winner in _SIDES else rf"(?:a\s)?{_TIE}" + ("|(?-i:C)" if brackets else "")
        if re.fullmatch(f"(?:the\\s)?(?:{_names(labels)[winner]})|{bare}", text.strip("*_`\"' \t"), re.IGNORECASE):
            return winner
    return None


def _sentence_start(text: str, position: int) -> int:
    window = max(0, position - 400)
    return max((match.end() for match in _STOP.finditer(text, window, position)), default=window)


def _sentence_end(text: str, position: int) -> int:
    found = _STOP.search(text, position, position + 400)
    return found.start() if found else min(len(text), position + 400)


def _doubted(text: str, start: int, end: int) -> bool:
    """Whether the sentence up to a statement supposes or denies, or the sentence is a question."""
    stop = _sentence_end(text, end)
    return bool(_DOUBTS.search(text, _sentence_start(text, start), start)) or text[stop : stop + 1] in {"?", "？"}


def _others_named(text: str, end: int, winner: Winner, labels: VerdictLabels) -> Iterator[Winner]:
    """Other sides that the rest of the sentence names, except as what the winner is better than."""
    stop = _sentence_end(text, end)
    rest = text[end:stop]
    if winner == "tie" and _SAME.search(text, max(0, end - 8), stop) and not _BUT.search(rest):
        return  # "both A and B are equally good"
    for other, pattern in _names(labels).items():
        for match in re.finditer(pattern, rest, re.IGNORECASE) if other not in ("tie", winner) else ():
            if not _THAN.search(rest[: match.start()]):
                yield other


# Ratings


@dataclass(frozen=True, slots=True)
class _Rated:
    number: str
    start: int
    final: bool


_NUMBER = re.compile(r"(?:0|[1-9][0-9]{0,3})(?:\.[0-9]{1,3})?")
_FINAL = re.compile(r"\b(?:overall|final|total)\b", re.IGNORECASE)
_VALUE = r"(?<![\d.,/\-])(?P<number>\d{1,4}(?:\.\d{1,3})?)(?![\d%]|[.,]\d)"


@lru_cache(maxsize=32)
def _rating_pattern(high: str) -> re.Pattern[str]:
    """An announced number, or one out of the scale's maximum; no range and no fraction of another number."""
    out_of = rf"\s?(?:/|out\sof)\s?{re.escape(high)}(?!\d|\.\d)"
    alone = r"(?!\s?(?:/|out\sof|-|–|to\s\d|or\s\d))"
    said = r"\b(?:rating|score|grade)\b[ \t*_\"'`]{0,4}(?:is|of|as|[:：=])?[ \t*_\"'`]{0,4}(?:an?\s)?"
    rated = r"\brate\s(?:it|this|the\sresponse|this\sresponse|the\sanswer)\s(?:an?|as|at|with|as\sa)\s"
    plain = _VALUE.replace("number", "plain")
    return re.compile(rf"(?:{said}|{rated}|){_VALUE}{out_of}|(?:{said}|{rated}){plain}{alone}", re.IGNORECASE)


def _ratings(text: str, scale: Scale) -> Iterator[_Rated]:
    high = scale.strings[-1]
    alone = text.strip().strip("*_`\"'.[]() \t")
    if _NUMBER.fullmatch(alone):
        yield _Rated(alone, text.index(alone), final=True)
        return
    for match in _rating_pattern(high).finditer(text):
        name = "number" if match["number"] else "plain"
        begin = _sentence_start(text, match.start())
        if not is_mention(text, *match.span()) and not _DOUBTS.search(text, begin, match.start()):
            yield _Rated(match[name], match.start(name), bool(_FINAL.search(text, begin, match.start(name))))
