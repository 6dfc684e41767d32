"""What of a conversation the judge sees."""

from __future__ import annotations

from rewards.protocol.view import query_text
from rewards.types import Message, Prompt

TALK = Prompt(
    id="p",
    messages=(
        Message(role="system", content="Be brief."),
        Message(role="user", content="Hello"),
        Message(role="assistant", content="Hi"),
        Message(role="user", content="Who are you?"),
    ),
)


def test_the_first_turn_is_the_first_user_message_alone():
    assert query_text(TALK, "first_turn") == "Hello"


def test_the_conversation_is_everything_with_roles():
    assert (
        query_text(TALK, "conversation") == "System: Be brief.\n\nUser: Hello\n\nAssistant: Hi\n\nUser: Who are you?"
    )


def test_a_single_message_is_its_own_text_in_both_views():
    prompt = Prompt(id="p", messages=(Message(role="user", content="User: x"),))
    assert query_text(prompt, "first_turn") == query_text(prompt, "conversation") == "User: x"


def test_a_system_message_before_a_single_turn_is_part_of_the_conversation():
    prompt = Prompt(id="p", messages=TALK.messages[:2])
    assert query_text(prompt, "conversation") == "System: Be brief.\n\nUser: Hello"
    assert query_text(prompt, "first_turn") == "Hello"
