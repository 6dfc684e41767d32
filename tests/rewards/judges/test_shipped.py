"""The judge that ships is a checkpoint like any other, found by its name, small, and certified."""

from __future__ import annotations

from pathlib import Path

import pytest

from rewards.certificate import CERTIFICATE_FILE, check_certificate, find_certificate
from rewards.errors import InputError
from rewards.judges.base import CompareItem, RateItem
from rewards.judges.config import DEFAULT_JUDGE, DEFAULT_MODEL, JudgeSettings
from rewards.judges.load import find_protocol, load_judge
from rewards.judges.shipped import FOLDER, checkpoint_folder
from rewards.types import Candidate, Message, Prompt, Rating, Verdict

PROMPT = Prompt(id="p", messages=(Message(role="user", content="How do I boil an egg?"),))
GOOD = (
    "Put the egg into boiling water with a spoon. Let it cook for six minutes if you like it soft, or ten minutes if "
    "you like it hard. Then cool it under cold water, which stops the cooking and makes it easier to peel."
)
BAD = "egg egg egg I do not know what egg is, egg"


def test_it_is_the_default_and_small():
    assert JudgeSettings().model == DEFAULT_JUDGE
    assert checkpoint_folder(DEFAULT_JUDGE) == FOLDER
    protocol, own = find_protocol(JudgeSettings())
    assert (protocol.name, own) == ("autoj-mini", True)
    assert sum(file.stat().st_size for file in FOLDER.iterdir()) < 10_000_000
    names = {file.name for file in FOLDER.iterdir()}
    assert {"adapter_model.safetensors", "adapter_config.json", "judge_protocol.json", "README.md"} <= names
    assert find_certificate(JudgeSettings()) == FOLDER / CERTIFICATE_FILE


def test_another_adapter_has_no_certificate_of_its(tmp_path: Path):
    assert find_certificate(JudgeSettings(adapter=tmp_path)) is None
    assert find_certificate(JudgeSettings(model=DEFAULT_MODEL)) is None


def test_an_adapter_without_a_model_goes_on_its_own_base(tmp_path: Path):
    (tmp_path / "adapter_config.json").write_text('{"base_model_name_or_path": "/no/such/base"}', encoding="utf-8")
    with pytest.raises(InputError, match="/no/such/base"):
        load_judge(adapter=tmp_path)


@pytest.mark.real_model
def test_it_rates_compares_and_is_the_judge_of_its_certificate():
    judge = load_judge()
    assert judge.card.trained
    assert check_certificate(FOLDER, judge).judge.digest == judge.card.digest
    good, bad = (
        Candidate(id=name, prompt_id="p", text=text, index=index)
        for index, (name, text) in enumerate({"good": GOOD, "bad": BAD}.items())
    )
    ratings = {
        one.candidate_ids[0]: one.outcome
        for one in judge.rate(RateItem(prompt=PROMPT, candidate=c) for c in (good, bad))
    }
    assert isinstance(ratings["good"], Rating)
    assert isinstance(ratings["bad"], Rating)
    assert ratings["good"].score > ratings["bad"].score + 1
    (comparison,) = judge.compare([CompareItem(prompt=PROMPT, first=bad, second=good)])
    assert isinstance(comparison.outcome, Verdict)
    assert comparison.outcome.winner == "second"


@pytest.mark.real_model
def test_its_certificate_is_not_that_of_another_mode():
    with pytest.raises(InputError, match="mode"):
        check_certificate(FOLDER, load_judge(mode="critique"))
