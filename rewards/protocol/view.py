"""What of a conversation a judge sees as the query.

A setting of the protocol, since a judge is trained on one view.
"""

from __future__ import annotations

from typing import Literal

from rewards.types import Message, Prompt

View = Literal["first_turn", "conversation"]

_NAMES = {"system": "System", "user": "User", "assistant": "Assistant"}


def query_text(prompt: Prompt, view: View) -> str:
    """The query as text.

    `first_turn` is the first user message alone, as AUTO-J was trained. `conversation` is every message with
    the name of its role before it, the system message included; a single user message needs no name and is
    its own text in both views.
    """
    if view == "first_turn" or len(prompt.messages) == 1:
        return next(message.content for message in prompt.messages if message.role == "user")
    return "\n\n".join(_turn(message) for message in prompt.messages)


def _turn(message: Message) -> str:
    return f"{_NAMES[message.role]}: {message.content}"
