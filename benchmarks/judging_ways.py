"""The same judgments in six ways: one by one as judges are usually used, in batches, and as autoj does it.

    [AUTOJ_DATA=FOLDER] python -m benchmarks.judging_ways [--runs 2] [--queries 2]

The embedded model rates 8 candidates of each query with a critique of at most 256 tokens, in float32, greedy. Queries
and candidates are those of qlora-vicuna80 in FOLDER; without it, of bundled prompts with candidates that the model
itself writes first. Each way runs in a process of its own, the ways take turns, and the median of the runs counts:

    a  one `generate` for each request                    c  the text-generation pipeline, batches of 8
    b  padded batches of 8 with `generate`                e  autoj, critique mode      f  autoj, direct mode
    g  as f, in bfloat16

All ways see all requests, so their rates can be divided. Checked: b and e write the same texts as a (f and g write
none); how far apart the ratings of e and f, and of f and g, are is reported.
Reported: judgments a second, as such and against a's and b's; written tokens a judgment and a second (end tokens
apart); the tokens that went through the model, padding and rows that had ended included; peak memory; and the share of
this machine's matrix-multiply limit, from 2 operations a weight and token and a measured product of 1536 x 1536
matrices (bfloat16 ones for g). Other packages that judge (prometheus-eval and its like) have environments of their own
and are not run here.
Writes benchmarks/results/judging_ways.json and judging_ways.svg.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the autoj command does

from benchmarks.machine import machine

RESULTS = Path(__file__).parent / "results"
NEW_TOKENS = 256
CANDIDATES = 8
Row = dict[str, str]


def main() -> int:
    options = _options()
    if options.way:
        requests = [json.loads(line) for line in options.requests.read_text(encoding="utf-8").splitlines()]
        print(json.dumps(_timed(options.way, requests)))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        requests = Path(folder) / "requests.jsonl"
        rows, source = requests_of(options.queries)
        requests.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        runs: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
        for _ in range(options.runs):
            for way in WAYS:
                runs[way].append(_child(way, requests))
    for way in "be":
        _check_same(runs["a"][0]["texts"], runs[way][0]["texts"], way)
    found = _summary(runs, source, len(rows))
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "judging_ways.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    _picture(found["ways"], RESULTS / "judging_ways.svg")
    for way, one in found["ways"].items():
        print(f"{way}  {one['judgments a second']:8.3f}/s  {one['times a']:5.2f} a  {one['times b']:5.2f} b  "
              f"{one['written a judgment']:5.0f} written  {one['written a second']:7.1f}/s  "
              f"{one['tokens a judgment']:7.0f} tokens  {one['peak GiB']:5.2f} GiB  "
              f"{100 * one['share of the limit']:5.1f}% of the limit")  # fmt: skip
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=2)
    parser.add_argument("--queries", type=int, default=2, help="each with 8 candidates")
    parser.add_argument("--way", choices=list(WAYS), help=argparse.SUPPRESS)
    parser.add_argument("--requests", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def requests_of(queries: int) -> tuple[list[Row], str]:
    """Queries with 8 candidates each, drawn by a hash, and where they come from."""
    from rewards.row_parts import digest

    data = Path(os.environ.get("AUTOJ_DATA", "")) / "qlora-vicuna80"
    if "AUTOJ_DATA" in os.environ and data.is_dir():
        from recipes.filter.prepare_qlora import prepare

        every = [{"prompt": row["prompt"], "response": row["text"]} for row in prepare(data) if row["text"].strip()]
        name = "qlora-vicuna80"
    else:
        every, name = _sampled(queries), "bundled prompts, candidates by the model itself"
    prompts = sorted({row["prompt"] for row in every}, key=lambda text: digest("ways", text))[:queries]
    rows = []
    for prompt in prompts:
        own = [row for row in every if row["prompt"] == prompt]
        rows += sorted(own, key=lambda row: digest("ways", row["response"]))[:CANDIDATES]
    return rows, name


def _sampled(queries: int) -> list[Row]:
    from recipes.bundled import bundled_prompts
    from rewards.judges.config import DEFAULT_MODEL
    from rewards.judges.local_model import load_model
    from rl.sampling import sample

    prompts = bundled_prompts(limit=queries)
    texts = {prompt.id: prompt.messages[-1].content for prompt in prompts}
    drawn = sample(load_model(DEFAULT_MODEL), prompts, n=CANDIDATES, max_new_tokens=128)
    return [{"prompt": texts[one.prompt_id], "response": one.text} for one in drawn]


def _timed(way: str, rows: Sequence[Row]) -> dict[str, Any]:
    """Seconds of judging (loading and one short warm-up apart), the texts, the ratings, and the model's tokens."""
    from rewards.judges.config import DEFAULT_MODEL
    from rewards.judges.local_model import load_model

    local = load_model(DEFAULT_MODEL, dtype=_dtype(way))
    counted = [0]
    local.model.register_forward_pre_hook(
        lambda _, args, given: counted.__setitem__(0, counted[0] + given["input_ids"].numel()), with_kwargs=True
    )
    judge = WAYS[way](local)
    judge([{"prompt": "Hello?", "response": "Hello."}])
    counted[0] = 0
    started = time.perf_counter()
    texts, ratings = judge(rows)
    seconds = time.perf_counter() - started
    return {
        "seconds": seconds,
        "judgments": len(rows),
        "tokens": counted[0],
        "written": sum(len(local.tokenizer(text, add_special_tokens=False)["input_ids"]) for text in texts),
        "weights": sum(weight.numel() for weight in local.model.parameters()),
        "texts": texts,
        "ratings": ratings,
    }


