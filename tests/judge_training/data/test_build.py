"""The whole way, on rows of our own and on the release."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rich.console import Console

from judge_training.data.build import DataSettings, build_dataset
from judge_training.data.card import DataCard, card_markdown, card_of, card_table
from judge_training.data.decontaminate import decontaminate
from judge_training.data.release import evaluation_prompts, read_release
from judge_training.data.sources import read_source
from judge_training.examples import read_examples, training_text
from rewards.errors import InputError
from rewards.inputs import ReadResult
from rewards.protocol.builtin import builtin_protocol
from rewards.protocol.parse import ParsedRating, parse_rating

from . import hub_rows as hub
from .made_up import pair, single


def gathered(*examples) -> ReadResult:
    return ReadResult(tuple(examples), {}, ())


def sources():
    bees = [hub.arena(conversation_a=hub.talk(q, "Yes."), conversation_b=hub.talk(q, "No.")) for q in QUERIES]
    foreign = hub.arena(language="German")
    repeated = hub.mt_bench(judge="expert_9")
    return {
        "arena": read_source("chatbot_arena", [*bees, foreign, hub.arena(turn=3)]),
        "mt": read_source("mt_bench", [hub.mt_bench(), repeated]),
        "own": gathered(*(single(number, scenario="planning") for number in range(20))),
    }


QUERIES = [f"How do bees of kind {number} find flowers?" for number in range(20)]


def test_from_sources_to_files(tmp_path):
    settings = DataSettings(valid_share=0.2, singles_per_scenario=10)
    made = build_dataset(
        sources(),
        tmp_path,
        settings=settings,
        evaluation={"mine": [QUERIES[0].upper()]},
        classify=lambda queries: ["asking_how_to_question" if "bees" in query else None for query in queries],
    )
    assert made.card.dropped == {
        "read arena": {"not_the_first_turn": 1},
        "votes": {"voted_again": 1},
        "language": {"not_english": 1},
        "test prompts": {"prompt_in_mine": 1},
        "balance": {"over_scenario_cap": 10},
    }
    assert tuple(read_examples(tmp_path / "train.jsonl")) == made.train
    assert tuple(read_examples(tmp_path / "valid.jsonl")) == made.valid
    assert DataCard.model_validate_json((tmp_path / "card.json").read_text()) == made.card
    assert "prompt_in_mine" in (tmp_path / "card.md").read_text()
    ids = [one.id for one in made.train + made.valid]
    assert len(set(ids)) == len(ids)
    pairs = [one for one in made.train if one.kind == "pairwise"]
    assert len(pairs) == 2 * len({frozenset((*one.responses, one.prompt.id)) for one in pairs})
    assert not any(one.id.endswith("~swapped") for one in made.valid)
    assert made.card.parts["train"].scenarios["asking_how_to_question"] > 0
    assert len(made.train) + len(made.valid) == 10 + 20 + len(pairs) // 2
    labels = made.card.parts["train"].labels
    assert labels["first"] == labels["second"]


def test_the_same_input_gives_the_same_files_and_swap_can_be_left_out(tmp_path):
    one, again = build_dataset(sources(), tmp_path / "a"), build_dataset(sources(), tmp_path / "b")
    for name in ("train.jsonl", "valid.jsonl", "card.json", "card.md"):
        assert (one.folder / name).read_bytes() == (again.folder / name).read_bytes()
    plain = build_dataset(sources(), tmp_path / "c", settings=DataSettings(swap=False))
    assert not any(each.id.endswith("~swapped") for each in plain.train)


def test_nothing_left_says_at_which_step_it_went(tmp_path):
    with pytest.raises(InputError, match=r"test prompts.*prompt_in_all"):
        build_dataset(
            {"own": gathered(single(1))}, tmp_path, evaluation={"all": ["name mountain number 1 of the country"]}
        )
    with pytest.raises(InputError, match="scenario for each"):
        build_dataset({"own": gathered(single(1))}, tmp_path, classify=lambda queries: [])


def test_the_card_counts_what_is_there():
    card = card_of(
        [
            pair(1, responses=("long text", "short"), scenario="planning"),
            pair(2, responses=("long text", "short"), label="second", human_label="first"),
            pair(3, label=None, human_label="tie"),
            single(4, rating=6.5, scenario="mine"),
            single(5, rating=10),
            single(6, rating=None, critique=""),
        ]
    )
    assert (card.examples, card.prompts, card.with_critique) == (6, 6, 2)
    assert card.kinds == {"pairwise": 3, "single": 3}
    assert card.labels == {"first": 1, "second": 1, "tie": 0, "(none)": 1}
    assert card.ratings == {"6.5": 1, "10": 1, "(none)": 1}
    assert (card.human_labelled, card.agree_with_people) == (3, 1)
    assert (card.longer_preferred, card.shorter_preferred) == (1, 1)
    assert card.groups == {"(none)": 4, "(own)": 1, "General Communication": 1}
    assert card.critique_characters is not None
    assert card.critique_characters.median == len("Right, but bare.")
    assert card_of([]).prompt_characters is None


def test_the_card_can_be_shown(tmp_path):
    card = DataCard(parts={"train": card_of([pair(1, source="a|b")])}, dropped={"read": {"bad_json": 3}})
    with (tmp_path / "table.txt").open("w+") as file:
        Console(width=100, file=file).print(card_table(card))
        file.seek(0)
        assert "bad_json" in file.read()
    assert "| read | bad_json | 3 |" in card_markdown(card)
    assert "a\\|b" in card_markdown(card)
    assert json.loads(card.model_dump_json())["parts"]["train"]["examples"] == 1


@pytest.fixture(scope="module")
def release(shared_data: Path):
    return read_release(shared_data / "auto-j")


@pytest.mark.shared_data
def test_every_released_target_parses_back_to_its_own_rating(release, shared_data):
    """In the release's protocol and, where its scale has the rating, in ours; and in the release's own words."""
    rows = [json.loads(line) for line in (shared_data / "auto-j/data/training/single_traindata.jsonl").open()]
    examples = release.examples.records
    assert len(examples) == len(rows) == 960
    assert release.examples.skipped == {}
    ours = builtin_protocol()
    for example, row in zip(examples, rows, strict=True):
        text = training_text(example, release.protocol)
        parsed = parse_rating(text.completion, scale=release.protocol.scale)
        assert isinstance(parsed, ParsedRating)
        assert parsed.value == example.rating == row["pred_score"]
        assert text.prompt == row["usrmsg"]
        assert text.completion.split() == row["target_output"].removesuffix(".").split()
        if example.rating is not None and example.rating % 1 == 0:
            again = parse_rating(training_text(example, ours).completion, scale=ours.scale)
            assert isinstance(again, ParsedRating)
            assert again.value == example.rating


@pytest.mark.shared_data
def test_nothing_of_the_test_sets_is_left_in_the_release(release, shared_data, tmp_path):
    tests = evaluation_prompts(shared_data / "auto-j")
    assert {name: len(prompts) for name, prompts in tests.items()} == {"eval_p": 1182, "eval_c": 228}
    made = build_dataset(
        {"auto_j": release.examples}, tmp_path, evaluation=tests, settings=DataSettings(valid_share=0.2)
    )
    left = made.train + made.valid
    assert decontaminate(left, tests).dropped == {}
    plain = {" ".join(prompt.split()).casefold() for prompts in tests.values() for prompt in prompts}
    assert not any(" ".join(one.prompt.messages[0].content.split()).casefold() in plain for one in left)
    # 138 of the 960 released judgments are on prompts of Eval-P: 113 word for word, 25 in other wording.
    assert decontaminate(release.examples.records, tests).dropped == {
        "prompt_in_eval_p": 113,
        "prompt_overlaps_eval_p": 25,
    }
    assert {one.prompt.messages[0].content for one in made.train}.isdisjoint(
        one.prompt.messages[0].content for one in made.valid
    )
