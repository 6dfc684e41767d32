"""From a question to token ids: the chat around the judge's prompt, exactly as in training.

The whole text is tokenised at once, so that tokens are those which a trainer makes of the same text. Only where the
data holds the text of a control token (a response with `<|im_end|>` in it) is that text split off and encoded as plain
characters: data cannot close its own turn. Nothing is ever cut here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from jinja2.exceptions import TemplateError

from rewards.errors import InputError
from rewards.prefixes import common_length
from rewards.protocol.spec import ChatFormat, ChatText
from rewards.types import Message

CHAT_TEMPLATE = {"sanitize_control_tokens": True}
"""Of every rendering of a chat by its template: the text of a control token does not end its turn."""


class ChatEncoder:
    """Encodes questions with one tokenizer and one chat format."""

    def __init__(self, tokenizer: Any, chat: ChatFormat) -> None:
        self._tokenizer = tokenizer
        self._chat = chat
        self._control = _control_pattern(tokenizer)
        self._begin = _begin_ids(tokenizer) if isinstance(chat, ChatText) else []
        mark = _unused_mark("")
        self._after = self._wrap(mark).rpartition(mark)[2]

    def ids(self, content: str, answer_start: str, continuation: str = "") -> list[int]:
        """Token ids of the conversation up to and with `answer_start` (and `continuation`)."""
        mark = _unused_mark(content + answer_start)
        marked = self._wrap(self._mark(content, mark)) + self._mark(answer_start, mark) + continuation
        first, *others = marked.split(mark)
        return self._begin + self._encode(first) + self._pieces(others)

    def turn_marks(self) -> tuple[str, str]:
        """The text between a question and its answer, and the text before a question."""
        mark = _unused_mark("")
        return self._after, self._wrap(mark).partition(mark)[0]

    def answered(self, content: str, answer: str) -> tuple[list[int], list[int]]:
        """Token ids of a question, exactly as it is asked, and of an answer to it with the end of its turn.

        What a judge is trained on. The answer is tokenised together with the question, as `choices` does it, unless
        its first token would merge with the question's last one: a judge that writes never sees that token.
        Raises InputError when the tokenizer has no token for the end of a turn, since the judge would not stop.
        """
        end = self._end_of_turn()
        if not end:
            raise InputError("expected a tokenizer with an end-of-sequence token to train on, this one has none")
        asked = self.ids(content, "")
        whole = self.ids(content, answer)
        if whole[: len(asked)] == asked:
            return asked, [*whole[len(asked) :], *end]
        mark = _unused_mark(answer)
        first, *others = self._mark(answer, mark).split(mark)
        return asked, [*self._encode_inner(first), *self._pieces(others), *end]

    def _pieces(self, pieces: list[str]) -> list[int]:
        """Tokens of what follows the first piece: by turns the text of a control token, and other text."""
        ids: list[int] = []
        for number, piece in enumerate(pieces, start=1):
            ids += self._plain(piece) if number % 2 else self._encode_inner(piece)
        return ids

    def choices(self, content: str, answer_start: str, choices: tuple[str, ...], end: str) -> ChoiceTokens:
        """The tokens before and of every choice; one text may be tokenised otherwise with another continuation.

        Where a choice merges with the text before it, the context ends earlier: at the last token that all choices
        share. The context never takes in a token of the choices themselves.
        """
        context = self.ids(content, answer_start)
        tail = self._after + answer_start
        base = self._encode_inner(tail)
        if base and context[-len(base) :] == base and not (self._control and self._control.search(answer_start)):
            variants = [self._encode_inner(tail + choice + end) for choice in choices]
            before = context[: -len(base)]
        else:
            variants = [self.ids(content, answer_start, choice + end) for choice in choices]
            base, before = context, []
        shared = common_length([base, *variants])
        closing = () if end else self._end_of_turn()
        return ChoiceTokens(
            context=[*before, *base[:shared]],
            sequences=tuple((*variant[shared:], *closing) for variant in variants),
        )

    def _end_of_turn(self) -> tuple[int, ...]:
        """Without a closing text, the end of the turn tells "1" from the beginning of "10"."""
        token = self._tokenizer.eos_token_id
        return () if token is None else (int(token),)

    def _wrap(self, content: str) -> str:
        if isinstance(self._chat, ChatText):
            return self._chat.before + content + self._chat.after
        messages = [Message(role="user", content=content)]
        if self._chat.system is not None:
            messages.insert(0, Message(role="system", content=self._chat.system))
        return render_chat(self._tokenizer, messages)

    def _mark(self, text: str, mark: str) -> str:
        return text if self._control is None else self._control.sub(lambda found: mark + found[0] + mark, text)

    def _encode(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False)
        return ids

    def _encode_inner(self, text: str) -> list[int]:
        """Tokens of text in the middle of a conversation: some tokenizers put a space before the first word."""
        guard = self._encode("\n")
        ids = self._encode("\n" + text)
        return ids[len(guard) :] if ids[: len(guard)] == guard else self._encode(text)

    def _plain(self, text: str) -> list[int]:
        """Tokens of the text of a control token, none of which is the control token."""
        control = set(self._tokenizer.all_special_ids) | set(self._tokenizer.added_tokens_decoder)
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)
        if control.isdisjoint(ids):
            return ids
        return [token for character in text for token in self._encode(character)]


@dataclass(frozen=True, slots=True)
class ChoiceTokens:
    """A context and what each choice (with what closes it) continues it by."""

    context: list[int]
    sequences: tuple[tuple[int, ...], ...]


def render_chat(tokenizer: Any, messages: list[Message]) -> str:
    """The conversation as text in the tokenizer's own chat template, up to where the assistant's turn begins."""
    if tokenizer.chat_template is None:
        raise InputError(
            "expected a tokenizer with a chat template, this model has none; use an instruction-tuned model, or a "
            "judge protocol whose chat is of kind 'text'"
        )
    try:
        text: str = tokenizer.apply_chat_template(
            [message.model_dump() for message in messages], tokenize=False, add_generation_prompt=True
        )
    except TemplateError as error:
        roles = ", ".join(message.role for message in messages)
        raise InputError(f"the model's chat template refuses a conversation of {roles}: {error}") from error
    return text


def chat_ids(tokenizer: Any, messages: list[Message]) -> list[int]:
    """Token ids of a conversation up to where the assistant's turn begins; control tokens in messages are text."""
    render_chat(tokenizer, messages)  # its errors say what to do
    ids: list[int] = tokenizer.apply_chat_template(
        [message.model_dump() for message in messages],
        add_generation_prompt=True,
        return_dict=True,
        **CHAT_TEMPLATE,
    )["input_ids"]
    return ids


def _control_pattern(tokenizer: Any) -> re.Pattern[str] | None:
    """Matches the text of any special token, the longest first."""
    added = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
    texts = sorted(added | set(tokenizer.all_special_tokens), key=len, reverse=True)
    return re.compile("|".join(re.escape(text) for text in texts)) if texts else None


def _begin_ids(tokenizer: Any) -> list[int]:
    """What the tokenizer puts before a text by default: its BOS token, or nothing."""
    with_special = tokenizer.encode("a")
    begins = tokenizer.bos_token_id is not None and with_special[0] == tokenizer.bos_token_id
    return [int(tokenizer.bos_token_id)] if begins else []


def _unused_mark(text: str) -> str:
    """A private-use character that is not in the text."""
    return next(chr(code) for code in range(0xE000, 0xF900) if chr(code) not in text)
