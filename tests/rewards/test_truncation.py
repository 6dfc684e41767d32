"""The check of cut pairs says what TRL's own collator does."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewards.truncation import truncation_problem

IDS = st.lists(st.integers(1, 2), max_size=6)


def test_cut_at_the_end():
    assert truncation_problem([1, 2], [1, 2, 3, 4], [1, 2, 3, 5], max_length=3) == "same_after_truncation"
    assert truncation_problem([1, 2], [1, 2, 3, 4], [1, 2, 3, 5], max_length=4) is None
    assert truncation_problem([1, 2], [1, 2, 3, 4], [1, 2, 3, 5], max_length=None) is None
    assert truncation_problem([1, 2], [1, 2, 3, 4], [1, 2, 5], max_length=2) == "too_long"


def test_cut_at_the_start():
    assert truncation_problem([1], [1, 7, 4], [1, 3, 4], max_length=1, mode="keep_end") == "same_after_truncation"
    assert truncation_problem([1], [1, 7, 4], [1, 3, 4], max_length=2, mode="keep_end") is None


def test_a_completion_without_tokens_is_nothing_to_train_on():
    assert truncation_problem([1, 2], [1, 2], [1, 2, 3], max_length=None) == "too_long"


@pytest.fixture(scope="module")
def collator():
    from trl.trainer.dpo_trainer import DataCollatorForPreference

    return DataCollatorForPreference


@settings(max_examples=60, deadline=None)
@given(IDS, IDS, IDS, st.integers(1, 8), st.sampled_from(["keep_start", "keep_end"]))
def test_mistake_03_agrees_with_the_collator_of_trl(collator, prompt, chosen, rejected, max_length, mode):
    example = {"prompt_ids": prompt, "chosen_ids": chosen, "rejected_ids": rejected}
    batch = collator(pad_token_id=0, max_length=max_length, truncation_mode=mode)([example])
    halves = [[tuple(batch[name][half].tolist()) for name in batch] for half in (0, 1)]
    counted = [bool(batch["completion_mask"][half].any()) for half in (0, 1)]
    expected = None if all(counted) else "too_long"
    if expected is None and halves[0] == halves[1]:
        expected = "same_after_truncation"
    found = truncation_problem(prompt, prompt + chosen, prompt + rejected, max_length=max_length, mode=mode)
    assert found == expected
