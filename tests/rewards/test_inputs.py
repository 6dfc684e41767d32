"""Data as people have it: every format, every naming, and every kind of bad row."""

from __future__ import annotations

import csv
import gzip
import json
from collections import Counter
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewards.columns import ColumnMap
from rewards.errors import InputError, MissingFileError
from rewards.inputs import Tally, read_candidates, read_pairs, read_prompts, read_responses, stream_prompts
from rewards.jsonl import write_records
from rewards.rows import Problem, stream_rows
from rewards.types import Candidate, Message, Prompt

ROWS = [{"prompt": "Why is the sky blue?", "topic": "physics"}, {"prompt": "Say, “hi”,\nplease", "topic": "talk"}]
USER = {"role": "user", "content": "Hello"}
ASSISTANT = {"role": "assistant", "content": "Hi"}
SYSTEM = {"role": "system", "content": "Be brief."}


def jsonl(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def texts(prompt: Prompt) -> list[tuple[str, str]]:
    return [(message.role, message.content) for message in prompt.messages]


# Formats


def write(path: Path, rows: list[dict[str, str]]) -> Path:
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(lines.encode()))
    elif path.suffix == ".jsonl":
        path.write_text(lines, encoding="utf-8")
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows))
    elif path.suffix == ".parquet":
        pl.DataFrame(rows).write_parquet(path)
    else:
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, rows[0].keys())
            writer.writeheader()
            writer.writerows(rows)
    return path


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.json", "a.parquet", "a.csv", "data.v2.jsonl"])
def test_every_format_gives_the_same_prompts(tmp_path, name):
    result = read_prompts(write(tmp_path / name, ROWS))
    assert result == read_prompts(ROWS)
    assert [prompt.messages[0].content for prompt in result.records] == [row["prompt"] for row in ROWS]
    assert result.records[0].columns == {"topic": "physics"}
    assert result.skipped == {}
    assert result.first_problems == ()


def test_plain_strings_are_prompts(tmp_path):
    expected = read_prompts(["One", "Two"]).records
    assert [texts(prompt) for prompt in expected] == [[("user", "One")], [("user", "Two")]]
    assert read_prompts(jsonl(tmp_path / "a.jsonl", "One", "Two")).records == expected


def test_a_json_object_with_one_list_is_that_list(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps({"version": 1, "rows": ROWS}))
    assert len(read_prompts(tmp_path / "a.json").records) == 2
    (tmp_path / "b.json").write_text(json.dumps({"a": [], "b": []}))
    with pytest.raises(InputError, match="list of rows"):
        read_prompts(tmp_path / "b.json")


def test_conversations_in_parquet_and_in_a_csv_cell(tmp_path):
    talk = [SYSTEM, USER, ASSISTANT, {"role": "user", "content": "Who are you?"}]
    expected = read_prompts([{"messages": talk}]).records
    pl.DataFrame({"messages": [talk]}).write_parquet(tmp_path / "a.parquet")
    assert read_prompts(tmp_path / "a.parquet").records == expected
    path = write(tmp_path / "a.csv", [{"messages": json.dumps(talk)}])
    assert read_prompts(path).records == expected
    assert [role for role, _ in texts(expected[0])] == ["system", "user", "assistant", "user"]


def test_a_byte_order_mark_and_a_missing_last_newline_are_no_problem(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b'\xef\xbb\xbf{"prompt": "x"}\n\n{"prompt": "y"}')
    result = read_prompts(tmp_path / "a.jsonl")
    assert len(result.records) == 2
    assert result.skipped == {}


def test_files_that_cannot_be_read_at_all(tmp_path):
    with pytest.raises(MissingFileError, match="found none"):
        read_prompts(tmp_path / "none.jsonl")
    with pytest.raises(MissingFileError, match="a folder"):
        read_prompts(tmp_path)
    (tmp_path / "a.xlsx").write_text("x")
    with pytest.raises(InputError, match=r"\.jsonl, \.json"):
        read_prompts(tmp_path / "a.xlsx")
    for name in ("a.parquet", "a.json"):
        (tmp_path / name).write_text("{not")
        with pytest.raises(InputError, match=name):
            read_prompts(tmp_path / name)


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv"])
def test_an_empty_file_is_an_error(tmp_path, name):
    (tmp_path / name).write_text("")
    with pytest.raises(InputError, match="at least one row"):
        read_prompts(tmp_path / name)


