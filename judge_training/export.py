"""A judge as a model of its own: the adapter merged into its base, with protocol, certificate and model card.

What a server or another library takes: one folder of safetensors that needs neither peft nor autoj. Merging is done in
float32 and rounded once. The merged weights are other weights than base and adapter, with another digest, so a
certificate goes along only when it is of exactly what was written; else the card quotes it as that of the source.
The folder is written beside its place and renamed when it is complete.

It quantises nothing, and it uploads only when told to (`push`).
"""

from __future__ import annotations

import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from judge_training.model_card import CardFacts, model_card
from rewards.certificate import CERTIFICATE_FILE, JudgeCertificate, find_certificate
from rewards.errors import InputError, StorageError
from rewards.judges.config import JudgeSettings
from rewards.judges.load import find_protocol
from rewards.judges.quantized import stored_quantization
from rewards.judges.shipped import checkpoint_folder, split_adapter
from rewards.judges.weights_digest import folder_digest
from rewards.protocol.spec import JudgeProtocol

ExportDtype = Literal["float32", "float16", "bfloat16"]


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

    licence: for the card, as the hub writes it (`apache-2.0`); without it that of the judge's own card, if it has one.
    Raises InputError when the folder exists, when the judge is quantised, brings no protocol (and none is named) or
    cannot be loaded, and StorageError when the folder cannot be written; then nothing is left.
    """
    if settings.backend != "transformers":
        raise InputError(f"expected a judge in this process to export, got the backend {settings.backend}")
    if out.exists():
        raise InputError(f"expected a new folder, got {out}, which exists; name another one or remove it")
    if settings.quantization != "none":
        raise InputError(
            f"expected no quantization, got {settings.quantization}: weights are exported in floating point; leave it "
            "out, and quantise the exported judge when it is loaded"
        )
    protocol, own = find_protocol(settings)
    if not own and settings.protocol is None:
        raise InputError(
            f"expected a judge with its own judge_protocol.json, found none with {settings.model}: name the one that "
            "it was trained with (--judge.protocol)"
        )
    with _new_folder(out) as part:
        source = _write_weights(settings, part, dtype)
        protocol.save(part)
        weights = folder_digest(part)
        found = _certificate(settings)
        certified = found is not None and _is_of(found, weights, protocol)
        if found is not None and certified:
            found.save(part / CERTIFICATE_FILE)
        # One that is beside the judge and of another judge is nobody's: it is not quoted either.
        quoted = found is not None and (certified or _is_of(found, source, protocol))
        facts = CardFacts(
            name=out.name,
            protocol=protocol,
            dtype=dtype,
            merged=split_adapter(settings.model, settings.adapter)[1] is not None,
            weights=weights,
            certificate=found if quoted else None,
            of="these weights" if certified else "the source",
            licence=licence,
        )
        card = model_card(facts, settings.adapter or checkpoint_folder(settings.model))
        (part / "README.md").write_text(card, encoding="utf-8")
    return Exported(out, certified)


@contextmanager
def _new_folder(out: Path) -> Iterator[Path]:
    """A folder beside `out` that takes its place when the block ends, and is removed when it fails.

    Its name is nobody else's: what is removed is never a folder of the user or of another export.
    """
    part = out.with_name(f"{out.name}.{secrets.token_hex(8)}.part")
    try:
        part.mkdir(parents=True)
        yield part
        _open_as_usual(part)
        part.replace(out)
    except OSError as error:
        if isinstance(error, InputError):
            raise
        raise StorageError(f"could not write {out}: {error.strerror or error}; free some space") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _open_as_usual(folder: Path) -> None:
    """Give all files the mode that the user's umask says: safetensors writes weights for their owner alone."""
    usual = folder / "usual"
    usual.touch()
    mode = stat.S_IMODE(usual.stat().st_mode)
    usual.unlink()
    for path in folder.rglob("*"):
        if path.is_file():
            path.chmod(mode)


def _write_weights(settings: JudgeSettings, folder: Path, dtype: ExportDtype) -> str:
    """Write model and tokenizer; returns the digest of the judge that they were made from."""
    import torch

    from rewards.judges.local_model import find_folder, load_model

    base, _ = split_adapter(settings.model, settings.adapter)
    place = find_folder(base)
    stored = stored_quantization(place) if (place / "config.json").is_file() else None  # else load_model says so
    if stored is not None:
        raise InputError(
            f"expected a judge in floating point to export, but {base} is quantised ({stored.text}): its numbers are "
            "gone, and nothing can be merged into it exactly; export the judge that it was made from, or copy its "
            "folder as it is"
        )
    local = load_model(settings.model, adapter=settings.adapter, dtype="float32", device="cpu")
    vars(local.model.config).pop("auto_map", None)  # names code that is never run and does not go along
    local.model.to(getattr(torch, dtype)).save_pretrained(folder)
    local.tokenizer.save_pretrained(folder)
    return local.revision


def _certificate(settings: JudgeSettings) -> JudgeCertificate | None:
    path = find_certificate(settings)
    return None if path is None else JudgeCertificate.load(path)


def _is_of(certificate: JudgeCertificate, weights: str, protocol: JudgeProtocol) -> bool:
    """Whether a certificate is of these weights in floating point, asked in these words."""
    measured, _, ran_in = (certificate.parts.weights or "").partition("-")
    plain = ran_in in ("", "float16", "bfloat16")  # else they were quantised when they were measured
    return plain and measured == weights and certificate.parts.protocol == protocol.digest
