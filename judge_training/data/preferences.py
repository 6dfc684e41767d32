"""Three data sets of preferences without ties: Stanford SHP, Synthetic GPT-J and PKU-SafeRLHF.

SHP's preference is the votes on two comments of one Reddit post, of which the better one had less time to gain them
(arXiv 2110.08420). Synthetic GPT-J names the better response by its column. PKU-SafeRLHF (arXiv 2406.15513) has two
labels, of which one asks for the more helpful and one for the safer response.
"""

from __future__ import annotations

from typing import Literal

from judge_training.data.row_values import cell, chosen_first, pair_example, text_cell
from judge_training.examples import JudgeExample
from rewards.rows import Row
from rewards.types import Winner
from rewards.values import BadValue, label_value, number_value

SafeLabel = Literal["better", "safer", "both"]

_A_PREFERRED: dict[str, Winner] = {"1": "first", "0": "second"}
_BY_INDEX: dict[str, Winner] = {"0": "first", "1": "second"}


def shp_pair(row: Row, *, min_score_ratio: float = 2.0) -> JudgeExample:
    """A row of stanfordnlp/SHP; label 1 is A.

    `min_score_ratio` is how many times the votes of the other comment the better one must have: a lead of one vote
    says little. Reason: score_ratio_below_minimum.
    """
    ratio = number_value(cell(row, "score_ratio"), "score_ratio")
    if ratio is None or ratio < min_score_ratio:
        raise BadValue("score_ratio_below_minimum", f"expected a score ratio of at least {min_score_ratio}")
    return pair_example(
        "stanford_shp",
        text_cell(row, "history"),
        (text_cell(row, "human_ref_A"), text_cell(row, "human_ref_B")),
        label_value(cell(row, "labels"), "labels", _A_PREFERRED),
        columns={"post_id": str(row.get("post_id", "")), "domain": str(row.get("domain", "")), "score_ratio": ratio},
    )


def gptj_pair(row: Row) -> JudgeExample:
    """A row of Dahoas/synthetic-instruct-gptj-pairwise; its labels were made by models, not by people."""
    columns = (text_cell(row, name) for name in ("prompt", "chosen", "rejected"))
    return chosen_first("synthetic_gptj", *columns, human=False)


def safe_rlhf_pair(row: Row, *, rule: SafeLabel = "better") -> JudgeExample:
    """A row of PKU-Alignment/PKU-SafeRLHF.

    The label is the more helpful response ("better", what a judge of quality learns), the safer one, or ("both")
    the one that is both; reason: helpful_is_not_safer.
    """
    better = label_value(cell(row, "better_response_id"), "better_response_id", _BY_INDEX)
    safer = label_value(cell(row, "safer_response_id"), "safer_response_id", _BY_INDEX) if rule != "better" else better
    if rule == "both" and better != safer:
        raise BadValue("helpful_is_not_safer", "expected one response to be both more helpful and safer")
    return pair_example(
        "pku_safe_rlhf",
        text_cell(row, "prompt"),
        (text_cell(row, "response_0"), text_cell(row, "response_1")),
        safer,
        by=(_name(row, "response_0_source"), _name(row, "response_1_source")),
    )


def _name(row: Row, column: str) -> str | None:
    return None if row.get(column) is None else text_cell(row, column)
