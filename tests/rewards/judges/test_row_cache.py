"""Rows that begin and end at their own times have the logits of the same tokens alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from rewards.judges.generation import Generated, generate, write
from rewards.judges.local_model import LocalModel, load_model
from rewards.judges.row_cache import RowCache, by_length, computed_tokens


@pytest.fixture(scope="module")
def tiny(tiny_model: Path) -> LocalModel:
    return load_model(str(tiny_model), device="cpu")


@pytest.fixture(scope="module")
def eager(tiny_model: Path) -> LocalModel:
    return load_model(str(tiny_model), device="cpu", attention="eager")


def drawn(*lengths: int, beginning: int = 0) -> list[list[int]]:
    generator = torch.Generator().manual_seed(sum(lengths))
    start = torch.randint(3, 200, (beginning,), generator=generator).tolist()
    return [start + torch.randint(3, 200, (length,), generator=generator).tolist() for length in lengths]


def alone(local: LocalModel, texts: list[list[int]]) -> torch.Tensor:
    return torch.stack([local.model(input_ids=torch.tensor([text])).logits[0, -1] for text in texts])


@pytest.mark.parametrize("which", ["tiny", "eager"])
def test_rows_come_and_go(which: str, request: pytest.FixtureRequest) -> None:
    local: LocalModel = request.getfixturevalue(which)
    cache = RowCache(local, 4)
    texts: list[list[int]] = []

    def join(new: list[list[int]]) -> None:
        texts.extend(new)
        torch.testing.assert_close(cache.fill(new), alone(local, new), atol=1e-4, rtol=1e-4)

    def go_on(steps: int) -> None:
        for step in range(steps):
            tokens = [[5 + (step + row) % 150] for row in range(len(texts))]
            peeked = cache.forward(torch.tensor([[7, 8]] * len(texts)), keep=False)
            found = cache.forward(torch.tensor(tokens), keep=True)
            if step in (0, steps - 1):
                torch.testing.assert_close(
                    peeked, alone(local, [[*text, 7, 8] for text in texts]), atol=1e-4, rtol=1e-4
                )
            for text, token in zip(texts, tokens, strict=True):
                text.extend(token)
        torch.testing.assert_close(found, alone(local, texts), atol=1e-4, rtol=1e-4)

    def leave(row: int) -> None:
        cache.drop(row)
        texts[row] = texts[-1]
        texts.pop()

    with torch.inference_mode():
        join(drawn(40, 3, 11, beginning=20))
        go_on(70)  # more than the buffers had room for
        leave(0)  # the longest: its columns go
        go_on(2)
        join(drawn(300, 9))  # wider than what is there
        go_on(2)
        leave(3)
        leave(2)
        go_on(2)
        leave(0)
        leave(0)
        assert cache.rows == 0
        join(drawn(350, 2))
        go_on(2)
        with pytest.raises(ValueError, match="at most 4 rows"):
            cache.fill(drawn(3, 3, 3))


@pytest.mark.parametrize("settings", [{}, {"temperature": 1.2, "top_p": 0.9}])
def test_what_is_written_does_not_depend_on_who_is_there(tiny: LocalModel, settings: dict[str, float]) -> None:
    contexts = drawn(3, 70, 12, 30, 5, 200, 8, beginning=20)
    seeds = list(range(len(contexts)))
    expected: list[Generated] = [
        generate(tiny, [context], max_new_tokens=80, seeds=[seed], **settings)[0]
        for context, seed in zip(contexts, seeds, strict=True)
    ]
    for together in (2, 3, 5):
        found = dict(write(tiny, contexts, together=together, max_new_tokens=80, seeds=seeds, **settings))
        assert [found[index].ids for index in seeds] == [one.ids for one in expected]
    if settings:
        assert len({len(one.ids) for one in expected}) > 1, "all end at the limit: choose other seeds"


def test_rows_that_have_ended_are_not_computed(tiny: LocalModel) -> None:
    contexts, seeds = drawn(*[6] * 8), list(range(8))
    given: list[int] = []
    hook = tiny.model.register_forward_pre_hook(
        lambda _, args, more: given.append(more["input_ids"].numel()), with_kwargs=True
    )
    try:
        found = generate(tiny, contexts, max_new_tokens=80, temperature=1.5, seeds=seeds)
    finally:
        hook.remove()
    lengths = [len(one.ids) for one in found]
    assert min(lengths) < max(lengths), "all end together: choose other seeds"
    assert sum(given) == sum(map(len, contexts)) + sum(lengths) - len(lengths)  # the last token is not read


def test_padding_costs_no_more_than_a_forward() -> None:
    contexts = drawn(10, 400, 30, 420, 20)
    assert by_length(contexts) == [[0, 4, 2], [1, 3]]
    assert computed_tokens(contexts) == 3 * 30 + 2 * 420


@pytest.mark.parametrize("settings", [{}, {"temperature": 1.5}])
def test_other_caches_are_left_to_transformers(
    tiny: LocalModel, monkeypatch: pytest.MonkeyPatch, settings: dict[str, float]
) -> None:
    contexts, seeds = drawn(3, 60, 12, 5, 9), list(range(5))
    ours = generate(tiny, contexts, max_new_tokens=60, seeds=seeds, **settings)
    monkeypatch.setattr("rewards.judges.generation.has_plain_cache", lambda local: False)
    theirs = dict(write(tiny, contexts, together=2, max_new_tokens=60, seeds=seeds, **settings))
    for index, one in enumerate(ours):
        assert (theirs[index].ids, theirs[index].finish_reason) == (one.ids, one.finish_reason)
        assert theirs[index].logprob == (None if one.logprob is None else pytest.approx(one.logprob, abs=1e-3))
