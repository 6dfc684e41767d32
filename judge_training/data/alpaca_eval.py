"""AlpacaEval: what systems answered, and annotations of pairs of answers.

An annotation's preference is 1 for the first output and 2 for the second; a number in between is a weighted
preference, whose nearer end is taken; 1.5, or 0 in older files, is a tie. An annotator with a number is a person
(AlpacaFarm's annotations), one with a name is a model. AlpacaEval's prompts are a test set themselves: train on
them only when nothing is to be measured on it.
"""

from __future__ import annotations

from judge_training.data.row_values import cell, pair_example, single_example, text_cell
from judge_training.examples import JudgeExample
from rewards.rows import Row
from rewards.types import Winner
from rewards.values import BadValue, number_value


def alpaca_output(row: Row) -> JudgeExample:
    """A row of outputs (instruction, output, generator): a response that waits for a teacher's judgment."""
    return single_example(
        "alpaca_eval_outputs",
        _instruction(row),
        text_cell(row, "output"),
        columns={"response_by": text_cell(row, "generator"), "instruction_from": str(row.get("dataset", ""))},
    )


def alpaca_annotation(row: Row) -> JudgeExample:
    """A row of annotations (instruction, output_1, output_2, preference, annotator)."""
    annotator = row.get("annotator", row.get("annotator_index"))
    person = isinstance(annotator, int | float) or (isinstance(annotator, str) and annotator.isdecimal())
    return pair_example(
        "alpaca_eval_annotations",
        _instruction(row),
        (text_cell(row, "output_1"), text_cell(row, "output_2")),
        _winner(number_value(cell(row, "preference"), "preference")),
        human=person,
        by=(_name(row, "generator_1"), _name(row, "generator_2")),
        columns={"annotator": str(annotator)},
    )


def _winner(preference: float | None) -> Winner:
    if preference is None:
        raise BadValue("null", "expected a preference, got null")
    if preference in {0, 1.5}:
        return "tie"
    if not 1 <= preference <= 2:
        raise BadValue("unknown_label", f"expected a preference of 1 to 2, or 0 for a tie, got {preference}")
    return "first" if preference < 1.5 else "second"


def _instruction(row: Row) -> str:
    """The instruction, with Alpaca's `input` after it where there is one."""
    addition = row.get("input")
    instruction = text_cell(row, "instruction")
    return f"{instruction}\n\n{text_cell(row, 'input')}" if addition else instruction


def _name(row: Row, column: str) -> str | None:
    return None if row.get(column) is None else text_cell(row, column)
