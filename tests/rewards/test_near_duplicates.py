"""Near duplicates: the similarity, what is kept, and that MinHash proposes what is similar."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewards.near_duplicates import band_keys, band_rows, jaccard, kept_apart, shingles

WORDS = [f"w{i}" for i in range(60)]


def test_similarity_is_of_word_triples():
    assert jaccard(shingles("a b c d"), shingles("A, b; c d!")) == 1.0
    assert jaccard(shingles("a b c d"), shingles("a b c e")) == pytest.approx(1 / 3)
    assert jaccard(shingles("yes"), shingles("no")) == 0.0
    assert jaccard(shingles("!!!"), shingles("???")) == 0.0
    assert jaccard(shingles("今天天气很好"), shingles("今天天气很坏")) == pytest.approx(3 / 5)


def test_the_first_of_similar_texts_stays():
    assert kept_apart(["a b c d e", "a b c d e", "x y z"], 0.9) == [True, False, True]
    assert kept_apart(["a b c d", "a b c e"], 0.34) == [True, True]
    assert kept_apart(["a b c d", "a b c e"], 0.33) == [True, False]


@given(st.lists(st.text(max_size=30), max_size=6), st.floats(0.1, 1.0))
def test_kept_texts_are_all_dissimilar(texts, threshold):
    keep = kept_apart(texts, threshold)
    left = [shingles(text) for text, stays in zip(texts, keep, strict=True) if stays]
    assert keep[:1] in ([], [True])
    assert all(jaccard(left[i], left[j]) < threshold for i in range(len(left)) for j in range(i))


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7, 0.8, 0.9, 0.95])
def test_minhash_finds_the_similar_ones(threshold):
    draw = random.Random(1)
    found = total = 0
    while total < 60:
        text = draw.choices(WORDS, k=60)
        other = [draw.choice(WORDS) if draw.random() < (1 - threshold) / 4 else word for word in text]
        sets = shingles(" ".join(text)), shingles(" ".join(other))
        if jaccard(*sets) >= threshold:
            total += 1
            keys = band_keys(sets, threshold)
            found += bool((keys[0] == keys[1]).any())
    assert found >= 59


def test_minhash_is_the_same_in_every_process_and_for_long_texts():
    long = " ".join(str(i) for i in range(20_000))
    keys = band_keys([shingles("a b c d e f"), shingles(long), shingles(long)], 0.9)
    assert keys.shape == (3, 128 // band_rows(0.9))
    assert (keys[1] == keys[2]).all()
    assert not (keys[0] == keys[1]).any()
    assert keys.dtype == np.uint64
