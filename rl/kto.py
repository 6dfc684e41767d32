"""KTO on rated responses with TRL's trainer: good ones and bad ones, without pairs (Ethayarajh et al. 2024).

A response is desirable from one reward on and undesirable up to another; what lies between is left out and counted. So
a judge whose ratings are hardly comparable between two responses, or a prompt with one response, still teaches. The
two losses are weighted so that both sides count the same (equation 8 of arXiv 2402.01306 allows 1 to 4/3), unless the
`trl:` block says otherwise. TRL estimates the KL term from the other completions of a batch, in the order of the data:
they are mixed here, once, by the seed. The reference is as in DPO (`rl.dpo`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

from pydantic import JsonValue

from rewards.errors import InputError, RunError
from rewards.select import Selected
from rl.offline import Lesson, Used, train_offline
from rl.training import TrainingJob, TrainingResult, check_prompts
from rl.training_settings import KTOSettings


@dataclass(frozen=True, slots=True)
class Labelled:
    """Responses by what they teach; `between` are those that teach nothing."""

    desirable: tuple[Selected, ...]
    undesirable: tuple[Selected, ...]
    between: int


def label(rows: Sequence[Selected], settings: KTOSettings) -> Labelled:
    """Split responses by their rewards; see `KTOSettings`. Raises RunError when one side is empty."""
    from statistics import median

    if not rows:
        raise RunError(
            "expected responses with rewards to train on, got none; read the manifest for the reasons, or sample more"
        )
    start, end = settings.desirable_from, settings.undesirable_to
    middle = median(row.reward for row in rows)
    above, below = middle if end is None else end, middle if start is None else start
    good = tuple(row for row in rows if (row.reward > above if start is None else row.reward >= start))
    bad = tuple(row for row in rows if (row.reward < below if end is None else row.reward <= end))
    if not good or not bad:
        low, high = min(row.reward for row in rows), max(row.reward for row in rows)
        raise RunError(
            f"expected desirable and undesirable responses, got {len(good)} and {len(bad)} of {len(rows)} with "
            f"rewards from {low:.4g} to {high:.4g}. Set desirable_from and undesirable_to within them, or sample more"
        )
    return Labelled(good, bad, len(rows) - len(good) - len(bad))


def train_kto(
    selected: Sequence[Selected] | Path, *, settings: KTOSettings, **job: Unpack[TrainingJob]
) -> TrainingResult:
    """Train a policy on desirable and undesirable responses; see `rl.offline.train_offline`.

    selected: usable candidates with their rewards, or the file of them. `left_out` of the result counts the responses
    between the thresholds and those whose prompt alone fills `max_length`. Raises RunError when all are of one kind,
    InputError when less than a batch is left, and what the job does.
    """
    between = 0

    def lesson(found: list[Selected]) -> Lesson:
        nonlocal between
        labelled = label(found, settings)
        between = labelled.between
        check_prompts({row.candidate_id: row.messages for row in found})
        weights = _weights(len(labelled.desirable), len(labelled.undesirable), job.get("trl") or {})
        own = weights | {"beta": settings.beta, "loss_type": settings.loss_type}
        return Lesson(_mixed(labelled, settings.seed), own)

    def left_out(used: Used) -> int:
        if used.kept < settings.batch_size:
            raise InputError(
                f"expected at least one batch of {settings.batch_size} responses whose prompt leaves room within "
                f"max_length = {settings.max_length} tokens, got {used.kept}. Raise it"
            )
        return between + len(used.rows) - used.kept - used.kept_out

    return train_offline(
        selected, record=Selected, kind="kto", settings=settings, lesson=lesson, left_out=left_out, **job
    )


def _weights(desirable: int, undesirable: int, trl: Mapping[str, JsonValue]) -> dict[str, float]:
    """Weights of the two losses that make both sides count the same; none where the user gave one."""
    if "desirable_weight" in trl or "undesirable_weight" in trl:
        return {}
    return {
        "desirable_weight": max(1.0, undesirable / desirable),
        "undesirable_weight": max(1.0, desirable / undesirable),
    }


def _mixed(labelled: Labelled, seed: int) -> list[dict[str, Any]]:
    """Both kinds as TRL's rows, in an order drawn by seed and ids."""
    from rewards.row_parts import digest

    rows = [
        {
            "prompt_id": row.prompt_id,
            "candidate_id": row.candidate_id,
            "prompt": [message.model_dump() for message in row.messages],
            "completion": [{"role": "assistant", "content": row.text}],
            "label": desirable,
        }
        for desirable, several in ((True, labelled.desirable), (False, labelled.undesirable))
        for row in several
    ]
    return sorted(rows, key=lambda row: digest("kto", str(seed), row["prompt_id"], row["candidate_id"]))
