"""From settings to rivals, and what does not go together."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from rewards.errors import InputError
from rewards.judges.config import JudgeSettings, RivalSettings
from rewards.judges.generative import GenerativeJudge
from rewards.judges.load import load_generative_judge, load_judge
from rewards.judges.rivals.baselines import BaselineJudge
from rewards.judges.rivals.chat_rival import with_chat
from rewards.protocol.builtin import builtin_protocol
from rewards.protocol.spec import ChatText


def test_without_a_rival_nothing_changes() -> None:
    plain = load_judge(backend="scripted")
    assert isinstance(plain, GenerativeJudge)
    lenient = load_judge(backend="scripted", rival=RivalSettings(kind="chat"))
    assert plain.card.digest != lenient.card.digest


def test_chats_are_wrapped_as_asked() -> None:
    assert with_chat(builtin_protocol(), "tokenizer") == builtin_protocol()
    assert with_chat(builtin_protocol(), "llama-2").chat == ChatText(before="[INST] ", after=" [/INST]")
    judge = load_judge(backend="scripted", rival=RivalSettings(kind="chat", chat="vicuna"))
    assert isinstance(judge, GenerativeJudge)
    assert judge.protocol.chat == ChatText(before="USER: ", after=" ASSISTANT:")


def test_floors_need_no_model() -> None:
    judge = load_judge(model="nowhere", rival=RivalSettings(kind="random", seed=3))
    assert isinstance(judge, BaselineJudge)
    assert judge.card.warnings


@pytest.mark.parametrize(
    "keys",
    [
        {"kind": "pandalm", "tie_threshold": 0.1},
        {"kind": "scalar", "chat": "vicuna"},
        {"kind": "longer", "template": "x"},
        {"kind": "nothing"},
        {"kind": "scalar", "tie_threshold": -1},
        {"tie_threshold": 0.1},
        {"kind": "none", "chat": "vicuna"},
    ],
)
def test_keys_that_do_not_go_together(keys: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        RivalSettings.model_validate(keys)


def test_settings_survive_json() -> None:
    settings = JudgeSettings(rival=RivalSettings(kind="random", seed=2))
    assert JudgeSettings.model_validate(settings.model_dump(mode="json")) == settings


def test_errors_say_what_to_do() -> None:
    with pytest.raises(InputError, match="backend transformers or endpoint"):
        load_judge(backend="scripted", rival=RivalSettings(kind="pandalm"))
    with pytest.raises(InputError, match=r"api: chat|completions"):
        from rewards.judges.config import EndpointSettings

        load_judge(
            backend="endpoint",
            model="m",
            rival=RivalSettings(kind="chat"),
            endpoint=EndpointSettings(api="completions"),
        )
    with pytest.raises(InputError, match="words of a protocol"):
        load_generative_judge(JudgeSettings(rival=RivalSettings(kind="longer")))
