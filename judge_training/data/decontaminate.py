"""Nothing of a test set among what is trained on.

A prompt is compared by its words alone: Unicode in one form (NFKC), no case, no punctuation, single spaces. Since a
test may wrap the same text in other words (a post to be summarised), a prompt that shares half of the word n-grams
of the shorter of the two counts as the same as well (n = 13 as in GPT-3, arXiv 2005.14165, appendix C). Every turn
of the user is compared. Responses are not: a response to another prompt is no leak.
"""

from __future__ import annotations

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping

from judge_training.data.kept import Kept
from judge_training.examples import JudgeExample

NGRAM = 13
OVERLAP = 0.5


def normalized(text: str) -> str:
    """A text by its words: NFKC, case folded, punctuation and symbols as spaces, single spaces.

    A text without any word (only symbols) is itself without spaces, so that such prompts stay apart.
    """
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    words = "".join(one if one.isalnum() or unicodedata.category(one)[0] == "M" else " " for one in folded).split()
    return " ".join(words) or "".join(folded.split())


class TestPrompts:
    """The prompts of test sets, to be asked whether another prompt is one of them."""

    __test__ = False  # pytest would collect the name

    def __init__(
        self, evaluation: Mapping[str, Iterable[str]], *, ngram: int | None = NGRAM, overlap: float = OVERLAP
    ) -> None:
        self._ngram, self._overlap = ngram, overlap
        self._whole: dict[str, str] = {}
        self._grams: dict[int, list[int]] = defaultdict(list)
        self._sizes: list[tuple[str, int]] = []
        for name, prompts in evaluation.items():
            for prompt in prompts:
                self._add(name, normalized(prompt))

    def _add(self, name: str, text: str) -> None:
        if text in self._whole:
            return
        self._whole[text] = name
        grams = self._grams_of(text)
        for gram in grams:
            self._grams[gram].append(len(self._sizes))
        self._sizes.append((name, len(grams)))

    def find(self, prompt: str) -> str | None:
        """Why a prompt is one of the tests' (`prompt_in_NAME` or `prompt_overlaps_NAME`), or None."""
        text = normalized(prompt)
        if text in self._whole:
            return f"prompt_in_{self._whole[text]}"
        grams = self._grams_of(text)
        shared = Counter(place for gram in grams for place in self._grams.get(gram, ()))
        for place, count in shared.most_common():
            name, size = self._sizes[place]
            if count >= self._overlap * min(size, len(grams)):
                return f"prompt_overlaps_{name}"
        return None

    def _grams_of(self, text: str) -> set[int]:
        if self._ngram is None:
            return set()
        words = text.split()
        return {hash(tuple(words[at : at + self._ngram])) for at in range(len(words) - self._ngram + 1)}


def decontaminate(
    examples: Iterable[JudgeExample],
    evaluation: Mapping[str, Iterable[str]],
    *,
    ngram: int | None = NGRAM,
    overlap: float = OVERLAP,
) -> Kept:
    """The examples with no turn of the user among the tests' prompts; `ngram=None` compares whole prompts only."""
    tests = TestPrompts(evaluation, ngram=ngram, overlap=overlap)
    kept: list[JudgeExample] = []
    dropped: Counter[str] = Counter()
    for example in examples:
        reason = next(filter(None, map(tests.find, user_turns(example))), None)
        if reason is None:
            kept.append(example)
        else:
            dropped[reason] += 1
    return Kept(tuple(kept), dict(dropped))


def user_turns(example: JudgeExample) -> Iterator[str]:
    """What the user says in the example's prompt."""
    return (message.content for message in example.prompt.messages if message.role == "user")
