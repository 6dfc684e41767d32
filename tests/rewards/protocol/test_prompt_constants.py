"""Prompts from a release's file of constants, shown on files of our own making."""

from pathlib import Path

import pytest

from rewards.errors import InputError, MissingFileError
from rewards.protocol.learn import LABELS, learn_protocol
from rewards.protocol.parse import parse_rating, parse_verdict
from rewards.protocol.prompt_constants import read_prompt_constants
from rewards.protocol.render import render_pairwise, render_single
from rewards.protocol.spec import Scale
from rewards.protocol.write import verdict_choices, write_rating, write_verdict

ENGLISH = '''
import os
WRAP: str = "[INST] {input} [/INST]"
one = """Mark it.
Task {{so}}: {prompt}
Work: {response}
End like "Rating: [[7]]"."""
two: str = """Which?
{prompt} | {response} | {response_another}
Begin the end with "All in all, the final decision is Response 1 / Response 2 / Tie"."""
table = {"one": one}
os.remove("this is never run")
'''
CHINESE = '''
eins = "打分吧: {prompt} 答: {response}\\n例如: \\"评分: [[3]]\\""
zwei = """哪个好? {prompt} 一: {response} 二: {response_another}
用"所以，最终决定是回应1/回应2/平局"结束"""
'''


def release(folder: Path) -> Path:
    usage = folder / "codes" / "usage"
    usage.mkdir(parents=True)
    (usage / "constants_prompt.py").write_text(ENGLISH, encoding="utf-8")
    (usage / "zh_constants_prompt.py").write_text(CHINESE, encoding="utf-8")
    return folder


def test_both_prompts_are_read_and_nothing_is_run(tmp_path: Path) -> None:
    learned = learn_protocol(release(tmp_path))
    protocol = learned.protocol
    assert (learned.single_rows, learned.pairwise_rows) == (0, 0)
    asked = render_single(protocol, query="1 {prompt}", response="2 {response}", mode="critique")
    assert asked == 'Mark it.\nTask {so}: 1 {prompt}\nWork: 2 {response}\nEnd like "Rating: [[7]]".'
    assert "q | a | b" in render_pairwise(protocol, query="q", response_1="a", response_2="b", mode="critique")
    assert protocol.single.answer_start == "Rating: [["
    assert protocol.pairwise is not None
    assert protocol.pairwise.answer_start == "All in all, the final decision is"
    assert set(verdict_choices(protocol)) == {" Response 1", " Response 2", " Tie"}


def test_the_chinese_prompts_and_their_grammar(tmp_path: Path) -> None:
    protocol = learn_protocol(release(tmp_path), language="zh").protocol
    assert protocol.single.answer_start == "评分: [["
    assert protocol.pairwise is not None
    assert protocol.pairwise.answer_start == "所以，最终决定是"
    assert set(verdict_choices(protocol)) == {"回应1", "回应2", "平局"}
    for winner in ("first", "second", "tie"):
        read = parse_verdict(write_verdict("比较完毕。", winner, protocol), labels=protocol.labels)
        assert getattr(read, "winner", None) == winner
    rating = parse_rating(write_rating("写得不错。", 7, protocol), scale=protocol.scale)
    assert getattr(rating, "value", None) == 7


@pytest.mark.parametrize("text", ["评分:[[6]]", "打分:[[6]]", "评分: [[6]]", "最后的评分：[[6]]。"])
def test_ratings_as_the_bilingual_judge_writes_them(text: str) -> None:
    assert getattr(parse_rating(f"分析……\n{text}", scale=Scale()), "value", None) == 6


@pytest.mark.parametrize(
    ("text", "winner"),
    [("所以，最终决定是回应1", "first"), ("因此最终决定是：回应2。", "second"), ("最终决定是平局。", "tie")],
)
def test_decisions_as_the_bilingual_judge_writes_them(text: str, winner: str) -> None:
    assert getattr(parse_verdict(f"回应1更好看。\n{text}", labels=LABELS["zh"]), "winner", None) == winner


def test_a_training_file_is_believed_before_the_constants(tmp_path: Path) -> None:
    from tests.rewards.protocol.test_learn import SINGLE, literals
    from tests.rewards.protocol.test_learn import release as training

    release(tmp_path)
    learned = learn_protocol(training(tmp_path, pairwise=False))
    assert literals(learned.protocol.single.critique) == SINGLE
    assert learned.single_rows == 5
    assert learned.pairwise_rows == 0
    assert learned.protocol.pairwise is not None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("def (", "cannot be parsed"),
        ("x = 1", "found none"),
        ('a = "{prompt}{response}"\nb = "{prompt} {response}"', "got 2"),
    ],
)
def test_a_file_that_is_not_of_this_kind_is_an_error(content: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "constants_prompt.py"
    path.write_text(content)
    with pytest.raises(InputError, match=message):
        read_prompt_constants(path)


def test_nothing_there_names_both_files(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"single_traindata\.jsonl or constants_prompt\.py"):
        learn_protocol(tmp_path)
    with pytest.raises(MissingFileError, match=r"expected zh_constants_prompt\.py"):
        learn_protocol(tmp_path, language="zh")
