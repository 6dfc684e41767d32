"""From settings to a judge: which protocol, trained or not, and the whole way with a model in this process."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from rewards.errors import AutojError, InputError, MissingFileError
from rewards.judges.base import CompareItem, RateItem
from rewards.judges.config import DEFAULT_MODEL, DecodingSettings, JudgeSettings
from rewards.judges.load import find_protocol, is_released_judge, load_judge
from rewards.protocol.builtin import builtin_protocol
from rewards.types import Candidate, Message, Prompt, Rating, Unparsed

MINE = builtin_protocol().model_copy(update={"name": "mine"})
OTHER = builtin_protocol().model_copy(update={"name": "other"})


def test_an_adapter_without_a_protocol_is_not_asked_in_the_default_judges_words(tmp_path: Path) -> None:
    assert find_protocol(JudgeSettings(adapter=tmp_path)) == (builtin_protocol(), False)


def test_without_any_protocol_it_is_the_built_in_one() -> None:
    judge = load_judge(backend="scripted")
    assert (judge.card.protocol, judge.card.trained, judge.mode) == ("autoj-builtin", False, "direct")


def test_protocols_are_looked_for_in_order(tmp_path: Path) -> None:
    model, adapter = tmp_path / "model", tmp_path / "adapter"
    MINE.save(model)
    adapter.mkdir()
    settings = JudgeSettings(model=str(model), adapter=adapter)
    assert find_protocol(settings) == (MINE, True)
    OTHER.save(adapter)
    assert find_protocol(settings) == (OTHER, True)
    named = OTHER.model_copy(update={"name": "named"})
    path = named.save(tmp_path / "named")
    for given in (path, path.parent):
        assert find_protocol(settings.model_copy(update={"protocol": given})) == (named, True)
    assert find_protocol(JudgeSettings(model=DEFAULT_MODEL, protocol=path)) == (named, False)
    assert find_protocol(JudgeSettings(backend="scripted", model=str(model)))[1] is False
    with pytest.raises(MissingFileError):
        find_protocol(JudgeSettings(protocol=tmp_path / "nowhere"))


@pytest.mark.parametrize(
    ("name", "released"),
    [
        ("GAIR/autoj-13b", True),
        ("GAIR/autoj-13b-GPTQ-4bits", True),
        ("/models/autoj-bilingual-6b/", True),
        ("smollm2-135m-instruct", False),
        ("autoj-scenario-classifier", False),
    ],
)
def test_the_released_judges_are_known_by_name(name: str, released: bool) -> None:
    assert is_released_judge(name) is released


def test_a_released_judge_without_its_own_words_says_so(tmp_path: Path) -> None:
    card_of = load_judge(backend="endpoint", model="GAIR/autoj-13b")
    assert any("import-protocol" in warning for warning in card_of._warnings)
    path = MINE.save(tmp_path)
    assert load_judge(backend="endpoint", model="GAIR/autoj-13b", protocol=path)._warnings == ()


def test_overrides_are_checked() -> None:
    judge = load_judge(JudgeSettings(backend="scripted"), decoding=DecodingSettings(max_new_tokens=5), mode="critique")
    assert judge.decoding.max_new_tokens == 5
    assert judge.decoding.temperature == builtin_protocol().decoding.temperature
    with pytest.raises(InputError, match="batch_size"):
        load_judge(backend="scripted", batch_size=0)
    with pytest.raises(InputError, match="temperature"):
        load_judge(backend="scripted", decoding=DecodingSettings(samples=3))


def items() -> list[RateItem]:
    prompt = Prompt(id="p", messages=(Message(role="user", content="Which is better?"),))
    texts = ["This one.", "The other one, since it is longer.", ""]
    return [
        RateItem(prompt=prompt, candidate=Candidate(id=f"c{number}", prompt_id="p", text=text))
        for number, text in enumerate(texts)
    ]


@pytest.mark.parametrize("mode", ["direct", "critique"])
def test_a_model_in_this_process_judges_the_whole_way(mode: str, tiny_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    builtin_protocol().save(folder)
    settings = JudgeSettings(
        model=str(folder),
        mode="direct" if mode == "direct" else "critique",
        decoding=DecodingSettings(max_new_tokens=8),
        cache=tmp_path / "cache.sqlite",
    )
    judge = load_judge(settings)
    assert (judge.card.backend, judge.card.trained) == ("transformers", True)
    judgments = {judgment.candidate_ids[0]: judgment for judgment in judge.rate(items())}
    assert set(judgments) == {"c0", "c1", "c2"}
    assert judgments["c2"].outcome == Unparsed(reason="empty_response", detail="there is no response to judge")
    first = judgments["c0"].outcome
    if mode == "direct":
        assert isinstance(first, Rating | Unparsed)
        assert judgments["c0"].mass is not None
        if isinstance(first, Rating):
            assert first.probabilities is not None
            assert sum(first.probabilities.values()) == pytest.approx(1.0)
    else:
        assert isinstance(first, Unparsed)
        assert first.reason in {"cut_off", "no_verdict"}
    one, two, _ = items()
    pair = CompareItem(prompt=one.prompt, first=one.candidate, second=two.candidate)
    [comparison] = judge.compare([pair])
    assert len(comparison.judgments) == 2
    again = load_judge(settings)
    assert again.card == judge.card
    assert {judgment.candidate_ids[0]: judgment for judgment in again.rate(items())} == judgments
    assert list(again.compare([pair])) == [comparison]


def test_a_model_that_is_not_there_is_an_error_of_ours(tmp_path: Path) -> None:
    with pytest.raises(AutojError):
        load_judge(model=str(tmp_path / "nothing"))


@pytest.mark.real_model
@pytest.mark.parametrize("mode", ["direct", "critique"])
def test_the_default_model_gives_expected_ratings(mode: str) -> None:
    settings = JudgeSettings(model=DEFAULT_MODEL, mode="direct" if mode == "direct" else "critique")
    judge = load_judge(settings, decoding=DecodingSettings(max_new_tokens=24))
    judgments = [judgment for judgment in judge.rate(items()) if judgment.candidate_ids != ("c2",)]
    assert not judge.card.trained
    read = [judgment for judgment in judgments if isinstance(judgment.outcome, Rating)]
    if mode == "direct":
        assert len(read) == 2
    for judgment in read:
        assert isinstance(judgment.outcome, Rating)
        assert judgment.outcome.expected is not None
        assert judgment.mass is not None
        assert judgment.mass > 1e-4
    assert all(judgment.critique for judgment in judgments) == (mode == "critique")
