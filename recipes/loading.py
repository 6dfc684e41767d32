"""Reading a recipe: YAML, flags over it, types, digest.

A recipe is a YAML file with a `recipe:` key that names its kind. Flags (`--train.beta 0.2`) are laid over
the file before it is checked, so a flag and a line of the file are the same thing, and every problem of
both is reported at once, unknown keys with the nearest known one. Imports no torch.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import math
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, JsonValue, ValidationError
from pydantic_core import ErrorDetails

from recipes.schema import KINDS, Recipe
from rewards.errors import InputError, MissingFileError

NOT_IN_DIGEST = (
    *("output", "track", "price_in", "price_out", "max_calls", "max_cost", "failures"),
    *("judge_certificate", "allow_uncertified"),
    *("judge.batch_size", "sampling.batch_size", "evaluate.batch_size"),
    *(f"judge.endpoint.{key}" for key in ("api_key_env", "concurrency", "timeout", "max_retries")),
)
"""Keys that may differ when a run is resumed, since no result depends on them: where it lies, who watches it, what it
may cost, when it is given up, what is known of the judge, and how hard machine and server are driven."""

_STEP = (("launch", "processes"), ("train", "batch_size"), ("train", "gradient_accumulation"))
"""Keys of which only the product matters: the examples behind one optimizer step. So a run that is resumed on twice as
many processes with half the batch is the same run."""


def shipped_recipes() -> dict[str, Path]:
    """Every recipe in the package by its short name (`quickstart`, `dpo/tiny`)."""
    root = Path(str(resources.files("recipes")))
    found = sorted(path for path in root.rglob("*.yaml") if "data" not in path.parts)
    return {str(path.relative_to(root).with_suffix("")): path for path in found}


def find_recipe(name: str) -> Path:
    """The file of a recipe given as a path or as the short name of a shipped one."""
    path = Path(name)
    if path.is_file():
        return path
    shipped = shipped_recipes()
    short = name.removeprefix("recipes/").removesuffix(".yaml")
    if short in shipped:
        return shipped[short]
    near = difflib.get_close_matches(short, shipped, n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else f"shipped recipes: {', '.join(shipped)}"
    raise MissingFileError(f"expected a recipe file or the name of a shipped recipe, got {name!r}; {hint}")


def parse_flags(flags: Sequence[str]) -> dict[str, JsonValue]:
    """`--a.b 1 --c=x` as a nested mapping; values are YAML, so `false`, `3` and `[1, 2]` mean what they say.

    Several values after a flag are a list, and `None` is `null`, since the help writes both in that way.
    """
    laid: dict[str, JsonValue] = {}
    rest = list(flags)
    while rest:
        flag = rest.pop(0)
        if not flag.startswith("--") or flag == "--":
            raise InputError(f"expected a flag such as --train.beta 0.2, got {flag!r}")
        key, equals, value = flag[2:].partition("=")
        values = [value] if equals else []
        while not equals and rest and not rest[0].startswith("--"):
            values.append(rest.pop(0))
        if not values:
            raise InputError(f"expected a value after --{key}, got none (for a switch: --{key} true)")
        parsed = [_flag_value(value, key) for value in values]
        _lay(laid, key.replace("-", "_").split("."), parsed if len(parsed) > 1 else parsed[0], key)
    return laid


def _flag_value(text: str, key: str) -> JsonValue:
    try:
        value: JsonValue = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InputError(f"expected a value after --{key}, got {text!r}, which YAML cannot read") from error
    return None if value == "None" else value


def _lay(into: dict[str, JsonValue], path: list[str], value: JsonValue, key: str) -> None:
    for part in path[:-1]:
        below = into.setdefault(part, {})
        if not isinstance(below, dict):
            raise InputError(f"--{key} sets a key below {part!r}, which another flag already gave a plain value")
        into = below
    into[path[-1]] = value


def merge(base: Mapping[str, JsonValue], over: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """`over` laid on `base`, mapping by mapping; anything else is replaced whole."""
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = merge(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


def load_recipe(name: str, flags: Sequence[str] = ()) -> Recipe:
    """Read and check a recipe; raises InputError that lists everything wrong with it."""
    path = find_recipe(name)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not YAML: {error}") from error
    if not isinstance(content, dict):
        raise InputError(f"expected {path} to hold keys and values, got {type(content).__name__}")
    return check_recipe(merge(content, parse_flags(flags)), where=str(path))


def check_recipe(content: Mapping[str, JsonValue], *, where: str) -> Recipe:
    """Turn a mapping into a typed recipe, or raise InputError with all problems."""
    kind = content.get("recipe")
    if not isinstance(kind, str) or kind not in KINDS:
        near = difflib.get_close_matches(str(kind), KINDS, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise InputError(f"{where}: expected `recipe:` to be one of {', '.join(KINDS)}, got {kind!r}{hint}")
    model = KINDS[kind]
    try:
        return model.model_validate(content)
    except ValidationError as error:
        problems = [_explain(model, detail) for detail in error.errors(include_url=False)]
        raise InputError(
            f"{where}: {len(problems)} problem(s)\n" + "\n".join(f"  {text}" for text in problems)
        ) from error


def _explain(model: type[BaseModel], detail: ErrorDetails) -> str:
    where = ".".join(str(part) for part in detail["loc"])
    if detail["type"] == "extra_forbidden":
        known = _keys_at(model, detail["loc"][:-1])
        near = difflib.get_close_matches(str(detail["loc"][-1]), known, n=1)
        return f"{where}: unknown key; " + (f"did you mean {near[0]}?" if near else f"known keys: {', '.join(known)}")
    message = detail["msg"].removeprefix("Value error, ")
    told = detail["type"] == "missing" or (
        detail["type"] == "value_error" and (isinstance(detail["input"], Mapping) or ", got " in message)
    )
    return f"{where or 'the recipe'}: {message}" + ("" if told else f", got {detail['input']!r:.80}")


def _keys_at(model: type[BaseModel], loc: Sequence[str | int]) -> list[str]:
    """The keys of the settings class that a location names."""
    for part in loc:
        field = model.model_fields.get(str(part))
        below = settings_class(field.annotation) if field else None
        if below is None:
            return list(model.model_fields)
        model = below
    return list(model.model_fields)


def settings_class(annotation: Any) -> type[BaseModel] | None:
    """The settings class in an annotation such as `X` or `X | None`."""
    options = typing.get_args(annotation) if isinstance(annotation, types.UnionType) else (annotation,)
    return next((option for option in options if isinstance(option, type) and issubclass(option, BaseModel)), None)


def recipe_digest(recipe: Recipe) -> str:
    """SHA-256 of everything in the resolved recipe that changes its results."""
    content = _in_digest(_by_step(recipe.model_dump(mode="json")))
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _in_digest(content: Mapping[str, JsonValue], prefix: str = "") -> dict[str, JsonValue]:
    kept = {key: value for key, value in content.items() if f"{prefix}{key}" not in NOT_IN_DIGEST}
    return {k: _in_digest(v, f"{prefix}{k}.") if isinstance(v, dict) else v for k, v in kept.items()}


def _by_step(content: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """The recipe with the examples of a step in place of the keys that make them (see `_STEP`).

    Not with `batch_by_length`, where the size of a batch decides which examples are in it.
    """
    train, launch = content.get("train"), content.get("launch")
    if not isinstance(train, dict) or not isinstance(launch, dict) or train.get("batch_by_length"):
        return dict(content)
    sections = {"train": dict(train), "launch": dict(launch)}
    sizes = [sections[section].pop(key, 1) for section, key in _STEP]
    return {**content, **sections, "examples_a_step": math.prod(one for one in sizes if isinstance(one, int))}


def differing_keys(old: Mapping[str, JsonValue], new: Mapping[str, JsonValue]) -> list[str]:
    """Dotted names of the keys whose values differ, leaving out those outside the digest."""
    same_step = _by_step(old).get("examples_a_step") == _by_step(new).get("examples_a_step") is not None
    left_out = {".".join(key) for key in _STEP} if same_step else set()
    return [text for name, text in _differences(old, new) if name not in left_out]


def _differences(
    old: Mapping[str, JsonValue], new: Mapping[str, JsonValue], prefix: str = ""
) -> Iterator[tuple[str, str]]:
    for key in sorted(set(old) | set(new)):
        name, before, after = f"{prefix}{key}", old.get(key), new.get(key)
        if name in NOT_IN_DIGEST:
            continue
        if isinstance(before, dict) and isinstance(after, dict):
            yield from _differences(before, after, f"{name}.")
        elif before != after:
            yield name, f"{name} ({json.dumps(before)} -> {json.dumps(after)})"


def recipe_head(path: Path) -> str:
    """The comment at the head of a recipe file: what it does, what it needs, how to launch it."""
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.removeprefix("#").removeprefix(" "))
    return "\n".join(lines)
