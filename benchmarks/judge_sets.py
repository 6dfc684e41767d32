"""The rated and labelled sets that judges are measured on, read from the folder that AUTOJ_DATA names.

Each becomes rows in autoj's own columns: pairs (prompt, response_1, response_2, label) or rated responses (prompt,
response, reward). Nothing of the data is in this repository; a set that is not there is left out. Which rows are
taken, and which response of a pair stands first where a set names the better one, is drawn by a hash of the content.
Rows whose prompt a judge was trained on are taken out and counted.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

from judge_training.data.decontaminate import TestPrompts
from rewards.row_parts import digest

Row = dict[str, Any]

ORDERS = list(combinations(range(4), 2))
"""The order in which fine-grained-rlhf lists its six comparisons."""
TULU = {"a-is-better": "first", "a-is-slightly-better": "first", "tie": "tie"}


@dataclass(frozen=True, slots=True)
class JudgedSet:
    """One set: what it is called, who labelled it, and how its rows are read."""

    name: str
    kind: Literal["pairs", "ratings"]
    labels: str
    """Who labelled it."""
    read: Callable[[Path], Iterable[Row]]
    long: bool = False
    """Whether its prompts are long, so that a third of the rows is taken."""


def rows_of(one: JudgedSet, data: Path, *, limit: int, trained_on: TestPrompts | None) -> tuple[list[Row], int]:
    """At most `limit` rows (of rated sets: prompts), and how many were taken out for their prompt; [] if not there."""
    try:
        every = list(one.read(data))
    except FileNotFoundError:
        return [], 0
    kept = [row for row in every if trained_on is None or trained_on.find(row["prompt"]) is None]
    limit = max(1, limit // 3) if one.long else limit
    if one.kind == "pairs":
        different = [row for row in kept if row["response_1"] != row["response_2"]]
        taken = _drawn(different, limit, lambda row: row.get("scenario") or "")
    else:
        prompts = sorted({row["prompt"] for row in kept}, key=lambda text: digest("sets", text))[:limit]
        taken = [row for row in kept if row["prompt"] in prompts]
    return taken, len(every) - len(kept)


def _drawn(rows: list[Row], limit: int, part: Callable[[Row], str]) -> list[Row]:
    """Rows in an order drawn by a hash, from every part by turns."""
    turns: dict[str, int] = {}
    placed = []
    for row in sorted(rows, key=lambda row: digest("sets", row["prompt"], row["response_1"], row["response_2"])):
        turns[part(row)] = turns.get(part(row), 0) + 1
        placed.append((turns[part(row)], len(placed), row))
    return [row for _, _, row in sorted(placed, key=lambda one: one[:2])[:limit]]


def _rows(path: Path) -> Iterator[Row]:
    data = path.read_bytes()
    text = gzip.decompress(data) if path.suffix == ".gz" else data
    yield from map(json.loads, text.decode("utf-8").splitlines())


def _pair(prompt: str, first: str, second: str, label: str, scenario: str | None = None) -> Row:
    return {"prompt": prompt, "response_1": first, "response_2": second, "label": label, "scenario": scenario}


def _better_first(prompt: str, better: str, worse: str, scenario: str | None = None) -> Row:
    """A pair whose better response is known, in an order drawn by a hash."""
    if digest("side", prompt, better, worse) < digest("side", prompt, worse, better):
        return _pair(prompt, better, worse, "first", scenario)
    return _pair(prompt, worse, better, "second", scenario)


def _eval_p(data: Path) -> Iterator[Row]:
    labels = ("first", "second", "tie")
    for row in _rows(data / "auto-j/data/test/testdata_pairwise.jsonl"):
        yield _pair(row["prompt"], row["response 1"], row["response 2"], labels[row["label"]], row["scenario"])


def _llmbar(name: str) -> Callable[[Path], Iterator[Row]]:
    def read(data: Path) -> Iterator[Row]:
        for row in _rows(data / f"llmbar-processed/{name}.jsonl"):
            label = "first" if row["label"] == 1 else "second"
            yield _pair(row["input"], row["output_1"], row["output_2"], label)

    return read


def _tulu(data: Path) -> Iterator[Row]:
    for row in _rows(data / "tulu-human-eval/annotations_a.jsonl.gz"):
        label = TULU.get(row["preference"], "second")
        yield _pair(row["prompt"], row["completion_a"], row["completion_b"], label)


def _hhh(data: Path) -> Iterator[Row]:
    for row in _rows(data / "prometheus-eval/hhh_alignment_eval.jsonl.gz"):
        yield _better_first(row["instruction"], row["chosen"], row["rejected"], row["source"])


def _hh(data: Path) -> Iterator[Row]:
    mark = "\n\nAssistant:"
    for row in _rows(data / "hh-rlhf/harmless-base_test.jsonl.gz"):
        prompt, _, better = row["chosen"].rpartition(mark)
        worse = row["rejected"].rpartition(mark)[2]
        yield _better_first(prompt.strip(), better.strip(), worse.strip())


def _fine_grained(data: Path) -> Iterator[Row]:
    labels = {1: "first", 2: "second", 0: "tie"}
    for row in _rows(data / "fine-grained-rlhf/dev_feedback_a.jsonl.gz"):
        passages = "\n".join(" ".join(passage) for passage in row["passages"])
        for (one, other), label in zip(ORDERS, row["preference"], strict=True):
            first, second = row[f"prediction {one + 1}"], row[f"prediction {other + 1}"]
            yield _pair(f"{passages}\n\n{row['question']}", first, second, labels[label])


def _rm_bench(data: Path) -> Iterator[Row]:
    for path in sorted((data / "rm-bench").glob("*.jsonl*")):
        for row in _rows(path):
            for better, worse in zip(row["chosen"], row["rejected"], strict=True):
                yield _better_first(row["prompt"], better, worse, path.name.partition(".")[0])


def _llamafactory(data: Path) -> Iterator[Row]:
    for row in _rows(data / "llamafactory-demo/dpo_en_demo.jsonl.gz"):
        prompt = "\n\n".join(turn["value"] for turn in row["conversations"])
        yield _better_first(prompt, row["chosen"]["value"], row["rejected"]["value"])


def _alpaca(data: Path) -> Iterator[Row]:
    folder = data / "alpaca-eval"
    prompts = {row["prompt_id"]: row["instruction"] for row in _rows(folder / "prompts.jsonl")}
    base = {row["prompt_id"]: row["output"] for row in _rows(folder / "baseline_text_davinci_003.jsonl.gz")}
    outputs = {(row["prompt_id"], row["model"]): row["output"] for row in _rows(folder / "outputs.jsonl.gz")}
    labels = {1: "first", 2: "second"}
    for row in _rows(folder / "gpt4_vs_text_davinci_003.jsonl.gz"):
        name = row["prompt_id"]
        label = labels.get(row["preference"], "tie")
        yield _pair(prompts[name], base[name], outputs[name, row["model"]], label)


def _alpaca_2(data: Path) -> Iterator[Row]:
    folder = data / "alpaca-eval"
    prompts = {row["prompt_id"]: row["instruction"] for row in _rows(folder / "prompts.jsonl")}
    outputs = {(row["prompt_id"], row["model"]): row["output"] for row in _rows(folder / "outputs.jsonl.gz")}
    for row in _rows(folder / "gpt4turbo_vs_gpt4_1106.jsonl.gz"):
        name, won = row["prompt_id"], row["preference"] > 1.5  # 1 + the probability that the model beats the baseline
        mine, base = outputs[name, row["model"]], outputs[name, "gpt4_1106_preview"]
        yield _better_first(prompts[name], mine if won else base, base if won else mine)


def _qlora_pairs(data: Path) -> Iterator[Row]:
    """Pairs of which GPT-4 said the same in both orders, once each."""
    folder = data / "qlora-vicuna80"
    questions = {row["question_id"]: row["text"] for row in _rows(folder / "questions.jsonl")}
    texts = {(row["question_id"], row["system"]): row["response"] for row in _rows(folder / "responses.jsonl.gz")}
    said = {(row["question_id"], row["system_1"], row["system_2"]): row["label"]
            for row in _rows(folder / "pairwise_gpt4.jsonl.gz")}  # fmt: skip
    swapped = {1: 2, 2: 1, 3: 3}
    for (question, one, other), label in said.items():
        if one < other and said.get((question, other, one)) == swapped[label]:
            first, second = texts[question, one], texts[question, other]
            yield _pair(questions[question], first, second, ("first", "second", "tie")[label - 1])


def _rated(prompt: str, response: str, reward: float) -> Row:
    return {"prompt": prompt, "response": response, "reward": reward}


def _qlora(data: Path) -> Iterator[Row]:
    from recipes.filter.prepare_qlora import prepare

    for row in prepare(data / "qlora-vicuna80"):
        if row["reward"] is not None:
            yield _rated(row["prompt"], row["text"], row["reward"])


def _prometheus(name: str) -> Callable[[Path], Iterator[Row]]:
    def read(data: Path) -> Iterator[Row]:
        for row in _rows(data / f"prometheus-eval/{name}.jsonl.gz"):
            yield _rated(row["instruction"], row["response"], fmean(row["gpt4_score"]))

    return read


def _vicuna_blog(data: Path) -> Iterator[Row]:
    folder = data / "vicuna-blog-eval"
    questions = {row["question_id"]: row["text"] for row in _rows(folder / "questions.jsonl")}
    given: dict[tuple[int, str], list[float]] = {}
    for row in _rows(folder / "ratings_gpt4.jsonl.gz"):
        for side in ("1", "2"):
            given.setdefault((row["question_id"], row[f"system_{side}"]), []).append(row[f"score_{side}"])
    for row in _rows(folder / "responses.jsonl.gz"):
        ratings = given.get((row["question_id"], row["system"]))
        if ratings:
            yield _rated(questions[row["question_id"]], row["response"], fmean(ratings))


def _openmeva(data: Path) -> Iterator[Row]:
    for row in _rows(data / "openmeva-roc/stories_a.jsonl.gz"):
        generations = row["generations"]
        for one in generations.values() if isinstance(generations, dict) else generations:
            yield _rated(f"Write a short story that begins: {row['prompt']}", one["text"], one["human"])


def _autoj_single(data: Path) -> Iterator[Row]:
    from judge_training.data.release import read_release

    for example in read_release(data / "auto-j").examples.records:
        if example.kind == "single" and example.rating is not None:
            yield _rated(example.prompt.messages[-1].content, example.responses[0], example.rating)


SETS = (
    JudgedSet("Eval-P", "pairs", "people", _eval_p),
    JudgedSet("LLMBar mt-bench", "pairs", "people", _llmbar("mt-bench")),
    JudgedSet("LLMBar llmeval2", "pairs", "people", _llmbar("llmeval2")),
    JudgedSet("LLMBar faireval", "pairs", "people", _llmbar("faireval")),
    JudgedSet("Tulu human eval", "pairs", "people", _tulu),
    JudgedSet("HHH alignment", "pairs", "people", _hhh),
    JudgedSet("HH-RLHF harmless", "pairs", "people", _hh),
    JudgedSet("Fine-Grained RLHF", "pairs", "people", _fine_grained, long=True),
    JudgedSet("RM-Bench, same style", "pairs", "by construction", _rm_bench),
    JudgedSet("AlpacaEval 1", "pairs", "GPT-4", _alpaca),
    JudgedSet("AlpacaEval 2", "pairs", "GPT-4 turbo", _alpaca_2),
    JudgedSet("QLoRA Vicuna pairs", "pairs", "GPT-4", _qlora_pairs),
    JudgedSet("LLaMA-Factory demo", "pairs", "not stated", _llamafactory, long=True),
    JudgedSet("QLoRA Vicuna", "ratings", "GPT-4", _qlora),
    JudgedSet("Vicuna blog", "ratings", "GPT-4", _vicuna_blog),
    JudgedSet("Prometheus vicuna", "ratings", "GPT-4", _prometheus("vicuna_eval")),
    JudgedSet("Prometheus mt-bench", "ratings", "GPT-4", _prometheus("mt_bench_eval")),
    JudgedSet("AUTO-J single", "ratings", "GPT-4", _autoj_single),
    JudgedSet("OpenMEVA ROC", "ratings", "people", _openmeva),
)
