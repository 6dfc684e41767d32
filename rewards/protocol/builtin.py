"""The protocol of a judge that brings none of its own: our prompts, in AUTO-J's output grammar.

The texts lie beside this module as files, so that they can be read and changed without reading code. They
are short, since a small model is the default judge and every token of them is paid for with every response;
the query comes before the response, so that the candidates of one prompt share the longest prefix. The form
of the answer is shown with a letter and not with a number, so that a judge that only echoes its instructions
gives no verdict instead of always the same one.

No criteria and no reference answer are part of the prompts (as in AUTO-J, arXiv 2310.05470, section 3).
"""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from typing import get_args

from rewards.errors import InputError
from rewards.protocol.spec import Asking, FieldName, FieldPart, JudgeProtocol, Template, TextPart
from rewards.protocol.write import rating_choices, verdict_choices

__all__ = ["builtin_protocol", "compile_template", "rating_choices", "verdict_choices"]

_FIELDS: dict[str, FieldName] = {name: name for name in get_args(FieldName)}
_MARK = re.compile(r"\{\{(\w+)\}\}")


@cache
def builtin_protocol() -> JudgeProtocol:
    """Single and pairwise prompts in our own words, ratings 1 to 10, greedy decoding."""
    return JudgeProtocol(
        name="autoj-builtin",
        single=Asking(
            critique=_read("single_critique"),
            direct=_read("single_direct"),
            answer_start="Rating: [[",
            answer_end="]]",
        ),
        pairwise=Asking(
            critique=_read("pairwise_critique"),
            direct=_read("pairwise_direct"),
            answer_start="Final decision:",
        ),
    )


def compile_template(text: str) -> Template:
    """A prompt file's text as a template: `{{query}}` and its like become fields, all else is literal.

    Raises InputError for a name in double braces that is not a field.
    """
    parts: list[TextPart | FieldPart] = []
    for index, piece in enumerate(_MARK.split(text)):
        if index % 2 == 0:
            parts += [TextPart(text=piece)] if piece else []
        elif piece in _FIELDS:
            parts.append(FieldPart(field=_FIELDS[piece]))
        else:
            raise InputError(f"expected one of {', '.join(_FIELDS)} in double braces, got {piece!r}")
    return Template(parts=tuple(parts))


def _read(name: str) -> Template:
    text = files("rewards.protocol").joinpath("prompts", f"{name}.txt").read_text(encoding="utf-8")
    return compile_template(text.rstrip("\n"))
