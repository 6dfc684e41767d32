"""SteamSHP over a tiny T5: the letters' probabilities, both orders, limits."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from rewards.errors import InputError
from rewards.judges.base import CompareItem
from rewards.judges.config import JudgeSettings, RivalSettings
from rewards.judges.load import load_judge
from rewards.judges.local_model import LocalModel, load_model
from rewards.judges.rivals.batching import right_padded
from rewards.judges.rivals.steamshp import SteamSHPJudge
from rewards.judges.rivals.templates import shipped_template
from rewards.types import Judgment, Unparsed, Verdict
from tests.rewards.judges.rivals.tiny_rivals import PROMPT, build_tiny_t5, pair, rate_item

TEXTS = [("The answer is this.", "No."), ("a", "The response is good and better than that."), ("b c", "c b")]


@pytest.fixture(scope="module")
def folder(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_t5(tiny_model, tmp_path_factory.mktemp("t5"))


@pytest.fixture(scope="module")
def tiny(folder: Path) -> LocalModel:
    return load_model(str(folder), device="cpu", head="seq2seq")


def brute_force(tiny: LocalModel, item: CompareItem) -> tuple[float, float]:
    """P(A) and P(B) of one question alone, through the tokenizer's own call and the model's own generation."""
    text = shipped_template("steamshp").fill(
        {"query": PROMPT.messages[0].content, "response_1": item.first.text, "response_2": item.second.text}
    )
    encoded = tiny.tokenizer(text, return_tensors="pt")
    written = tiny.model.generate(
        **encoded,
        max_new_tokens=1,
        do_sample=False,
        output_scores=True,
        return_dict_in_generate=True,
        decoder_start_token_id=tiny.model.config.decoder_start_token_id,
    )
    shares = written.scores[0][0].softmax(-1)
    return tuple(float(shares[tiny.tokenizer.convert_tokens_to_ids(letter)]) for letter in "AB")  # type: ignore[return-value]


def test_the_probabilities_are_those_of_the_two_letters(tiny: LocalModel) -> None:
    items = [pair(*texts, name=f"{index}-") for index, texts in enumerate(TEXTS)]
    found = {one.first_id: one for one in SteamSHPJudge(tiny, shipped_template("steamshp")).compare(items)}
    for item in items:
        for judgment, asked in zip(found[item.first.id].judgments, (item, item.swap()), strict=True):
            first, second = brute_force(tiny, asked)
            assert judgment.mass == pytest.approx(first + second, rel=1e-4)
            assert isinstance(judgment.outcome, Verdict)
            probabilities = judgment.outcome.probabilities
            assert probabilities is not None
            assert probabilities.first == pytest.approx(first / (first + second), rel=1e-4)
            assert (probabilities.first + probabilities.second, probabilities.tie) == (pytest.approx(1.0), 0.0)
            assert judgment.outcome.winner == ("first" if first > second else "second")


def test_naming_the_pair_the_other_way_swaps_the_comparison(tiny: LocalModel) -> None:
    judge = SteamSHPJudge(tiny, shipped_template("steamshp"))
    for texts in TEXTS:
        [one] = judge.compare([pair(*texts)])
        [other] = judge.compare([pair(*texts).swap()])
        expected = one.swap().outcome
        assert other.outcome.kind == expected.kind
        if isinstance(expected, Verdict) and isinstance(other.outcome, Verdict):
            assert other.outcome.winner == expected.winner
        swapped = {j.candidate_ids: _read(j) for j in other.judgments}
        for judgment in one.judgments:  # the row of the batch that a question is in moves the last digits
            winner, shares = swapped[judgment.candidate_ids]
            assert _read(judgment) == (winner, pytest.approx(shares, rel=1e-4))


def _read(judgment: Judgment) -> tuple[str, tuple[float, float]]:
    assert isinstance(judgment.outcome, Verdict)
    probabilities = judgment.outcome.probabilities
    assert probabilities is not None
    return judgment.outcome.winner, (probabilities.first, probabilities.second)


def test_the_batch_does_not_matter(tiny: LocalModel) -> None:
    items = [pair(*texts, name=f"{index}-") for index, texts in enumerate(TEXTS)]
    for one, other in zip(*(_sorted(tiny, items, size) for size in (1, 8)), strict=True):
        assert other == pytest.approx(one, rel=1e-4)


def _sorted(tiny: LocalModel, items: list[CompareItem], size: int) -> list[float]:
    judge = SteamSHPJudge(tiny, shipped_template("steamshp"), batch_size=size)
    found = sorted(judge.compare(items), key=lambda one: one.id)
    return [one.probabilities.first for one in found if one.probabilities]


def test_too_long_is_said_and_not_cut(tiny: LocalModel) -> None:
    [long] = SteamSHPJudge(tiny, shipped_template("steamshp")).compare([pair("word " * 400, "b")])
    assert all(isinstance(judgment.outcome, Unparsed) for judgment in long.judgments)
    assert {judgment.outcome.reason for judgment in long.judgments} == {"prompt_too_long"}  # type: ignore[union-attr]


def test_control_tokens_in_a_response_are_text(tiny: LocalModel) -> None:
    judge = SteamSHPJudge(tiny, shipped_template("steamshp"))
    ids = judge._ids(pair("stop <|im_end|> here", "b"))
    assert ids.count(tiny.tokenizer.eos_token_id) == 1
    assert ids[-1] == tiny.tokenizer.eos_token_id


def test_from_settings(folder: Path, tiny_model: Path) -> None:
    settings = JudgeSettings(model=str(folder), rival=RivalSettings(kind="steamshp"))
    judge = load_judge(settings)
    assert (judge.card.backend, judge.card.protocol) == ("encoder-decoder", "steamshp")
    with pytest.raises(InputError, match="only compares"):
        judge.rate([rate_item("a", "c")])
    with pytest.raises(InputError, match="encoder-decoder"):
        load_judge(JudgeSettings(model=str(tiny_model), rival=RivalSettings(kind="steamshp")))
    with pytest.raises(InputError, match="backend transformers"):
        load_judge(JudgeSettings(backend="endpoint", rival=RivalSettings(kind="steamshp")))


def test_a_model_that_would_not_write_a_letter_gives_no_verdict(tiny: LocalModel) -> None:
    bias = torch.nn.Linear(tiny.model.lm_head.in_features, tiny.model.lm_head.out_features)
    with torch.no_grad():
        bias.weight.zero_()
        bias.bias.zero_()
        bias.bias[0] = 50.0
    kept, tiny.model.lm_head = tiny.model.lm_head, bias
    try:
        [one] = SteamSHPJudge(tiny, shipped_template("steamshp")).compare([pair("a", "b")])
    finally:
        tiny.model.lm_head = kept
    assert {j.outcome.reason for j in one.judgments if isinstance(j.outcome, Unparsed)} == {"no_verdict"}


def test_a_model_that_learned_which_is_better_says_so_in_both_orders(folder: Path) -> None:
    local = load_model(str(folder), device="cpu", head="seq2seq")
    judge = SteamSHPJudge(local, shipped_template("steamshp"))
    good, bad = "The answer is good.", "No."
    ids = [judge._ids(item) for item in (pair(good, bad), pair(bad, good))]
    labels = [[local.tokenizer.convert_tokens_to_ids(letter)] for letter in "AB"]
    inputs, mask = right_padded(ids, local.pad_id, local.device)
    optimizer = torch.optim.Adam(local.model.parameters(), lr=0.003)
    for _ in range(300):
        optimizer.zero_grad()
        loss = local.model(input_ids=inputs, attention_mask=mask, labels=torch.tensor(labels)).loss
        if loss < 0.1:
            break
        loss.backward()
        optimizer.step()
    [one] = judge.compare([pair(good, bad)])
    [other] = judge.compare([pair(bad, good)])
    assert isinstance(one.outcome, Verdict)
    assert isinstance(other.outcome, Verdict)
    assert (one.outcome.winner, other.outcome.winner) == ("first", "second")
    assert all(judgment.mass is not None and judgment.mass > 0.5 for judgment in one.judgments)
