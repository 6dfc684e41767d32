"""From the cells of one row of somebody's data set to an example.

Every function raises `BadValue` with the reason under which the row is counted; nothing is repaired. Ids are hashes
of the content, so that the order of a file's rows does not matter.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import JsonValue

from judge_training.examples import JudgeExample, example_id
from rewards.row_parts import digest
from rewards.rows import Row
from rewards.types import Message, Prompt, Verdict, Winner
from rewards.values import BadValue, conversation, text_value

BY_FIRST, BY_SECOND = "response_1_by", "response_2_by"
"""Columns of an example that say who wrote its responses."""


def cell(row: Row | Mapping[str, Any], name: str) -> Any:
    """The value of a column that must be there; reason: missing_column."""
    if name not in row:
        raise BadValue("missing_column", f"expected a column {name!r}, got columns {', '.join(map(repr, row))}")
    return row[name]


def text_cell(row: Row | Mapping[str, Any], name: str) -> str:
    """The text of a column that must be there."""
    return text_value(cell(row, name), name)


def struct_cell(row: Row | Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """The fields of a nested column; reason: not_an_object."""
    value = cell(row, name)
    if not isinstance(value, Mapping):
        raise BadValue("not_an_object", f"expected fields in {name!r}, got {type(value).__name__}")
    return value


def first_turn(row: Row, name: str) -> tuple[str, str]:
    """The first question and its answer in a column with a conversation; reason: no_first_turn."""
    messages = [message for message in conversation(cell(row, name), name) if message.role != "system"]
    if [message.role for message in messages[:2]] != ["user", "assistant"]:
        raise BadValue("no_first_turn", f"expected {name!r} to begin with a user's turn and an answer")
    return messages[0].content, messages[1].content


def user_prompt(text: str, scenario: str | None = None) -> Prompt:
    """A prompt of one user turn; reason: empty_prompt."""
    if not text.strip():
        raise BadValue("empty_prompt", "expected a prompt, got an empty one")
    message = Message(role="user", content=text)
    return Prompt(id=f"prompt-{digest('user', text)}", messages=(message,), scenario=scenario)


def pair_example(
    source: str,
    query: str,
    responses: tuple[str, str],
    label: Winner,
    *,
    human: bool = True,
    by: tuple[str | None, str | None] = (None, None),
    scenario: str | None = None,
    columns: dict[str, JsonValue] | None = None,
    as_is: bool = False,
) -> JudgeExample:
    """Two responses with a label, which is people's where `human`; reasons: empty_*, identical_responses.

    `as_is` keeps empty and identical responses, where all rows of a set must stay.
    """
    for response in () if as_is else responses:
        _filled(response)
    if responses[0] == responses[1] and not as_is:
        raise BadValue("identical_responses", "expected two different responses, got the same text twice")
    authors = {name: author for name, author in zip((BY_FIRST, BY_SECOND), by, strict=True) if author is not None}
    return JudgeExample(
        id=example_id("pairwise", source, query, responses),
        kind="pairwise",
        prompt=user_prompt(query, scenario),
        responses=responses,
        scenario=scenario,
        source=source,
        label=label,
        human_label=label if human else None,
        columns={**authors, **(columns or {})},
    )


def chosen_first(source: str, query: str, chosen: str, rejected: str, **more: Any) -> JudgeExample:
    """A pair whose better response stands first by the file's format: shown in an order drawn from its content.

    Else every label of such a source would be the same, and a judge would learn to name the first response.
    """
    if int(digest(source, query, chosen, rejected), 16) % 2:
        return pair_example(source, query, (rejected, chosen), Verdict(winner="first").swap().winner, **more)
    return pair_example(source, query, (chosen, rejected), "first", **more)


def single_example(
    source: str,
    query: str,
    response: str,
    *,
    rating: float | None = None,
    critique: str = "",
    scenario: str | None = None,
    columns: dict[str, JsonValue] | None = None,
    as_is: bool = False,
) -> JudgeExample:
    """One response, with a rating where it is judged; reasons: empty_prompt, empty_response (not with `as_is`)."""
    if not as_is:
        _filled(response)
    return JudgeExample(
        id=example_id("single", source, query, [response]),
        kind="single",
        prompt=user_prompt(query, scenario),
        responses=(response,),
        scenario=scenario,
        source=source,
        rating=rating,
        critique=critique,
        columns=columns or {},
    )


def _filled(response: str) -> None:
    if not response.strip():
        raise BadValue("empty_response", "expected a response, got an empty one")
