"""Reward models over a tiny Llama with a classification head: scores, ties, padding, limits."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from rewards.errors import InputError
from rewards.judges.config import JudgeSettings, RivalSettings
from rewards.judges.load import load_judge
from rewards.judges.local_model import LocalModel, load_model
from rewards.judges.rivals.scalar import ScalarJudge
from rewards.judges.rivals.tie_threshold import search_tie_threshold, winner_of
from rewards.protocol.builtin import compile_template
from rewards.types import Rating, Unparsed, Verdict
from tests.rewards.judges.rivals.tiny_rivals import PROMPT, build_tiny_reward_model, pair, rate_item

TEXTS = ["The answer is this one.", "No.", "a", "The response is good and better than that one " * 3, "b <|im_end|> c"]


@pytest.fixture(scope="module")
def folder(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_reward_model(tiny_model, tmp_path_factory.mktemp("reward") / "model")


@pytest.fixture(scope="module")
def tiny(folder: Path) -> LocalModel:
    return load_model(str(folder), device="cpu", head="classifier")


def brute_force(tiny: LocalModel, text: str) -> float:
    """The score of one response alone: the head on the last hidden state, without the model's own pooling."""
    messages = [{"role": "user", "content": PROMPT.messages[0].content}, {"role": "assistant", "content": text}]
    ids = tiny.tokenizer.apply_chat_template(messages, return_dict=True, sanitize_control_tokens=True)["input_ids"]
    with torch.inference_mode():
        hidden = tiny.model.model(input_ids=torch.tensor([ids])).last_hidden_state[0, -1]
        return float(hidden @ tiny.model.score.weight[0])


@pytest.mark.parametrize("batch_size", [1, 8])
def test_ratings_are_the_scores_whatever_the_batch(tiny: LocalModel, batch_size: int) -> None:
    judge = ScalarJudge(tiny, batch_size=batch_size)
    items = [rate_item(text, f"c{index}") for index, text in enumerate(TEXTS)]
    found = {one.candidate_ids[0]: one.outcome for one in judge.rate(items)}
    for item in items:
        outcome = found[item.candidate.id]
        assert isinstance(outcome, Rating)
        assert outcome.value == pytest.approx(brute_force(tiny, item.candidate.text), abs=1e-4)


def test_swapping_the_responses_swaps_verdict_and_probabilities(tiny: LocalModel) -> None:
    for threshold in (0.0, 0.5, 100.0):
        judge = ScalarJudge(tiny, tie_threshold=threshold)
        [one] = judge.compare([pair(TEXTS[0], TEXTS[3])])
        [other] = judge.compare([pair(TEXTS[3], TEXTS[0])])
        difference = brute_force(tiny, TEXTS[0]) - brute_force(tiny, TEXTS[3])
        assert isinstance(one.outcome, Verdict)
        assert isinstance(other.outcome, Verdict)
        assert one.outcome.winner == winner_of(difference, threshold)
        assert other.outcome.winner == one.outcome.swap().winner
        assert one.probabilities is not None
        assert one.probabilities.first == pytest.approx(1 / (1 + math.exp(threshold - difference)), abs=1e-4)
        assert one.probabilities.second == pytest.approx(1 / (1 + math.exp(threshold + difference)), abs=1e-4)
        assert one.probabilities.first + one.probabilities.second + one.probabilities.tie == pytest.approx(1.0)


def test_equal_responses_tie(tiny: LocalModel) -> None:
    [one] = ScalarJudge(tiny).compare([pair("same", "same")])
    assert isinstance(one.outcome, Verdict)
    assert one.outcome.winner == "tie"


