"""What one cell of a data set may hold: text, a conversation, a completion, a label, a number, an id.

Nothing is repaired or guessed: a value of another type is a `BadValue` with a reason that is counted. Only what is
the same thing in another dress is accepted: roles by ShareGPT's names, content in parts, a conversation as JSON text
in a CSV cell.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import JsonValue

from rewards.types import Message, Winner


class BadValue(Exception):
    """A value that cannot be used, with the reason under which it is counted; no caller of the readers sees it."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


_ROLES: dict[str, Literal["system", "user", "assistant"]] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
}


def text_value(value: Any, name: str) -> str:
    """Text as it stands; reasons: null, not_text, lone_surrogate."""
    if value is None:
        raise BadValue("null", f"expected text in {name!r}, got null")
    if not isinstance(value, str):
        raise BadValue("not_text", f"expected text in {name!r}, got {type(value).__name__}")
    if not value.isascii():
        try:
            value.encode("utf-8")
        except UnicodeEncodeError as error:
            place = f"character {error.start} of {name!r}"
            raise BadValue("lone_surrogate", f"expected valid Unicode, got a lone surrogate at {place}") from error
    return value


def conversation(value: Any, name: str) -> tuple[Message, ...]:
    """Chat messages: plain text is one user turn, a single message is a list of one."""
    if isinstance(value, Mapping):
        value = [value]
    if not isinstance(value, list | tuple):
        return (Message(role="user", content=text_value(value, name)),)
    return tuple(_message(item, name) for item in value)


def conversation_cell(value: Any, name: str) -> tuple[Message, ...]:
    """The same for a column of conversations, where text may be the JSON of a list."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise BadValue("bad_json", f"expected JSON messages in {name!r}, got {error}") from error
    return conversation(value, name)


def _message(item: Any, name: str) -> Message:
    if not isinstance(item, Mapping):
        raise BadValue(
            "not_a_message", f"expected messages with role and content in {name!r}, got {type(item).__name__}"
        )
    role = item.get("role", item.get("from"))
    if not isinstance(role, str) or role not in _ROLES:
        known = "system, user or assistant"
        raise BadValue("unknown_role", f"expected the role {known} in {name!r}, got {role!r}")
    content = item.get("content", item.get("value"))
    if isinstance(content, list | tuple):
        content = "".join(_part(part, name) for part in content)
    return Message(role=_ROLES[role], content=text_value(content, name))


def _part(part: Any, name: str) -> str:
    if isinstance(part, str):
        return part
    if isinstance(part, Mapping) and part.get("type") == "text":
        return text_value(part.get("text"), name)
    raise BadValue("not_text", f"expected only text parts in {name!r}, got something else (an image?)")


def completion(value: Any, name: str, prompt: tuple[Message, ...]) -> str:
    """A response: text, or messages that end in the assistant's, after nothing or after the prompt itself."""
    if not isinstance(value, list | tuple | Mapping):
        return text_value(value, name)
    messages = conversation(value, name)
    if not messages or messages[-1].role != "assistant":
        raise BadValue("no_response", f"expected an assistant message at the end of {name!r}, got none")
    if messages[:-1] and messages[:-1] != prompt:
        raise BadValue(
            "prompts_differ", f"expected one response in {name!r}, got a conversation that is not the prompt's"
        )
    return messages[-1].content


def label_value(value: Any, name: str, meaning: Mapping[str, Winner]) -> Winner:
    """What a label says; reasons: null, unknown_label."""
    if value is None:
        raise BadValue("null", f"expected a label in {name!r}, got null")
    whole = isinstance(value, float) and value.is_integer()
    key = str(int(value) if whole else value).strip()
    if key in meaning:
        return meaning[key]
    if key.casefold() in meaning:
        return meaning[key.casefold()]
    raise BadValue(
        "unknown_label",
        f"expected one of {', '.join(meaning)} in {name!r}, got {key[:80]!r}; "
        "say what the values mean with columns.label_values",
    )


def number_value(value: Any, name: str) -> float | None:
    """A finite number or nothing; reason: not_a_number."""
    if value is None or value == "":
        return None
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise BadValue("not_a_number", f"expected a finite number in {name!r}, got {str(value)[:80]!r}")
    return number


def id_value(value: Any, name: str) -> str:
    """An id as text; reason: bad_id."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, str) and 0 < len(value) <= 1024:
        return text_value(value, name)
    raise BadValue("bad_id", f"expected a whole number or 1 to 1,024 characters in {name!r}, got {str(value)[:80]!r}")


def name_value(value: Any, name: str) -> str | None:
    """The name of a system or scenario, or nothing."""
    if value is None or value == "":
        return None
    return text_value(value if isinstance(value, str) else str(value), name)


def json_value(value: Any, name: str) -> JsonValue:
    """Any other value as JSON: dates, decimals and bytes as text, NaN and infinity as null."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {text_value(str(key), name): json_value(item, name) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [json_value(item, name) for item in value]
    return text_value(value if isinstance(value, str) else str(value), name)
