"""Learning a release's template from its training files, shown on a release of our own making and on the real one."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewards.errors import InputError, MissingFileError
from rewards.protocol.learn import learn_protocol, split
from rewards.protocol.parse import parse_rating
from rewards.protocol.render import render_pairwise, render_single
from rewards.protocol.spec import ChatText, FieldPart, JudgeProtocol, Template, TextPart
from rewards.protocol.write import verdict_choices, write_rating, write_verdict

SINGLE = (
    "Mark this homework:\n \n<<<\n==\n(Task): ",
    "\n==\n(Work): ",
    '\n==\n>>>\n\nSay why. End with a mark like "[[5]]".',
)
PAIRWISE = (
    "Two sheets of homework:\n<<<\n==\n(Task): ",
    "\n==\n(Sheet 1): ",
    "\n==\n(Sheet 2): ",
    "\n==\n>>>\n\nWhich?",
)
TASKS = ["Add 1 and 2.", "Name a bird", "Name a tree\n\nthen: draw it", "Nothing", "{{response}} {0}"]
WORKS = ["3", "Robin.", "An oak.\n==\n(Work): copied!", "No:\nNo.", " "]


def fill(literals: tuple[str, ...], *values: str) -> str:
    return "".join(part for pair in zip(literals, (*values, ""), strict=True) for part in pair)


def write(path: Path, asked: list[str], answers: list[str], field: str = "usrmsg") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = ({field: text, "target_output": answer} for text, answer in zip(asked, answers, strict=True))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def release(folder: Path, *, pairwise: bool = True, ratings: tuple[str, ...] = ("1", "7", "3", "10", "2")) -> Path:
    training = folder / "data" / "training"
    asked = [fill(SINGLE, task, work) for task, work in zip(TASKS, WORKS, strict=True)]
    write(training / "single_traindata.jsonl", asked, [f"Hm.\n\nRating: [[{rating}]]" for rating in ratings])
    if pairwise:
        asked = [fill(PAIRWISE, task, work, work[::-1]) for task, work in zip(TASKS, WORKS, strict=True)]
        labels = ["Response 1", "Tie", "Response 2", "Response 1", "Tie"]
        answers = [f"Long.\n\nAll in all, the final decision is {label}." for label in labels]
        write(training / "pairwise_traindata.jsonl", asked, answers)
    return folder


def literals(template: Template) -> tuple[str, ...]:
    return tuple(part.text for part in template.parts if isinstance(part, TextPart))


def test_both_templates_are_learned_to_the_letter(tmp_path):
    learned = learn_protocol(release(tmp_path))
    assert (learned.single_rows, learned.pairwise_rows) == (5, 5)
    assert literals(learned.protocol.single.critique) == SINGLE
    assert literals(learned.protocol.pairwise.critique) == PAIRWISE
    assert render_single(learned.protocol, query="q: {{query}}", response="r", mode="direct") == fill(
        SINGLE, "q: {{query}}", "r"
    )
    assert render_pairwise(learned.protocol, query="q", response_1="a", response_2="b", mode="critique") == fill(
        PAIRWISE, "q", "a", "b"
    )


def test_the_rest_of_the_protocol(tmp_path):
    protocol = learn_protocol(release(tmp_path)).protocol
    assert protocol.chat == ChatText(before="[INST] ", after=" [/INST]")
    assert protocol.scale.strings == tuple(str(value) for value in range(1, 11))
    assert (protocol.decoding.max_new_tokens, protocol.decoding.temperature) == (1024, 0.0)
    assert (protocol.single.answer_start, protocol.single.answer_end) == ("Rating: [[", "]]")
    assert protocol.pairwise.answer_start == "All in all, the final decision is"
    assert list(verdict_choices(protocol)) == [" Response 1", " Response 2", " Tie"]
    assert write_rating("Hm.", 7, protocol) == "Hm.\n\nRating: [[7]]"
    assert write_verdict("Long.", "tie", protocol) == "Long.\n\nAll in all, the final decision is Tie"
    protocol.save(tmp_path)
    assert JudgeProtocol.load(tmp_path) == protocol


def test_halves_widen_the_scale_and_other_ratings_are_refused(tmp_path):
    protocol = learn_protocol(release(tmp_path / "a", ratings=("1", "6.5", "3", "10", "2"))).protocol
    assert protocol.scale.strings[:3] == ("1", "1.5", "2")
    with pytest.raises(InputError, match="line 2: expected 1 to 10"):
        learn_protocol(release(tmp_path / "b", ratings=("1", "6.25", "3", "10", "2")))


def test_without_the_pairwise_file_the_protocol_only_rates(tmp_path):
    learned = learn_protocol(release(tmp_path, pairwise=False))
    assert learned.protocol.pairwise is None
    assert learned.pairwise_rows == 0


def test_targets_without_a_verdict_leave_the_default_words(tmp_path):
    asked = [fill(SINGLE, task, work) for task, work in zip(TASKS, WORKS, strict=True)]
    write(tmp_path / "single_traindata.jsonl", asked, ["?"] * 5, field="usermsg")
    asked = [fill(PAIRWISE, task, work, work[::-1]) for task, work in zip(TASKS, WORKS, strict=True)]
    write(tmp_path / "pairwise_traindata.jsonl", asked, ["?"] * 5)
    protocol = learn_protocol(tmp_path).protocol
    assert (protocol.single.answer_start, protocol.pairwise.answer_start) == ("Rating: [[", "Final decision:")


def test_a_decision_inside_a_line_gives_its_words_from_the_marker_on(tmp_path):
    release(tmp_path)
    asked = [fill(PAIRWISE, task, work, work[::-1]) for task, work in zip(TASKS, WORKS, strict=True)]
    answers = [f"{task[:4]}: so the Final decision: Tie" for task in TASKS]
    write(tmp_path / "data/training/pairwise_traindata.jsonl", asked, answers)
    assert learn_protocol(tmp_path).protocol.pairwise.answer_start == "Final decision:"


def test_what_the_data_share_by_accident_is_not_template(tmp_path):
    tasks = ["Why is A so?", "Why is B so?", "Why is C so?"]
    works = ["Because of D.", "Because of E.", "Because, well, F."]
    asked = [fill(SINGLE, task, work) for task, work in zip(tasks, works, strict=True)]
    write(tmp_path / "single_traindata.jsonl", asked, ["Rating: [[5]]"] * 3)
    assert literals(learn_protocol(tmp_path).protocol.single.critique) == SINGLE


def test_templates_with_labels_on_their_own_lines(tmp_path):
    template = ("Mark it.\n## Task\n", "\n## Work\n", "\n## End\n")
    asked = [fill(template, task, work) for task, work in zip(TASKS, WORKS, strict=True)]
    write(tmp_path / "single_traindata.jsonl", asked, ["Rating: [[5]]"] * 5)
    assert literals(learn_protocol(tmp_path).protocol.single.critique) == template


def test_a_row_from_another_template_is_named_or_the_template_refused(tmp_path):
    asked = [fill(SINGLE, task, work) for task, work in zip(TASKS, WORKS, strict=True)]
    path = tmp_path / "single_traindata.jsonl"
    write(path, [*asked, "Something else\nentirely"], ["Rating: [[5]]"] * 6)
    with pytest.raises(InputError, match="one template"):
        learn_protocol(tmp_path)
    path.write_text(json.dumps({"usrmsg": asked[0]}) + "\n" + json.dumps({"other": 1}) + "\n")
    with pytest.raises(InputError, match="line 2: expected the judge's input"):
        learn_protocol(tmp_path)
    path.write_text(json.dumps({"usrmsg": asked[0]}) + "\n{")
    with pytest.raises(InputError, match="line 2: expected a whole last line"):
        learn_protocol(tmp_path)
    write(path, asked[:1] * 2, ["", ""])
    with pytest.raises(InputError, match="at least two different"):
        learn_protocol(tmp_path)


def test_files_are_found_or_missed_with_a_clear_error(tmp_path):
    with pytest.raises(MissingFileError, match="folder"):
        learn_protocol(tmp_path / "none")
    with pytest.raises(MissingFileError, match=r"single_traindata\.jsonl"):
        learn_protocol(tmp_path)
    release(tmp_path / "one", pairwise=False)
    release(tmp_path / "two", pairwise=False)
    with pytest.raises(InputError, match="name the folder of one"):
        learn_protocol(tmp_path)


TEMPLATE = Template(
    parts=(
        TextPart(text="A: "),
        FieldPart(field="query"),
        TextPart(text="\nB: "),
        FieldPart(field="response_1"),
        TextPart(text="\nC: "),
        FieldPart(field="response_2"),
        TextPart(text="\nD"),
    )
)
tricky = st.text() | st.lists(st.sampled_from(["\nB: ", "\nC: ", "\nD", "A: ", "x"])).map("".join)


@given(tricky, tricky, tricky)
def test_values_that_hold_the_template_still_render_again(query, first, second):
    text = TEMPLATE.fill({"query": query, "response_1": first, "response_2": second})
    assert TEMPLATE.fill(split(TEMPLATE, text)) == text


@given(tricky)
def test_a_text_that_does_not_fit_is_not_split(text):
    values = split(TEMPLATE, text)
    assert values is None or TEMPLATE.fill(values) == text


@pytest.mark.shared_data
def test_the_real_release_renders_again_byte_for_byte(shared_data):
    release_folder = shared_data / "auto-j"
    learned = learn_protocol(release_folder)
    assert learned.single_rows == 960
    assert learned.protocol.scale.strings[:2] == ("1", "1.5")
    assert (learned.protocol.single.answer_start, learned.protocol.single.answer_end) == ("Rating: [[", "]]")
    rows = [json.loads(line) for line in (release_folder / "data/training/single_traindata.jsonl").open()]
    for row in rows:
        values = split(learned.protocol.single.critique, row["usrmsg"])
        again = render_single(learned.protocol, query=values["query"], response=values["response"], mode="critique")
        assert again.encode() == row["usrmsg"].encode()
        assert parse_rating(row["target_output"], scale=learned.protocol.scale).value == row["pred_score"]
    critiques = [json.loads(line) for line in (release_folder / "data/test/testdata_critique.jsonl").open()]
    text = render_single(
        learned.protocol, query=critiques[0]["prompt"], response=critiques[0]["response"], mode="direct"
    )
    assert critiques[0]["prompt"] in text


def words(text: str) -> str:
    return " " + " ".join(re.findall(r"\w+", text.casefold())) + " "


@pytest.mark.shared_data
def test_no_sentence_of_the_real_template_is_in_this_repository(shared_data):
    protocol = learn_protocol(shared_data / "auto-j").protocol
    text = "\n".join(literals(protocol.single.critique))
    sentences = [words(piece) for piece in re.split(r"[.:\n]", text) if len(piece.split()) >= 6]
    assert len(sentences) >= 2
    root = Path(__file__).parents[3]
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True, check=True).stdout
    for name in listed.decode().split("\0"):
        if name and (root / name).is_file():
            content = words((root / name).read_text(encoding="utf-8", errors="replace"))
            assert [sentence for sentence in sentences if sentence in content] == [], name
