"""AUTO-J's released files, from a user's own copy, as examples; and the prompts of its test sets.

The layout is the release's (`data/training`, `data/test`, `other_resources`); `pairwise_traindata.jsonl` and
`testdata_selection.jsonl` are read where they are there. Inputs are taken apart with the template that
`rewards.protocol.learn` finds in the files themselves. The release's scenario "default" is "others" here, as in
its own test data, and its empty responses stay, since they were judged too. Test files are read to evaluate on and to
keep apart, and never come out of `read_release`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import JsonValue

from judge_training.data.row_values import pair_example, single_example, struct_cell, text_cell
from judge_training.data.verdict_line import split_rating, split_verdict
from judge_training.eval_p import read_eval_p
from judge_training.examples import JudgeExample
from judge_training.json_lines import read_objects
from judge_training.scenarios.names import group_of
from rewards.errors import InputError, MissingFileError
from rewards.inputs import ReadResult, Tally
from rewards.protocol.learn import PAIRWISE_FILE, SINGLE_FILE, learn_protocol, split
from rewards.protocol.spec import JudgeProtocol, Template
from rewards.types import Id, Record, Text, Winner
from rewards.values import BadValue, label_value, number_value

_WINNERS: dict[str, Winner] = {"0": "first", "1": "second", "2": "tie"}
_OTHERS = {"default": "others"}

Object = dict[str, JsonValue]


@dataclass(frozen=True, slots=True)
class Release:
    """The release's training examples, and the protocol that their inputs were written in."""

    examples: ReadResult[JudgeExample]
    protocol: JudgeProtocol


class ScenarioText(Record):
    """A query with its scenario, to train a classifier on."""

    id: Id
    text: Text
    scenario: str


def read_release(folder: Path) -> Release:
    """Everything that the release trains on: single judgments, and pairwise ones where the file is there.

    A row whose written verdict is not the one in its own field is dropped (reason: verdicts_differ). Raises
    MissingFileError without `single_traindata.jsonl`, and InputError for a file that is not the release's.
    """
    protocol = learn_protocol(folder).protocol
    tally = Tally()
    examples = list(_read(_path(folder, SINGLE_FILE), lambda row: _single(row, protocol), tally))
    if protocol.pairwise is not None:
        examples += _read(_path(folder, PAIRWISE_FILE), lambda row: _pairwise(row, protocol), tally)
    return Release(ReadResult(tuple(examples), dict(tally.skipped), tuple(tally.first_problems)), protocol)


def read_independent(path: Path) -> ReadResult[JudgeExample]:
    """A file of `single_independent`: critiques without a rating, each with the response that it is about."""
    tally = Tally()
    examples = tuple(_read(path, lambda row: _independent(row, path.stem), tally))
    return ReadResult(examples, dict(tally.skipped), tuple(tally.first_problems))


def read_test_pairs(folder: Path) -> list[JudgeExample]:
    """The pairs of Eval-P with people's labels, to evaluate on."""
    return [
        pair_example(
            "eval_p", one.prompt, (one.response_1, one.response_2), one.label, scenario=one.scenario, as_is=True
        ).model_copy(update={"id": one.id})
        for one in read_eval_p(_path(folder, "testdata_pairwise.jsonl"))
    ]


def read_test_critiques(folder: Path) -> ReadResult[JudgeExample]:
    """The responses of Eval-C, with AUTO-J's own critique of each in the column "autoj"."""
    tally = Tally()
    examples = tuple(_read(_path(folder, "testdata_critique.jsonl"), _test_critique, tally))
    return ReadResult(examples, dict(tally.skipped), tuple(tally.first_problems))


def read_selection(folder: Path) -> ReadResult[JudgeExample]:
    """The responses of Eval-R (`testdata_selection.jsonl`, 32 of each base model to a prompt).

    Each has who wrote it, its place among the 32 and AUTO-J's rating ("autoj") as columns, and no rating to learn.
    """
    tally = Tally()
    examples: list[JudgeExample] = []
    path = _path(folder, "testdata_selection.jsonl")
    for number, row in read_objects(path):
        try:
            examples += _selection(row)
        except BadValue as bad:
            tally.count(bad.reason, f"{path}, line {number}: {bad.detail}")
    return ReadResult(tuple(examples), dict(tally.skipped), tuple(tally.first_problems))


def evaluation_prompts(folder: Path) -> dict[str, tuple[str, ...]]:
    """The prompts of every test set that is there, by its name: eval_p, eval_c and eval_r."""
    files = {
        "eval_p": "testdata_pairwise.jsonl",
        "eval_c": "testdata_critique.jsonl",
        "eval_r": "testdata_selection.jsonl",
    }
    prompts: dict[str, tuple[str, ...]] = {}
    for name, file in files.items():
        path = _find(folder, file)
        if path is not None:
            prompts[name] = tuple(dict.fromkeys(_prompt(row, path, number) for number, row in read_objects(path)))
    if not prompts:
        raise MissingFileError(f"expected test files ({', '.join(files.values())}) under {folder}, found none")
    return prompts