def test_an_empty_table_and_an_empty_list_are_errors(tmp_path):
    pl.DataFrame({"prompt": []}).write_parquet(tmp_path / "a.parquet")
    for source in (tmp_path / "a.parquet", []):
        with pytest.raises(InputError, match="at least one row"):
            read_prompts(source)


# Names of columns


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"prompt": "Hello"}, [("user", "Hello")]),
        ({"prompt": [SYSTEM, USER]}, [("system", "Be brief."), ("user", "Hello")]),
        (
            {"prompt": [USER, ASSISTANT, USER], "completion": "x"},
            [("user", "Hello"), ("assistant", "Hi"), ("user", "Hello")],
        ),
        ({"messages": [USER, ASSISTANT]}, [("user", "Hello")]),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "Hello"}]}]}, [("user", "Hello")]),
        (
            {"conversations": [{"from": "human", "value": "Hello"}, {"from": "gpt", "value": "Hi"}]},
            [("user", "Hello")],
        ),
        ({"instruction": "Hello", "output": "x"}, [("user", "Hello")]),
        ({"instruction": "Add", "input": "1, 2"}, [("user", "Add\n\n1, 2")]),
        ({"instruction": "Hello", "input": ""}, [("user", "Hello")]),
        ({"question": "Hello"}, [("user", "Hello")]),
        ({"prompt": "Hello", "response 1": "a", "response 2": "b"}, [("user", "Hello")]),
    ],
)
def test_prompts_under_their_usual_names(row, expected):
    assert texts(read_prompts([row]).records[0]) == expected


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "Hello", "completion": "Hi"},
        {"prompt": "Hello", "response": "Hi"},
        {"instruction": "Hello", "output": "Hi"},
        {"prompt": [USER], "completion": [ASSISTANT]},
        {"prompt": "Hello", "completion": [USER, ASSISTANT]},
        {"messages": [USER, ASSISTANT]},
    ],
)
def test_candidates_under_their_usual_names(row):
    (record,) = read_candidates([row]).records
    assert texts(record.prompt) == [("user", "Hello")]
    assert record.candidate.text == "Hi"
    assert record.candidate.prompt_id == record.prompt.id
    assert record.item.candidate == record.candidate


@pytest.mark.parametrize(
    ("row", "label"),
    [
        ({"prompt": "Hello", "response 1": "a", "response 2": "b", "label": 0}, "first"),
        ({"prompt": "Hello", "response 1": "a", "response 2": "b", "label": 1}, "second"),
        ({"prompt": "Hello", "response 1": "a", "response 2": "b", "label": 2.0}, "tie"),
        ({"prompt": "Hello", "response 1": "a", "response 2": "b", "label": "1"}, "second"),
        ({"prompt": "Hello", "response_1": "a", "response_2": "b", "label": "Second"}, "second"),
        ({"prompt": "Hello", "chosen": "a", "rejected": "b"}, "first"),
        ({"prompt": "Hello", "chosen": "a", "rejected": "b", "label": 1}, "first"),
        ({"prompt": [USER], "chosen": [{"role": "assistant", "content": "a"}], "rejected": "b"}, "first"),
        (
            {
                "chosen": [USER, {"role": "assistant", "content": "a"}],
                "rejected": [USER, {"role": "assistant", "content": "b"}],
            },
            "first",
        ),
        (
            {
                "conversations": [{"from": "human", "value": "Hello"}],
                "chosen": {"from": "gpt", "value": "a"},
                "rejected": {"from": "gpt", "value": "b"},
            },
            "first",
        ),
    ],
)
def test_pairs_under_their_usual_names(row, label):
    (pair,) = read_pairs([row]).records
    assert texts(pair.prompt) == [("user", "Hello")]
    assert (pair.first.text, pair.second.text, pair.label) == ("a", "b", label)
    assert (pair.item.first, pair.item.second) == (pair.first, pair.second)


def test_bare_numbers_as_labels_need_a_meaning_outside_the_release():
    row = {"instruction": "Hello", "output_1": "a", "output_2": "b", "preference": 1}
    with pytest.raises(InputError, match="label_values"):
        read_pairs([row])
    columns = ColumnMap(label_values={"1": "first", "2": "second", "0": "tie"})
    assert read_pairs([row], columns=columns).records[0].label == "first"


