"""The protocol of a judge as data: how it is asked, on which scale it answers, how it decodes.

A protocol travels with a checkpoint as `judge_protocol.json`, so that a judge is always asked in the words
it was trained on. Templates are stored as parts (literal text and named fields) and filled in one pass:
a response that holds braces or a placeholder is just text. Reading answers is in `parse.py`.
"""

from __future__ import annotations

import hashlib
import json
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationError, model_validator

from rewards.documents import write_json
from rewards.errors import InputError, MissingFileError
from rewards.types import Record, Winner

PROTOCOL_FILE = "judge_protocol.json"

FieldName = Literal["query", "response", "response_1", "response_2", "fence"]


class TextPart(Record):
    """Literal text of a template."""

    text: str


class FieldPart(Record):
    """A place in a template that is filled with a value."""

    field: FieldName


class Template(Record):
    """A prompt as parts, filled in a single pass."""

    parts: tuple[TextPart | FieldPart, ...] = Field(min_length=1)

    @property
    def fields(self) -> frozenset[FieldName]:
        """The fields that occur in it."""
        return frozenset(part.field for part in self.parts if isinstance(part, FieldPart))

    def fill(self, values: dict[FieldName, str]) -> str:
        """The text with every field replaced by its value; raises InputError for a field without one."""
        missing = sorted(self.fields - values.keys())
        if missing:
            raise InputError(f"expected a value for every field of the template, got none for {', '.join(missing)}")
        return "".join(part.text if isinstance(part, TextPart) else values[part.field] for part in self.parts)


class Scale(Record):
    """The ratings that a judge may give: low, low + step, ..., high."""

    low: Decimal = Decimal(1)
    high: Decimal = Decimal(10)
    step: Decimal = Decimal(1)

    @model_validator(mode="after")
    def _has_steps(self) -> Self:
        if self.step <= 0 or self.high <= self.low or (self.high - self.low) % self.step != 0:
            raise ValueError(
                f"expected low < high a whole number of steps apart, got {self.low} to {self.high} by {self.step}"
            )
        return self

    @property
    def strings(self) -> tuple[str, ...]:
        """Every rating as it is written, lowest first ("1", "1.5", ..., "10")."""
        count = int((self.high - self.low) / self.step) + 1
        values = (self.low + self.step * index for index in range(count))
        return tuple(format(value.normalize(), "f") for value in values)

    def contains(self, value: Decimal) -> bool:
        """Whether the value is one of the ratings."""
        return self.low <= value <= self.high and (value - self.low) % self.step == 0


class ChatText(Record):
    """A conversation written out literally around the judge's prompt, as `[INST] … [/INST]`."""

    kind: Literal["text"] = "text"
    before: str
    after: str


class ChatTokenizer(Record):
    """The chat template of the judge's own tokenizer, with the prompt as the only user turn."""

    kind: Literal["tokenizer"] = "tokenizer"
    system: str | None = None


ChatFormat = Annotated[ChatText | ChatTokenizer, Field(discriminator="kind")]


class Decoding(Record):
    """How the judge's answer is drawn. The default is greedy."""

    max_new_tokens: int = Field(default=1024, ge=1)
    temperature: float = Field(default=0.0, ge=0.0)
    """0 is greedy."""
    top_p: float = Field(default=1.0, gt=0.0, le=1.0)
    samples: int = Field(default=1, ge=1)
    """Draws for each question; more than 1 (self-consistency) needs a temperature above 0."""
    seed: int = 0

    @model_validator(mode="after")
    def _samples_differ(self) -> Self:
        if self.samples > 1 and self.temperature == 0:
            raise ValueError("expected temperature > 0 with more than one sample, since greedy samples are all equal")
        return self


