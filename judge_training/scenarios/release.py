"""The criteria that AUTO-J was released with, read from a user's own copy.

The release keeps one YAML file a scenario under `specials/` and takes in basic sets by a `!include` tag whose
path starts at the release's root. That tag is the only one allowed, and it may name files inside the release's
folder alone: a copy from somewhere else must not be able to read other files. Nothing of the release's text is
in this repository. Its format is read, never written.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, RootModel, StringConstraints

from judge_training.scenarios.catalog import Catalog, Criterion, Name, Scenario
from judge_training.scenarios.names import group_of, groups
from judge_training.scenarios.yaml_file import StrictLoader, checked, load_yaml, read_text
from rewards.errors import InputError, MissingFileError

_INSIDE = Path("other_resources") / "scenario_criteria"


class _Item(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    content: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
    weight: int = Field(ge=1, le=5)
    type: Literal["basic", "content", "format", "style"]


class _ReleasedFile(RootModel[dict[str, dict[Name, _Item]]]):
    """Sections (a basic set that was taken in, or the scenario's own) of criteria by name."""


class _Included(dict[object, object]):
    """The content of an included file, which remembers the file's name."""

    def __init__(self, content: dict[object, object], origin: str) -> None:
        super().__init__(content)
        self.origin = origin


class _ReleaseLoader(StrictLoader):
    """Safe YAML in which `!include PATH` stands for the content of a file of the release."""

    def __init__(self, path: Path, folder: Path) -> None:
        super().__init__(read_text(path))
        self._path = path
        self._folder = folder

    def include(self, node: yaml.Node) -> _Included:
        """The content of the file that the tag names."""
        if not isinstance(node, yaml.ScalarNode):
            raise InputError(f"{self._path}: expected !include to be followed by a path")
        target = _included_path(self._folder, node.value, self._path)
        # The included file is read by the plain loader: the release includes no further from there, and so
        # no chain or circle of includes can come about.
        value = load_yaml(StrictLoader(read_text(target)), target)
        if not isinstance(value, dict):
            raise InputError(f"{target}: expected criteria by name, got {type(value).__name__}")
        return _Included(value, target.stem)


_ReleaseLoader.add_constructor("!include", _ReleaseLoader.include)


def load_release(folder: Path) -> Catalog:
    """Load the released criteria from a copy of the release, or of its `scenario_criteria` folder.

    Every file under `specials/` is one scenario; a basic set has one id however many scenarios include it.
    The release has no descriptions. Raises MissingFileError when the folder holds no such files and InputError
    for a file that does not fit, an include that leaves the folder, or a scenario that is not one of the 58.
    """
    root = _criteria_folder(folder)
    criteria: dict[str, Criterion] = {}
    scenarios = []
    for path in sorted((root / "specials").glob("*.yaml")):
        shared, members = _read_scenario(path, root)
        criteria.update((criterion.id, criterion) for criterion in members)
        ids = tuple(dict.fromkeys(criterion.id for criterion in members))
        scenarios.append(Scenario(name=path.stem, group=group_of(path.stem), shared=shared, criteria=ids))
    return Catalog(groups=groups(), scenarios=tuple(scenarios), criteria=tuple(criteria.values()))


def _criteria_folder(folder: Path) -> Path:
    for root in (folder, folder / _INSIDE):
        if any((root / "specials").glob("*.yaml")):
            return root.resolve()
    raise MissingFileError(
        f"expected a copy of the AUTO-J release, or its folder {_INSIDE}, at {folder}: found no specials/*.yaml there"
    )


def _read_scenario(path: Path, root: Path) -> tuple[tuple[str, ...], list[Criterion]]:
    """The shared sets of one file, and all its criteria in order."""
    value = load_yaml(_ReleaseLoader(path, root), path)
    file = checked(value, path, _ReleasedFile)
    sections = value if isinstance(value, dict) else {}
    shared: list[str] = []
    criteria: list[Criterion] = []
    for section, items in file.root.items():
        raw = sections[section]
        if isinstance(raw, _Included):
            shared.append(raw.origin)
        owner = raw.origin if isinstance(raw, _Included) else path.stem
        criteria += [_criterion(owner, name, item) for name, item in items.items()]
    return tuple(shared), criteria


def _criterion(owner: str, name: str, item: _Item) -> Criterion:
    return Criterion(id=f"{owner}/{name}", name=name, type=item.type, text=item.content, weight=item.weight)


def _included_path(root: Path, named: str, path: Path) -> Path:
    """The file inside `root` that an include names.

    The release counts paths from its own root; a user may have copied only a part of it, so leading folders are
    taken off until a file is there.
    """
    parts = [part for part in PurePosixPath(named).parts if part != "."]
    if ".." in parts or PurePosixPath(named).is_absolute():
        raise InputError(f"{path}: expected !include to name a file inside {root}, got {named!r}")
    for start in range(len(parts)):
        target = root.joinpath(*parts[start:]).resolve()
        if target.is_file() and target.is_relative_to(root):
            return target
    raise MissingFileError(f"{path}: includes {named!r}, but there is no such file inside {root}")
