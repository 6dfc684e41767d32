"""The model card of an exported judge: what it is, how it is asked, what it came from, and what was measured of it.

A card goes where strangers read it, so it names a base model only by its name on the hub and never by a folder of
this machine. What is not known is left out: no license is guessed from the base model's.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from rewards.certificate import CERTIFICATE_FILE, JudgeCertificate
from rewards.errors import InputError
from rewards.judges.config import DEFAULT_MODEL
from rewards.protocol.spec import JudgeProtocol

_EMBEDDED = "HuggingFaceTB/SmolLM2-135M-Instruct"
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_TRAINING = ("kind", "examples", "held_out", "steps", "tokens", "first_loss", "final_loss", "processes")
_KEPT = ("license", "language")


@dataclass(frozen=True, slots=True)
class CardFacts:
    """What a card says."""

    name: str
    protocol: JudgeProtocol
    dtype: str
    merged: bool
    """Whether an adapter was merged in."""
    weights: str
    """Digest of the exported weights."""
    certificate: JudgeCertificate | None = None
    of: Literal["these weights", "the source"] = "the source"
    """Whose certificate it is."""
    licence: str | None = None


def model_card(facts: CardFacts, source: Path | None) -> str:
    """The README.md, in Markdown with the hub's YAML head.

    source: folder that the judge came from, read for its base, its training record and the head of its own card.
    Raises InputError for a training record that is not JSON.
    """
    head = yaml.safe_dump(_head(facts, source), sort_keys=False, allow_unicode=True)
    parts = [f"---\n{head}---", f"# {facts.name}", "", *_about(facts)]
    training = _training(source)
    shown = {key: training[key] for key in _TRAINING if key in training}
    if shown:
        parts += ["", "## Training", "", *_table(shown)]
    parts += ["", "## Measured", "", *_measured(facts)]
    return "\n".join(parts) + "\n"


def _head(facts: CardFacts, source: Path | None) -> dict[str, Any]:
    base = base_of(source)
    kept = _old_head(source)
    found: dict[str, Any] = {} if base is None else {"base_model": base}
    found |= {key: kept[key] for key in _KEPT if key in kept}
    if facts.licence is not None:
        found["license"] = facts.licence
    return found | {
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["judge", "reward-model", "autoj"],
    }


def base_of(source: Path | None) -> str | None:
    """Name on the hub of the model that was trained; None where it has none, or nobody wrote it down."""
    config = None if source is None else source / "adapter_config.json"
    named: Any = None
    if config is not None and config.is_file():
        named = json.loads(config.read_text(encoding="utf-8")).get("base_model_name_or_path")
    else:
        named = _training(source).get("model")
    if named == DEFAULT_MODEL:
        return _EMBEDDED
    on_hub = isinstance(named, str) and _HUB_ID.fullmatch(named) is not None and not Path(named).exists()
    return named if on_hub else None


def _training(source: Path | None) -> dict[str, Any]:
    file = None if source is None else source / "training.json"
    if file is None or not file.is_file():
        return {}
    try:
        said = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"expected JSON in {file}, could not read it: {error}; repair it or move it away") from error
    return said if isinstance(said, dict) else {}


def _old_head(source: Path | None) -> dict[str, Any]:
    """The YAML head of the source's own card; empty where there is none that can be read."""
    file = None if source is None else source / "README.md"
    if file is None or not file.is_file():
        return {}
    start, _, rest = file.read_text(encoding="utf-8", errors="replace").partition("---\n")
    head, closed, _ = rest.partition("\n---")
    if start or not closed:
        return {}
    try:
        found = yaml.safe_load(head)
    except yaml.YAMLError:
        return {}
    return found if isinstance(found, dict) else {}


def _about(facts: CardFacts) -> list[str]:
    protocol = facts.protocol
    both = "rates one response" + (" and compares two" if protocol.pairwise else "")
    merged = "; the adapter that it was trained as is merged in" if facts.merged else ""
    return [
        f"A judge that {both}, from {protocol.scale.low} to {protocol.scale.high}. All weights, {facts.dtype}{merged} "
        f"(digest `{facts.weights[:12]}`).",
        "",
        f"It is asked in the words of `judge_protocol.json` (`{protocol.name}`, digest `{protocol.digest[:12]}`). "
        "With this folder, or its name on the hub, in place of FOLDER:",
        "",
        "```python",
        "from rewards import load_judge",
        "",
        'judge = load_judge(model="FOLDER")',
        "```",
        "",
        "or, for a file of responses, `autoj judge responses.jsonl --judge.model FOLDER`.",
    ]


def _table(values: dict[str, Any]) -> list[str]:
    return ["| | |", "|---|---|", *(f"| {key.replace('_', ' ')} | {value} |" for key, value in values.items())]


def _measured(facts: CardFacts) -> list[str]:
    make = "`autoj certify --judge.model FOLDER --out FOLDER` measures it and writes one."
    if facts.certificate is None:
        return [f"There is no certificate: nobody measured this judge. {make}"]
    said = (
        f"`{CERTIFICATE_FILE}` is of exactly these weights."
        if facts.of == "these weights"
        else f"Of the judge that this one was made from ({facts.certificate.judge.digest[:12]}), not of these weights."
        f" {make}"
    )
    rows = [f"| {one.name} | {one.text} |" for one in facts.certificate.headline]
    return [said, "", "| | |", "|---|---|", *rows]
