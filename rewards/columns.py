"""Which column of a data set means what: by the names that people use, or by a mapping.

Columns are resolved once, from the names seen at the start of a file, and not guessed again row by row, so that
one file is read in one way. A name in the mapping that no row has is an error with a suggestion, never a silent
fall back to another column. Names that mean different things in different places (`system`, `score`, `source`)
are only read when the mapping says so.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from pydantic import Field

from rewards.errors import InputError
from rewards.judges.config import Settings
from rewards.types import Winner


class ColumnMap(Settings):
    """Names of the columns of a data set; what is left out is found by its usual names."""

    prompt: str | None = None
    """Text, or chat messages (usual: prompt, messages, instruction, question, query, conversations)."""
    system: str | None = None
    """Text of a system message put before the prompt (no usual name)."""
    response: str | None = None
    """The one response of a row (usual: completion, response, output)."""
    response_1: str | None = None
    """The first of two responses (usual: response 1, response_1, chosen, output_1)."""
    response_2: str | None = None
    """The second of two responses (usual: response 2, response_2, rejected, output_2)."""
    label: str | None = None
    """Which of the two is better (usual: label, preference); with chosen and rejected there is none."""
    label_values: dict[str, Winner] = Field(default_factory=dict)
    """What each value of the label means, such as {a-is-better: first}; the AUTO-J release's 0, 1, 2 needs none."""
    id: str | None = None
    """Id of the prompt (usual: prompt_id, question_id, and in a file of prompts also id); else made from its text."""
    candidate_id: str | None = None
    """Id of the response, or of the pair (usual: candidate_id, pair_id); else made from the content."""
    group_by: str | None = None
    """The column whose equal values mean the same prompt, when neither an id nor the text says so."""
    scenario: str | None = None
    """The prompt's scenario (usual: scenario)."""
    source: str | None = None
    """The model or system that wrote the response (usual: generator, model)."""
    source_1: str | None = None
    """The system that wrote the first of two responses (usual: generator_1, model_1)."""
    source_2: str | None = None
    """The system that wrote the second of two responses (usual: generator_2, model_2)."""
    reward: str | None = None
    """A number that the response already has (usual: reward)."""


Kind = Literal["prompts", "candidates", "pairs"]

_PROMPT = ("prompt", "messages", "instruction", "question", "query", "conversations")
_PROMPT_ID = ("prompt_id", "question_id")
_RESPONSE = ("completion", "response", "output")
_SIDES = (("response 1", "response 2"), ("response_1", "response_2"), ("chosen", "rejected"), ("output_1", "output_2"))
CHAT_COLUMNS = frozenset({"messages", "conversations"})


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns of one file, resolved."""

    prompt: str | None
    """None only in pairs whose two conversations hold the prompt themselves."""
    addition: str | None = None
    """Alpaca's `input`, which is added to the instruction."""
    system: str | None = None
    response: str | None = None
    """None when the response is the last message of the conversation."""
    response_1: str = ""
    response_2: str = ""
    label: str | None = None
    label_values: dict[str, Winner] | None = None
    id: str | None = None
    candidate_id: str | None = None
    scenario: str | None = None
    source: str | None = None
    source_1: str | None = None
    source_2: str | None = None
    reward: str | None = None

    @property
    def chosen_first(self) -> bool:
        """Whether the first response is by its column's name the better one."""
        return self.label is None and self.response_1 == "chosen"

    @property
    def used(self) -> frozenset[str]:
        """The columns that become part of a record; the others are kept beside it."""
        named = (
            self.prompt, self.addition, self.system, self.response, self.response_1, self.response_2, self.label,
            self.id, self.candidate_id, self.scenario, self.source, self.source_1, self.source_2, self.reward,
        )  # fmt: skip
        return frozenset(name for name in named if name)


def resolve_columns(names: Iterable[str], mapping: ColumnMap, kind: Kind, *, labelled: bool = True) -> Columns:
    """The columns of a file with these names, for records of this kind.

    Raises InputError when the mapping names a column that is not there, or when a needed one is not found.
    """
    present = list(dict.fromkeys(names))
    _check_mapping(mapping, present)
    shared = _shared_columns(mapping, present, kind)
    if kind == "prompts":
        return replace(shared, prompt=_prompt(mapping, present))
    if kind == "candidates":
        return _candidate_columns(mapping, present, shared)
    return _pair_columns(mapping, present, shared, labelled=labelled)


def holds_pairs(names: Iterable[str], mapping: ColumnMap) -> bool:
    """Whether rows with these columns hold two responses each, and not one."""
    present = list(names)
    if mapping.response or _first(_RESPONSE, present):
        return False
    return bool(mapping.response_1 or mapping.response_2) or any(
        first in present and second in present for first, second in _SIDES
    )


