"""The prompts in a Python file of constants, as AUTO-J's release keeps them beside its usage example.

The file is parsed and never run. A prompt is a string with the names that the release fills in; which of them is the
single one and which the pairwise one is told by the names. What stands before a verdict is read from the prompt's
own instruction on how to end.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from pathlib import Path
from string import Formatter

from rewards.errors import InputError
from rewards.protocol.spec import FieldName, FieldPart, Template, TextPart, VerdictLabels

_SINGLE: dict[str, FieldName] = {"prompt": "query", "response": "response"}
_PAIRWISE: dict[str, FieldName] = {"prompt": "query", "response": "response_1", "response_another": "response_2"}
_RATING_EXAMPLE = re.compile(r"""["'“]([^"'“”\[\]\n]{1,40}\[\[)\d""")


@dataclass(frozen=True, slots=True)
class PromptConstants:
    """The prompts of one file."""

    single: Template | None
    pairwise: Template | None


def read_prompt_constants(path: Path) -> PromptConstants:
    """The one single and the one pairwise prompt of a file, where it has them.

    Raises InputError when the file is not Python, has none of them, or has two of a kind.
    """
    try:
        module = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    except (SyntaxError, UnicodeDecodeError, ValueError) as error:
        raise InputError(f"expected a Python file of prompts at {path}, it cannot be parsed: {error}") from error
    texts = [text for node in module.body if (text := _constant(node)) is not None]
    single = _one(path, "single", [one for text in texts if (one := _template(text, _SINGLE))])
    pairwise = _one(path, "pairwise", [one for text in texts if (one := _template(text, _PAIRWISE))])
    if single is None and pairwise is None:
        raise InputError(f"expected a prompt with {{prompt}} and {{response}} in {path}, found none")
    return PromptConstants(single, pairwise)


def _constant(node: ast.stmt) -> str | None:
    """The text that a statement assigns to a name."""
    if not isinstance(node, ast.Assign | ast.AnnAssign) or not isinstance(node.value, ast.Constant):
        return None
    return node.value.value if isinstance(node.value.value, str) else None


def _template(text: str, names: dict[str, FieldName]) -> Template | None:
    """A text in the format of `str.format` as a template, when it has just these names, each once."""
    try:
        pieces = list(Formatter().parse(text))
    except ValueError:
        return None
    if sorted(name for _, name, _, _ in pieces if name is not None) != sorted(names):
        return None
    parts: list[TextPart | FieldPart] = []
    for literal, name, _, _ in pieces:
        parts += [TextPart(text=literal)] if literal else []
        parts += [FieldPart(field=names[name])] if name else []
    return Template(parts=tuple(parts))


def _one(path: Path, kind: str, found: list[Template]) -> Template | None:
    if len(found) > 1:
        raise InputError(f"expected one {kind} prompt in {path}, got {len(found)}; keep one of them in a copy")
    return found[0] if found else None


def rating_start(template: Template) -> str | None:
    """What stands before the rating in the example that the prompt gives."""
    match = _RATING_EXAMPLE.search(_ending(template))
    return match.group(1) if match else None


def verdict_start(template: Template, labels: VerdictLabels) -> str | None:
    """What stands before the list of verdicts that the prompt gives (`… Response 1 / Response 2 / Tie`)."""
    choices = r"\s*/\s*".join(re.escape(one) for one in (labels.first, labels.second, labels.tie))
    match = re.search(rf"""["'“\n]([^"'“”\n]*?)\s*{choices}""", _ending(template))
    return match.group(1) if match and match.group(1) else None


def _ending(template: Template) -> str:
    """The text after the data, where the prompt says how to answer."""
    last = template.parts[-1]
    return last.text if isinstance(last, TextPart) else ""
