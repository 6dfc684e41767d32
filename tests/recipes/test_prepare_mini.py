"""What autoj-mini is trained on: mean ratings, and no test prompts."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

from judge_training.data.decontaminate import normalized
from judge_training.examples import read_examples
from recipes.filter.prepare_qlora import prepare
from recipes.judge.prepare_mini import examples, folds, write


def rows(count: int = 12, prompts: int = 3) -> list[dict]:
    systems = ["7b-alpaca", "7b-guanaco", "13b-chip2", "bard", *(f"other-{n}" for n in range(count - 4))]
    return [
        {
            "prompt_id": f"p{prompt}",
            "candidate_id": f"p{prompt}/{system}",
            "prompt": f"question number {prompt}",
            "text": f"{system} answers {prompt}: " + "word " * (3 + 7 * (place % 5)),
            "reward": 1 + (9 * place / (count - 1)) // 0.25 * 0.25,
            "source": system,
        }
        for prompt in range(prompts)
        for place, system in enumerate(systems)
    ]


def options(**values: object) -> argparse.Namespace:
    return argparse.Namespace(**({"fold": None, "folds": 3, "systems": False} | values))


def test_a_rating_is_the_mean_as_it_is():
    found = {one.id: one for one in examples([row | {"reward": 6.75} for row in rows(5, 2)])}
    assert len(found) == 10  # the same text of two systems would have two ids
    assert {one.rating for one in found.values()} == {6.75}


def test_a_fold_leaves_out_prompts_and_whole_families_of_systems(tmp_path: Path):
    held = {}
    for fold in range(3):
        (out := tmp_path / str(fold)).mkdir()
        card = write(rows(), out, tests={}, arguments=options(fold=fold, systems=True))
        train = list(read_examples(out / "train.jsonl"))
        there = [json.loads(line) for line in (out / "held_out.jsonl").read_text().splitlines()]
        held[fold] = {row["prompt_id"] for row in there}
        assert not held[fold] & {one.prompt.id for one in train}
        missing = {row["source"] for row in there if row["systems"] == "not trained on"}
        assert missing == [{"7b-alpaca"}, {"7b-guanaco"}, {"bard"}][fold]
        assert not any(name in text for one in train for text in one.responses for name in missing)
        assert card["prompts_trained_on"] + card["prompts_held_out"] == 3
    assert set.union(*held.values()) == {"p0", "p1", "p2"}
    assert sum(map(len, held.values())) == 3


def test_without_being_told_a_fold_keeps_every_system(tmp_path: Path):
    card = write(rows(), tmp_path, tests={}, arguments=options(fold=0))
    there = [json.loads(line) for line in (tmp_path / "held_out.jsonl").read_text().splitlines()]
    assert card["prompts_held_out"] == 1
    assert {row["systems"] for row in there} == {"trained on"}
    assert card["systems_trained_on"] == len({row["source"] for row in rows()})


def test_prompts_of_test_sets_are_never_trained_on(tmp_path: Path):
    card = write(rows(), tmp_path, tests={"bench": ["Question number 1!"]}, arguments=options())
    assert card["prompts_apart"] == {"prompt_in_bench": 1}
    assert {one.prompt.id for one in read_examples(tmp_path / "train.jsonl")} == {"p0", "p2"}
    there = [json.loads(line) for line in (tmp_path / "held_out.jsonl").read_text().splitlines()]
    assert {row["prompt_id"] for row in there} == {"p1"}


def test_folds_are_even_and_do_not_depend_on_the_order():
    names = [f"p{number}" for number in range(10)]
    found = folds(names, 3)
    assert found == folds(names[::-1] * 2, 3)
    assert sorted(list(found.values()).count(fold) for fold in range(3)) == [3, 3, 4]


@pytest.mark.shared_data
def test_the_real_data_shares_no_prompt_with_eval_p(shared_data: Path, tmp_path: Path):
    from judge_training.data.release import evaluation_prompts

    tests = evaluation_prompts(shared_data / "auto-j")
    card = write(list(prepare(shared_data / "qlora-vicuna80")), tmp_path, tests=tests, arguments=options(pairs=6))
    known = {normalized(prompt) for several in tests.values() for prompt in several}
    trained = {normalized(one.prompt.messages[-1].content) for one in read_examples(tmp_path / "train.jsonl")}
    assert card["prompts_trained_on"] == len(trained) == 40
    assert not trained & known
