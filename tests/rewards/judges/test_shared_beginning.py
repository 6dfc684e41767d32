"""What the contexts of a batch begin with is computed once, and nothing that is written changes by it."""

from __future__ import annotations

from pathlib import Path

import pytest

from rewards.judges.base import Question
from rewards.judges.chat_tokens import ChatEncoder
from rewards.judges.config import DEFAULT_MODEL
from rewards.judges.generation import generate
from rewards.judges.local_model import LocalModel, load_model
from rewards.judges.row_cache import shared_length
from rewards.judges.transformers_backend import TransformersBackend
from rewards.protocol.builtin import builtin_protocol
from rewards.protocol.render import render_single
from rewards.protocol.spec import Decoding
from rewards.types import Unparsed

QUERY = "How do I keep bread fresh for a week, and what should I never do with it? " * 3
RESPONSES = [
    "Keep it in a closed box at room temperature.",
    "Freeze it in slices; put it into a bag first, press the air out, and toast what you need from frozen.",
    "bread",
    "Never put it into the fridge: it goes stale there within a day. A linen bag in a wooden box keeps the crust.",
    "I do not know. You could ask a baker, who will know better than I do what to do with your bread.",
]


@pytest.fixture(scope="module")
def tiny(tiny_model: Path) -> LocalModel:
    return load_model(str(tiny_model), device="cpu")


def questions() -> list[Question]:
    protocol = builtin_protocol()
    return [
        Question(content=render_single(protocol, query=QUERY, response=text, mode="critique")) for text in RESPONSES
    ]


def contexts(local: LocalModel) -> list[list[int]]:
    encoder = ChatEncoder(local.tokenizer, builtin_protocol().chat)
    return [encoder.ids(question.content, "") for question in questions()]


def computed_tokens(local: LocalModel, asked: list[list[int]], **settings: object) -> int:
    """Tokens that the model reads while it writes one token for each context."""
    seen = []
    hook = local.model.register_forward_pre_hook(
        lambda _, args, given: seen.append(given["input_ids"].numel()), with_kwargs=True
    )
    try:
        generate(local, asked, max_new_tokens=1, **settings)
    finally:
        hook.remove()
    return sum(seen)


def test_the_beginning_is_read_once(tiny: LocalModel) -> None:
    asked = contexts(tiny)
    shared = shared_length(asked)
    longest = max(len(context) for context in asked)
    assert shared > 50
    least = shared + sum(len(context) - shared for context in asked)
    assert least <= computed_tokens(tiny, asked) <= shared + len(asked) * (longest - shared)
    assert computed_tokens(tiny, asked[:1]) == len(asked[0])


@pytest.mark.parametrize("settings", [{}, {"temperature": 0.9, "top_p": 0.95}])
def test_it_writes_the_same_as_one_by_one(tiny: LocalModel, settings: dict[str, float]) -> None:
    asked = contexts(tiny)
    seeds = list(range(len(asked)))
    together = generate(tiny, asked, max_new_tokens=16, seeds=seeds, **settings)
    alone = [
        generate(tiny, [context], max_new_tokens=16, seeds=[seed], **settings)[0]
        for context, seed in zip(asked, seeds, strict=True)
    ]
    assert [one.ids for one in together] == [one.ids for one in alone]


def test_equal_contexts_keep_a_token_each(tiny: LocalModel) -> None:
    (context, *_) = contexts(tiny)
    one, two = generate(tiny, [context, list(context)], max_new_tokens=8)
    assert one.ids == two.ids == generate(tiny, [context], max_new_tokens=8)[0].ids


@pytest.mark.real_model
def test_the_real_model_writes_the_same_critiques() -> None:
    """Token for token, greedy, in float32: no tie in floating point occurs in these."""
    local = load_model(DEFAULT_MODEL, device="cpu")
    chat = builtin_protocol().chat
    decoding = Decoding(max_new_tokens=40)
    together = dict(TransformersBackend(local, chat, batch_size=8).generate(questions(), decoding))
    backend = TransformersBackend(local, chat, batch_size=1)
    for position, question in enumerate(questions()):
        ((_, alone),) = backend.generate([question], decoding)
        assert not isinstance(alone, Unparsed)
        assert alone == together[position]
