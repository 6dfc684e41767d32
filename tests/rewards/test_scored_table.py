"""The table: bad input has a clear error or a counted reason, and files give what records give."""

from __future__ import annotations

import json

import polars as pl
import pytest

from rewards import scored_table
from rewards.errors import InputError, MissingFileError
from rewards.pairing import make_pairs
from rewards.scored_table import ScoredTable
from rewards.select import select
from rewards.select_settings import PairSettings, SelectSettings
from tests.scored_records import records, row, score, table, write_lines

ALL = SelectSettings(method="top_k", k=100)


def read(path):
    return select(ScoredTable.from_file(path), ALL)


def test_files_and_records_are_one_implementation(tmp_path):
    groups = {f"p{i}": [(f"text {i} {j} {{x}}", (i * 7 + j * 3) % 5 / 1.0) for j in range(4)] for i in range(30)}
    prompts, candidates, scored = records(groups, scenario="s")
    by_id = {item.candidate_id: item for item in scored}
    rows = [
        row(c.id, by_id[c.id].value, c.text, scenario="s", judgment_ids=[f"rate:{c.id}"]) | {"extra": [1, {"a": 2}]}
        for c in candidates
    ]
    jsonl = write_lines(tmp_path / "s.jsonl", rows)
    pl.DataFrame([{k: v for k, v in r.items() if k != "extra"} for r in rows]).write_parquet(tmp_path / "s.parquet")
    tables = [ScoredTable.from_records(prompts, candidates, scored)]
    tables += [ScoredTable.from_file(path) for path in (jsonl, tmp_path / "s.parquet")]
    for settings in (ALL, SelectSettings(), SelectSettings(method="top_fraction", fraction=0.3, near_duplicates=0.9)):
        first, *others = [list(select(each, settings).rows()) for each in tables]
        assert others == [first, first]
    first, *others = [list(make_pairs(each, PairSettings(method="all")).rows()) for each in tables]
    assert others == [first, first]


def test_chunks_of_any_size_give_the_same_rows(tmp_path, monkeypatch):
    rows = [row(f"p{i % 37}/{i}", float(i * 13 % 11), f"text {i}") for i in range(400)]
    jsonl = write_lines(tmp_path / "s.jsonl", rows)
    pl.DataFrame(rows).write_parquet(tmp_path / "s.parquet")
    expected = list(read(jsonl).rows())
    expected_pairs = list(make_pairs(ScoredTable.from_file(jsonl), PairSettings(method="all")).rows())
    monkeypatch.setattr(scored_table, "_TEXT_BYTES", 300)
    monkeypatch.setattr(scored_table, "_PIECE_ROWS", 7)
    for path in (jsonl, tmp_path / "s.parquet"):
        assert list(read(path).rows()) == expected
        assert list(make_pairs(ScoredTable.from_file(path), PairSettings(method="all")).rows()) == expected_pairs


def test_null_and_blank_responses_are_counted(tmp_path):
    rows = [row("p/0", 1.0, None), row("p/1", 2.0, " \n\t"), row("p/2", None, ""), row("p/3", 0.5, "ok")]
    selection = read(write_lines(tmp_path / "s.jsonl", rows))
    assert [item.candidate_id for item in selection.rows()] == ["p/3"]
    assert selection.manifest.rows.dropped == {"empty_response": 3}


def test_rows_without_reward_say_why(tmp_path):
    rows = [row("p/0", None, unscored="cut_off"), row("p/1", None, "b"), row("p/2", 1.0, "c")]
    assert read(write_lines(tmp_path / "s.jsonl", rows)).manifest.rows.dropped == {
        "unscored:cut_off": 1,
        "unscored:no_reward": 1,
    }


def test_lone_surrogates_are_counted(tmp_path):
    rows = [row("p/0", 1.0, "bad \ud800 text"), row("p/1", 0.5, "fine \U0001f600")]
    selection = read(write_lines(tmp_path / "s.jsonl", rows))
    assert [item.text for item in selection.rows()] == ["fine \U0001f600"]
    assert selection.manifest.rows.dropped == {"unreadable_text": 1}


def test_conversations_in_a_file(tmp_path):
    talk = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    for column in ("messages", "prompt"):
        rows = [{k: v for k, v in row("p/0", 1.0).items() if k != "prompt"} | {column: talk}]
        (item,) = read(write_lines(tmp_path / "s.jsonl", rows)).rows()
        assert [message.role for message in item.messages] == ["system", "user"]
    rows = [row("p/0", 1.0, messages=[{"role": "narrator", "content": "x"}])]
    with pytest.raises(InputError, match=r"row 1: messages\.0\.role"):
        list(read(write_lines(tmp_path / "s.jsonl", rows)).rows())


