"""What is known before a judge is asked: the tokens of a question, and the answers that a cache holds.

Tokens are the judge's own tokenizer's, or a server's count of a few questions, scaled; a cache is read from a copy.
"""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import copy

from rewards.errors import InputError
from rewards.judges.base import Question
from rewards.judges.config import JudgeSettings
from rewards.judging_cost import Probe
from rewards.protocol.spec import JudgeProtocol


def token_counter(
    settings: JudgeSettings, protocol: JudgeProtocol, *, exact: bool, found: Probe | None, notes: list[str]
) -> Callable[[Question], int] | None:
    """How many tokens a question has, as far as it can be told."""
    if settings.backend == "scripted":
        notes.append("the scripted judge reads no tokens")
        return None
    if settings.backend != "endpoint":
        from rewards.judges.chat_tokens import ChatEncoder
        from rewards.judges.local_model import load_tokenizer_alone

        encoder = ChatEncoder(load_tokenizer_alone(settings.model, settings.adapter), protocol.chat)
        notes.append("prompt tokens: counted with the judge's own tokenizer and protocol")

        def tokens(question: Question) -> int:
            asking = protocol.single if len(question.responses) == 1 or not protocol.pairwise else protocol.pairwise
            return len(encoder.ids(question.content, asking.answer_start if exact else ""))

        return tokens
    if found is None or found.prompt_tokens is None or not found.characters:
        notes.append("prompt tokens are not known: only the server has the tokenizer; --probe N lets it count a few")
        return None
    share = found.prompt_tokens / found.characters
    notes.append(f"prompt tokens: as the server counted {found.questions} questions, scaled by characters")
    return lambda question: round(share * (len(question.query) + sum(map(len, question.responses))))


@contextmanager
def kept_keys(cache: Path | None) -> Iterator[Callable[[str], bool] | None]:
    """Whether the cache holds a key, read from a copy where it is in use: reading must not write beside it."""
    if cache is None or not cache.is_file():
        yield None
        return
    with tempfile.TemporaryDirectory() as folder:
        for file in (cache, cache.with_name(cache.name + "-wal")):
            if file.is_file():
                copy(file, Path(folder) / file.name)
        connection = sqlite3.connect(Path(folder) / cache.name)
        try:
            keys = {key for (key,) in connection.execute("SELECT key FROM reading")}
        except sqlite3.Error as error:
            raise InputError(f"expected a judgment cache at {cache}, got a file that is not one: {error}") from error
        finally:
            connection.close()
    yield keys.__contains__
