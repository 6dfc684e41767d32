"""Scenarios with their criteria, read from YAML that a person can write.

A folder holds one `shared.yaml` (named sets of basic criteria) and any number of group files:

    group: Summarization
    scenarios:
      text_summarization:
        description: Condense an article.        # one sentence
        shared: [text, source]                   # sets taken in from shared.yaml
        content: {main point found: …}           # criteria of its own, `name: text`, by type;
        format: {…}                              # a type without criteria is left out
        style: {…}

Design decisions. A criterion is written once and has an id (`shared set/name` or `scenario/name`); scenarios
refer to criteria by id, in memory and in JSON, so that a shared criterion is counted once: the catalog that
ships has 332. Ids, and not positions, also tie collected judgments to the criteria that guided them.
The criteria guide a teacher when judgments are collected. They are no part of a judge's input, and this module
renders no prompt.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from judge_training.scenarios.names import groups, unknown_name
from judge_training.scenarios.yaml_file import read_yaml
from rewards.errors import InputError, MissingFileError
from rewards.types import Record

CriterionType = Literal["basic", "content", "format", "style"]
Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=80)]
Sentence = Annotated[str, StringConstraints(strip_whitespace=True, min_length=20, max_length=1000)]
CriterionId = Annotated[str, StringConstraints(min_length=3, max_length=161)]
SHARED_FILE = "shared.yaml"


class Criterion(Record):
    """One thing that a careful reader of a response looks for."""

    id: CriterionId
    """`owner/name`, where the owner is a shared set or a scenario."""
    name: Name
    type: CriterionType
    text: Annotated[str, StringConstraints(min_length=1)]
    weight: int | None = Field(default=None, ge=1, le=5)
    """How much it counts, 1 to 5, where the author of the file says so (AUTO-J's release does)."""


class Scenario(Record):
    """A kind of request, and the criteria for responses to it."""

    name: Name
    group: Name
    description: str = ""
    shared: tuple[Name, ...] = ()
    """The shared sets that it takes in."""
    criteria: tuple[CriterionId, ...] = Field(min_length=1)
    """Ids of all its criteria: those of the shared sets first, then its own."""


class Catalog(Record):
    """Scenarios, the groups they belong to, and every criterion once."""

    groups: tuple[Name, ...]
    scenarios: tuple[Scenario, ...]
    criteria: tuple[Criterion, ...]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        _refuse_twice("scenario", (scenario.name for scenario in self.scenarios))
        _refuse_twice("criterion", (criterion.id for criterion in self.criteria))
        _refuse_twice("group", self.groups)
        known = {criterion.id for criterion in self.criteria}
        for scenario in self.scenarios:
            if scenario.group not in self.groups:
                raise ValueError(f"scenario {scenario.name!r} names the group {scenario.group!r}, which is not listed")
            if missing := [each for each in scenario.criteria if each not in known]:
                raise ValueError(f"scenario {scenario.name!r} refers to criteria that do not exist: {missing}")
        return self

    def scenario(self, name: str) -> Scenario:
        """The scenario of that name. Raises InputError, with the nearest names, when there is none."""
        for scenario in self.scenarios:
            if scenario.name == name:
                return scenario
        raise unknown_name("scenario", name, tuple(each.name for each in self.scenarios))

    def criteria_of(self, name: str) -> tuple[Criterion, ...]:
        """All criteria of a scenario, the shared ones first. Raises InputError for an unknown scenario."""
        by_id = {criterion.id: criterion for criterion in self.criteria}
        return tuple(by_id[each] for each in self.scenario(name).criteria)

    def distinct_criteria(self) -> int:
        """How many criteria differ in name or text; the 332 of AUTO-J's release are counted in this way."""
        return len({(criterion.name, criterion.text) for criterion in self.criteria})


class ScenarioRow(NamedTuple):
    """One line of the table that `autoj scenarios` prints."""

    group: str
    name: str
    shared_criteria: int
    own_criteria: int
    description: str


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _SharedSet(_Part):
    description: Sentence
    criteria: dict[Name, Sentence] = Field(min_length=1)


class _SharedFile(_Part):
    sets: dict[Name, _SharedSet]


class _Entry(_Part):
    description: Sentence
    shared: tuple[Name, ...] = ()
    content: dict[Name, Sentence] = {}
    format: dict[Name, Sentence] = {}
    style: dict[Name, Sentence] = {}


class _GroupFile(_Part):
    group: Name
    scenarios: dict[Name, _Entry] = Field(min_length=1)


def load_scenarios(path: Path | None = None) -> Catalog:
    """Load a folder of criteria, or (None) the catalog that ships: 58 scenarios, 8 groups, 332 criteria.

    A folder without a shared.yaml takes in the sets that ship. Raises MissingFileError for a folder that does
    not exist and InputError for a file that cannot be used, naming the file and all that is wrong in it.
    """
    return _shipped() if path is None else _load(path)


@lru_cache(maxsize=1)
def _shipped() -> Catalog:
    return _load(_shipped_folder())


def _shipped_folder() -> Path:
    return Path(__file__).parent


def _load(folder: Path) -> Catalog:
    if not folder.is_dir():
        raise MissingFileError(f"expected a folder of scenario files at {folder}, found none")
    shared_path = folder / SHARED_FILE
    shared = _shared_criteria(shared_path if shared_path.is_file() else _shipped_folder() / SHARED_FILE)
    files = {path: read_yaml(path, _GroupFile) for path in sorted(folder.glob("*.yaml")) if path.name != SHARED_FILE}
    if not files:
        raise InputError(f"expected group files (*.yaml beside {SHARED_FILE}) in {folder}, found none")
    _refuse_two_owners(files, tuple(shared))
    scenarios: list[Scenario] = []
    criteria = [criterion for members in shared.values() for criterion in members]
    for path, file in sorted(files.items(), key=lambda item: _group_rank(item[1].group)):
        for name, entry in file.scenarios.items():
            where = f"{path}, scenario {name!r}"
            own = _own_criteria(name, entry)
            scenarios.append(
                _scenario(name, file.group, entry, [*_taken_in(entry.shared, shared, where), *own], where)
            )
            criteria += own
    in_use = tuple(dict.fromkeys(scenario.group for scenario in scenarios))
    return Catalog(groups=in_use, scenarios=tuple(scenarios), criteria=tuple(criteria))


def _group_rank(group: str) -> int:
    """Known groups in their order, then a user's own."""
    return groups().index(group) if group in groups() else len(groups())


def _shared_criteria(path: Path) -> dict[str, list[Criterion]]:
    sets = read_yaml(path, _SharedFile).sets
    return {
        owner: [
            Criterion(id=f"{owner}/{name}", name=name, type="basic", text=text) for name, text in each.criteria.items()
        ]
        for owner, each in sets.items()
    }


def _own_criteria(owner: str, entry: _Entry) -> list[Criterion]:
    by_type: dict[CriterionType, dict[str, str]] = {
        "content": entry.content,
        "format": entry.format,
        "style": entry.style,
    }
    return [
        Criterion(id=f"{owner}/{name}", name=name, type=kind, text=text)
        for kind, texts in by_type.items()
        for name, text in texts.items()
    ]


def _taken_in(names: tuple[str, ...], shared: dict[str, list[Criterion]], where: str) -> list[Criterion]:
    """The criteria of the shared sets that a scenario names."""
    for name in names:
        if name not in shared:
            raise InputError(f"{where}: {unknown_name('shared set', name, tuple(shared))}")
    return [criterion for name in names for criterion in shared[name]]


def _scenario(name: str, group: str, entry: _Entry, criteria: list[Criterion], where: str) -> Scenario:
    if not criteria:
        raise InputError(f"{where}: expected criteria, shared or its own, got none")
    try:
        _refuse_twice("criterion", (criterion.name for criterion in criteria))
    except ValueError as error:
        raise InputError(f"{where}: {error}") from error
    return Scenario(
        name=name,
        group=group,
        description=entry.description,
        shared=entry.shared,
        criteria=tuple(criterion.id for criterion in criteria),
    )


def _refuse_two_owners(files: dict[Path, _GroupFile], sets: tuple[str, ...]) -> None:
    """Refuse a scenario that two files describe, or that has the name of a shared set: ids would collide."""
    owner: dict[str, Path] = {}
    for path, file in files.items():
        for name in file.scenarios:
            if name in sets:
                raise InputError(f"{path}: the scenario {name!r} has the name of a shared set: rename it")
            if name in owner:
                raise InputError(
                    f"expected each scenario in one file, got {name!r} in {owner[name]} and {path}: remove one"
                )
            owner[name] = path


def _refuse_twice(kind: str, names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ValueError(f"the {kind} {name!r} is there twice: rename or remove one")
        seen.add(name)


def scenario_rows(catalog: Catalog | None = None) -> list[ScenarioRow]:
    """One row a scenario, group by group, of the given catalog or of the one that ships."""
    chosen = load_scenarios() if catalog is None else catalog
    rows = []
    for group in chosen.groups:
        for each in (scenario for scenario in chosen.scenarios if scenario.group == group):
            types = [criterion.type for criterion in chosen.criteria_of(each.name)]
            basic = types.count("basic")
            rows.append(ScenarioRow(group, each.name, basic, len(types) - basic, each.description))
    return rows
