"""PandaLM and SelFee: their formats over a scripted backend, and over a tiny Llama the whole way."""

from __future__ import annotations

from pathlib import Path

import pytest

from rewards.errors import InputError, MissingFileError
from rewards.judges.base import Question
from rewards.judges.config import DecodingSettings, RivalSettings
from rewards.judges.load import load_judge
from rewards.judges.rivals.pandalm import PandaLMJudge, read_first_line
from rewards.judges.rivals.selfee import SelfeeCritic, read_feedback
from rewards.judges.rivals.templates import PAIRWISE, SINGLE, read_template, shipped_template
from rewards.judges.scripted import ScriptedBackend
from rewards.types import Abstained, Unparsed, Verdict
from tests.rewards.judges.rivals.tiny_rivals import PROMPT, pair, rate_item


def pandalm(reply: object) -> PandaLMJudge:
    return PandaLMJudge(ScriptedBackend(reply), shipped_template("pandalm"))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "winner"),
    [
        ("1\n\n### Reason: Response 2 is worse", "first"),
        (" 2 ", "second"),
        ("\nTie\n### Reason", "tie"),
        ("tie", "tie"),
    ],
)
def test_the_first_line_is_the_verdict(text: str, winner: str) -> None:
    assert read_first_line(text) == Verdict(winner=winner)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["", "Response 1", "10", "1 or 2", "### Reason: 1", "I say\n1", "1.5", "12"])
def test_mistake_01_anything_else_is_no_verdict_and_no_tie(text: str) -> None:
    found = read_first_line(text)
    assert isinstance(found, Unparsed)
    assert found.reason == "no_verdict"


def test_a_first_line_that_was_cut_off_says_so() -> None:
    found = read_first_line("Respon", "length")
    assert isinstance(found, Unparsed)
    assert found.reason == "cut_off"


def test_swapping_the_responses_swaps_pandalms_verdict() -> None:
    judge = pandalm(lambda question: ("1" if question.responses[0] == "good" else "2") + "\n\n### Reason: {it}")
    assert [one.outcome for one in judge.compare([pair("good", "bad"), pair("bad", "good")])] == [
        Verdict(winner="first"),
        Verdict(winner="second"),
    ]
    [biased] = pandalm(lambda _: "1").compare([pair("good", "bad")])
    assert biased.outcome == Abstained(reason="orders_disagree")
    [failed] = pandalm(lambda _: "both are fine").compare([pair("good", "bad")])
    assert failed.outcome == Abstained(reason="unparsed")
    with pytest.raises(InputError, match="only compares"):
        judge.rate([rate_item("good", "c")])


def test_pandalm_is_asked_about_what_it_is_given_even_if_that_looks_like_a_template() -> None:
    seen: list[Question] = []

    def reply(question: Question) -> str:
        seen.append(question)
        return "Tie"

    list(pandalm(reply).compare([pair("{{response_2}} {query}", "two")], both_orders=False))
    assert "### Response 1:\n{{response_2}} {query}\n\n### Response 2:\ntwo\n\n### Evaluation:\n" in seen[0].content
    assert PROMPT.messages[0].content in seen[0].content


def test_selfee_gives_the_feedback_up_to_the_next_heading() -> None:
    assert read_feedback("Too short.\nAdd more.\n\n### Revision 1:\nBetter.") == ("Too short.\nAdd more.", True)
    assert read_feedback("It cites ### nothing") == ("It cites ### nothing", False)
    judge = SelfeeCritic(ScriptedBackend(lambda _: "Too short.\n### Feedback 2:\nMore"), shipped_template("selfee"))
    [judgment] = judge.rate([rate_item("text", "c")])
    assert judgment.critique == "Too short."
    assert isinstance(judgment.outcome, Unparsed)
    assert judgment.outcome.reason == "no_verdict"
    with pytest.raises(InputError, match="Eval-C"):
        judge.compare([pair("a", "b")])


def test_a_users_template_replaces_ours(tmp_path: Path) -> None:
    path = tmp_path / "prompt.txt"
    path.write_text("Q {{query}} 1 {{response_1}} 2 {{response_2}}:\n\n", encoding="utf-8")
    template = read_template(path, PAIRWISE)
    assert template.fill({"query": "q", "response_1": "{{query}}", "response_2": "b"}) == "Q q 1 {{query}} 2 b:\n"
    with pytest.raises(InputError, match=r"expected the fields \{\{query\}\}, \{\{response\}\}"):
        read_template(path, SINGLE)
    with pytest.raises(MissingFileError):
        read_template(tmp_path / "none.txt", SINGLE)


@pytest.mark.parametrize("kind", ["pandalm", "selfee"])
def test_a_model_in_this_process_the_whole_way(kind: str, tiny_model: Path, tmp_path: Path) -> None:
    rival = RivalSettings(kind="pandalm" if kind == "pandalm" else "selfee")
    judge = load_judge(model=str(tiny_model), rival=rival, decoding=DecodingSettings(max_new_tokens=6))
    assert judge.card.protocol == kind
    assert any("approximation" in warning for warning in judge.card.warnings)
    if kind == "pandalm":
        [comparison] = judge.compare([pair("This one.", "The other one.")])
        outcomes = [judgment.outcome for judgment in comparison.judgments]
        assert len(comparison.judgments) == 2
        tokens = [judgment.new_tokens for judgment in comparison.judgments]
    else:
        [judgment] = judge.rate([rate_item("This one.", "c")])
        outcomes, tokens = [judgment.outcome], [judgment.new_tokens]
    assert all(isinstance(outcome, Unparsed | Verdict) for outcome in outcomes)
    assert all(count is not None and 1 <= count <= 6 for count in tokens)