def test_unlabelled_pairs_when_asked_for():
    rows = [{"prompt": "Hello", "response_1": "a", "response_2": "b"}]
    with pytest.raises(InputError, match="label column"):
        read_pairs(rows)
    assert read_pairs(rows, labelled=False).records[0].label is None


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "Hello", "chosen": "Hi", "rejected": "No"},
        {"chosen": [USER, ASSISTANT], "rejected": [USER, {"role": "assistant", "content": "No"}]},
        {"prompt": "Hello", "response 1": "Hi", "response 2": "No", "label": 0},
        {"instruction": "Hello", "output_1": "Hi", "output_2": "No", "preference": 9},
    ],
)
def test_pairs_without_regard_to_their_labels_are_responses(tmp_path, row):
    result = read_responses(jsonl(tmp_path / "pairs.jsonl", row))
    assert [(one.prompt.messages[-1].content, one.candidate.text) for one in result.records] == [
        ("Hello", "Hi"),
        ("Hello", "No"),
    ]


def test_a_response_in_several_pairs_is_one_candidate(tmp_path):
    rows = [{"prompt": "p", "chosen": "a", "rejected": other} for other in ("b", "c")]
    result = read_responses(jsonl(tmp_path / "pairs.jsonl", *rows))
    assert [(one.candidate.text, one.candidate.index) for one in result.records] == [("a", 0), ("b", 1), ("c", 2)]


def sampled(folder, *candidates):
    prompts = [Prompt(id="a", messages=(Message(role="user", content="Hello"),), scenario="chitchat")]
    write_records(folder / "prompts.jsonl", prompts)
    write_records(folder / "candidates.jsonl", candidates)
    return prompts[0]


def test_the_candidates_of_a_run_are_read_as_they_are_with_the_prompts_beside_them(tmp_path):
    written = [
        Candidate(id="a/0", prompt_id="a", text="Hi", finish_reason="stop", token_count=2, logprob=-1.5),
        Candidate(id="a/1", prompt_id="a", text="", index=1, source="policy"),
    ]
    prompt = sampled(tmp_path, *written)
    for path in (tmp_path, tmp_path / "candidates.jsonl"):
        found = read_responses(path)
        assert [one.candidate for one in found.records] == written
        assert [one.prompt for one in found.records] == [prompt, prompt]
        assert found.skipped == {}


def test_candidates_of_a_run_without_their_prompts_are_refused(tmp_path):
    sampled(tmp_path, Candidate(id="b/0", prompt_id="b", text="Hi"))
    with pytest.raises(InputError, match=r"expected the prompt 'b' of candidate 'b/0' in .*prompts.jsonl"):
        read_responses(tmp_path)
    (tmp_path / "prompts.jsonl").unlink()
    with pytest.raises(MissingFileError, match="autoj sample writes both"):
        read_responses(tmp_path / "candidates.jsonl")


def test_a_table_that_only_looks_like_a_run_s_is_read_by_its_columns(tmp_path):
    row = {"id": "a/0", "prompt_id": "a", "text": "Hi", "prompt": "Hello"}
    path = jsonl(tmp_path / "candidates.jsonl", row)
    [found] = read_responses(path, columns=ColumnMap(response="text")).records
    assert (found.prompt.messages[-1].content, found.candidate.text) == ("Hello", "Hi")


def test_one_response_a_row_is_read_as_ever(tmp_path):
    path = jsonl(tmp_path / "r.jsonl", {"prompt": "p", "response": "a", "chosen": "x", "rejected": "y"})
    assert read_responses(path) == read_candidates(path)


def test_a_mapping_names_every_part():
    columns = ColumnMap(
        prompt="ask",
        system="sys",
        response="ans",
        id="qid",
        candidate_id="aid",
        scenario="kind",
        source="who",
        reward="gpt4",
    )
    row = {
        "ask": "Q",
        "sys": "S",
        "ans": "A",
        "qid": 7,
        "aid": "x1",
        "kind": "code",
        "who": "m",
        "gpt4": "8.5",
        "more": None,
    }
    (record,) = read_candidates([row], columns=columns).records
    assert texts(record.prompt) == [("system", "S"), ("user", "Q")]
    assert (record.prompt.id, record.prompt.scenario) == ("7", "code")
    assert (record.candidate.id, record.candidate.source, record.reward) == ("x1", "m", 8.5)
    assert record.columns == {"more": None}


def test_group_by_gives_rows_one_prompt():
    columns = ColumnMap(group_by="q")
    rows = [{"prompt": "Hello", "response": text, "q": "a"} for text in ("x", "y")]
    first, second = read_candidates(rows, columns=columns).records
    assert first.prompt == second.prompt
    assert first.prompt.id == "a"
    assert [first.candidate.index, second.candidate.index] == [0, 1]