Judged = tuple[list[str], list[float | None]]
Way = Callable[[Sequence[Row]], Judged]


def _asked(local: Any, rows: Sequence[Row]) -> list[str]:
    """The conversation of each request as text, with the built-in protocol's words."""
    from rewards.protocol.builtin import builtin_protocol
    from rewards.protocol.render import render_single

    protocol = builtin_protocol()
    return [
        local.tokenizer.apply_chat_template(
            [{"role": "user", "content": render_single(protocol, query=row["prompt"], response=row["response"],
                                                        mode="critique")}],
            tokenize=False, add_generation_prompt=True,
        )
        for row in rows
    ]  # fmt: skip


def _read(texts: list[str]) -> Judged:
    from rewards.protocol.builtin import builtin_protocol
    from rewards.protocol.parse import parse_rating

    found = [parse_rating(text, scale=builtin_protocol().scale) for text in texts]
    return texts, [getattr(one, "value", None) for one in found]


def _plain(local: Any, batch: int) -> Way:
    def judge(rows: Sequence[Row]) -> Judged:
        tokenizer, texts = local.tokenizer, []
        tokenizer.padding_side = "left"
        asked = _asked(local, rows)
        for start in range(0, len(asked), batch):
            inputs = tokenizer(asked[start : start + batch], return_tensors="pt", padding=True)
            output = local.model.generate(
                **inputs, max_new_tokens=NEW_TOKENS, do_sample=False, pad_token_id=local.pad_id
            )
            new = output[:, inputs["input_ids"].shape[1] :]
            texts += tokenizer.batch_decode(new, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return _read(texts)

    return judge


def _pipeline(local: Any) -> Way:
    from transformers import pipeline

    local.tokenizer.padding_side = "left"
    write = pipeline("text-generation", model=local.model, tokenizer=local.tokenizer)

    def judge(rows: Sequence[Row]) -> Judged:
        written = write(
            _asked(local, rows), max_new_tokens=NEW_TOKENS, do_sample=False, batch_size=8, return_full_text=False
        )
        return _read([one[0]["generated_text"] for one in written])

    return judge


def _ours(local: Any, mode: str) -> Way:
    from rewards.judges.base import RateItem
    from rewards.judges.generative import GenerativeJudge
    from rewards.judges.transformers_backend import TransformersBackend
    from rewards.protocol.builtin import builtin_protocol
    from rewards.protocol.spec import Decoding
    from rewards.types import Candidate, Message, Prompt

    protocol = builtin_protocol()
    backend = TransformersBackend(local, protocol.chat, batch_size=32)
    judge_of = GenerativeJudge(backend, protocol, mode, decoding=Decoding(max_new_tokens=NEW_TOKENS), chunk=32)  # type: ignore[arg-type]

    def judge(rows: Sequence[Row]) -> Judged:
        items = [
            RateItem(
                prompt=Prompt(id=row["prompt"][:40], messages=(Message(role="user", content=row["prompt"]),)),
                candidate=Candidate(id=str(place), prompt_id=row["prompt"][:40], text=row["response"]),
            )
            for place, row in enumerate(rows)
        ]
        found = {int(one.candidate_ids[0]): one for one in judge_of.rate(items)}
        ordered = [found[place] for place in range(len(rows))]
        return [one.critique for one in ordered], [getattr(one.outcome, "score", None) for one in ordered]

    return judge


WAYS: dict[str, Callable[[Any], Way]] = {
    "a": lambda local: _plain(local, 1),
    "b": lambda local: _plain(local, 8),
    "c": _pipeline,
    "e": lambda local: _ours(local, "critique"),
    "f": lambda local: _ours(local, "direct"),
    "g": lambda local: _ours(local, "direct"),
}


def _dtype(way: str) -> Literal["float32", "bfloat16"]:
    return "bfloat16" if way == "g" else "float32"


def _child(way: str, requests: Path) -> dict[str, Any]:
    """One run of a way in a process of its own, with that process's peak memory (GiB)."""
    command = [sys.executable, "-m", "benchmarks.judging_ways", "--way", way, "--requests", str(requests)]
    with tempfile.TemporaryFile("w+", encoding="utf-8") as said:
        child = subprocess.Popen(command, stdout=said)
        _, status, used = os.wait4(child.pid, 0)
        if status:
            raise SystemExit(f"way {way} failed")
        said.seek(0)
        found: dict[str, Any] = json.loads(said.read().splitlines()[-1])
    return found | {"peak": used.ru_maxrss / 2**20}


def _check_same(one_by_one: Sequence[str], others: Sequence[str], way: str) -> None:
    different = [place for place, text in enumerate(one_by_one) if text.strip() != others[place].strip()]
    if different:
        raise SystemExit(f"expected the same texts by the ways a and {way}, got others for requests {different}")


def _limit(dtype: str) -> float:
    """Operations a second of a product of two 1536 x 1536 matrices, the best of several."""
    import torch

    one = torch.randn(1536, 1536, dtype=getattr(torch, dtype))
    best = float("inf")
    for _ in range(12):
        started = time.perf_counter()
        torch.mm(one, one)
        best = min(best, time.perf_counter() - started)
    return 2 * 1536**3 / best


def _summary(runs: dict[str, list[dict[str, Any]]], source: str, count: int) -> dict[str, Any]:
    limits = {dtype: _limit(dtype) for dtype in ("float32", "bfloat16")}
    ways = {way: _of_way(of_runs, limits[_dtype(way)]) for way, of_runs in runs.items()}
    for one in ways.values():
        one |= {f"times {way}": one["judgments a second"] / ways[way]["judgments a second"] for way in "ab"}
    return {
        "command": " ".join(["python -m benchmarks.judging_ways", *sys.argv[1:]]),
        "machine": machine("torch", "transformers"),
        "requests": {"source": source, "all": count, "new tokens": NEW_TOKENS},
        "matrix product, GFLOP/s": {dtype: limit / 1e9 for dtype, limit in limits.items()},
        "ways": ways,
        **{f"{one} and {other}": _distance(runs[one][0]["ratings"], runs[other][0]["ratings"]) for one, other in
           ("ef", "fg")},
    }  # fmt: skip


def _distance(ratings: Sequence[float | None], others: Sequence[float | None]) -> dict[str, Any]:
    both = [
        abs(one - other) for one, other in zip(ratings, others, strict=True) if one is not None and other is not None
    ]
    return {"both rated": len(both), "mean distance": statistics.fmean(both) if both else None}


def _of_way(runs: Sequence[dict[str, Any]], limit: float) -> dict[str, Any]:
    rates = [run["judgments"] / run["seconds"] for run in runs]
    first = runs[0]
    operations = 2 * first["weights"] * first["tokens"]
    return {
        "judgments a second": statistics.median(rates),
        "of runs": [round(rate, 4) for rate in rates],
        "written a judgment": first["written"] / first["judgments"],
        "written a second": first["written"] / statistics.median(run["seconds"] for run in runs),
        "tokens a judgment": first["tokens"] / first["judgments"],
        "rated": sum(one is not None for one in first["ratings"]),
        "judgments": first["judgments"],
        "peak GiB": max(run["peak"] for run in runs),
        "share of the limit": operations / statistics.median(run["seconds"] for run in runs) / limit,
    }


NAMES = {
    "a": "generate, one by one",
    "b": "generate, padded batches of 8",
    "c": "text-generation pipeline, batches of 8",
    "e": "autoj, critique mode",
    "f": "autoj, direct mode",
    "g": "autoj, direct mode, bfloat16",
}


def _picture(ways: dict[str, dict[str, Any]], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt

    figure, axis = plt.subplots(figsize=(7, 3), layout="constrained")
    names = [NAMES[way] for way in ways]
    bars = axis.barh(names, [one["judgments a second"] for one in ways.values()],
                     color=["C0" if name.startswith("autoj") else "C7" for name in names])  # fmt: skip
    axis.bar_label(
        bars, [f"{one['judgments a second']:.2f} ({one['times a']:.1f} x)" for one in ways.values()], padding=3
    )
    axis.invert_yaxis()
    axis.margins(x=0.2)
    axis.set(xlabel="judgments a second (against one by one)")
    figure.savefig(path)
    plt.close(figure)


if __name__ == "__main__":
    sys.exit(main())
