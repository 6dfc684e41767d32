"""LMSYS's two data sets of people's votes: Chatbot Arena Conversations and MT-Bench human judgments.

Both are conversations of two models with the same user. Only first turns are kept, as AUTO-J was trained: of Chatbot
Arena the conversations of one turn, since a vote on a longer one is about all of it; of MT-Bench the votes that were
given on the first turn (its rows hold both turns whichever was voted on). Rows: arXiv 2306.05685.
"""

from __future__ import annotations

from judge_training.data.row_values import cell, first_turn, pair_example, text_cell
from judge_training.examples import JudgeExample
from rewards.rows import Row
from rewards.types import Winner
from rewards.values import BadValue, label_value

_WINNERS: dict[str, Winner] = {"model_a": "first", "model_b": "second", "tie": "tie", "tie (bothbad)": "tie"}
_PEOPLE = ("arena_user", "expert", "author")


def arena_pair(row: Row) -> JudgeExample:
    """A row of lmsys/chatbot_arena_conversations; both of its kinds of tie are one."""
    return _pair(row, "chatbot_arena")


def mt_bench_pair(row: Row) -> JudgeExample:
    """A row of lmsys/mt_bench_human_judgments, of people's votes or of GPT-4's (which gives no human label).

    GPT-4's "tie (inconsistent)" is two verdicts that contradict each other, and no tie; reason: orders_disagree.
    """
    if cell(row, "winner") == "tie (inconsistent)":
        raise BadValue("orders_disagree", "expected a verdict, got two that contradict each other")
    return _pair(row, "mt_bench")


def _pair(row: Row, source: str) -> JudgeExample:
    if cell(row, "turn") != 1:
        raise BadValue("not_the_first_turn", f"expected a vote on the first turn, got turn {row['turn']!r}")
    label = label_value(cell(row, "winner"), "winner", _WINNERS)
    query, first = first_turn(row, "conversation_a")
    other_query, second = first_turn(row, "conversation_b")
    if query != other_query:
        raise BadValue("prompts_differ", "expected both conversations to begin with the same question")
    judge = row.get("judge")
    return pair_example(
        source,
        query,
        (first, second),
        label,
        human=isinstance(judge, str) and judge.startswith(_PEOPLE),
        by=(text_cell(row, "model_a"), text_cell(row, "model_b")),
        columns={"question_id": str(row.get("question_id", ""))},
    )