def test_a_mapped_column_that_is_not_there_is_an_error_with_a_suggestion():
    with pytest.raises(InputError, match=r"(?s)'promt'.*columns\.prompt.*'prompt', 'topic'.*did you mean 'prompt'"):
        read_prompts(ROWS, columns=ColumnMap(prompt="promt"))


def test_a_column_that_is_not_found_is_an_error_that_lists_the_columns():
    with pytest.raises(InputError, match=r"(?s)prompt column.*'foo'.*columns\.prompt"):
        read_prompts([{"foo": "x"}])
    with pytest.raises(InputError, match=r"response column.*'prompt', 'topic'"):
        read_candidates(ROWS)
    with pytest.raises(InputError, match=r"columns\.response_1"):
        read_pairs(ROWS)
    with pytest.raises(InputError, match="name the other"):
        read_pairs(ROWS, columns=ColumnMap(response_1="topic"))


def test_a_column_that_only_later_rows_have_is_found():
    rows = [{"prompt": "a"}, {"prompt": "b", "scenario": "code"}]
    assert [prompt.scenario for prompt in read_prompts(rows).records] == [None, "code"]


# Ids


@given(st.permutations(["a", "b", "c", "d"]))
def test_ids_do_not_depend_on_the_order(order):
    rows = [{"prompt": "Hello", "response": text} for text in order]
    found = {record.candidate.text: record.candidate.id for record in read_candidates(rows).records}
    base = {text: read_candidates([{"prompt": "Hello", "response": text}]).records[0].candidate.id for text in "abcd"}
    assert found == base
    assert len(set(found.values())) == 4


def test_ids_tell_conversations_apart():
    rows = [
        {"prompt": [USER, ASSISTANT, USER]},
        {"prompt": [USER]},
        {"prompt": "Hello Hi Hello"},
        {"prompt": [SYSTEM, USER]},
    ]
    assert len({prompt.id for prompt in read_prompts(rows).records}) == 4


def test_the_same_row_twice_is_skipped_and_counted():
    result = read_prompts([*ROWS, ROWS[0]])
    assert len(result.records) == 2
    assert result.skipped == {"duplicate": 1}
    assert result.first_problems == ("row 3: the same prompt as in row 1",)
    rows = [{"prompt": "Hello", "response": "Hi"}] * 2
    assert read_candidates(rows).skipped == {"duplicate": 1}


def test_the_same_text_from_two_systems_is_two_candidates():
    rows = [{"prompt": "Hello", "output": "Hi", "generator": name} for name in ("m1", "m2")]
    assert len(read_candidates(rows).records) == 2


def test_one_id_with_two_contents_is_an_error_that_names_both_lines(tmp_path):
    path = jsonl(tmp_path / "a.jsonl", {"id": 1, "prompt": "a"}, {"id": 2, "prompt": "b"}, {"id": 1, "prompt": "c"})
    with pytest.raises(InputError, match=r"(?s)'1'.*line 1 and in .*line 3"):
        read_prompts(path)
    rows = [{"candidate_id": "x", "prompt": "Hello", "response": text} for text in "ab"]
    with pytest.raises(InputError, match="row 1 and in row 2"):
        read_candidates(rows)
    rows = [{"prompt_id": "x", "prompt": text, "response": "r"} for text in "ab"]
    with pytest.raises(InputError, match="row 1 and in row 2"):
        read_candidates(rows)
    rows = [{"id": "x", "prompt": "Hello", "response 1": "a", "response 2": "b", "label": n} for n in (0, 1)]
    with pytest.raises(InputError, match="row 1 and in row 2"):
        read_pairs(rows)


def test_a_pair_labelled_twice_is_two_records_with_ids_of_their_own():
    row = {"prompt": "Hello", "response 1": "a", "response 2": "b"}
    pairs = read_pairs([row | {"label": 2}, row | {"label": 2}, row | {"label": 1}]).records
    assert [pair.label for pair in pairs] == ["tie", "tie", "second"]
    assert len({pair.id for pair in pairs}) == 3


# Bad rows


