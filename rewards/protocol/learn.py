"""Learning the prompts of the released AUTO-J from a user's own copy of its files.

The release's checkpoints must be asked in the words that they were trained on. Those words are not ours to ship, so
they are found in the data: what all inputs begin with, what they end with, and what all of them hold in between is
the template; the rest is the data's. What rows share by accident (queries that begin with the same word) is kept out
by letting template text end only where a label ends (a colon, or a line). In the end every row of the file must split
and render again byte for byte, so a wrong template cannot come out. A prompt without a training file (the pairwise
one, and those of the bilingual model) is taken from the release's file of prompts.

Nothing of a checkpoint is read here, and no criteria are looked for: the judge's input has none.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Literal

from rewards.errors import InputError, MissingFileError
from rewards.protocol.parse import ParsedRating, ParsedVerdict, parse_rating, parse_verdict
from rewards.protocol.prompt_constants import PromptConstants, rating_start, read_prompt_constants, verdict_start
from rewards.protocol.render import render_pairwise, render_single
from rewards.protocol.spec import (
    Asking,
    ChatText,
    Decoding,
    FieldName,
    FieldPart,
    JudgeProtocol,
    Scale,
    Template,
    TextPart,
    VerdictLabels,
)
from rewards.rows import Problem, stream_rows
from rewards.types import Unparsed

SINGLE_FILE = "single_traindata.jsonl"
PAIRWISE_FILE = "pairwise_traindata.jsonl"
Language = Literal["en", "zh"]
CONSTANTS_FILES: dict[Language, str] = {"en": "constants_prompt.py", "zh": "zh_constants_prompt.py"}
LABELS: dict[Language, VerdictLabels] = {
    "en": VerdictLabels(),
    "zh": VerdictLabels(first="回应1", second="回应2", tie="平局"),
}
"""How the release's judges write their verdicts; `autoj-bilingual-6b` answers in the language of the prompt."""

