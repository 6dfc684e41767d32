"""The prompt of a rival, as data: the user's copy of the one it was trained on, or ours in its place.

A rival's labels and the order of its fields are facts and kept here. The sentences around them belong to the
projects that wrote them, so ours only approximate them: whoever wants a rival's published numbers gives its own prompt
as a text file with `{{query}}`, `{{response}}` or `{{response_1}}` and `{{response_2}}`. Such a file is filled as it
is, in one pass, up to and with its last line break less one (the one that editors put at a file's end).
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Literal

from rewards.errors import InputError, MissingFileError
from rewards.protocol.builtin import compile_template
from rewards.protocol.spec import FieldName, Template

SINGLE: frozenset[FieldName] = frozenset({"query", "response"})
PAIRWISE: frozenset[FieldName] = frozenset({"query", "response_1", "response_2"})

APPROXIMATE = (
    "asked in our approximation of its prompt, not in the one it was trained on; give that one as rival.template"
)


def shipped_template(name: Literal["pandalm", "selfee", "steamshp"]) -> Template:
    """Our approximation of a rival's prompt."""
    text = files("rewards.judges.rivals").joinpath("prompts", f"{name}.txt").read_text(encoding="utf-8")
    return compile_template(text if name != "steamshp" else text.rstrip("\n"))


def read_template(path: Path, fields: frozenset[FieldName]) -> Template:
    """A user's prompt file; raises MissingFileError, or InputError when its fields are not these."""
    if not path.is_file():
        raise MissingFileError(f"expected the rival's prompt at {path}, found no file there")
    template = compile_template(path.read_text(encoding="utf-8").removesuffix("\n"))
    if template.fields != fields:
        raise InputError(
            f"{path}: expected the fields {_braced(fields)}, got {_braced(template.fields) or 'none'}; "
            "write each between double braces"
        )
    return template


def _braced(fields: frozenset[FieldName]) -> str:
    return ", ".join("{{" + name + "}}" for name in sorted(fields))