def bad(rows, **options):
    good = {"prompt": "good", "response": "good"}
    return read_candidates([good, *rows], **options)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"response": "x"}, "missing_column"),
        ({"prompt": "x"}, "missing_column"),
        ({"prompt": None, "response": "x"}, "null"),
        ({"prompt": "x", "response": None}, "null"),
        ({"prompt": " \n", "response": "x"}, "empty_prompt"),
        ({"prompt": [], "response": "x"}, "empty_prompt"),
        ({"prompt": "x", "response": ""}, "empty_response"),
        ({"prompt": "x", "response": " \t\n"}, "empty_response"),
        ({"prompt": 5, "response": "x"}, "not_text"),
        ({"prompt": "x", "response": 5.5}, "not_text"),
        ({"prompt": [{"role": "user", "content": [{"type": "image"}]}], "response": "x"}, "not_text"),
        ({"prompt": ["x"], "response": "x"}, "not_a_message"),
        ({"prompt": [{"role": "tool", "content": "x"}], "response": "x"}, "unknown_role"),
        ({"prompt": [SYSTEM], "response": "x"}, "no_user_turn"),
        ({"prompt": [SYSTEM, ASSISTANT], "response": "x"}, "no_user_turn"),
        ({"prompt": "x", "response": [USER]}, "no_response"),
        ({"prompt": "x", "response": [USER, ASSISTANT]}, "prompts_differ"),
        ({"prompt": "\ud800", "response": "x"}, "lone_surrogate"),
        ({"prompt": "x", "response": "a\udfff"}, "lone_surrogate"),
        ({"prompt": "x", "response": "y", "note": {"deep": ["\ud800"]}}, "lone_surrogate"),
        (["x"], "not_an_object"),
        (5, "not_an_object"),
    ],
)
def test_a_row_that_cannot_be_used_is_counted_by_its_reason(row, reason):
    result = bad([row])
    assert result.skipped == {reason: 1}
    assert len(result.records) == 1
    assert result.first_problems[0].startswith("row 2: expected ")
    with pytest.raises(InputError, match="row 2: expected "):
        bad([row], on_bad="error")


def test_empty_responses_are_kept_when_asked_for():
    assert len(bad([{"prompt": "x", "response": ""}], keep_empty=True).records) == 2


@pytest.mark.parametrize("value", [[], "", True, "x" * 1025, None, 1.5])
def test_an_id_that_is_none_is_counted(value):
    result = read_prompts([{"id": "a", "prompt": "x"}, {"id": value, "prompt": "y"}])
    assert result.skipped == {"bad_id": 1}


def test_a_reward_that_is_no_number_is_counted():
    rows = [{"prompt": "x", "response": "a", "reward": value} for value in (1, None, "NaN", True)]
    rows = [row | {"response": str(index)} for index, row in enumerate(rows)]
    result = read_candidates(rows)
    assert [record.reward for record in result.records] == [1.0, None]
    assert result.skipped == {"not_a_number": 2}


def test_mistake_02_identical_chosen_and_rejected_are_no_pair():
    rows = [{"prompt": "x", "chosen": "a", "rejected": text} for text in "ab"]
    result = read_pairs(rows)
    assert [pair.second.text for pair in result.records] == ["b"]
    assert result.skipped == {"identical_responses": 1}


def test_unknown_labels_are_counted():
    row = {"prompt": "x", "response 1": "a", "response 2": "b"}
    result = read_pairs([row | {"label": value} for value in (0, 3, None, "maybe", -1)])
    assert [pair.label for pair in result.records] == ["first"]
    assert result.skipped == {"unknown_label": 3, "null": 1}


