"""Reading a YAML file that a person wrote into a typed value, with errors that a person can act on.

The loader is PyYAML's safe one with one thing added: a key that stands twice in a mapping is refused, since
YAML would silently keep the last. All that does not fit the type is reported at once, with the file's name and
a suggestion for a misspelt key. It knows nothing about scenarios.
"""

from __future__ import annotations

from collections.abc import Hashable
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from rewards.errors import InputError, MissingFileError

ModelT = TypeVar("ModelT", bound=BaseModel)


class StrictLoader(yaml.SafeLoader):
    """Safe YAML, in which a key may stand only once in a mapping."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Build a mapping, refusing a key that occurs twice in it."""
        seen: set[Hashable] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                raise yaml.constructor.ConstructorError(
                    None, None, "expected a plain key, got a list or mapping", key_node.start_mark
                )
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the name {key!r} stands twice here: rename or remove one", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


def read_text(path: Path) -> str:
    """The text of a UTF-8 file. Raises MissingFileError, or InputError when it cannot be read as text."""
    if not path.is_file():
        raise MissingFileError(f"expected a YAML file at {path}, found none")
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"expected {path} to be readable UTF-8 text: {error}") from error


def load_yaml(loader: yaml.SafeLoader, path: Path) -> object:
    """The one document that a loader holds. Raises InputError with the place of the first mistake in it."""
    try:
        value: object = loader.get_single_data()
    except yaml.YAMLError as error:
        raise InputError(f"{path} is not YAML that can be used: {error}") from error
    except RecursionError as error:
        raise InputError(f"{path} is nested too deeply to be a file of criteria") from error
    finally:
        loader.dispose()
    return value


def read_yaml(path: Path, kind: type[ModelT]) -> ModelT:
    """Read a file as one value of a type. Raises MissingFileError or InputError naming every misfit."""
    return checked(load_yaml(StrictLoader(read_text(path)), path), path, kind)


def checked(value: object, path: Path, kind: type[ModelT]) -> ModelT:
    """A parsed value as a type. Raises InputError that lists all misfits, one a line."""
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        lines = [_misfit(detail, kind) for detail in error.errors(include_url=False)]
        raise InputError("\n".join([f"{path} does not fit:", *lines])) from error


def _misfit(detail: ErrorDetails, kind: type[BaseModel]) -> str:
    """One misfit as a line; `loc` of pydantic is the path of keys that leads to it."""
    where = " > ".join(str(part) for part in detail["loc"] if part != "[key]")
    if detail["type"] != "extra_forbidden":
        return f"  {where or 'the file'}: {detail['msg']}"
    near = get_close_matches(str(detail["loc"][-1]), _field_names(kind), n=1)
    hint = f"did you mean {near[0]!r}?" if near else "remove it"
    return f"  {where}: there is no such key: {hint}"


def _field_names(kind: type[BaseModel]) -> list[str]:
    """Names of all fields of a model and of the models inside it."""
    schema = kind.model_json_schema()
    tables = [schema, *schema.get("$defs", {}).values()]
    return sorted({name for table in tables for name in table.get("properties", {})})
