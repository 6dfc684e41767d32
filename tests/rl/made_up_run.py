"""A complete run folder with made-up numbers and awkward texts, for the tests of the report."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path

from rewards.jsonl import write_records
from rewards.judges.base import JudgeCard
from rewards.types import (
    Candidate,
    Comparison,
    Judgment,
    Message,
    Pair,
    Prompt,
    Rating,
    Reward,
    Unparsed,
    Unscored,
    Verdict,
)
from rewards.verdicts import resolve
from rl.metrics import append_metrics
from rl.results import BestOfNCurve, CurvePoint, Estimate, Evaluation
from rl.run_folder import RunFolder, StageRecord

AWKWARD = [
    "<script>alert('x')</script> and </style></pre></details> & &lt;b&gt;",
    "controls \x00\x1b[31m \x7f, bidi \u202egnp.exe, zalgo e\u0301\u0302\u0303, 日本語, 🤖, \ufeff \uffff",
    "braces {response} {{ 7 * 7 }} {% if x %} ${HOME} $x^2$",
    "m" * 1_000_000,
    "",
    "https://evil.example/x.js \"onmouseover='alert(1)' <img src=http://evil.example/a.png onerror=alert(1)>",
]
SENTENCE = "a clear answer names the steps in order and says what may go wrong with each of them before it ends"
WORDS = SENTENCE.split()
SCENARIOS = ["planning", "code_review", "summarization", "chitchat", "email"]


def make_run(folder: Path, prompts: int = 60, n: int = 4, seed: int = 0) -> RunFolder:
    """Write every file of a run folder; the first prompts hold the awkward texts."""
    rng = random.Random(seed)
    run = RunFolder(folder)
    (folder / "evaluation").mkdir(parents=True, exist_ok=True)
    asked = [_prompt(index, rng) for index in range(prompts)]
    candidates = [_candidate(prompt, k, rng) for prompt in asked for k in range(n)]
    judgments = [_judgment(candidate, rng) for candidate in candidates]
    comparisons = [
        _comparison(prompt.id, group[0].id, group[1].id, rng)
        for prompt in asked
        if (group := [c for c in candidates if c.prompt_id == prompt.id])
    ]
    rewards = [_reward(judgment) for judgment in judgments]
    values = {reward.candidate_id: reward.value for reward in rewards if isinstance(reward, Reward)}
    pairs = _pairs(asked, candidates, values)
    write_records(run.prompts, asked)
    write_records(run.candidates, candidates)
    write_records(run.judgments, judgments)
    write_records(run.comparisons, comparisons)
    write_records(run.rewards, rewards)
    write_records(run.pairs, pairs)
    selected = {pair.chosen_id: pair for pair in pairs}
    write_records(
        run.selected,
        ({"prompt_id": p.prompt_id, "candidate_id": c, "text": p.chosen, "reward": 1.0} for c, p in selected.items()),
    )
    _write_small_files(run, asked, pairs, rng)
    _write_evaluation(run, rng)
    return run


def _prompt(index: int, rng: random.Random) -> Prompt:
    text = (
        AWKWARD[index]
        if index < len(AWKWARD) and AWKWARD[index]
        else "How do I " + " ".join(rng.sample(WORDS, 9)) + "?"
    )
    turns: tuple[Message, ...] = (Message(role="user", content=text),)
    if index % 7 == 0:
        earlier = (Message(role="system", content="Be brief."), Message(role="user", content="Hello"))
        turns = (*earlier, Message(role="assistant", content="Hi! What do you need?"), *turns)
    scenario = "<i>odd</i>" if index == 0 else SCENARIOS[index % len(SCENARIOS)]
    return Prompt(id=f"p{index} \"<&>'", messages=turns, scenario=None if index == 1 else scenario)


def _candidate(prompt: Prompt, k: int, rng: random.Random) -> Candidate:
    number = int(prompt.id.split()[0][1:])
    text = AWKWARD[k] if number == 0 and k < 4 else " ".join(rng.choices(WORDS, k=rng.randint(8, 120)))
    if number == 1 and k < 2:
        text = AWKWARD[4 + k]
    return Candidate(
        id=f"{prompt.id}:{k}",
        prompt_id=prompt.id,
        text=text,
        index=k,
        source="smollm2-135m-instruct",
        finish_reason=rng.choice(["stop", "stop", "length"]),
        token_count=len(text.split()),
    )


def _judgment(candidate: Candidate, rng: random.Random) -> Judgment:
    outcome: Rating | Unparsed
    if not candidate.text:
        outcome = Unparsed(reason="empty_response")
    elif rng.random() < 0.03:
        outcome = Unparsed(reason="no_verdict", detail="the answer ends in </b> mid-sentence")
    else:
        mean = min(9.5, max(1.5, rng.gauss(5.5, 1.5)))
        outcome = Rating(value=float(round(mean)), expected=mean, variance=rng.uniform(0.2, 2.5))
    critique = f"<b>Critique</b> of it: {' '.join(rng.choices(WORDS, k=40))}. Rating: [[{rng.randint(1, 10)}]]"
    name = Judgment.rating_id(candidate.id)
    return Judgment(
        id=name, prompt_id=candidate.prompt_id, candidate_ids=(candidate.id,), outcome=outcome, critique=critique
    )


def _comparison(prompt_id: str, first: str, second: str, rng: random.Random) -> Comparison:
    def judged(a: str, b: str) -> Judgment:
        outcome: Verdict | Unparsed = Verdict(winner=rng.choice(["first", "first", "second", "tie"]))
        if rng.random() < 0.04:
            outcome = Unparsed(reason="cut_off")
        name = Judgment.verdict_id(a, b)
        return Judgment(
            id=name, prompt_id=prompt_id, candidate_ids=(a, b), outcome=outcome, critique="Key factors: </pre>"
        )

    return resolve(judged(first, second), judged(second, first))


def _reward(judgment: Judgment) -> Reward | Unscored:
    (candidate_id,) = judgment.candidate_ids[:1]
    common = {"candidate_id": candidate_id, "prompt_id": judgment.prompt_id, "judgment_ids": (judgment.id,)}
    if isinstance(judgment.outcome, Rating):
        rating = judgment.outcome.score - 5.5
        return Reward(value=rating - 0.1, parts={"rating": rating, "length": -0.1}, **common)
    return Unscored(reason=judgment.outcome.reason, **common)  # type: ignore[union-attr]


def _pairs(prompts: list[Prompt], candidates: list[Candidate], values: dict[str, float]) -> list[Pair]:
    pairs = []
    for prompt in prompts:
        group = sorted(
            (c for c in candidates if c.prompt_id == prompt.id and c.id in values), key=lambda c: values[c.id]
        )
        worst, best = group[0], group[-1]
        if values[best.id] - values[worst.id] > 1.5 and best.text != worst.text:
            pairs.append(
                Pair(
                    id=f"pair:{prompt.id}",
                    prompt_id=prompt.id,
                    messages=prompt.messages,
                    chosen_id=best.id,
                    rejected_id=worst.id,
                    chosen=best.text,
                    rejected=worst.text,
                    margin=values[best.id] - values[worst.id],
                    judgment_ids=(Judgment.rating_id(best.id), Judgment.rating_id(worst.id)),
                    scenario=prompt.scenario,
                )
            )
    return pairs


def estimate(value: float, half: float, n: int = 60) -> Estimate:
    return Estimate(value=value, low=value - half, high=value + half, n=n)


def curve(n: int) -> BestOfNCurve:
    points = tuple(
        CurvePoint(
            k=k,
            reward=estimate(1.2 * (1 - 1 / k**0.7), 0.12),
            random=0.01,
            gain=estimate(1.2 * (1 - 1 / k**0.7) - 0.01, 0.09),
            kl=math.log(k) - (k - 1) / k,
        )
        for k in range(1, n + 1)
    )
    return BestOfNCurve(points=points, prompts=60, unscored=7)


def _write_small_files(run: RunFolder, prompts: list[Prompt], pairs: list[Pair], rng: random.Random) -> None:
    card = JudgeCard(
        name="smollm2-135m-instruct (direct) <untrained>",
        digest="9f86d081884c7d65" * 4,
        backend="transformers",
        mode="direct",
        protocol="builtin",
        trained=False,
    )
    run.judge.write_text(card.model_dump_json())
    recipe = {
        "recipe": "quickstart",
        "seed": 0,
        "judge": {
            "model": "smollm2",
            "endpoint": {"api_key_env": "MY_KEY", "base_url": "https://me:pw12345@host.example/v1"},
        },
        "failures": {"limit": 0.04, "minimum": 20},
        "train": {"beta": 0.1, "learning_rate": 5e-6, "hub_token": "hf_verysecretverysecret"},
    }
    versions = {"torch": "2.13.0", "trl": "1.16.0"}
    run.recipe.write_text(json.dumps({"digest": "ab" * 32, "recipe": recipe, "versions": versions}))
    for stage, seconds, counts in [
        ("prompts", 0.2, {"prompts": len(prompts)}),
        ("sample", 95.3, {"candidates": 4 * len(prompts), "tokens": 31234}),
        ("rate", 61.0, {"ratings": 4 * len(prompts), "failed_no_verdict": 5}),
        ("compare", 44.4, {"comparisons": len(prompts)}),
        ("select", 0.4, {"pairs": len(pairs)}),
        ("dpo", 4000.0, {"steps": 40, "loss": 0.61}),
    ]:
        run.finish(StageRecord(stage=stage, seconds=seconds, counts=counts))
    run.best_of_n.write_text(curve(4).model_dump_json())
    count = {"input": 240, "kept": 60, "dropped": {"not_best": 170, "no_verdict": 8, "near_duplicate": 2}}
    few = {"input": 60, "kept": len(pairs), "dropped": {"margin_too_small": 60 - len(pairs)}}
    manifests = {
        "selected": {"kind": "selection", "rows": count, "prompts": few, "mean_reward": 0.01, "mean_reward_kept": 1.1},
        "pairs": few,
    }
    run.manifest.write_text(json.dumps(manifests))
    write_records(
        run.review,
        [
            {
                "reason": reason,
                "prompt_id": prompt.id,
                "candidate_id": f"{prompt.id}:0",
                "variance": 3.2,
                "why": "<u>x</u>",
            }
            for prompt in prompts
            for reason in rng.sample(["failure", "abstention", "high_variance", "close_call"], 1)
        ],
    )
    for step in range(1, 41):
        loss = 0.69 * math.exp(-step / 60) + rng.gauss(0, 0.02)
        values = {
            "loss": loss,
            "rewards/accuracies": min(1, 0.5 + step / 80),
            "rewards/margins": step / 100,
            "lr": 1e-5,
        }
        append_metrics(run.metrics, "dpo", step, values if step != 17 else {"loss": math.nan})


def _write_evaluation(run: RunFolder, rng: random.Random) -> None:
    held_out = [Prompt(id=f"held {i}", messages=(Message(role="user", content=f"Question {i}?"),)) for i in range(20)]
    candidates = [
        Candidate(id=f"{side}:{p.id}", prompt_id=p.id, text=" ".join(rng.choices(WORDS, k=30)), source=side)
        for p in held_out
        for side in ("trained", "start")
    ]
    write_records(run.evaluation_prompts, held_out)
    write_records(run.evaluation_candidates, candidates)
    write_records(
        run.evaluation_comparisons, [_comparison(p.id, f"trained:{p.id}", f"start:{p.id}", rng) for p in held_out]
    )
    evaluation = Evaluation(
        policy="runs/quickstart/policy",
        reference="smollm2-135m-instruct",
        wins=7,
        losses=5,
        ties=1,
        abstained=6,
        unparsed=1,
        win_rate=Estimate(value=0.577, low=0.38, high=0.76, n=13),
        policy_tokens=61.2,
        reference_tokens=58.0,
        policy_characters=301.5,
        reference_characters=287.25,
    )
    run.evaluation.write_text(evaluation.model_dump_json())
