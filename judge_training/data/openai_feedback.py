"""OpenAI's two data sets of comparisons: summaries (arXiv 2009.01325) and WebGPT answers (arXiv 2112.09332).

The summaries' query is made here, since the rows hold only what was to be summarised: our words, then the title and
the text. WebGPT's quotes are left out, since a judge sees no references.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from judge_training.data.row_values import cell, pair_example, struct_cell, text_cell
from judge_training.examples import JudgeExample
from rewards.rows import Row
from rewards.types import Winner
from rewards.values import BadValue, label_value, number_value

_CHOICES: dict[str, Winner] = {"0": "first", "1": "second"}


def summary_pair(row: Row) -> JudgeExample:
    """A row of openai/summarize_from_feedback, configuration "comparisons". People could not tie here.

    Raises BadValue for what `label_value` refuses and for other than two summaries (reason: not_a_pair).
    """
    summaries = cell(row, "summaries")
    if not isinstance(summaries, list | tuple) or len(summaries) != 2:
        raise BadValue("not_a_pair", "expected two summaries")
    info = struct_cell(row, "info")
    query, scenario = _summary_query(info)
    return pair_example(
        "openai_summary",
        query,
        (text_cell(summaries[0], "text").strip(), text_cell(summaries[1], "text").strip()),
        label_value(cell(row, "choice"), "choice", _CHOICES),
        by=(_optional(summaries[0], "policy"), _optional(summaries[1], "policy")),
        scenario=scenario,
        columns={"info_id": _optional(info, "id")},
    )


def _summary_query(info: Mapping[str, Any]) -> tuple[str, str]:
    """What was asked for, and its scenario: Reddit posts have a post, news have an article."""
    title = _optional(info, "title")
    heading = f"Title: {title}\n\n" if title else ""
    if post := _optional(info, "post"):
        return f"Please write a summary of this post.\n\n{heading}Post: {post}", "post_summarization"
    if article := _optional(info, "article"):
        return f"Please write a summary of this article.\n\n{heading}Article: {article}", "text_summarization"
    raise BadValue("empty_prompt", "expected a post or an article in 'info', got neither")


def webgpt_pair(row: Row) -> JudgeExample:
    """A row of openai/webgpt_comparisons: the answer with the positive score is better, and 0 is a tie.

    The two scores are opposite numbers; a row where they are not is counted as scores_disagree.
    """
    first, second = number_value(cell(row, "score_0"), "score_0"), number_value(cell(row, "score_1"), "score_1")
    if first is None or second is None:
        raise BadValue("null", "expected scores of both answers, got null")
    if abs(first + second) > 1e-6:
        raise BadValue("scores_disagree", f"expected opposite scores, got {first} and {second}")
    question = struct_cell(row, "question")
    return pair_example(
        "openai_webgpt",
        text_cell(question, "full_text"),
        (text_cell(row, "answer_0"), text_cell(row, "answer_1")),
        "tie" if first == 0 else "first" if first > 0 else "second",
        columns={"question_id": _optional(question, "id"), "question_from": _optional(question, "dataset")},
    )


def _optional(fields: Mapping[str, Any], name: str) -> str | None:
    return text_cell(fields, name) if fields.get(name) is not None else None
