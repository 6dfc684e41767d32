"""The parts of a record out of one row, once it is known which column means what.

Every function raises `BadValue` with the reason under which the row is counted. Ids that the data does not give are
a hash of the content, so that they do not depend on a row's place.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator

from pydantic import JsonValue

from rewards.columns import CHAT_COLUMNS, Columns
from rewards.rows import Row
from rewards.types import Candidate, Message, Prompt, Winner
from rewards.values import (
    BadValue,
    completion,
    conversation,
    conversation_cell,
    id_value,
    json_value,
    label_value,
    name_value,
    text_value,
)


def read_prompt(row: Row, use: Columns) -> Prompt:
    """The prompt of a row; a conversation that ends in an answer is taken without it."""
    messages = _messages(row, use)
    while messages and messages[-1].role == "assistant":
        messages = messages[:-1]
    name = use.prompt or use.response_1
    if not messages or not messages[-1].content.strip():
        raise BadValue("empty_prompt", f"expected a prompt in {name!r}, got an empty one")
    if messages[-1].role != "user":
        raise BadValue("no_user_turn", f"expected {name!r} to end with a user's turn, got {messages[-1].role!r}")
    identity = id_value(row.get(use.id), use.id) if use.id else f"prompt-{digest(*turns(messages))}"
    return Prompt(id=identity, messages=messages, scenario=read_name(row, use.scenario))


def _messages(row: Row, use: Columns) -> tuple[Message, ...]:
    if use.prompt is None:
        return _shared_turns(row, use)
    if use.prompt not in row:
        raise BadValue("missing_column", f"expected a column {use.prompt!r}, got columns {', '.join(map(repr, row))}")
    read = conversation_cell if use.prompt in CHAT_COLUMNS else conversation
    messages = read(row[use.prompt], use.prompt)
    addition = row.get(use.addition) if use.addition else None
    if use.addition and addition and messages:
        text = f"{messages[-1].content}\n\n{text_value(addition, use.addition)}"
        messages = (*messages[:-1], Message(role="user", content=text))
    system = row.get(use.system) if use.system else None
    if use.system and system:
        messages = (Message(role="system", content=text_value(system, use.system)), *messages)
    return messages


def _shared_turns(row: Row, use: Columns) -> tuple[Message, ...]:
    """The prompt of a pair of whole conversations: all but the last message, which is the same in both."""
    sides = [row.get(name) for name in (use.response_1, use.response_2)]
    if not all(isinstance(side, list | tuple) for side in sides):
        wanted = f"{use.response_1!r} and {use.response_2!r}"
        raise BadValue("no_prompt", f"expected a prompt column, or whole conversations in {wanted}, got neither")
    first, second = (
        conversation(side, name) for side, name in zip(sides, (use.response_1, use.response_2), strict=True)
    )
    if first[:-1] != second[:-1]:
        raise BadValue("prompts_differ", "expected both conversations to be the same up to the last message")
    return first[:-1]


def read_response(row: Row, use: Columns, prompt: Prompt) -> str:
    """The one response of a row."""
    if use.response is not None:
        if use.response not in row:
            raise BadValue("missing_column", f"expected a column {use.response!r}, got none")
        return completion(row[use.response], use.response, prompt.messages)
    last = _messages(row, use)[-1]
    if last.role != "assistant":
        raise BadValue("no_response", f"expected {use.prompt!r} to end with an assistant's turn, got {last.role!r}")
    return last.content


def filled(text: str, name: str | None, *, keep_empty: bool) -> str:
    """The text, unless it is blank and blanks are not kept."""
    if not keep_empty and not text.strip():
        raise BadValue("empty_response", f"expected a response in {name!r}, got an empty one")
    return text


def read_label(row: Row, use: Columns, texts: list[str]) -> Winner:
    """Which response is better, in the order of the columns."""
    if use.chosen_first:
        if texts[0] == texts[1]:
            raise BadValue("identical_responses", "expected chosen and rejected to differ, got the same text twice")
        return "first"
    if use.label is None or use.label not in row:
        raise BadValue("missing_column", f"expected a column {use.label!r}, got none")
    return label_value(row[use.label], use.label, use.label_values or {})


def read_candidate(prompt: Prompt, text: str, source: str | None) -> Candidate:
    """A candidate whose id is a hash of prompt, source and text."""
    identity = f"response-{digest(prompt.id, source or '', text)}"
    return Candidate(id=identity, prompt_id=prompt.id, text=text, source=source)


def read_name(row: Row, column: str | None) -> str | None:
    """A name (of a system, a scenario) where the file has a column for it."""
    return name_value(row.get(column), column) if column else None


def other_columns(row: Row, use: Columns) -> dict[str, JsonValue]:
    """The columns that mean nothing to autoj, as JSON."""
    return {
        text_value(str(name), "a column's name"): json_value(value, str(name))
        for name, value in row.items()
        if name not in use.used
    }


def turns(messages: tuple[Message, ...]) -> Iterator[str]:
    """Roles and contents in order, for `digest`."""
    return (part for message in messages for part in (message.role, message.content))


def digest(*parts: str) -> str:
    """80 bits of SHA-256 over the parts, kept apart by their JSON form."""
    return hashlib.sha256(json.dumps(parts).encode("ascii")).hexdigest()[:20]