def _shared_columns(mapping: ColumnMap, present: list[str], kind: Kind) -> Columns:
    ids = (*_PROMPT_ID, "id") if kind == "prompts" else _PROMPT_ID
    return Columns(
        prompt=None,
        addition="input" if mapping.prompt in (None, "instruction") and _alpaca(present) else None,
        system=mapping.system,
        id=mapping.group_by or mapping.id or _first(ids, present),
        scenario=mapping.scenario or _first(("scenario",), present),
    )


def _alpaca(present: list[str]) -> bool:
    return "input" in present and _first(_PROMPT, present) == "instruction"


def _candidate_columns(mapping: ColumnMap, present: list[str], shared: Columns) -> Columns:
    prompt = _prompt(mapping, present)
    response = mapping.response or _first(_RESPONSE, present)
    if response is None and prompt not in CHAT_COLUMNS:
        raise InputError(_not_found("response", _RESPONSE, present))
    ids = ("candidate_id",) if shared.id == "id" else ("candidate_id", "id")
    return replace(
        shared,
        prompt=prompt,
        response=response,
        candidate_id=mapping.candidate_id or _first(ids, present),
        source=mapping.source or _first(("generator", "model"), present),
        reward=mapping.reward or _first(("reward",), present),
    )


def _pair_columns(mapping: ColumnMap, present: list[str], shared: Columns, *, labelled: bool) -> Columns:
    first, second = _sides(mapping, present)
    implicit = (first, second) == ("chosen", "rejected") and mapping.prompt is None and not _first(_PROMPT, present)
    label, values = _label(mapping, present, first) if labelled else (None, None)
    ids = ("pair_id",) if shared.id == "id" else ("pair_id", "id")
    return replace(
        shared,
        prompt=None if implicit else _prompt(mapping, present),
        response_1=first,
        response_2=second,
        label=label,
        label_values=values,
        candidate_id=mapping.candidate_id or _first(ids, present),
        source_1=mapping.source_1 or _first(("generator_1", "model_1"), present),
        source_2=mapping.source_2 or _first(("generator_2", "model_2"), present),
    )


def _sides(mapping: ColumnMap, present: list[str]) -> tuple[str, str]:
    if mapping.response_1 and mapping.response_2:
        return mapping.response_1, mapping.response_2
    if mapping.response_1 or mapping.response_2:
        raise InputError(
            "expected both response_1 and response_2 in the column mapping, got one of them; name the other"
        )
    for first, second in _SIDES:
        if first in present and second in present:
            return first, second
    usual = tuple(f"{first} and {second}" for first, second in _SIDES)
    raise InputError(_not_found("pair of response", usual, present))


_NAMED_VALUES: dict[str, Winner] = {"first": "first", "second": "second", "tie": "tie"}
_AUTO_J_VALUES: dict[str, Winner] = {"0": "first", "1": "second", "2": "tie"}


def _label(mapping: ColumnMap, present: list[str], first: str) -> tuple[str | None, dict[str, Winner] | None]:
    """The label's column and what its values mean. Bare numbers mean something only in the AUTO-J release."""
    name = mapping.label or (None if first == "chosen" else _first(("label", "preference"), present))
    if name is None:
        if first == "chosen":
            return None, None
        raise InputError(_not_found("label", ("label", "preference"), present))
    auto_j = name == "label" and first == "response 1"
    return name, mapping.label_values or _NAMED_VALUES | (_AUTO_J_VALUES if auto_j else {})


def _prompt(mapping: ColumnMap, present: list[str]) -> str:
    name = mapping.prompt or _first(_PROMPT, present)
    if name is None:
        raise InputError(_not_found("prompt", _PROMPT, present))
    return name


def _first(usual: Iterable[str], present: list[str]) -> str | None:
    return next((name for name in usual if name in present), None)


def _check_mapping(mapping: ColumnMap, present: list[str]) -> None:
    for field, name in mapping.model_dump(exclude={"label_values"}, exclude_none=True).items():
        if name not in present:
            close = difflib.get_close_matches(name, present, n=1, cutoff=0.5)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise InputError(f"expected a column {name!r} (columns.{field}), got columns {_listed(present)}{hint}")


def _not_found(what: str, usual: tuple[str, ...], present: list[str]) -> str:
    field = "response_1 and columns.response_2" if what == "pair of response" else what
    return (
        f"expected a {what} column named {' or '.join(usual)}, got columns {_listed(present)}; "
        f"name it with columns.{field}"
    )


def _listed(present: list[str]) -> str:
    shown = ", ".join(repr(name) for name in present[:40])
    return (shown or "none") + (f" and {len(present) - 40} more" if len(present) > 40 else "")