def test_integer_ids_and_missing_last_newline(tmp_path):
    path = tmp_path / "s.jsonl"
    path.write_text(json.dumps({"prompt_id": 1, "candidate_id": 2, "text": "a", "reward": 3}), encoding="utf-8")
    (item,) = read(path).rows()
    assert (item.prompt_id, item.candidate_id, item.reward, item.messages) == ("1", "2", 3.0, ())


GOOD = json.dumps(row("p/0", 1.0)) + "\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty file"),
        ("\n\n", "empty file"),
        ('{"prompt_id": "p", "text": "a"}\n', "missing candidate_id, reward"),
        (GOOD * 200 + '{"prompt_id": "p", "cand', "line 201: the last line is torn"),
        ('{"prompt_id": "p", "cand', "line 1: the last line is torn"),
        (GOOD * 200 + "nonsense\n" + GOOD, "line 201: expected a JSON object"),
        (GOOD + "[1]\n", "line 2: expected a JSON object, got list"),
        (GOOD.replace("1.0", "NaN"), "line 1: expected reward to be a finite number or null, got nan"),
        (GOOD * 150 + GOOD.replace("1.0", "NaN"), "line 151: .*got nan"),
        (GOOD.replace("1.0", "1e999"), "got inf"),
        (GOOD.replace("1.0", '"high"'), "got 'high'"),
        (GOOD.replace("1.0", "true"), "got True"),
        (GOOD.replace('"p/0"', "null"), "candidate_id of 1 to 1024"),
        (GOOD.replace('"p/0"', '""'), "row 1"),
        (GOOD + GOOD.replace("Question p?", "Another?"), "one prompt for each prompt_id"),
        (GOOD[:-2] + ', "messages": "hi"}\n', "expected messages to be a list, got str"),
    ],
)
def test_bad_files_are_refused_with_the_place(tmp_path, text, message):
    path = tmp_path / "s.jsonl"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        read(path)


def test_nan_rewards_in_parquet_are_refused(tmp_path):
    for value in (float("nan"), float("inf")):
        pl.DataFrame([row("p/0", 1.0), row("p/1", value)]).write_parquet(tmp_path / "s.parquet")
        with pytest.raises(InputError, match=r"finite rewards .*row 2"):
            read(tmp_path / "s.parquet")


def test_files_of_another_kind(tmp_path):
    with pytest.raises(MissingFileError):
        ScoredTable.from_file(tmp_path / "none.jsonl")
    (tmp_path / "s.csv").write_text("a,b\n")
    with pytest.raises(InputError, match=r"\.jsonl or \.parquet"):
        ScoredTable.from_file(tmp_path / "s.csv")
    (tmp_path / "s.parquet").write_text("not parquet")
    with pytest.raises(InputError, match="not a Parquet file"):
        ScoredTable.from_file(tmp_path / "s.parquet")


def test_a_file_that_changes_between_ranking_and_reading(tmp_path):
    path = write_lines(tmp_path / "s.jsonl", [row(f"p{i}/0", 1.0) for i in range(5)])
    selection = read(path)
    write_lines(path, [row(f"p{i}/0", 1.0) for i in range(5, 10)])
    with pytest.raises(InputError, match="changed while"):
        list(selection.rows())


def test_mistake_07_rewards_are_matched_by_id_and_never_by_position():
    prompts, candidates, scored = records({"p": [("a", 1.0), ("b", 2.0)], "q": [("c", 3.0)]})
    mixed = ScoredTable.from_records(prompts, candidates, [scored[2], scored[1], scored[0]])
    assert list(select(mixed, ALL).rows()) == list(
        select(ScoredTable.from_records(prompts, candidates, scored), ALL).rows()
    )
    for wrong in (score("p", "p/9", 1.0), score("q", "p/0", 1.0)):
        with pytest.raises(InputError, match="name one of the candidates"):
            ScoredTable.from_records(prompts, candidates, [*scored, wrong])
    with pytest.raises(InputError, match="two that differ"):
        ScoredTable.from_records(prompts, candidates, [*scored, score("p", "p/0", 9.0)])
    with pytest.raises(InputError, match="unknown prompt"):
        ScoredTable.from_records(prompts[:1], candidates, scored)
    unjudged = select(ScoredTable.from_records(prompts, candidates, scored[:2]), ALL)
    assert unjudged.manifest.rows.dropped == {"unscored:not_scored": 1}


def test_records_need_no_order():
    assert table({"p": [("a", 1.0)]}).ranking(seed=0).height == 1
