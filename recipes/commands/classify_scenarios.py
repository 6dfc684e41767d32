"""`autoj classify-scenarios WHAT`: which of the 58 scenarios a prompt belongs to, or none of them.

predict    label the prompts of a file; prompts that have a scenario keep it
train      make a classifier from labelled prompts, or (`bundled`) the one that ships, from our own texts
evaluate   measure a classifier on labelled prompts
"""

from __future__ import annotations

import json
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import tyro
from pydantic import Field
from rich.console import Console
from rich.table import Table

from rewards.columns import ColumnMap
from rewards.errors import InputError
from rewards.judges.config import Settings

if TYPE_CHECKING:
    from judge_training.scenario_classifier import LabelledText

USAGE = """usage: autoj classify-scenarios predict PROMPTS [--classifier bundled|FOLDER] [--out FILE]
       autoj classify-scenarios train --data FILE|bundled ... --out FOLDER
       autoj classify-scenarios evaluate --data FILE [--classifier bundled|FOLDER] [--json]"""
BUNDLED = "bundled"
BUNDLED_TERMS = 2000
"""Most terms of a kind of the classifier that ships, which keeps it below 2 MB."""
BUNDLED_COVERAGE = 0.99
"""Real prompts have more words than our own texts: limits as for 0.95 would leave a quarter of them outside."""


class PredictArguments(Settings):
    """Label prompts with their scenario."""

    prompts: Path
    """A file of prompts."""
    classifier: str = BUNDLED
    """`bundled`, or a folder that `train` wrote."""
    out: Path | None = None
    """Write the labelled prompts here as JSONL; without it a table is printed."""
    columns: ColumnMap = ColumnMap()
    """Names of the columns, where they are not the usual ones."""


class TrainArguments(Settings):
    """Train a classifier."""

    data: tuple[str, ...] = Field(min_length=1)
    """Files of labelled prompts (ours, or the release's classifier data), and `bundled` for our own texts."""
    out: Path
    """The folder to write."""
    coverage: float | None = Field(default=None, gt=0.0, le=1.0)
    """Share of held-out prompts of the scenarios that is to stay inside them: 0.95, or 0.99 for `bundled` alone."""


class EvaluateArguments(Settings):
    """Measure a classifier."""

    data: Path
    """A file of labelled prompts that the classifier did not learn from."""
    classifier: str = BUNDLED
    """`bundled`, or a folder that `train` wrote."""
    as_json: Annotated[bool, tyro.conf.arg(name="json")] = False
    """Print JSON instead of tables."""


ArgumentsT = TypeVar("ArgumentsT", PredictArguments, TrainArguments, EvaluateArguments)


def main(arguments: list[str]) -> int:
    """Label prompts, train a classifier, or measure one."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE)
        return 0
    verb, rest = arguments[0], arguments[1:]
    if verb == "predict":
        if rest and not rest[0].startswith("-"):
            rest = ["--prompts", *rest]
        _predict(_parse(PredictArguments, rest, verb))
    elif verb == "train":
        _train(_parse(TrainArguments, rest, verb))
    elif verb == "evaluate":
        _evaluate(_parse(EvaluateArguments, rest, verb))
    else:
        raise InputError(f"expected predict, train or evaluate, got {verb!r}")
    return 0


def _parse(kind: type[ArgumentsT], arguments: list[str], name: str) -> ArgumentsT:
    return tyro.cli(kind, args=arguments, prog=f"autoj classify-scenarios {name}", description=kind.__doc__)


def _predict(arguments: PredictArguments) -> None:
    from judge_training.scenario_classifier import label_prompts, open_classifier
    from rewards.inputs import read_prompts
    from rewards.jsonl import write_records
    from rewards.scenario_labels import is_classified, is_outside

    read = read_prompts(arguments.prompts, columns=arguments.columns)
    prompts = label_prompts(read.records, open_classifier(arguments.classifier))
    if arguments.out is not None:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        write_records(arguments.out, prompts)
    else:
        table = Table("prompt", "scenario", "confidence")
        for prompt in prompts:
            sure = prompt.columns.get("scenario_confidence", "given")
            table.add_row(prompt.id, prompt.scenario or "(outside)", str(sure))
        Console().print(table)
    asked, outside = sum(map(is_classified, prompts)), sum(map(is_outside, prompts))
    skipped = "".join(f", {count} skipped ({reason})" for reason, count in read.skipped.items())
    print(f"{len(prompts)} prompts: {asked} classified, {outside} of them outside the 58 scenarios{skipped}")


def _train(arguments: TrainArguments) -> None:
    from judge_training.scenario_classifier import save_classifier
    from judge_training.scenario_classifier.train import COVERAGE, TERMS, train_classifier

    started = time.perf_counter()
    texts: list[LabelledText] = []
    left_out: Counter[str] = Counter()
    for name in arguments.data:
        read, skipped = _labelled(name)
        texts += read
        left_out.update(skipped)
    own_only = set(arguments.data) == {BUNDLED}
    classifier = train_classifier(
        texts,
        terms_per_kind=BUNDLED_TERMS if own_only else TERMS,
        min_texts=1 if own_only else 2,
        coverage=arguments.coverage or (BUNDLED_COVERAGE if own_only else COVERAGE),
        about={"data": [BUNDLED if name == BUNDLED else Path(name).name for name in arguments.data]},
    )
    save_classifier(classifier, arguments.out)
    limits, facts = classifier.card.limits, classifier.card.trained_on
    print(
        f"{len(texts)} texts, {len(classifier.card.classes)} scenarios, {classifier.vocabulary.size} terms; left out: "
        f"{dict(left_out) or 'none'}\nheld-out accuracy by cost {json.dumps(facts['cross_validation'])}; "
        f"temperature {classifier.card.temperature:.3f}; outside below confidence {limits.confidence:.3f} or "
        f"familiarity {limits.familiarity:.3f}, which leaves {limits.coverage:.1%} of held-out prompts inside\n"
        f"{arguments.out}, {time.perf_counter() - started:.0f} s"
    )


def _labelled(name: str) -> tuple[list[LabelledText], dict[str, int]]:
    from judge_training.scenario_classifier import own_texts, read_labelled

    if name == BUNDLED:
        from recipes.bundled import bundled_prompts

        return own_texts(bundled_prompts()), {}
    read = read_labelled(Path(name))
    return list(read.texts), read.skipped


def _evaluate(arguments: EvaluateArguments) -> None:
    from judge_training.scenario_classifier import open_classifier, read_labelled
    from judge_training.scenario_classifier.evaluate import evaluate_classifier, scenario_rows, summary_rows

    read = read_labelled(arguments.data)
    result = evaluate_classifier(open_classifier(arguments.classifier), read.texts, read.elsewhere)
    if arguments.as_json:
        print(result.model_dump_json(indent=2))
        return
    table = Table("measure", "value", "95% interval", title=f"{arguments.classifier} on {arguments.data.name}")
    for row in summary_rows(result):
        table.add_row(*row)
    Console().print(table)
    scenarios = Table("scenario", "texts", "precision", "recall", "F1")
    for line in scenario_rows(result):
        scenarios.add_row(*line)
    Console().print(scenarios)
    if result.unseen:
        print(f"not known to the classifier: {', '.join(result.unseen)}")