def read_classifier_data(folder: Path, part: Literal["train", "test"] = "train") -> ReadResult[ScenarioText]:
    """The scenario classifier's data: queries with their scenario.

    The release's classifier has two classes that are none of the 58 ("rejecting", "peer_review"); reason:
    unknown_scenario.
    """
    tally = Tally()
    path = _path(folder, f"scenario_classifier_data/{part}data.jsonl")
    texts = []
    for number, row in read_objects(path):
        try:
            addition = text_cell(row, "input") if row.get("input") else ""
            query = text_cell(row, "instruction") + (f"\n\n{addition}" if addition else "")
            scenario = _scenario(text_cell(row, "category"))
        except BadValue as bad:
            tally.count(bad.reason, f"{path}, line {number}: {bad.detail}")
        else:
            texts.append(ScenarioText(id=f"scenario-{part}-{number:04d}", text=query, scenario=scenario))
    return ReadResult(tuple(texts), dict(tally.skipped), tuple(tally.first_problems))


# Rows


def _single(row: Object, protocol: JudgeProtocol) -> JudgeExample:
    values = _fields(row, protocol.single.critique)
    critique, rating = split_rating(text_cell(row, "target_output"), protocol)
    if number_value(row.get("pred_score"), "pred_score") != rating:
        raise BadValue("verdicts_differ", f"expected the rating {row.get('pred_score')}, got {rating} in the target")
    return single_example(
        "auto_j",
        values["query"],
        values["response"],
        rating=rating,
        critique=critique,
        scenario=_scenario(text_cell(row, "scenario")),
        columns=_origin(row),
        as_is=True,
    )


def _pairwise(row: Object, protocol: JudgeProtocol) -> JudgeExample:
    if protocol.pairwise is None:
        raise BadValue("no_pairwise_protocol", "expected a protocol that compares, got one that only rates")
    values = _fields(row, protocol.pairwise.critique)
    critique, winner = split_verdict(text_cell(row, "target_output"), protocol)
    if label_value(row.get("pred_label"), "pred_label", _WINNERS) != winner:
        raise BadValue("verdicts_differ", f"expected the label {row.get('pred_label')}, got {winner} in the target")
    example = pair_example(
        "auto_j",
        values["query"],
        (values["response_1"], values["response_2"]),
        winner,
        scenario=_scenario(text_cell(row, "scenario")),
        columns=_origin(row),
    )
    people = label_value(row.get("gt_label"), "gt_label", _WINNERS)
    return example.model_copy(update={"critique": critique, "human_label": people})


def _independent(row: Object, name: str) -> JudgeExample:
    meta = struct_cell(row, "meta")
    return single_example(
        f"auto_j_{name}",
        text_cell(meta, "prompt"),
        text_cell(meta, "response"),
        critique=text_cell(row, "output"),
        scenario=_scenario(text_cell(meta, "scenario")),
        columns={"protocol": text_cell(meta, "protocol")},
        as_is=True,
    )


def _test_critique(row: Object) -> JudgeExample:
    critiques = struct_cell(row, "critiques")
    return single_example(
        "eval_c",
        text_cell(row, "prompt"),
        text_cell(row, "response"),
        scenario=_scenario(text_cell(row, "scenario")),
        columns={"autoj": text_cell(critiques, "autoj")},
        as_is=True,
    )


def _selection(row: Object) -> Iterator[JudgeExample]:
    query, scenario = text_cell(row, "prompt"), _scenario(text_cell(row, "scenario"))
    for model, value in struct_cell(row, "outputs").items():
        written = struct_cell({model: value}, model)
        outputs, ratings = written.get("outputs"), struct_cell(written, "scores").get("autoj")
        if not isinstance(outputs, list) or not isinstance(ratings, list) or len(outputs) != len(ratings):
            raise BadValue("not_a_list", f"expected as many outputs as ratings of {model!r}")
        for index, (output, rating) in enumerate(zip(outputs, ratings, strict=True)):
            text = text_cell({"outputs": output}, "outputs")
            columns: Object = {"response_by": model, "index": index, "autoj": rating}
            example = single_example("eval_r", query, text, scenario=scenario, columns=columns, as_is=True)
            yield example.model_copy(update={"id": f"{example.id}-{model}-{index}"})


def _fields(row: Object, template: Template) -> dict[str, str]:
    asked = text_cell(row, "usrmsg" if "usrmsg" in row else "usermsg")
    values = split(template, asked)
    if values is None:
        raise BadValue("other_template", "expected an input made from the template of the other rows")
    return {str(name): value for name, value in values.items()}


def _origin(row: Object) -> Object:
    return {"source_dataset": text_cell(row, "source_dataset")} if row.get("source_dataset") else {}


def _scenario(name: str) -> str:
    scenario = _OTHERS.get(name, name)
    try:
        group_of(scenario)
    except InputError as error:
        raise BadValue("unknown_scenario", str(error)) from error
    return scenario


def _prompt(row: Object, path: Path, number: int) -> str:
    try:
        return text_cell(row, "prompt")
    except BadValue as bad:
        raise InputError(f"{path}, line {number}: {bad.detail}") from bad


# Files


def _read(path: Path, build: Callable[[Object], JudgeExample], tally: Tally) -> Iterator[JudgeExample]:
    for number, row in read_objects(path):
        try:
            yield build(row)
        except BadValue as bad:
            tally.count(bad.reason, f"{path}, line {number}: {bad.detail}")


def _path(folder: Path, name: str) -> Path:
    path = _find(folder, name)
    if path is None:
        raise MissingFileError(f"expected {name} somewhere under {folder}, found none")
    return path


def _find(folder: Path, name: str) -> Path | None:
    """The file of this name that lies nearest to the top of the folder."""
    return min(folder.rglob(name), key=lambda path: (len(path.parts), str(path)), default=None)
