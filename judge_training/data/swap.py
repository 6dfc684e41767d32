"""An example of two responses seen from the other side: responses, labels, and every mention of them in the critique.

All mentions are replaced in one pass, so that none is swapped back; swapping twice gives the example again. Mentions
are a name with its mark ("Response 1", "Assistant B", "responses 1 and 2", "回应1"), an ordinal with what it counts
("the second answer"), and, only in a critique that speaks so anyway, the bare forms "R2" and "the first is". Left
alone are "the former" and "the latter", which point into the critique's own sentence and not at an order, and
whatever only looks like a mention ("Response 10", "the first paragraph", "the first reason").
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from judge_training.data.row_values import BY_FIRST, BY_SECOND
from judge_training.examples import JudgeExample
from rewards.types import Verdict, Winner

_SUFFIX = "~swapped"
_PAIRS = (
    ("1", "2"), ("A", "B"), ("１", "２"), ("一", "二"), ("One", "Two"), ("one", "two"),
    ("first", "second"), ("First", "Second"), ("FIRST", "SECOND"), ("1st", "2nd"), ("R1", "R2"),
)  # fmt: skip
_OTHER = {one: other for pair in _PAIRS for one, other in (pair, pair[::-1])}

# Nouns that are sure before a number, and those that are only so as a title: "the answer 2" is a number.
_SURE = r"(?i:responses?|assistants?|chatbots?)"
_TITLE = r"(?:Answers?|Outputs?|Candidates?|Completions?|Repl(?:y|ies)|Summar(?:y|ies)|Models?)"
_NOUN = rf"(?:{_SURE}|{_TITLE})"
_COUNTED = (
    r"(?i:responses?|assistants?|chatbots?|answers?|outputs?|candidates?|completions?|repl(?:y|ies)|summar(?:y|ies))"
)
_GAP = r"[ \t\xa0]{0,3}(?:[#*_`\"“'\[-]|(?i:no\. ?|number )){0,3}"
_END = r"(?![A-Za-z0-9]|[.,][0-9]|-[a-z])"
_JOIN = r"[*_`\"”'\]]{0,3}[ \t]?(?:and|or|vs\.?|versus|than|/|&)[ \t]?[*_`\"“'\[#]{0,3}"
_ORDINAL = r"(?:first|second|First|Second|FIRST|SECOND|1st|2nd)"
_BETWEEN = r"(?:[ \t\n]+(?i:ai|submitted|given|of (?:the|these|both)(?: two)?))?[ \t\n]+"

_MARKED = (
    rf"(?<![A-Za-z])(?:{_NOUN}{_GAP}(?P<n1>[12１２])(?:{_JOIN}(?P<n2>[12１２]))?{_END}"
    rf"|{_NOUN}{_GAP}(?P<l1>[AB])(?:{_JOIN}(?P<l2>[AB]))?{_END}"
    rf"|(?:Response|Assistant)[ \t](?P<word>[Oo]ne|[Tt]wo){_END})"
)
_ORDERED = (
    rf"(?<![A-Za-z0-9-])(?P<o1>{_ORDINAL})(?:[ \t](?:and|or|than|vs\.?)(?:[ \t]the)?[ \t](?P<o2>{_ORDINAL}))?"
    rf"(?={_BETWEEN}{_COUNTED}\b)"
)
_CHINESE = (
    r"(?:回应|回答|回复|答案|响应|助手)[ \t]?(?P<zh>[12１２一二])(?![0-9０-９])"
    r"|第(?P<nth>[12１２一二])(?=(?:个|条|份|位)?(?:回应|回答|回复|答案|响应|助手))"
)
_BARE = (
    r"(?<=\b[Tt]he )(?P<bare>first|second)"
    r"(?=['’]s\b|[,;:.)!?](?:\s|\Z)|\Z|[ \t\n]+(?:one|is|was|has|had|does|did|gives|gave|provides|offers|fails|"
    r"lacks|only|also|but|and|while|whereas|which|because|since|to|over|in|on|by|for|more|less|better|worse|wins)\b)"
)
_SHORT = r"(?<![A-Za-z0-9-])(?P<short>R[12])(?![A-Za-z0-9-]|\.[0-9])"

_ALWAYS = "|".join((_MARKED, _ORDERED, _CHINESE))
_COUNTS_RESPONSES = re.compile(rf"(?<![A-Za-z0-9-]){_ORDINAL}{_BETWEEN}{_COUNTED}\b")


def swap_example(example: JudgeExample) -> JudgeExample:
    """The same judgment with the two responses exchanged; an example of one response is its own swap."""
    if example.kind == "single":
        return example
    first, second = example.responses[0], example.responses[-1]
    return example.model_copy(
        update={
            "id": example.id.removesuffix(_SUFFIX) if example.id.endswith(_SUFFIX) else example.id + _SUFFIX,
            "responses": (second, first),
            "label": _swap(example.label),
            "human_label": _swap(example.human_label),
            "critique": swap_mentions(example.critique),
            "columns": {_side(name): value for name, value in example.columns.items()},
        }
    )


def with_swaps(examples: Iterable[JudgeExample]) -> Iterator[JudgeExample]:
    """Every example, and after each of two responses its swap."""
    for example in examples:
        yield example
        if example.kind == "pairwise":
            yield swap_example(example)


def swap_mentions(text: str) -> str:
    """A critique in which every mention of one response has become a mention of the other."""
    forms = [_ALWAYS]
    if _COUNTS_RESPONSES.search(text):
        forms.append(_BARE)
    if {match[0] for match in re.finditer(_SHORT, text)} == {"R1", "R2"}:
        forms.append(_SHORT)
    return re.sub("|".join(forms), _turn, text)


def _turn(match: re.Match[str]) -> str:
    """The mention with its marks exchanged, each where it stood."""
    text, start = match[0], match.start()
    pieces, position = [], 0
    for name, mark in match.groupdict().items():
        if mark is None:
            continue
        begin, end = (place - start for place in match.span(name))
        pieces += [text[position:begin], _OTHER[mark]]
        position = end
    return "".join((*pieces, text[position:]))


def _swap(winner: Winner | None) -> Winner | None:
    return None if winner is None else Verdict(winner=winner).swap().winner


def _side(name: str) -> str:
    return {BY_FIRST: BY_SECOND, BY_SECOND: BY_FIRST}.get(name, name)
