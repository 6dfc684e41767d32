"""Rows in the schema that every source has on the hub, with content of our own."""

from __future__ import annotations

Row = dict[str, object]


def talk(*texts: str) -> list[Row]:
    return [{"role": "user" if place % 2 == 0 else "assistant", "content": text} for place, text in enumerate(texts)]


def arena(**changes: object) -> Row:
    row: Row = {
        "question_id": "b1c2",
        "model_a": "koala-13b",
        "model_b": "alpaca-13b",
        "winner": "model_a",
        "judge": "arena_user_17",
        "conversation_a": talk("How do bees find flowers?", "By colour and scent."),
        "conversation_b": talk("How do bees find flowers?", "They guess."),
        "turn": 1,
        "anony": True,
        "language": "English",
        "tstamp": 1682351621.1,
        "openai_moderation": {"flagged": False, "categories": {"hate": False}, "category_scores": {"hate": 0.0}},
        "toxic_chat_tag": {"t5-large": {"flagged": False, "probability": 0.01}},
    }
    return row | changes


def mt_bench(**changes: object) -> Row:
    row: Row = {
        "question_id": 81,
        "model_a": "gpt-3.5-turbo",
        "model_b": "llama-13b",
        "winner": "model_b",
        "judge": "expert_3",
        "conversation_a": talk("Plan a walk.", "Go north.", "And back?", "Go south."),
        "conversation_b": talk("Plan a walk.", "Take the river path.", "And back?", "Same way."),
        "turn": 1,
    }
    return row | changes


def summary(**changes: object) -> Row:
    row: Row = {
        "info": {
            "id": "t3_own",
            "post": "My neighbour's cat visits daily. I like it. Should I feed it?",
            "title": "A visiting cat",
            "subreddit": "AskOwn",
            "site": None,
            "article": None,
        },
        "summaries": [
            {"text": " A cat visits. Feed it?", "policy": "sup2", "note": "short"},
            {"text": " Cats are nice.", "policy": "ref", "note": None},
        ],
        "choice": 1,
        "worker": "w1",
        "batch": "batch0",
        "split": "train",
        "extra": {"confidence": None},
    }
    return row | changes


def webgpt(**changes: object) -> Row:
    quotes = {"title": ["A page (own.example)"], "extract": ["Salt lowers the melting point."]}
    tokens = {"prefix": [1, 2], "completion": [3]}
    row: Row = {
        "question": {"dataset": "eli5", "id": "q7", "full_text": "Why does salt melt ice?"},
        "quotes_0": quotes,
        "answer_0": "It lowers the melting point [1].",
        "tokens_0": tokens,
        "score_0": -0.6666666865348816,
        "quotes_1": quotes,
        "answer_1": "Ions get between the water molecules, so ice melts below zero [1].",
        "tokens_1": tokens,
        "score_1": 0.6666666865348816,
    }
    return row | changes


def shp(**changes: object) -> Row:
    row: Row = {
        "post_id": "qt1",
        "domain": "askbaking_train",
        "upvote_ratio": 0.98,
        "history": "Why did my bread not rise? The dough was cold.",
        "c_root_id_A": "ha1",
        "c_root_id_B": "hb1",
        "created_at_utc_A": 1636822112,
        "created_at_utc_B": 1636822110,
        "score_A": 44,
        "score_B": 11,
        "human_ref_A": "Cold dough needs far longer.",
        "human_ref_B": "Bad luck.",
        "labels": 1,
        "seconds_difference": 2.0,
        "score_ratio": 4.0,
    }
    return row | changes


def gptj(**changes: object) -> Row:
    row: Row = {"prompt": "What is a prime?", "chosen": "A number with two divisors.", "rejected": "A good cut."}
    return row | changes


def safe_rlhf(**changes: object) -> Row:
    row: Row = {
        "prompt": "How can I open my own locked car?",
        "response_0": "Break a window.",
        "response_1": "Call a locksmith and show your papers.",
        "prompt_source": "ours",
        "response_0_source": "Alpaca-7B",
        "response_1_source": "Alpaca3-8B",
        "is_response_0_safe": False,
        "is_response_1_safe": True,
        "response_0_harm_category": {"Economic Crime": False},
        "response_1_harm_category": {"Economic Crime": False},
        "response_0_severity_level": 1,
        "response_1_severity_level": 0,
        "better_response_id": 1,
        "safer_response_id": 1,
        "response_0_sha256": "00",
        "response_1_sha256": "11",
    }
    return row | changes


def alpaca_output(**changes: object) -> Row:
    row: Row = {"dataset": "koala", "instruction": "Spell cat.", "output": "c-a-t", "generator": "own-7b"}
    return row | changes


def alpaca_annotation(**changes: object) -> Row:
    row: Row = {
        "instruction": "Correct this.",
        "input": "He go home.",
        "output_1": "He goes home.",
        "output_2": "He gone home.",
        "preference": 1,
        "annotator": 15,
        "generator_1": "a-7b",
        "generator_2": "b-7b",
        "datasplit": "eval",
    }
    return row | changes
