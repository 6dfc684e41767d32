"""From sources to the files that a judge is trained on, in one function that reads from top to bottom.

Order matters. Votes are counted before anything is drawn; test prompts are taken out before the balance, so that the
caps are filled with what may be used; the split comes before the swap, so that an example and its swap are on one
side; and only the training side is swapped, since validation should measure each judgment once.

Everything is held in memory (`read_source(…, sample=…)` bounds what a large source brings). Nothing here calls a
teacher: what is not judged goes through with its place kept, and collection gives it a verdict.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from judge_training.data.balance import balance
from judge_training.data.card import DataCard, card_markdown, card_of
from judge_training.data.decontaminate import NGRAM, OVERLAP, decontaminate
from judge_training.data.english import keep_english
from judge_training.data.kept import Kept
from judge_training.data.repeats import merge_repeats
from judge_training.data.split import split_examples
from judge_training.data.swap import with_swaps
from judge_training.examples import JudgeExample, write_examples
from rewards.documents import write_json, write_text
from rewards.errors import InputError
from rewards.inputs import ReadResult
from rewards.judges.config import Settings
from rewards.protocol.view import query_text

TRAIN_FILE, VALID_FILE, CARD_FILE, CARD_TEXT = "train.jsonl", "valid.jsonl", "card.json", "card.md"

Classify = Callable[[Sequence[str]], Sequence[str | None]]
"""Scenarios of queries, None where it has no answer."""


class DataSettings(Settings):
    """How a data set to train on is made."""

    english_only: bool = True
    """Leave out prompts that are surely in another language."""
    pairs_per_scenario: int | None = Field(default=None, ge=1)
    """Pairs kept of each scenario; all when left out (AUTO-J has about 59)."""
    singles_per_scenario: int | None = Field(default=None, ge=1)
    """Single judgments kept of each scenario; all when left out (AUTO-J has about 17)."""
    balance_labels: bool = True
    """Where pairs are capped, let first, second and tie take turns."""
    ngram: int | None = Field(default=NGRAM, ge=1)
    """Words of the n-grams that find test prompts in other wording; none compares whole prompts only."""
    overlap: float = Field(default=OVERLAP, gt=0, le=1)
    """Share of the shorter prompt's n-grams that makes it a test prompt."""
    valid_share: float = Field(default=0.05, ge=0, lt=1)
    """Share of the examples to validate on."""
    swap: bool = True
    """Add every training pair with its responses exchanged."""
    seed: int = 0
    """Draws what is kept under a cap, and the split."""


@dataclass(frozen=True, slots=True)
class Dataset:
    """What was made, and where it lies."""

    train: tuple[JudgeExample, ...]
    valid: tuple[JudgeExample, ...]
    card: DataCard
    folder: Path


def build_dataset(
    sources: Mapping[str, ReadResult[JudgeExample]],
    folder: Path,
    *,
    settings: DataSettings | None = None,
    evaluation: Mapping[str, Iterable[str]] | None = None,
    classify: Classify | None = None,
) -> Dataset:
    """Filter, balance, decontaminate, split and swap what was read, and write it to a folder.

    `sources` are results of the readers by any name, `evaluation` the prompts of every test set by its name, and
    `classify` gives a scenario to examples that have none. Writes train.jsonl, valid.jsonl, card.json and card.md.
    Raises InputError when nothing is left to train on.
    """
    chosen = settings or DataSettings()
    dropped = {f"read {name}": dict(read.skipped) for name, read in sources.items() if read.skipped}
    examples = tuple(example for read in sources.values() for example in read.records)

    def step(name: str, kept: Kept) -> tuple[JudgeExample, ...]:
        if kept.dropped:
            dropped[name] = kept.dropped
        return kept.examples

    examples = step("votes", merge_repeats(examples))
    if chosen.english_only:
        examples = step("language", keep_english(examples))
    clean = decontaminate(examples, evaluation or {}, ngram=chosen.ngram, overlap=chosen.overlap)
    examples = step("test prompts", clean)
    examples = with_scenarios(examples, classify)
    capped = balance(
        examples,
        pairs_per_scenario=chosen.pairs_per_scenario,
        singles_per_scenario=chosen.singles_per_scenario,
        labels=chosen.balance_labels,
        seed=chosen.seed,
    )
    examples = step("balance", capped)
    train, valid = split_examples(examples, valid_share=chosen.valid_share, seed=chosen.seed)
    if chosen.swap:
        train = tuple(with_swaps(train))
    if not train:
        counts = "; ".join(f"{name}: {reasons}" for name, reasons in dropped.items()) or "nothing was read"
        raise InputError(f"expected examples to train on, got none after all steps ({counts})")

    settings_used = {name: str(value) for name, value in chosen.model_dump().items()}
    tests = ", ".join(evaluation or {}) or "none"
    card = DataCard(
        parts={"train": card_of(train), "valid": card_of(valid)},
        dropped=dropped,
        settings=settings_used | {"kept apart from": tests},
    )
    write_examples(folder / TRAIN_FILE, train)
    write_examples(folder / VALID_FILE, valid)
    write_json(folder / CARD_FILE, card)
    write_text(folder / CARD_TEXT, [card_markdown(card)])
    return Dataset(train, valid, card, folder)


def with_scenarios(examples: Sequence[JudgeExample], classify: Classify | None) -> tuple[JudgeExample, ...]:
    """The examples, where those without a scenario have the one that `classify` gives to their query.

    Raises InputError when it gives another number of answers than it was asked.
    """
    if classify is None:
        return tuple(examples)
    open_ones = [example for example in examples if example.scenario is None]
    answers = classify([query_text(example.prompt, "first_turn") for example in open_ones])
    if len(answers) != len(open_ones):
        raise InputError(f"expected a scenario for each of {len(open_ones)} queries, got {len(answers)}")
    found = {example.id: answer for example, answer in zip(open_ones, answers, strict=True)}
    return tuple(
        example.model_copy(update={"scenario": found[example.id]}) if found.get(example.id) else example
        for example in examples
    )
