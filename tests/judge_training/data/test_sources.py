"""Every source in its hub schema: what a row says, which rows are dropped and why, and the ways to get at them."""

from __future__ import annotations

import json

import polars as pl
import pytest

from judge_training.data.sources import SourceOptions, known_sources, read_source
from rewards.errors import InputError, MissingFileError

from . import hub_rows as hub

ROWS = {
    "chatbot_arena": hub.arena,
    "mt_bench": hub.mt_bench,
    "openai_summary": hub.summary,
    "openai_webgpt": hub.webgpt,
    "stanford_shp": hub.shp,
    "synthetic_gptj": hub.gptj,
    "pku_safe_rlhf": hub.safe_rlhf,
    "alpaca_eval_outputs": hub.alpaca_output,
    "alpaca_eval_annotations": hub.alpaca_annotation,
}


def one(name, row, **more):
    return read_source(name, [row], **more).records[0]


def reason(name, row, **more):
    """Why a row is dropped, beside a good one."""
    read = read_source(name, [ROWS[name](), row], **more)
    (found,) = read.skipped
    assert len(read.records) == 1
    assert "row 2" in read.first_problems[0]
    return found


def test_every_source_has_rows_here():
    assert set(ROWS) == set(known_sources())


@pytest.mark.parametrize("name", ROWS)
def test_a_source_reads_jsonl_json_parquet_and_folders_alike(name, tmp_path):
    row = ROWS[name]()
    (tmp_path / "a.jsonl").write_text(json.dumps(row) + "\n")
    (tmp_path / "b.json").write_text(json.dumps([row]))
    pl.DataFrame([row]).write_parquet(tmp_path / "c.parquet")
    read = [read_source(name, tmp_path / file).records for file in ("a.jsonl", "b.json", "c.parquet")]
    assert read[0] == read[1] == read[2] == read_source(name, [row]).records
    assert len(read_source(name, tmp_path).records) == 3
    assert read[0][0].source == name


@pytest.mark.parametrize(
    ("name", "changes", "label"),
    [
        ("chatbot_arena", {}, "first"),
        ("chatbot_arena", {"winner": "model_b"}, "second"),
        ("chatbot_arena", {"winner": "tie"}, "tie"),
        ("chatbot_arena", {"winner": "tie (bothbad)"}, "tie"),
        ("mt_bench", {}, "second"),
        ("mt_bench", {"winner": "tie"}, "tie"),
        ("openai_summary", {}, "second"),
        ("openai_summary", {"choice": 0}, "first"),
        ("openai_webgpt", {}, "second"),
        ("openai_webgpt", {"score_0": 0.25, "score_1": -0.25}, "first"),
        ("openai_webgpt", {"score_0": 0.0, "score_1": 0.0}, "tie"),
        ("stanford_shp", {}, "first"),
        ("stanford_shp", {"labels": 0}, "second"),
        ("pku_safe_rlhf", {}, "second"),
        ("pku_safe_rlhf", {"better_response_id": 0}, "first"),
        ("alpaca_eval_annotations", {}, "first"),
        ("alpaca_eval_annotations", {"preference": 2}, "second"),
        ("alpaca_eval_annotations", {"preference": 0}, "tie"),
        ("alpaca_eval_annotations", {"preference": 1.5}, "tie"),
        ("alpaca_eval_annotations", {"preference": 1.93}, "second"),
    ],
)
def test_labels(name, changes, label):
    example = one(name, ROWS[name](**changes))
    assert example.label == example.human_label == label


@pytest.mark.parametrize(
    ("name", "changes", "why"),
    [
        ("chatbot_arena", {"turn": 2}, "not_the_first_turn"),
        ("chatbot_arena", {"winner": "nobody"}, "unknown_label"),
        ("chatbot_arena", {"winner": None}, "null"),
        ("chatbot_arena", {"conversation_a": hub.talk("How do bees find flowers?")}, "no_first_turn"),
        ("chatbot_arena", {"conversation_a": hub.talk("Other?", "Yes.")}, "prompts_differ"),
        ("chatbot_arena", {"conversation_a": hub.talk("How do bees find flowers?", "\n")}, "empty_response"),
        ("chatbot_arena", {"conversation_a": hub.arena()["conversation_b"]}, "identical_responses"),
        ("mt_bench", {"turn": 2}, "not_the_first_turn"),
        ("mt_bench", {"winner": "tie (inconsistent)"}, "orders_disagree"),
        ("openai_summary", {"summaries": []}, "not_a_pair"),
        ("openai_summary", {"choice": 2}, "unknown_label"),
        ("openai_summary", {"info": {"post": None, "article": None}}, "empty_prompt"),
        ("openai_webgpt", {"score_0": 0.5}, "scores_disagree"),
        ("openai_webgpt", {"score_0": None}, "null"),
        ("openai_webgpt", {"question": "Why?"}, "not_an_object"),
        ("stanford_shp", {"score_ratio": 1.2}, "score_ratio_below_minimum"),
        ("synthetic_gptj", {"chosen": None}, "null"),
        ("synthetic_gptj", {"prompt": "  "}, "empty_prompt"),
        ("pku_safe_rlhf", {"better_response_id": -1}, "unknown_label"),
        ("alpaca_eval_outputs", {"output": ""}, "empty_response"),
        ("alpaca_eval_annotations", {"preference": 3}, "unknown_label"),
        ("alpaca_eval_annotations", {"preference": None}, "null"),
    ],
)
def test_what_is_dropped_is_counted_by_reason(name, changes, why):
    assert reason(name, ROWS[name](**changes)) == why


