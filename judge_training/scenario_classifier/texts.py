"""Texts with their scenario: what a classifier learns from and is tested on.

Two sources besides our own: the AUTO-J release's layout (category, instruction, input), read from a user's copy, and
any file of prompts with a scenario. Our own texts are the bundled prompts, the openings in `requests.yaml` and the
descriptions of the scenarios; criteria are left out, since they speak of responses and not of requests, and did not
help. A label that is none of the 58 is left out and counted: the release's classifier data has two such classes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue, RootModel

from judge_training.json_lines import read_objects
from judge_training.scenarios import load_scenarios, scenario_names
from judge_training.scenarios.yaml_file import read_yaml
from rewards.errors import InputError
from rewards.inputs import Tally, read_prompts
from rewards.protocol.view import query_text
from rewards.types import Prompt, Record, Text
from rewards.values import BadValue, text_value

REQUESTS = Path(__file__).parent / "requests.yaml"
_OTHERS = {"default": "others"}
"""The release calls its catch-all "default" in this file and "others" in its test sets."""


class LabelledText(Record):
    """A text and its scenario."""

    text: Text
    scenario: str
    is_prompt: bool = True
    """False for a text about a scenario: it is learned from, but says nothing of how sure the classifier may be."""


@dataclass(frozen=True, slots=True)
class Labelled:
    """Labelled texts, and what was left out of them by reason."""

    texts: tuple[LabelledText, ...]
    skipped: dict[str, int]
    elsewhere: tuple[LabelledText, ...] = ()
    """Texts whose label is none of the 58 scenarios."""


class _Requests(RootModel[dict[str, list[str]]]):
    """Openings of requests by scenario."""


def own_texts(prompts: Iterable[Prompt]) -> list[LabelledText]:
    """Our own texts: the given (bundled) prompts, the openings of requests, and the scenarios' descriptions."""
    texts = [
        LabelledText(text=query_text(prompt, "first_turn"), scenario=prompt.scenario)
        for prompt in prompts
        if prompt.scenario is not None
    ]
    for scenario, lines in read_yaml(REQUESTS, _Requests).root.items():
        texts += [LabelledText(text=line, scenario=scenario) for line in lines]
    for one in load_scenarios().scenarios:
        texts += [
            LabelledText(text=text, scenario=one.name, is_prompt=False)
            for text in (one.description, one.name.replace("_", " "))
        ]
    return texts


def read_labelled(path: Path) -> Labelled:
    """Labelled texts of a file: the release's layout, or prompts with a scenario.

    Raises MissingFileError, and InputError when nothing in the file can be used.
    """
    first = next(read_objects(path), None) if path.suffix == ".jsonl" else None
    labelled = _release(path) if first and {"category", "instruction"} <= set(first[1]) else _prompts(path)
    if not labelled.texts:
        raise InputError(f"expected prompts with one of the 58 scenarios in {path}, got none: {labelled.skipped}")
    return labelled


def _release(path: Path) -> Labelled:
    tally = Tally()
    texts = []
    for number, row in read_objects(path):
        try:
            texts.append(_released_text(row))
        except BadValue as bad:
            tally.count(bad.reason, f"{path}, line {number}: {bad.detail}")
    return _known(texts, tally)


def _released_text(row: dict[str, JsonValue]) -> LabelledText:
    text = text_value(row.get("instruction"), "instruction")
    addition = text_value(row["input"], "input") if row.get("input") else ""
    category = text_value(row.get("category"), "category")
    return LabelledText(text=f"{text}\n\n{addition}" if addition else text, scenario=_OTHERS.get(category, category))


def _prompts(path: Path) -> Labelled:
    read = read_prompts(path)
    tally = Tally()
    tally.skipped.update(read.skipped)
    texts = []
    for prompt in read.records:
        if prompt.scenario is None:
            tally.count("no_scenario", f"{path}: no scenario for {prompt.id!r}")
        else:
            texts.append(LabelledText(text=query_text(prompt, "first_turn"), scenario=prompt.scenario))
    return _known(texts, tally)


def _known(texts: Sequence[LabelledText], tally: Tally) -> Labelled:
    names = frozenset(scenario_names())
    for text in texts:
        if text.scenario not in names:
            tally.count("unknown_scenario", f"{text.scenario!r} is none of the 58 scenarios")
    return Labelled(
        texts=tuple(text for text in texts if text.scenario in names),
        skipped=dict(tally.skipped),
        elsewhere=tuple(text for text in texts if text.scenario not in names),
    )


def digest_of(texts: Sequence[LabelledText]) -> str:
    """SHA-256 of labelled texts in their order, to tell whether a classifier was trained on them."""
    rows = [[text.text, text.scenario, text.is_prompt] for text in texts]
    return hashlib.sha256(json.dumps(rows, ensure_ascii=False).encode()).hexdigest()