_INPUTS = ("usrmsg", "usermsg")
_OUTPUT = "target_output"
_SINGLE: tuple[FieldName, ...] = ("query", "response")
_PAIRWISE: tuple[FieldName, ...] = ("query", "response_1", "response_2")
_HALVES = Scale(step=Decimal("0.5"))
_LABEL_END = re.compile(r":[ \t]*|\n")
_MARKER = re.compile(r"final decision", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Learned:
    """A protocol learned, and from what."""

    protocol: JudgeProtocol
    single_rows: int
    """Rows of the single training file, all rendered again byte for byte; 0 when the prompt is from the constants."""
    pairwise_rows: int


@dataclass(frozen=True, slots=True)
class _Example:
    place: str
    asked: str
    answer: str


def learn_protocol(folder: Path, *, language: Language = "en") -> Learned:
    """The protocol of a released judge, from the files of the release that lie anywhere under a folder.

    A prompt is learned from its training file (English only) and, without one, read from the file of prompts
    (`codes/usage/constants_prompt.py`, for Chinese `zh_constants_prompt.py`). Ratings are 1 to 10 (arXiv 2310.05470,
    table 18), in halves when the targets hold any; decoding is greedy with at most 1,024 new tokens; the chat is
    LLaMA-2's without a system message. Raises MissingFileError when there is neither file for the single prompt, and
    InputError, naming the row, when a row does not fit the template.
    """
    labels = LABELS[language]
    constants = _constants(folder, language)
    single = _read(_find(folder, SINGLE_FILE)) if language == "en" else []
    pairwise = _read(_find(folder, PAIRWISE_FILE)) if language == "en" else []
    protocol = JudgeProtocol(
        name="auto-j (learned from its release)" if language == "en" else f"auto-j, {language} (from its release)",
        single=_single(single, constants, folder, language),
        pairwise=_pairwise(pairwise, constants, labels),
        chat=ChatText(before="[INST] ", after=" [/INST]"),
        scale=_scale(single),
        labels=labels,
        decoding=Decoding(max_new_tokens=1024),
    )
    _verify(protocol, single, pairwise)
    return Learned(protocol, len(single), len(pairwise))


def _single(examples: Sequence[_Example], constants: PromptConstants, folder: Path, language: Language) -> Asking:
    if examples:
        return Asking(critique=_template(examples, _SINGLE), answer_start=_rating_start(examples), answer_end="]]")
    if constants.single is None:
        wanted = [SINGLE_FILE, CONSTANTS_FILES[language]] if language == "en" else [CONSTANTS_FILES[language]]
        raise MissingFileError(
            f"expected {' or '.join(wanted)} somewhere under {folder} (in the release they lie in data/training and "
            "codes/usage), found none"
        )
    start = rating_start(constants.single) or "Rating: [["
    return Asking(critique=constants.single, answer_start=start, answer_end="]]")


def _pairwise(examples: Sequence[_Example], constants: PromptConstants, labels: VerdictLabels) -> Asking | None:
    if examples:
        return Asking(critique=_template(examples, _PAIRWISE), answer_start=_verdict_start(examples))
    if constants.pairwise is None:
        return None
    start = verdict_start(constants.pairwise, labels) or "Final decision:"
    return Asking(critique=constants.pairwise, answer_start=start)


def split(template: Template, text: str) -> dict[FieldName, str] | None:
    """The values that fill a template to this text, each as short as can be from the left; None when it does not fit.

    A value may hold the template's own text: filling the template with what comes out always gives the text again.
    """
    *parts, last = template.parts
    ending = last.text if isinstance(last, TextPart) else ""
    field: FieldName | None = last.field if isinstance(last, FieldPart) else None
    if not text.endswith(ending):
        return None
    values: dict[FieldName, str] = {}
    position, end = 0, len(text) - len(ending)
    waiting: FieldName | None = None
    for part in parts:
        if isinstance(part, FieldPart):
            waiting = part.field
            continue
        found = text.find(part.text, position, end)
        if found < 0 or (waiting is None and found != position):
            return None
        if waiting is not None:
            values[waiting] = text[position:found]
        position, waiting = found + len(part.text), None
    rest = field or waiting
    if position > end or (rest is None and position != end):
        return None
    return values if rest is None else {**values, rest: text[position:end]}


# Files


def _find(folder: Path, name: str) -> Path | None:
    """The file of this name that lies nearest to the top of the folder."""
    if not folder.is_dir():
        raise MissingFileError(f"expected the folder of a copy of the AUTO-J release at {folder}, found none")
    found = sorted(folder.rglob(name), key=lambda path: (len(path.parts), str(path)))
    if len(found) > 1 and len(found[0].parts) == len(found[1].parts):
        raise InputError(f"expected one {name} under {folder}, got {found[0]} and {found[1]}; name the folder of one")
    return found[0] if found else None


def _constants(folder: Path, language: Language) -> PromptConstants:
    path = _find(folder, CONSTANTS_FILES[language])
    return PromptConstants(None, None) if path is None else read_prompt_constants(path)


def _read(path: Path | None) -> list[_Example]:
    if path is None:
        return []
    examples = [_example(f"{path}, line {number}", row) for number, row in stream_rows(path)]
    if len({example.asked for example in examples}) < 2:
        raise InputError(f"expected at least two different inputs in {path} to learn a template from, got fewer")
    return examples


def _example(place: str, row: dict[str, object] | Problem) -> _Example:
    if isinstance(row, Problem):
        raise InputError(f"{place}: {row.detail}")
    asked = next((row[name] for name in _INPUTS if name in row), None)
    if not isinstance(asked, str):
        raise InputError(
            f"{place}: expected the judge's input as text in {_INPUTS[0]!r}, got columns {', '.join(row)}"
        )
    answer = row.get(_OUTPUT)
    return _Example(place, asked, answer if isinstance(answer, str) else "")


# Templates


def _template(examples: Sequence[_Example], fields: tuple[FieldName, ...]) -> Template:
    texts = [example.asked for example in examples]
    prefix = _until_label(_shared_beginning(texts))
    rests = [text[len(prefix) :] for text in texts]
    suffix = _from_line(_shared_beginning([rest[::-1] for rest in rests])[::-1])
    middles = [rest[: len(rest) - len(suffix)] for rest in rests]
    separators = _separators(middles, len(fields) - 1)
    if not prefix or len(separators) != len(fields) - 1:
        raise InputError(
            f"expected inputs made from one template with the fields {', '.join(fields)}, found no text around them "
            f"that all {len(texts)} rows share; check {examples[0].place.rpartition(',')[0]}"
        )
    literals = [prefix, *separators, suffix]
    parts: list[TextPart | FieldPart] = []
    for literal, field in zip(literals, (*fields, None), strict=True):
        parts += [TextPart(text=literal)] if literal else []
        parts += [FieldPart(field=field)] if field else []
    return Template(parts=tuple(parts))


def _shared_beginning(texts: Sequence[str]) -> str:
    """What all texts begin with: what the first and the last in the alphabet's order do."""
    first, last = min(texts), max(texts)
    differ = (index for index, (one, other) in enumerate(zip(first, last, strict=False)) if one != other)
    return first[: next(differ, min(len(first), len(last)))]


def _until_label(text: str) -> str:
    """The text up to its last end of a label: what stands after it is the beginning of data."""
    ends = [match.end() for match in _LABEL_END.finditer(text)]
    return text[: ends[-1]] if ends else ""


def _from_line(text: str) -> str:
    """The text from its first line break: what stands before it is the end of data."""
    start = text.find("\n")
    return text if start < 0 else text[start:]


def _separators(middles: Sequence[str], count: int) -> list[str]:
    """The longest pieces of template that all the texts hold, in their order."""
    shortest = min(middles, key=len)
    found: list[tuple[int, str]] = []
    for match in re.finditer("\n", shortest):
        piece = _until_label(_longest_shared(shortest[match.start() :], middles))
        if piece.strip():
            found.append((match.start(), piece))
    chosen: list[tuple[int, str]] = []
    for start, piece in sorted(found, key=lambda item: (-len(item[1]), item[0])):
        apart = all(start >= other + len(text) or start + len(piece) <= other for other, text in chosen)
        if apart and len(chosen) < count:
            chosen.append((start, piece))
    return [piece for _, piece in sorted(chosen)]


def _longest_shared(text: str, others: Sequence[str]) -> str:
    """The longest beginning of a text that occurs in all the others (found by halving: shorter ones occur too)."""
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if all(text[:middle] in other for other in others) else (low, middle - 1)
    return text[:low]


# What the targets say


def _scale(examples: Sequence[_Example]) -> Scale:
    """1 to 10, in halves when the targets hold any."""
    halves = False
    for example in examples:
        parsed = parse_rating(example.answer, scale=_HALVES)
        if isinstance(parsed, Unparsed) and parsed.reason == "off_scale":
            raise InputError(f"{example.place}: {parsed.detail}")
        halves |= isinstance(parsed, ParsedRating) and parsed.value % 1 != 0
    return _HALVES if halves else Scale()


def _rating_start(examples: Sequence[_Example]) -> str:
    """What most targets write before the rating, on its line."""
    parsed = ((example.answer, parse_rating(example.answer, scale=_HALVES)) for example in examples)
    heads = [_line_head(answer, rating.start) for answer, rating in parsed if isinstance(rating, ParsedRating)]
    return _most(heads) or "Rating: [["


def _verdict_start(examples: Sequence[_Example]) -> str:
    """What most targets write before the decision: on its line, or else from "final decision" on."""
    parsed = ((example.answer, parse_verdict(example.answer, labels=VerdictLabels())) for example in examples)
    heads = [_line_head(answer, verdict.start) for answer, verdict in parsed if isinstance(verdict, ParsedVerdict)]
    tails = [head[match.start() :] for head in heads if (match := _MARKER.search(head))]
    return (_most(heads) or _most(tails) or "Final decision:").rstrip()


def _line_head(text: str, end: int) -> str:
    return text[text.rfind("\n", 0, end) + 1 : end]


def _most(heads: Iterable[str]) -> str | None:
    """The head that more than half of the targets share."""
    counts = Counter(heads)
    if not counts:
        return None
    head, count = counts.most_common(1)[0]
    return head if 2 * count > counts.total() else None


# Proof


def _verify(protocol: JudgeProtocol, single: Sequence[_Example], pairwise: Sequence[_Example]) -> None:
    for example in single:
        values = _split(protocol.single.critique, example)
        again = render_single(protocol, query=values["query"], response=values["response"], mode="critique")
        _same(example, again)
    for example in pairwise:
        values = _split(protocol.pairwise.critique, example) if protocol.pairwise else {}
        again = render_pairwise(
            protocol,
            query=values["query"],
            response_1=values["response_1"],
            response_2=values["response_2"],
            mode="critique",
        )
        _same(example, again)


def _split(template: Template, example: _Example) -> dict[FieldName, str]:
    values = split(template, example.asked)
    if values is None:
        raise InputError(
            f"{example.place}: expected an input made from the template of the other rows, got another one"
        )
    return values


def _same(example: _Example, again: str) -> None:
    if again != example.asked:
        raise InputError(f"{example.place}: expected the learned template to give the input again, got another text")
