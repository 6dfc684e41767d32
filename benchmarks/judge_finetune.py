"""Fine-tune the embedded model on AUTO-J's released single judgments, to measure what that gives; nothing is shipped.

    AUTOJ_DATA=FOLDER python -m benchmarks.judge_finetune --examples 96 --minutes 20

FOLDER holds `auto-j`, a copy of the release. A fifth of the prompts is held out, in proportion to the scenarios, and
of it `--measure` examples are asked before and after: how many written ratings can be read, and Spearman's
correlation with GPT-4's rating, of the written ratings and (in direct mode) of the expected ones. The prompts are
autoj's own, on the release's scale. Stops after `--minutes` of training at the latest, and says what it did.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from judge_training.examples import JudgeExample
from judge_training.training_settings import JudgeTrainingSettings
from rewards.protocol.spec import JudgeProtocol
from rewards.row_parts import digest


def main() -> int:
    options = _options()
    folder = Path(os.environ.get("AUTOJ_DATA", "")) / "auto-j"
    if not folder.is_dir():
        print(f"skipped: no copy of the AUTO-J release at {folder} (set AUTOJ_DATA to the folder that holds auto-j)")
        return 0
    if options.output.exists():
        print(f"{options.output} exists; name another --output, or remove it", file=sys.stderr)
        return 2
    protocol, train, held_out = _data(folder, options.examples, options.measure)
    print(f"{len(train)} examples to train on, {len(held_out)} to measure, {options.mode} mode", flush=True)
    protocol.save(options.output)
    before = _measure(None, held_out, options)
    print(json.dumps({"before": before}), flush=True)
    trained = _train(train, protocol, options)
    print(json.dumps({"train": trained}), flush=True)
    after = _measure(options.output, held_out, options)
    found = {"before": before, "train": trained, "after": after, "options": _plain(vars(options))}
    (options.output / "benchmark.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=2))
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=768, help="training examples at most")
    parser.add_argument("--minutes", type=float, default=20.0, help="training time at most")
    parser.add_argument("--measure", type=int, default=48, help="held-out examples asked before and after")
    parser.add_argument("--epochs", type=float, default=1.0)
    parser.add_argument("--mode", choices=["direct", "critique"], default="direct")
    parser.add_argument("--max-length", type=int, default=1024)
    parser.add_argument("--max-new-tokens", type=int, default=None, help="16 in direct mode, else 400")
    parser.add_argument("--learning-rate", type=float, default=5e-4)
    parser.add_argument("--batch", type=int, default=8, help="examples in one optimizer step")
    parser.add_argument("--output", type=Path, default=Path("runs/judge_finetune"))
    options = parser.parse_args()
    options.max_new_tokens = options.max_new_tokens or (16 if options.mode == "direct" else 400)
    return options


def _data(folder: Path, examples: int, measure: int) -> tuple[JudgeProtocol, list[JudgeExample], list[JudgeExample]]:
    from judge_training.data.release import read_release
    from judge_training.data.split import split_examples
    from rewards.protocol.builtin import builtin_protocol

    release = read_release(folder)
    protocol = builtin_protocol().model_copy(update={"scale": release.protocol.scale})
    singles = [example for example in release.examples.records if example.kind == "single"]
    train, held_out = split_examples(singles, valid_share=0.2)
    return protocol, _draw(train, examples), _draw(held_out, measure)


def _draw(examples: Sequence[JudgeExample], limit: int) -> list[JudgeExample]:
    return sorted(examples, key=lambda example: digest("judge_finetune", example.id))[:limit]


def _train(train: Sequence[JudgeExample], protocol: JudgeProtocol, options: argparse.Namespace) -> dict[str, Any]:
    from transformers import TrainerCallback

    from judge_training.train import train_judge
    from rewards.judges.config import DEFAULT_MODEL

    class Watch(TrainerCallback):
        """Keeps the losses, and stops in time."""

        def __init__(self) -> None:
            self.losses: list[float] = []
            self.started = time.perf_counter()

        def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            self.started = time.perf_counter()

        def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
            if logs and "loss" in logs:
                self.losses.append(round(logs["loss"], 4))

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if time.perf_counter() - self.started > 60 * options.minutes:
                control.should_training_stop = True

    settings = JudgeTrainingSettings(
        learning_rate=options.learning_rate,
        epochs=options.epochs,
        batch_size=min(2, options.batch),
        gradient_accumulation=max(1, options.batch // 2),
        max_length=options.max_length,
        save_steps=10_000,
    )
    watch = Watch()
    result = train_judge(
        train,
        model=DEFAULT_MODEL,
        output=options.output,
        settings=settings,
        protocol=protocol,
        mode=options.mode,
        callbacks=[watch],
    )
    return {
        "device": result.device,
        "steps": result.steps,
        "examples_seen": min(result.steps * options.batch, round(result.examples * options.epochs)),
        "too_long": result.left_out,
        "seconds": round(result.seconds, 1),
        "tokens_per_second": round(result.tokens / result.seconds, 1),
        "losses": watch.losses,
    }


def _measure(adapter: Path | None, held_out: Sequence[JudgeExample], options: argparse.Namespace) -> dict[str, Any]:
    from judge_training.written_answers import rank_correlation, write_answers
    from rewards.judges.base import RateItem
    from rewards.judges.config import DEFAULT_MODEL
    from rewards.judges.load import load_judge
    from rewards.types import Candidate, Rating

    judge = load_judge(
        model=DEFAULT_MODEL,
        adapter=adapter,
        protocol=options.output,
        mode=options.mode,
        max_prompt_tokens=options.max_length,
    )
    written = write_answers(judge, held_out, mode=options.mode, max_new_tokens=options.max_new_tokens)
    found = _plain(written.model_dump()) | {"parse_rate": round(written.parse_rate, 4)}
    if options.mode == "direct":
        labels = {example.id: example.rating for example in held_out}
        items = [
            RateItem(prompt=one.prompt, candidate=Candidate(id=one.id, prompt_id=one.prompt.id, text=one.responses[0]))
            for one in held_out
        ]
        read = [
            (judgment.outcome.score, labels[judgment.candidate_ids[0]])
            for judgment in judge.rate(items)
            if isinstance(judgment.outcome, Rating)
        ]
        found["expected_ratings"] = len(read)
        found["expected_rank_correlation"] = rank_correlation([said for said, _ in read], [label for _, label in read])
    return found


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    return {name: str(value) if isinstance(value, Path) else value for name, value in values.items()}


if __name__ == "__main__":
    sys.exit(main())
