"""What a judge is trained on: one judgment of one response or of two, and the text it becomes.

Design decisions. An example holds the judgment's parts (critique, rating or label) and never a finished target: the
target is written by `rewards.protocol`, with the same code that reads a judge's answers, so training and parsing
cannot drift, and one data set trains a judge of any protocol. An example without a critique (a pair that people
labelled, a bare rating) asks for the verdict at once. One without a verdict is not judged yet: it waits for a
teacher, and has no training text.

The scenario's criteria guide a teacher and stay out of the judge's input (context distillation, arXiv 2310.05470,
section 3); they are put before the question only when a catalog is given. Nothing here wraps a chat, tokenizes or
masks: a prompt and a completion go to the trainer, and the loss is on the completion only.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, JsonValue, model_validator

from judge_training.scenarios.catalog import Catalog, Criterion
from rewards.errors import InputError
from rewards.jsonl import read_records, write_records
from rewards.protocol.render import Mode, render_pairwise, render_single
from rewards.protocol.spec import JudgeProtocol
from rewards.protocol.view import query_text
from rewards.protocol.write import write_rating, write_verdict
from rewards.types import Id, Prompt, Record, Text, Winner

ExampleKind = Literal["single", "pairwise"]


class JudgeExample(Record):
    """A judgment to learn from: of one response (with a rating) or of two (with a label)."""

    id: Id
    kind: ExampleKind
    prompt: Prompt
    responses: tuple[Text] | tuple[Text, Text]
    """In the order in which they are shown to the judge."""
    scenario: str | None = None
    source: str
    """The data set that it comes from."""
    rating: float | None = None
    """Of a single response, on the protocol's scale; None while it is not judged."""
    label: Winner | None = None
    """Of two responses, in their order: the verdict to learn; None while they are not judged."""
    critique: Text = ""
    """What the judge should write before its verdict, without the verdict's own line; "" where there is none."""
    human_label: Winner | None = None
    """What people said of two responses, in their order, where that is known."""
    columns: dict[str, JsonValue] = Field(default_factory=dict)
    """What else is known of it (who wrote the responses, ids in the source)."""

    @model_validator(mode="after")
    def _fits_its_kind(self) -> Self:
        single = self.kind == "single"
        if len(self.responses) != (1 if single else 2):
            raise ValueError(f"expected {1 if single else 2} responses of kind {self.kind}, got {len(self.responses)}")
        if single and (self.label is not None or self.human_label is not None):
            raise ValueError("expected a rating of a single response, got a label, which compares two")
        if not single and self.rating is not None:
            raise ValueError("expected a label of two responses, got a rating, which is of one")
        return self

    @property
    def judged(self) -> bool:
        """Whether it has a verdict to learn."""
        return self.rating is not None or self.label is not None


class TrainingText(Record):
    """A question to the judge (before any chat wrapping) and the answer it should give."""

    prompt: str
    completion: str


def training_text(
    example: JudgeExample, protocol: JudgeProtocol, *, mode: Mode = "critique", catalog: Catalog | None = None
) -> TrainingText:
    """The question and the answer that an example teaches, in the protocol's words.

    Without a critique the question is that of direct mode, whatever `mode` says: a judge must not learn to leave out
    a critique that it was asked for. With a catalog, the criteria of the example's scenario stand before the question
    (a judge trained so must be asked so; the protocol does not do that by itself).

    Raises InputError for an example that is not judged, a rating off the protocol's scale, a protocol that cannot
    compare, or, with a catalog, a scenario that is not in it.
    """
    asked: Mode = "direct" if mode == "direct" or not example.critique.strip() else "critique"
    critique = example.critique if asked == "critique" else ""
    question = question_text(example, protocol, asked, catalog=catalog)
    return TrainingText(prompt=question, completion=_answer(example, protocol, critique))


def question_text(
    example: JudgeExample, protocol: JudgeProtocol, mode: Mode, *, catalog: Catalog | None = None
) -> str:
    """The question that an example asks, in the protocol's words; with a catalog, after its scenario's criteria."""
    query = query_text(example.prompt, protocol.view)
    if len(example.responses) == 1:
        question = render_single(protocol, query=query, response=example.responses[0], mode=mode)
    else:
        first, second = example.responses
        question = render_pairwise(protocol, query=query, response_1=first, response_2=second, mode=mode)
    if catalog is None or example.scenario is None:
        return question
    return criteria_text(catalog.criteria_of(example.scenario)) + "\n\n" + question


def _answer(example: JudgeExample, protocol: JudgeProtocol, critique: str) -> str:
    if example.rating is not None:
        return write_rating(critique, example.rating, protocol)
    if example.label is not None:
        return write_verdict(critique, example.label, protocol)
    missing = "rating" if example.kind == "single" else "label"
    raise InputError(
        f"expected a {missing} to train on, got none in example {example.id!r}; have a teacher judge it first "
        "(autoj collect), or leave it out"
    )


def criteria_text(criteria: Sequence[Criterion]) -> str:
    """Criteria as a list to put before a question."""
    return "Points to consider:\n" + "\n".join(f"- {one.name}: {one.text}" for one in criteria)


def example_id(kind: ExampleKind, source: str, prompt: str, responses: Sequence[str]) -> str:
    """An id made from the content, so that it does not depend on a row's place: the source, a dash and 80 bits."""
    content = json.dumps([kind, prompt, *responses]).encode("ascii")
    return f"{source}-{hashlib.sha256(content).hexdigest()[:20]}"


def read_examples(path: Path) -> Iterator[JudgeExample]:
    """The examples of a file that autoj wrote; errors as for `rewards.jsonl.read_records`."""
    return read_records(path, JudgeExample)


def write_examples(path: Path, examples: Iterable[JudgeExample]) -> int:
    """Write a whole file of examples, one a line, and return their number."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_records(path, examples)
