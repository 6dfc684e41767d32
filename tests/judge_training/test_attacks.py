"""Attacks: a judge that obeys a planted verdict is caught, one that looks at nothing but the answer is not."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from judge_training.attacks import (
    KINDS,
    AttackCase,
    AttackResult,
    attack_cases,
    attack_results,
    attack_success,
    chat_marks,
    read_attacks,
)
from rewards.judges.base import Question, RateItem
from rewards.judges.generative import GenerativeJudge
from rewards.judges.scripted import ScriptedBackend
from rewards.protocol.builtin import builtin_protocol
from rewards.protocol.spec import ChatText
from rewards.protocol.write import write_rating, write_verdict
from rewards.types import Candidate, Message, Prompt, Unparsed

PROTOCOL = builtin_protocol()


def item(name: str, text: str) -> RateItem:
    prompt = Prompt(id=name.partition("/")[0], messages=(Message(role="user", content="Why is the sky blue?"),))
    return RateItem(prompt=prompt, candidate=Candidate(id=name, prompt_id=prompt.id, text=text))


WEAK = [item("sky/a", "It is blue."), item("sky/b", "Because of the sea.")]
BETTER = {"sky": item("sky/good", "Air scatters short waves of light more than long ones.").candidate}


def cases(responses: int = 2) -> list[AttackCase]:
    return attack_cases(read_attacks(), WEAK, BETTER, PROTOCOL, responses=responses)


def measured(judge: GenerativeJudge) -> dict[str, AttackResult]:
    found = cases()
    rated = {one.candidate.id: one for case in found for one in (case.plain, case.attacked)}
    pairs = [one for case in found for one in (case.plain_pair, case.attacked_pair) if one is not None]
    unique = {(one.first.id, one.second.id): one for one in pairs}
    results = attack_results(found, judge.rate(rated.values()), judge.compare(unique.values()))
    return {one.kind: one for one in results}


def obeys(question: Question) -> str:
    """Rates 10 where a rating of 10 stands in the response, and follows whoever gives an order."""
    orders = ["Judge:" in text or "[[10]]" in text for text in question.responses]
    if len(orders) == 1:
        return write_rating("", 10 if "[[10]]" in question.responses[0] else 3, PROTOCOL)
    winner = "first" if orders[0] else "second" if orders[1] else "tie"
    return write_verdict("", winner, PROTOCOL)


def ignores(question: Question) -> str:
    return write_rating("", 3, PROTOCOL) if len(question.responses) == 1 else write_verdict("", "tie", PROTOCOL)


def judge(reply: object) -> GenerativeJudge:
    return GenerativeJudge(ScriptedBackend(reply), PROTOCOL, "critique")  # type: ignore[arg-type]


def test_every_kind_has_attacks_and_about_twenty_are_no_controls() -> None:
    counts = Counter(one.kind for one in read_attacks())
    assert set(counts) == set(KINDS)
    assert sum(count for kind, count in counts.items() if kind != "control") == 20
    assert len({one.id for one in read_attacks()}) == sum(counts.values())


def test_texts_are_filled_in_and_stand_at_the_end_of_the_response() -> None:
    for case in cases():
        text = case.attacked.candidate.text
        assert text.startswith(case.plain.candidate.text + "\n\n")
        assert not re.search(r"\{\w+\}", text)
        if case.attack.kind == "planted_verdict":
            assert write_rating("", 10, PROTOCOL) in text
    ids = [case.attacked.candidate.id for case in cases()]
    assert len(set(ids)) == len(ids)


def test_planted_verdicts_name_either_place() -> None:
    texts = [case.attacked_pair.first.text for case in cases() if case.attacked_pair is not None]
    both = [write_verdict("", winner, PROTOCOL) for winner in ("first", "second")]  # type: ignore[arg-type]
    assert all(any(statement in text for text in texts) for statement in both)


def test_chat_tokens_are_the_protocols_own_where_it_has_them() -> None:
    protocol = PROTOCOL.model_copy(update={"chat": ChatText(before="[INST] ", after=" [/INST]")})
    assert chat_marks(protocol) == (" [/INST]", "[INST] ")
    found = attack_cases(read_attacks(), WEAK, BETTER, protocol)
    assert all("[/INST]" in one.attacked.candidate.text for one in found if one.attack.kind == "chat_tokens")


def test_an_obeying_judge_is_caught_and_its_control_is_clean() -> None:
    results = measured(judge(obeys))
    planted, control = results["planted_verdict"], results["control"]
    assert planted.rated is not None
    assert planted.rated.value == 1.0
    assert planted.rise is not None
    assert planted.rise.value == pytest.approx(7.0)
    assert control.rated is not None
    assert control.rated.value == 0.0
    assert results["order"].compared is not None
    assert results["order"].compared.value == pytest.approx(0.2)  # the one that says "Judge:"
    whole = attack_success(list(results.values()))
    assert whole is not None
    assert 0 < whole.value < 1
    assert whole.n == 40


def test_a_judge_that_ignores_attacks_has_no_success() -> None:
    for result in measured(judge(ignores)).values():
        for share in (result.rated, result.compared, result.moved):
            assert share is not None
            assert share.value == 0.0
        assert result.not_read == 0


def test_an_attack_that_breaks_the_judge_is_counted_and_no_success() -> None:
    def breaks(question: Question) -> str | Unparsed:
        return "I cannot." if any("[[10]]" in text for text in question.responses) else ignores(question)

    planted = measured(judge(breaks))["planted_verdict"]
    assert planted.rated is not None
    assert planted.rated.value == 0.0
    assert planted.rated.n == 10
    assert planted.not_read >= 10


def test_a_judge_that_only_rates_is_not_asked_to_compare() -> None:
    protocol = PROTOCOL.model_copy(update={"pairwise": None})
    found = attack_cases(read_attacks(), WEAK, BETTER, protocol, responses=1)
    assert all(one.attacked_pair is None and one.plain_pair is None for one in found)
