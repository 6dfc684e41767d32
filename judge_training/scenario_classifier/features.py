"""A text as numbers: counted terms of three kinds, weighted by TF-IDF.

    word   words and pairs of words of the text
    head   up to three words in a row at its beginning, where most people say what they want
    char   3 to 5 characters of each word of its first line or so

Each kind has length 1, so that a long text does not drown its own first sentence. Terms, weights and norms are
computed here, without scikit-learn: a classifier that was saved needs nothing but numpy and scipy, and no pickle.
Features of the text's shape (length, lines, digits, code characters) were tried and left out: see the README.

How much of a text consists of terms that were ever seen is its familiarity. Random characters and other languages
have little of it, whatever class their few known terms speak for.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from scipy.sparse import csr_matrix

Kind = Literal["word", "head", "char"]
KINDS: Final[tuple[Kind, ...]] = ("word", "head", "char")
_TOKEN: Final = re.compile(r"[^\W\d_]+(?:'[a-z]+)?|\d+|[^\w\s]")
_WORD_CHARACTERS: Final = 3000
"""Characters of a text whose words are read; more says little of what is asked for, and costs time."""
_HEAD_CHARACTERS: Final = 400
_HEAD_WORDS: Final = 24
_CHAR_CHARACTERS: Final = 150
_CHAR_SIZES: Final = (3, 4, 5)


def terms(text: str) -> dict[Kind, list[str]]:
    """The terms of a text by kind, in order and with repeats."""
    folded = text.lower()
    head = ["^", *_tokens(folded[:_HEAD_CHARACTERS])[:_HEAD_WORDS]]
    return {
        "word": _runs(_tokens(folded[:_WORD_CHARACTERS]), 2),
        "head": _runs(head, 3),
        "char": _pieces(folded[:_CHAR_CHARACTERS]),
    }


def _tokens(text: str) -> list[str]:
    """Words and single marks; a number is a 0, whatever it is."""
    return ["0" if token.isdecimal() else token for token in _TOKEN.findall(text)]


def _runs(tokens: Sequence[str], longest: int) -> list[str]:
    return [
        " ".join(tokens[start : start + size])
        for size in range(1, longest + 1)
        for start in range(len(tokens) - size + 1)
    ]


def _pieces(text: str) -> list[str]:
    words = [f" {word} " for word in text.split()]
    return [
        word[start : start + size] for word in words for size in _CHAR_SIZES for start in range(len(word) - size + 1)
    ]


@dataclass(frozen=True, slots=True)
class Features:
    """Texts as rows."""

    matrix: csr_matrix
    """[texts, terms of all kinds], every kind's part of a row of length 1 (or 0)."""
    familiarity: NDArray[np.float64]
    """[texts]: share of a text's different character pieces and words that the vocabulary has, 0 to 1."""


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The terms that count, by kind, each with its column and inverse document frequency."""

    index: Mapping[Kind, Mapping[str, int]]
    """Columns from 0 within each kind."""
    idf: Mapping[Kind, NDArray[np.float64]]

    @property
    def size(self) -> int:
        """How many terms there are."""
        return sum(len(known) for known in self.index.values())

    def features(self, texts: Sequence[str]) -> Features:
        """Texts as rows of TF-IDF weights: (1 + ln count) * idf, each kind divided by its Euclidean length."""
        import numpy as np
        from scipy.sparse import csr_matrix

        columns: list[int] = []
        values: list[float] = []
        ends = [0]
        familiar = []
        for text in texts:
            found = {kind: Counter(all_terms) for kind, all_terms in terms(text).items()}
            start = 0
            for kind in KINDS:
                where, weights = self._weights(kind, found[kind])
                columns += (start + column for column in where)
                values += weights
                start += len(self.index[kind])
            ends.append(len(columns))
            familiar.append(self._familiarity(found))
        matrix = csr_matrix((np.array(values), np.array(columns, dtype=np.int64), ends), shape=(len(texts), self.size))
        return Features(matrix, np.array(familiar))

    def _weights(self, kind: Kind, counts: Mapping[str, int]) -> tuple[list[int], list[float]]:
        index, idf = self.index[kind], self.idf[kind]
        where = sorted((index[term], count) for term, count in counts.items() if term in index)
        weights = [(1 + math.log(count)) * float(idf[column]) for column, count in where]
        length = math.sqrt(sum(weight * weight for weight in weights))
        return [column for column, _ in where], [weight / length for weight in weights]

    def _familiarity(self, found: Mapping[Kind, Mapping[str, int]]) -> float:
        """Mean of two shares: pieces of characters, and single words, that are known."""
        words = [term for term in found["word"] if " " not in term and term.isalpha()]
        return (_share(words, self.index["word"]) + _share(list(found["char"]), self.index["char"])) / 2


def _share(found: Sequence[str], known: Mapping[str, int]) -> float:
    return sum(term in known for term in found) / len(found) if found else 0.0
