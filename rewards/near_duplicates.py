"""Near duplicates: texts that share most of their word triples.

Similarity is the Jaccard index of the sets of word 3-grams (Broder 1997, "On the resemblance and containment
of documents"), exact wherever it decides. Within a prompt every pair is compared. Across prompts MinHash with
banding (Leskovec, Rajaraman, Ullman, "Mining of Massive Datasets", section 3.4) only proposes which pairs to
compare; the number of rows in a band is chosen so that a pair at the threshold is missed less than once in 100.

Word forms are folded to lower case; Chinese, Japanese and Korean characters count as words. It does not see
paraphrases, and it never decides which of two duplicates is better: the caller gives them best first.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

Shingles = NDArray[np.uint32]
"""Sorted distinct hashes of a text's word 3-grams."""

_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af"
_WORD = re.compile(f"[{_CJK}]|[^\\W{_CJK}]+")
_SIZE = 3
_PERMUTATIONS = 128
_CHUNK = 8192


def shingles(text: str) -> Shingles:
    """The set of word 3-grams of a text; a shorter text is one shingle, and one without words is its characters."""
    words = _WORD.findall(text.lower()) or [text.strip()]
    grams = {" ".join(words[start : start + _SIZE]) for start in range(max(1, len(words) - _SIZE + 1))}
    return np.unique(np.array([zlib.crc32(gram.encode("utf-8")) for gram in grams], dtype=np.uint32))


def jaccard(first: Shingles, second: Shingles) -> float:
    """Size of the intersection over size of the union, 0 to 1."""
    common = np.intersect1d(first, second, assume_unique=True).size
    return float(common / (first.size + second.size - common))


def kept_apart(texts: Sequence[str], threshold: float) -> list[bool]:
    """Which texts to keep, given best first: one that is similar to a kept one is dropped."""
    kept: list[Shingles] = []
    decisions = []
    for text in texts:
        own = shingles(text)
        keep = all(not similar(own, other, threshold) for other in kept)
        decisions.append(keep)
        if keep:
            kept.append(own)
    return decisions


def similar(first: Shingles, second: Shingles, threshold: float) -> bool:
    """Whether the Jaccard index reaches the threshold; sets of very different sizes are not compared at all."""
    small, large = sorted((first.size, second.size))
    return small >= threshold * large and jaccard(first, second) >= threshold


def band_rows(threshold: float) -> int:
    """Rows in a band: the most for which a pair at the threshold shares a band with probability 0.99."""
    for rows in (16, 8, 4, 2):
        if 1 - (1 - threshold**rows) ** (_PERMUTATIONS // rows) >= 0.99:
            return rows
    return 1


def band_count(threshold: float) -> int:
    """Bands of a text's MinHash at this threshold."""
    return _PERMUTATIONS // band_rows(threshold)


def band_keys(sets: Iterable[Shingles], threshold: float) -> NDArray[np.uint64]:
    """MinHash band keys, shape (texts, bands): two texts that share a key in one column may be near duplicates."""
    rows = band_rows(threshold)
    random = np.random.default_rng(0)
    multipliers = random.integers(0, 2**63, _PERMUTATIONS, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    offsets = random.integers(0, 2**63, _PERMUTATIONS, dtype=np.uint64)
    weights = random.integers(0, 2**63, rows, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    minima = [_minima(own, multipliers, offsets) for own in sets]
    bands = np.array(minima, dtype=np.uint64).reshape(len(minima), band_count(threshold), rows)
    keys: NDArray[np.uint64] = (bands * weights).sum(axis=2, dtype=np.uint64)
    return keys


def _minima(own: Shingles, multipliers: NDArray[np.uint64], offsets: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The least hash of the set under every permutation (multiply-shift hashing), in pieces that bound memory."""
    pieces = (own[start : start + _CHUNK].astype(np.uint64) for start in range(0, own.size, _CHUNK))
    least = [((piece[:, None] * multipliers + offsets) >> np.uint64(32)).min(axis=0) for piece in pieces]
    result: NDArray[np.uint64] = np.min(least, axis=0)
    return result
