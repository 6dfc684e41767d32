"""The arrows from rewards to what is kept: selected candidates, preference pairs, and what a person should see."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from recipes.job import Job
from recipes.schema import DPORecipe, QuickstartRecipe
from recipes.stages import SCORED
from rewards.documents import write_json
from rewards.errors import InputError
from rewards.jsonl import read_records, write_records
from rewards.manifest import Manifest
from rewards.pairing import make_pairs
from rewards.review import ReviewItem, inspection_sample, review_items
from rewards.scored_table import ScoredTable
from rewards.select import select
from rewards.select_settings import PairSettings, SelectSettings
from rewards.truncation import PairCheck, truncation_check
from rewards.types import Candidate, Comparison, Judgment, Message, Prompt, Reward, Unscored
from rl.run_folder import RunFolder


def table_of(
    prompts: Sequence[Prompt], candidates: Sequence[Candidate], scored: Sequence[Reward | Unscored]
) -> ScoredTable:
    """The scored candidates of a run as a table."""
    return ScoredTable.from_records(prompts, candidates, scored)


def open_scored(path: Path) -> tuple[ScoredTable, list[Comparison] | None]:
    """The scored candidates of a run folder or of a file, and the run's comparisons where there are any."""
    if not path.is_dir():
        return ScoredTable.from_file(path), None
    judged = Judged(path)
    return table_of(judged.prompts, judged.candidates, judged.scored), judged.comparisons or None


def select_candidates(job: Job, table: ScoredTable, settings: SelectSettings) -> None:
    """Keep candidates, with a manifest of what was dropped and why."""
    if job.done("select"):
        return
    with job.stage("select", f"Selecting ({settings.method.replace('_', ' ')})") as counts:
        selection = select(table, settings)
        write_records(job.run.selected, selection.rows())
        _note(job.run.manifest, "selected", selection.manifest)
        counts.update(_manifest_counts(selection.manifest))
    job.tracker.artifact("selected", job.run.selected, inputs=_made_from(job.run))


def make_preference_pairs(
    job: Job,
    table: ScoredTable,
    settings: PairSettings,
    comparisons: Sequence[Comparison] | None,
    check: PairCheck | None,
) -> None:
    """Preference pairs, with a manifest of what was dropped and why."""
    if job.done("pairs"):
        return
    with job.stage("pairs", f"Preference pairs ({settings.method.replace('_', ' ')})") as counts:
        pairs = make_pairs(table, settings, comparisons=comparisons or None, same_after_truncation=check)
        write_records(job.run.pairs, pairs.rows())
        _note(job.run.manifest, "pairs", pairs.manifest)
        kept = pairs.manifest.pairs
        counts.update({"pairs": kept.kept if kept else 0} | _manifest_counts(pairs.manifest))
    job.tracker.artifact("pairs", job.run.pairs, inputs=_made_from(job.run))


def _made_from(run: RunFolder) -> list[Path]:
    return [path for path in (run.candidates, run.rewards) if path.exists()]


def _note(path: Path, name: str, manifest: Manifest) -> None:
    """Add one manifest to the run's file of them."""
    before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    before[name] = manifest.model_dump(mode="json")
    write_json(path, before)


def _manifest_counts(manifest: Manifest) -> dict[str, int | float]:
    dropped = {f"dropped_{reason}": count for reason, count in manifest.rows.dropped.items()}
    return {"kept": manifest.rows.kept, "of": manifest.rows.input, **dropped}


def truncation(recipe: QuickstartRecipe | DPORecipe) -> PairCheck:
    """The check that chosen and rejected still differ after the trainer's cut, with the policy's own tokenizer."""
    from rewards.judges.chat_tokens import CHAT_TEMPLATE
    from rewards.training.trainable import load_tokenizer

    tokenizer = load_tokenizer(recipe.policy.model)

    def tokenize(conversations: Sequence[tuple[Message, ...]], asks: bool) -> list[list[int]]:
        turns = [[message.model_dump() for message in one] for one in conversations]
        if not turns:
            return []
        made = tokenizer.apply_chat_template(turns, add_generation_prompt=asks, return_dict=True, **CHAT_TEMPLATE)
        return [list(ids) for ids in made["input_ids"]]

    return truncation_check(tokenize, max_length=recipe.train.max_length)


class Judged:
    """Everything in a run folder that a person would read judgments with."""

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise InputError(f"expected a run folder, since a file of scores has no judgments, got {folder}")
        run = RunFolder(folder)
        self.prompts = list(read_records(run.prompts, Prompt))
        self.candidates = list(read_records(run.candidates, Candidate))
        self.judgments = list(read_records(run.judgments, Judgment)) if run.judgments.exists() else []
        self.comparisons = list(read_records(run.comparisons, Comparison)) if run.comparisons.exists() else []
        self.scored = list(read_records(run.rewards, SCORED)) if run.rewards.exists() else []


def put_aside(folder: Path, to: Path) -> int:
    """Write the cases of a run that a judge should not decide alone; returns how many there are."""
    judged = Judged(folder)
    items = review_items(judged.judgments, judged.comparisons, judged.scored, judged.candidates, judged.prompts)
    to.parent.mkdir(parents=True, exist_ok=True)
    return write_records(to, items)


def draw_judgments(folder: Path, *, size: int, seed: int) -> list[ReviewItem]:
    """A stratified sample of the judgments of a run."""
    judged = Judged(folder)
    return inspection_sample(
        judged.judgments, judged.candidates, judged.prompts, comparisons=judged.comparisons, size=size, seed=seed
    )
