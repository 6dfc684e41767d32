"""Which examples are in English, by their prompt.

What a source says of a language counts where it says it. Otherwise py3langid decides (a small naive Bayes model over
byte n-grams that comes inside its package; Lui and Baldwin 2012). It is often wrong about a few words, so it is only
believed when it is sure: a prompt is dropped when another language has a probability of at least a half and English
almost none, or when most letters are not Latin. Code, names and "hi" therefore stay. Responses are not looked at: a
translation into French is an English request.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING

from judge_training.data.kept import Kept
from judge_training.data.sources import LANGUAGE
from judge_training.examples import JudgeExample
from rewards.protocol.view import query_text

if TYPE_CHECKING:
    from py3langid.langid import LanguageIdentifier

_SURE = 0.5
_HARDLY = 0.01
_SHOWN = 20_000
"""Characters of a prompt that are looked at: more say nothing new."""
_CODE = re.compile(r"```.*?(?:```|\Z)", re.DOTALL)


def keep_english(examples: Iterable[JudgeExample]) -> Kept:
    """The examples whose prompt is in English; the others are counted as not_english."""
    kept: list[JudgeExample] = []
    dropped: Counter[str] = Counter()
    for example in examples:
        if _english(example):
            kept.append(example)
        else:
            dropped["not_english"] += 1
    return Kept(tuple(kept), dict(dropped))


def is_english(text: str) -> bool:
    """Whether a text is not surely in another language."""
    prose = _CODE.sub(" ", text[:_SHOWN])
    if _foreign_letters(prose):
        return False
    ranked = _identifier().rank(prose)
    return bool(ranked[0][1] < _SURE or dict(ranked)["en"] >= _HARDLY)


def _english(example: JudgeExample) -> bool:
    named = example.columns.get(LANGUAGE)
    if isinstance(named, str) and named.strip():
        return named.strip().casefold() in {"english", "en", "en-us", "en-gb"}
    return is_english(query_text(example.prompt, "first_turn"))


def _foreign_letters(text: str) -> bool:
    """Whether more than half of the letters are not Latin."""
    letters = [character for character in text if character.isalpha()]
    latin = sum(one.isascii() or unicodedata.name(one, "").startswith("LATIN") for one in letters)
    return 2 * latin < len(letters)


@lru_cache(maxsize=1)
def _identifier() -> LanguageIdentifier:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
