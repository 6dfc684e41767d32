"""A judge as a model of its own: the adapter merged into its base, with protocol, certificate and model card.

What a server or another library takes: one folder of safetensors that needs neither peft nor autoj. Merging is done in
float32 and rounded once. The merged weights are other weights than base and adapter, with another digest, so a
certificate goes along only when it is of exactly what was written; else the card quotes it as that of the source.
The folder is written beside its place and renamed when it is complete.

It quantises nothing, and it uploads only when told to (`push`).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rewards.certificate import CERTIFICATE_FILE, JudgeCertificate, find_certificate
from rewards.errors import InputError, StorageError
from rewards.judges.config import DEFAULT_MODEL, JudgeSettings
from rewards.judges.load import find_protocol
from rewards.judges.shipped import checkpoint_folder
from rewards.protocol.spec import JudgeProtocol

ExportDtype = Literal["float32", "float16", "bfloat16"]
_EMBEDDED = "HuggingFaceTB/SmolLM2-135M-Instruct"
_TRAINING = ("kind", "examples", "steps", "first_loss", "final_loss", "processes")


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written."""

    folder: Path
    certified: bool
    """Whether the judge's certificate is of these weights and went along."""


def export_judge(
    settings: JudgeSettings, out: Path, *, dtype: ExportDtype = "float32", licence: str | None = None
) -> Exported:
    """Write the judge that the settings name (model, adapter, protocol) as one model into the new folder `out`.

    licence: for the card, as the hub writes it (`apache-2.0`); none is stated without it. Raises InputError when the
    folder exists, when the judge brings no protocol and none is named, or when it cannot be loaded, and StorageError
    when it cannot be written; then nothing is left.
    """
    if settings.backend != "transformers":
        raise InputError(f"expected a judge in this process to export, got the backend {settings.backend}")
    if out.exists():
        raise InputError(f"expected a new folder, got {out}, which exists; name another one or remove it")
    protocol, own = find_protocol(settings)
    if not own and settings.protocol is None:
        raise InputError(
            f"expected a judge with its own judge_protocol.json, found none with {settings.model}: name the one that "
            "it was trained with (--judge.protocol)"
        )
    with _new_folder(out) as part:
        _write_weights(settings, part, dtype)
        protocol.save(part)
        source = _certificate(settings)
        certified = source is not None and _is_of(source, part, protocol)
        if source is not None and certified:
            source.save(part / CERTIFICATE_FILE)
        card = model_card(settings, protocol, out.name, dtype=dtype, licence=licence, source=source, fits=certified)
        (part / "README.md").write_text(card, encoding="utf-8")
    return Exported(out, certified)


@contextmanager
def _new_folder(out: Path) -> Iterator[Path]:
    """A folder beside `out` that takes its place when the block ends, and is removed when it fails."""
    part = out.with_name(out.name + ".part")
    try:
        shutil.rmtree(part, ignore_errors=True)  # of an export that was killed
        part.mkdir(parents=True)
        yield part
        part.replace(out)
    except OSError as error:
        if isinstance(error, InputError):
            raise
        raise StorageError(f"could not write {out}: {error.strerror or error}; free some space") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _write_weights(settings: JudgeSettings, folder: Path, dtype: ExportDtype) -> None:
    import torch

    from rewards.judges.local_model import load_model

    local = load_model(settings.model, adapter=settings.adapter, dtype="float32", device="cpu")
    local.model.to(getattr(torch, dtype)).save_pretrained(folder)
    local.tokenizer.save_pretrained(folder)


def _certificate(settings: JudgeSettings) -> JudgeCertificate | None:
    path = find_certificate(settings)
    return None if path is None else JudgeCertificate.load(path)


def _is_of(certificate: JudgeCertificate, folder: Path, protocol: JudgeProtocol) -> bool:
    """Whether a certificate is of the weights in a folder, asked in these words."""
    from rewards.judges.weights_digest import folder_digest

    weights = (certificate.parts.weights or "").partition("-")[0]  # after the dash stands the dtype it ran in
    return weights == folder_digest(folder) and certificate.parts.protocol == protocol.digest


def model_card(
    settings: JudgeSettings,
    protocol: JudgeProtocol,
    name: str,
    *,
    dtype: str,
    licence: str | None,
    source: JudgeCertificate | None,
    fits: bool,
) -> str:
    """The README.md of an exported judge, in Markdown with the hub's YAML head."""
    head = [f"base_model: {base_of(settings)}", "library_name: transformers", "tags: [judge, reward-model, autoj]"]
    if licence is not None:
        head.insert(1, f"license: {licence}")
    parts = ["---", *head, "---", f"# {name}", "", *_about(protocol, name, dtype)]
    training = _training(settings)
    if training:
        parts += ["", "## Training", "", *_table(training)]
    parts += ["", "## Measured", "", *_measured(source, fits)]
    return "\n".join(parts) + "\n"


def base_of(settings: JudgeSettings) -> str:
    """Name of the model that the adapter was put on, or of the model itself."""
    folder = settings.adapter or checkpoint_folder(settings.model)
    config = None if folder is None else folder / "adapter_config.json"
    named: Any = settings.model
    if config is not None and config.is_file():
        named = json.loads(config.read_text(encoding="utf-8")).get("base_model_name_or_path") or named
    return _EMBEDDED if named == DEFAULT_MODEL else str(named)


def _about(protocol: JudgeProtocol, name: str, dtype: str) -> list[str]:
    both = "rates one response" + (" and compares two" if protocol.pairwise else "")
    rated = f"from {protocol.scale.low} to {protocol.scale.high}"
    return [
        f"A judge that {both}, {rated}. All weights, {dtype}; the adapter that it was trained as is merged in.",
        "",
        f"It is asked in the words of `judge_protocol.json` (`{protocol.name}`, digest `{protocol.digest[:12]}`):",
        "",
        "```",
        f"autoj judge responses.jsonl --judge.model {name}",
        "```",
    ]


def _training(settings: JudgeSettings) -> dict[str, Any]:
    folder = settings.adapter or checkpoint_folder(settings.model)
    file = None if folder is None else folder / "training.json"
    if file is None or not file.is_file():
        return {}
    said = json.loads(file.read_text(encoding="utf-8"))
    return {key: said[key] for key in _TRAINING if key in said}


def _table(values: dict[str, Any]) -> list[str]:
    return ["| | |", "|---|---|", *(f"| {key.replace('_', ' ')} | {value} |" for key, value in values.items())]


def _measured(source: JudgeCertificate | None, fits: bool) -> list[str]:
    make = "`autoj certify --judge.model FOLDER --out FOLDER` measures it and writes one."
    if source is None:
        return [f"There is no certificate: nobody measured this judge. {make}"]
    rows: Sequence[str] = [f"| {one.name} | {one.text} |" for one in source.headline]
    said = (
        f"`{CERTIFICATE_FILE}` is of exactly these weights."
        if fits
        else f"Of the judge that this one was made from ({source.judge.digest[:12]}), not of these weights. {make}"
    )
    return [said, "", "| | |", "|---|---|", *rows]