def test_bad_lines_are_counted_and_the_torn_last_one_by_name(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(
        b'{"prompt": "a"}\nnot json\n{"prompt": "\xff"}\n[1]\n' + b"[" * 50_000 + b'\n{"prompt": "b"}\n{"pro'
    )
    result = read_prompts(path)
    assert [prompt.messages[0].content for prompt in result.records] == ["a", "b"]
    assert result.skipped == {"bad_json": 2, "not_utf8": 1, "not_an_object": 1, "torn_line": 1}
    assert result.first_problems[0].startswith(f"{path}, line 2: expected JSON")
    with pytest.raises(InputError, match="line 2"):
        read_prompts(path, on_bad="error")


def test_a_compressed_file_that_breaks_off_gives_what_there_is(tmp_path):
    rows = [{"prompt": f"Prompt number {index}: {index**9}"} for index in range(5000)]
    whole = write(tmp_path / "a.jsonl.gz", rows).read_bytes()
    (tmp_path / "a.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    result = read_prompts(tmp_path / "a.jsonl.gz")
    assert 1000 < len(result.records) < 4000
    assert result.skipped["torn_file"] == 1


def test_csv_rows_that_are_torn(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(b'id,prompt\n1,a\n2\n3,"b\nc"\n4,\xff\n5,"torn')
    result = read_prompts(path)
    assert [prompt.messages[0].content for prompt in result.records] == ["a", "b\nc"]
    assert result.skipped == {"wrong_cells": 1, "not_utf8": 1, "torn_line": 1}
    path.write_text("prompt,prompt\na,b\n")
    with pytest.raises(InputError, match="more than once"):
        read_prompts(path)


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.json", "a.parquet", "a.csv"])
def test_a_response_of_a_megabyte_is_read_whole(tmp_path, name):
    response = "{{response}} “x”\n" * 70_000
    (record,) = read_candidates(write(tmp_path / name, [{"prompt": "x", "response": response}])).records
    assert record.candidate.text == response


def test_when_nothing_can_be_used_the_error_says_why(tmp_path):
    with pytest.raises(InputError, match=r"got none \(null 2\); row 1: expected text in 'prompt'"):
        read_prompts([{"prompt": None}, {"prompt": None}])
    path = tmp_path / "a.jsonl"
    path.write_text("x\ny\n")
    with pytest.raises(InputError, match=r"none in 2 rows; .*line 1: expected JSON"):
        read_prompts(path)


def test_odd_values_in_other_columns_become_json(tmp_path):
    import datetime

    table = pl.DataFrame({"prompt": ["a"], "when": [datetime.date(2026, 1, 2)], "x": [float("nan")], "raw": [b"b"]})
    table.write_parquet(tmp_path / "a.parquet")
    (prompt,) = read_prompts(tmp_path / "a.parquet").records
    assert prompt.columns["when"] == "2026-01-02"
    assert prompt.columns["x"] is None
    assert Prompt.model_validate_json(prompt.to_json()) == prompt


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
names = st.sampled_from(
    ["prompt", "messages", "response", "id", "scenario", "x", "instruction", "input", "chosen", "rejected", "label"]
)


@given(st.lists(st.dictionaries(names, json_values) | json_values, max_size=5))
def test_any_rows_give_records_that_can_be_stored_or_an_input_error(rows):
    for read in (read_prompts, read_candidates, read_pairs):
        try:
            result = read(rows)
        except InputError:
            continue
        for record in result.records:
            assert type(record).model_validate_json(record.to_json()) == record


# Streaming


def test_rows_stream_and_the_tally_grows():
    taken = []

    def endless():
        index = 0
        while True:
            index += 1
            taken.append(index)
            yield {"prompt": f"p{index}" if index % 10 else None}

    tally = Tally()
    stream = stream_prompts(endless(), tally=tally)
    found = [next(stream) for _ in range(200)]
    assert len(found) == 200
    assert len(taken) < 400
    assert tally.skipped == Counter(null=22)
    assert len(tally.first_problems) == 5


def test_stream_rows_numbers_lines_and_gives_problems(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"a": 1}\n\nx\n"text"\n')
    rows = list(stream_rows(path))
    assert rows[0] == (1, {"a": 1})
    assert rows[1][0] == 3
    assert isinstance(rows[1][1], Problem)
    assert rows[2] == (4, {"prompt": "text"})


# Real data


@pytest.mark.shared_data
def test_eval_p_is_read_with_every_label(shared_data):
    path = shared_data / "auto-j/data/test/testdata_pairwise.jsonl"
    result = read_pairs(path, keep_empty=True)
    assert Counter(pair.label for pair in result.records) == {"first": 520, "second": 499, "tie": 373}
    assert len({pair.id for pair in result.records}) == 1392
    assert len({pair.prompt.id for pair in result.records}) == 1182
    assert len({pair.prompt.scenario for pair in result.records}) == 58
    assert read_pairs(path).skipped == {"empty_response": 1}


@pytest.mark.shared_data
def test_real_files_of_several_projects_are_read(shared_data):
    critique = read_candidates(shared_data / "auto-j/data/test/testdata_critique.jsonl")
    assert len(critique.records) + sum(critique.skipped.values()) == 232
    assert len(read_prompts(shared_data / "alpaca-eval/prompts.jsonl").records) == 320
    chosen = read_pairs(shared_data / "llamafactory-demo/dpo_en_demo.jsonl.gz")
    assert {pair.label for pair in chosen.records} == {"first"}
    mapping = ColumnMap(prompt="text", id="question_id", scenario="category")
    assert len(read_prompts(shared_data / "qlora-vicuna80/questions.jsonl", columns=mapping).records) == 45
    assert read_prompts(shared_data / "vicuna-blog-eval/questions.jsonl", columns=mapping).records[0].messages[
        0
    ] == Message(role="user", content="How can I improve my time management skills?")