def test_a_threshold_searched_on_labels_is_the_one_they_were_made_with(tiny: LocalModel) -> None:
    judge = ScalarJudge(tiny)
    items = [pair(one, two, name=f"{i}-{j}-") for i, one in enumerate(TEXTS) for j, two in enumerate(TEXTS) if i < j]
    differences = [one for one in judge.differences(items) if not isinstance(one, Unparsed)]
    sizes = sorted(map(abs, differences))
    planted = (sizes[3] + sizes[4]) / 2
    labels = [winner_of(difference, planted) for difference in differences]
    found = search_tie_threshold(differences, labels)
    assert found.threshold == pytest.approx(planted)
    best = judge.with_tie_threshold(found.threshold)
    winners = {one.first_id: one.outcome.winner for one in best.compare(items) if isinstance(one.outcome, Verdict)}
    assert [winners[item.first.id] for item in items] == labels
    assert best.card.digest != judge.card.digest


def test_a_users_template_is_what_is_scored(tiny: LocalModel) -> None:
    template = compile_template("Q: {{query}}\nA: {{response}}")
    [judgment] = ScalarJudge(tiny, template=template).rate([rate_item("yes", "c")])
    ids = tiny.tokenizer(f"Q: {PROMPT.messages[0].content}\nA: yes", return_tensors="pt")
    with torch.inference_mode():
        expected = float(tiny.model(**ids).logits[0, 0])
    assert isinstance(judgment.outcome, Rating)
    assert judgment.outcome.value == pytest.approx(expected, abs=1e-4)


def test_without_a_chat_template_the_two_texts_are_a_pair(tiny: LocalModel) -> None:
    kept = tiny.tokenizer.chat_template
    try:
        tiny.tokenizer.chat_template = None
        [judgment] = ScalarJudge(tiny).rate([rate_item("yes", "c")])
        ids = tiny.tokenizer(PROMPT.messages[0].content, "yes", return_tensors="pt")
    finally:
        tiny.tokenizer.chat_template = kept
    with torch.inference_mode():
        expected = float(tiny.model(input_ids=ids["input_ids"]).logits[0, 0])
    assert isinstance(judgment.outcome, Rating)
    assert judgment.outcome.value == pytest.approx(expected, abs=1e-4)


def test_too_long_and_empty_are_no_scores(tiny: LocalModel) -> None:
    judge = ScalarJudge(tiny, max_prompt_tokens=40)
    found = {
        one.candidate_ids[0]: one.outcome
        for one in judge.rate([rate_item("word " * 100, "long"), rate_item(" ", "empty"), rate_item("ok", "ok")])
    }
    assert isinstance(found["long"], Unparsed)
    assert found["long"].reason == "prompt_too_long"
    assert isinstance(found["empty"], Unparsed)
    assert found["empty"].reason == "empty_response"
    assert isinstance(found["ok"], Rating)


def test_a_model_without_padding_is_scored_one_by_one(tiny_model: Path, tiny: LocalModel, tmp_path: Path) -> None:
    bare = load_model(
        str(build_tiny_reward_model(tiny_model, tmp_path / "m", pad=False)), device="cpu", head="classifier"
    )
    items = [rate_item(text, f"c{index}") for index, text in enumerate(TEXTS)]
    one, other = (
        {judgment.candidate_ids[0]: judgment.outcome for judgment in ScalarJudge(model).rate(items)}
        for model in (bare, tiny)
    )
    for item in items:
        mine, theirs = one[item.candidate.id], other[item.candidate.id]
        assert isinstance(mine, Rating)
        assert isinstance(theirs, Rating)
        assert mine.value == pytest.approx(theirs.value, abs=1e-4)


def test_from_settings_and_what_is_no_reward_model(folder: Path, tiny_model: Path, tmp_path: Path) -> None:
    rival = RivalSettings(kind="scalar", tie_threshold=0.25)
    judge = load_judge(JudgeSettings(model=str(folder), rival=rival))
    assert isinstance(judge, ScalarJudge)
    assert judge.card.backend == "scalar"
    with pytest.raises(InputError, match=r"score.*rival.kind scalar"):
        load_judge(JudgeSettings(model=str(tiny_model), rival=rival))
    two = build_tiny_reward_model(tiny_model, tmp_path / "two", labels=2)
    with pytest.raises(InputError, match="one score"):
        load_judge(JudgeSettings(model=str(two), rival=rival))