def test_only_the_first_turn_is_kept_of_mt_bench():
    example = one("mt_bench", hub.mt_bench())
    assert [message.content for message in example.prompt.messages] == ["Plan a walk."]
    assert example.responses == ("Go north.", "Take the river path.")
    assert example.columns["response_1_by"] == "gpt-3.5-turbo"


def test_models_votes_are_no_human_labels():
    assert one("mt_bench", hub.mt_bench(judge="gpt4_pair")).human_label is None
    assert one("alpaca_eval_annotations", hub.alpaca_annotation(annotator="alpaca_eval_gpt4")).human_label is None
    assert one("synthetic_gptj", hub.gptj()).human_label is None


def test_summaries_ask_for_the_post_or_the_article():
    post = one("openai_summary", hub.summary())
    assert post.scenario == "post_summarization"
    assert "A visiting cat" in post.prompt.messages[0].content
    assert "Should I feed it?" in post.prompt.messages[0].content
    info = {"id": "n1", "post": None, "title": None, "article": "The dam held. Nobody was hurt."}
    assert one("openai_summary", hub.summary(info=info)).scenario == "text_summarization"


def test_the_better_response_of_gptj_is_not_always_first():
    rows = [hub.gptj(prompt=f"What is {number}?") for number in range(64)]
    labels = [example.label for example in read_source("synthetic_gptj", rows).records]
    assert 16 < labels.count("first") < 48
    assert labels.count("first") + labels.count("second") == 64
    for example in read_source("synthetic_gptj", rows).records:
        better = example.responses[0 if example.label == "first" else 1]
        assert better == "A number with two divisors."


def test_options_of_labels():
    weak = hub.shp(score_ratio=1.2)
    assert one("stanford_shp", weak, options=SourceOptions(shp_min_score_ratio=1.0)).label == "first"
    split = hub.safe_rlhf(better_response_id=0)
    assert one("pku_safe_rlhf", split, options=SourceOptions(safe_rlhf_label="safer")).label == "second"
    assert reason("pku_safe_rlhf", split, options=SourceOptions(safe_rlhf_label="both")) == "helpful_is_not_safer"


def test_outputs_wait_for_a_judgment_and_annotations_have_the_input():
    assert not one("alpaca_eval_outputs", hub.alpaca_output()).judged
    example = one("alpaca_eval_annotations", hub.alpaca_annotation())
    assert example.prompt.messages[0].content == "Correct this.\n\nHe go home."


def test_a_sample_does_not_depend_on_the_order_of_the_rows():
    rows = [hub.gptj(prompt=f"What is {number}?") for number in range(40)]
    some = {one.id for one in read_source("synthetic_gptj", rows, sample=7).records}
    again = {one.id for one in read_source("synthetic_gptj", rows[::-1], sample=7).records}
    other = {one.id for one in read_source("synthetic_gptj", rows, sample=7, seed=1).records}
    assert len(some) == 7
    assert some == again != other


def test_a_file_of_another_schema_is_an_error_that_names_the_right_one(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text('{"text": "a"}\nnot json\n')
    with pytest.raises(InputError, match=r"openai/webgpt_comparisons.*missing_column 1, bad_json 1.*x.jsonl, row 1"):
        read_source("openai_webgpt", path)
    with pytest.raises(MissingFileError):
        read_source("openai_webgpt", tmp_path / "none.jsonl")
    with pytest.raises(MissingFileError, match="data files"):
        (tmp_path / "empty").mkdir()
        read_source("openai_webgpt", tmp_path / "empty")


@pytest.mark.parametrize("name", ["chatbot_arena", "openai_summary", "alpaca_eval_outputs"])
def test_the_hub_out_of_reach_is_an_input_error(name, monkeypatch, tmp_path):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path))
    with pytest.raises(InputError, match=r"from the hub.*give their path"):
        read_source(name, None)


def test_the_hub_is_asked_for_the_right_files(monkeypatch):
    import datasets

    asked = []

    def load(name, config, **more):
        asked.append((name, config, more["split"], more["revision"], more["data_files"]))
        return [hub.summary()] if "summarize" in name else [hub.alpaca_annotation()]

    monkeypatch.setattr(datasets, "load_dataset", load)
    assert len(read_source("openai_summary", None).records) == 1
    assert len(read_source("alpaca_eval_annotations", None).records) == 1
    files = "hf://datasets/tatsu-lab/alpaca_eval/alpaca_farm_human_annotations.json"
    assert asked == [
        (
            "openai/summarize_from_feedback",
            None,
            "train",
            "refs/convert/parquet",
            {"train": "comparisons/train/*.parquet"},
        ),
        ("json", None, "train", None, {"train": files}),
    ]
