"""A long response is cut only where the protocol says so, and the cut says what is missing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from rewards.protocol.builtin import builtin_protocol
from rewards.protocol.render import render_pairwise, render_single
from rewards.protocol.spec import Clip, JudgeProtocol

CLIP = Clip(head=20, tail=10)


def clipped(**asking: Clip) -> JudgeProtocol:
    protocol = builtin_protocol()
    assert protocol.pairwise is not None
    return protocol.model_copy(
        update={
            name: getattr(protocol, name).model_copy(update={"clip": clip}) for name, clip in asking.items() if clip
        }
    )


def test_the_ends_stay_and_the_line_tells_how_much_is_missing():
    text = "a" * 20 + "b" * 970 + "c" * 10
    assert CLIP.cut(text) == "a" * 20 + "\n[… 970 of 1000 characters left out …]\n" + "c" * 10


@given(st.text(max_size=300), st.integers(1, 60), st.integers(0, 60))
def test_never_longer_and_uncut_where_that_would_not_shorten(text: str, head: int, tail: int):
    shown = Clip(head=head, tail=tail).cut(text)
    assert len(shown) <= len(text)
    assert shown == text or (shown.startswith(text[:head]) and shown.endswith(text[len(text) - tail :]))
    if len(text) <= head + tail:
        assert shown == text


def test_responses_are_cut_and_the_query_is_not():
    long = "x" * 500
    single = render_single(clipped(single=CLIP), query=long, response=long, mode="direct")
    assert single.count("x" * 500) == 1
    assert "[… 470 of 500 characters left out …]" in single
    pair = render_pairwise(clipped(pairwise=CLIP), query="q", response_1=long, response_2="y" * 400, mode="direct")
    assert "470 of 500" in pair
    assert "370 of 400" in pair
    # Each kind of question has its own.
    assert render_single(clipped(pairwise=CLIP), query="q", response=long, mode="direct").count(long) == 1


def test_a_fence_in_what_is_left_out_closes_nothing():
    hidden = "start of it " * 3 + "~" * 9 + " end of it" * 9
    text = render_single(clipped(single=CLIP), query="q", response=hidden, mode="direct")
    fences = [line for line in text.splitlines() if line.startswith("~")]
    assert len(fences) == 3
    assert all(line.split()[1] in ("query", "response", "end") for line in fences)


def test_the_digest_tells_clipping_and_stays_what_it_was_without():
    plain = builtin_protocol()
    assert clipped(single=CLIP).digest != plain.digest
    assert clipped(single=CLIP).digest != clipped(single=Clip(head=20, tail=11)).digest
    assert JudgeProtocol.model_validate_json(clipped(single=CLIP).model_dump_json()) == clipped(single=CLIP)
    old = plain.model_dump(mode="json")
    del old["single"]["clip"], old["pairwise"]["clip"]
    assert JudgeProtocol.model_validate(old).digest == plain.digest


@pytest.mark.parametrize("values", [{"head": 0, "tail": 1}, {"head": 1, "tail": -1}])
def test_a_clip_that_shows_nothing_is_refused(values: dict[str, int]):
    with pytest.raises(ValidationError):
        Clip(**values)
