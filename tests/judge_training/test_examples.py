"""Training targets are what the parser reads back, for every critique, kind and mode."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from judge_training.examples import JudgeExample, example_id, read_examples, training_text, write_examples
from judge_training.scenarios import load_scenarios
from rewards.errors import InputError
from rewards.protocol.builtin import builtin_protocol
from rewards.protocol.parse import ParsedRating, ParsedVerdict, parse_rating, parse_verdict
from rewards.protocol.spec import Scale
from rewards.types import Message, Prompt

BUILTIN = builtin_protocol()
HALVES = BUILTIN.model_copy(update={"scale": Scale(step=Decimal("0.5"))})
texts = st.text(st.characters(codec="utf-8")) | st.sampled_from(
    ["Rating: [[7]]", "So: [[", "Final decision: Tie", "Final decision: Response 2\n", "{{query}} {query}", "~~~~~~"]
)
modes = st.sampled_from(["critique", "direct"])


def prompt(text: str = "Name a river.") -> Prompt:
    return Prompt(id="p1", messages=(Message(role="user", content=text),))


def single(**changes) -> JudgeExample:
    values = {"id": "s1", "kind": "single", "prompt": prompt(), "responses": ("The Elbe.",), "source": "own"}
    return JudgeExample.model_validate(values | {"rating": 6.0, "critique": "Right, but bare."} | changes)


def pair(**changes) -> JudgeExample:
    values = {"id": "d1", "kind": "pairwise", "prompt": prompt(), "responses": ("The Elbe.", "Elba."), "source": "own"}
    return JudgeExample.model_validate(values | {"label": "first", "critique": "An island is no river."} | changes)


@given(texts, texts, texts, modes, st.sampled_from([BUILTIN, HALVES]), st.data())
def test_a_rating_target_parses_back(query, response, critique, mode, protocol, data):
    rating = float(data.draw(st.sampled_from(protocol.scale.strings)))
    example = single(prompt=prompt(query), responses=(response,), critique=critique, rating=rating)
    text = training_text(example, protocol, mode=mode)
    parsed = parse_rating(text.completion, scale=protocol.scale)
    assert isinstance(parsed, ParsedRating)
    assert parsed.value == rating
    assert query in text.prompt
    assert response in text.prompt


@given(texts, texts, texts, modes, st.sampled_from(["first", "second", "tie"]))
def test_a_verdict_target_parses_back(query, critique, response, mode, label):
    example = pair(prompt=prompt(query), responses=(response, "other"), critique=critique, label=label)
    text = training_text(example, BUILTIN, mode=mode)
    parsed = parse_verdict(text.completion, labels=BUILTIN.labels)
    assert isinstance(parsed, ParsedVerdict)
    assert parsed.winner == label


def test_without_a_critique_the_verdict_is_asked_at_once():
    bare = training_text(single(critique=" "), BUILTIN, mode="critique")
    assert bare == training_text(single(), BUILTIN, mode="direct")
    assert bare.completion == "Rating: [[6]]"
    assert bare.prompt != training_text(single(), BUILTIN, mode="critique").prompt


def test_criteria_stay_out_of_the_input_unless_a_catalog_is_given():
    catalog = load_scenarios()
    example = single(scenario="brainstorming")
    names = [one.name for one in catalog.criteria_of("brainstorming")]
    plain = training_text(example, BUILTIN)
    guided = training_text(example, BUILTIN, catalog=catalog)
    assert not any(name in plain.prompt for name in names)
    assert all(name in guided.prompt for name in names)
    assert guided.prompt.endswith(plain.prompt)
    assert guided.completion == plain.completion
    with pytest.raises(InputError, match="brainstorm"):
        training_text(single(scenario="brainstormin"), BUILTIN, catalog=catalog)


def test_what_is_not_judged_has_no_target():
    with pytest.raises(InputError, match=r"expected a label .* 'd1'"):
        training_text(pair(label=None, human_label="first"), BUILTIN)
    with pytest.raises(InputError, match="on the scale"):
        training_text(single(rating=6.5), BUILTIN)
    assert not pair(label=None).judged


@pytest.mark.parametrize(
    "changes",
    [
        {"responses": ("a", "b")},
        {"label": "first"},
        {"human_label": "tie"},
        {"kind": "pairwise"},
        {"rating": float("nan")},
        {"extra": 1},
        {"critique": "\ud800"},
    ],
)
def test_an_example_must_fit_its_kind(changes):
    with pytest.raises(ValidationError):
        single(**changes)


def test_examples_go_to_a_file_and_back(tmp_path):
    examples = [single(scenario="planning", columns={"model": "a", "n": [1, None]}), pair(human_label="tie")]
    path = tmp_path / "new" / "train.jsonl"
    assert write_examples(path, examples) == 2
    assert list(read_examples(path)) == examples


def test_ids_come_from_the_content():
    one = example_id("single", "own", "Name a river.", ["The Elbe."])
    assert one == example_id("single", "own", "Name a river.", ["The Elbe."])
    assert one != example_id("single", "own", "Name a river.", ["Elba."])
    assert one.startswith("own-")