class Clip(Record):
    """How much of a long response is shown: its beginning and its end, in characters, and how much is missing.

    For a small judge, whose reading is paid for by the token. What is left out is not judged.
    """

    head: int = Field(ge=1)
    """Characters kept of the beginning."""
    tail: int = Field(ge=0)
    """Characters kept of the end."""

    def cut(self, text: str) -> str:
        """The text, or its ends around a line that says how many characters of how many are left out.

        It is only cut where that leaves out more than the line is long.
        """
        left_out = len(text) - self.head - self.tail
        line = f"\n[… {left_out} of {len(text)} characters left out …]\n"
        if left_out <= len(line):
            return text
        return text[: self.head] + line + text[len(text) - self.tail :]


class Asking(Record):
    """How one kind of question (of one response, or of two) is put."""

    critique: Template
    """Asks for the critique and then the verdict."""
    direct: Template | None = None
    """Asks for the verdict at once; without it, `critique` is used with the answer begun for the judge."""
    answer_start: str
    """What stands before the verdict in an answer (`Rating: [[`): the point where its distribution is read."""
    answer_end: str = ""
    """What closes the verdict (`]]`)."""
    clip: Clip | None = None
    """How a long response is cut before it is shown; None shows all of it."""


class VerdictLabels(Record):
    """How the three verdicts of a comparison are written."""

    first: str = "Response 1"
    second: str = "Response 2"
    tie: str = "Tie"

    def label(self, winner: Winner) -> str:
        """How a verdict is written."""
        labels: dict[Winner, str] = {"first": self.first, "second": self.second, "tie": self.tie}
        return labels[winner]


class JudgeProtocol(Record):
    """Everything that must be the same in training, judging and reading."""

    version: Literal[1] = 1
    name: str
    single: Asking
    pairwise: Asking | None = None
    chat: ChatFormat = ChatTokenizer()
    scale: Scale = Scale()
    labels: VerdictLabels = VerdictLabels()
    view: Literal["first_turn", "conversation"] = "first_turn"
    """What of a conversation the judge sees as the query."""
    compare_by: Literal["question", "rating"] = "question"
    """question: two responses are compared by the pairwise question. rating: each is rated alone and the ratings
    decide, so that the order cannot matter; for a judge that rates better than it compares."""
    decoding: Decoding = Decoding()

    @model_validator(mode="after")
    def _fields_fit(self) -> Self:
        wanted: list[tuple[str, Asking | None, frozenset[FieldName]]] = [
            ("single", self.single, frozenset({"query", "response"})),
            ("pairwise", self.pairwise, frozenset({"query", "response_1", "response_2"})),
        ]
        for name, asking, fields in wanted:
            for template in (asking.critique, asking.direct) if asking else ():
                if template is not None and template.fields - {"fence"} != fields:
                    raise ValueError(
                        f"expected the {name} template to have the fields {', '.join(sorted(fields))}, "
                        f"got {', '.join(sorted(template.fields)) or 'none'}"
                    )
        return self

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON: any change of wording, scale, way of comparing or decoding changes it."""
        content = self.model_dump(mode="json")
        for asking in (content["single"], content["pairwise"]):
            if asking and asking["clip"] is None:
                del asking["clip"]  # a protocol from before there was clipping keeps its digest
        if content["compare_by"] == "question":
            del content["compare_by"]  # and one from before there was another way to compare
        canonical = json.dumps(content, sort_keys=True, ensure_ascii=True)
        return hashlib.sha256(canonical.encode("ascii")).hexdigest()

    def save(self, folder: Path) -> Path:
        """Write `judge_protocol.json` into a folder (a checkpoint) and return its path."""
        path = folder / PROTOCOL_FILE
        write_json(path, self)
        return path

    @classmethod
    def load(cls, path: Path) -> JudgeProtocol:
        """Read a protocol from its file, or from the folder that holds `judge_protocol.json`.

        Raises MissingFileError when there is none and InputError when it is not a protocol.
        """
        file = path / PROTOCOL_FILE if path.is_dir() else path
        if not file.is_file():
            raise MissingFileError(
                f"expected a judge protocol at {file}, found none; `autoj import-protocol` makes one"
            )
        try:
            return cls.model_validate_json(file.read_bytes())
        except ValidationError as error:
            raise InputError(f"{file} is not a judge protocol: {error}") from error
