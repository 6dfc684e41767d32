"""A judge's certificate: what was measured of exactly this judge, and how a job knows that it is this one.

A certificate is keyed to the digest that a judge's card has: weights, protocol, mode and decoding. Change any of them
and its numbers are of another judge, so it no longer fits; which part differs is said. It lies beside the weights or
the adapter as `judge_certificate.json`, or wherever a recipe says.

This module reads and compares. What is measured, and how, is `judge_training.certificate`; a certificate says what was
found, not that it was good enough.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, JsonValue, ValidationError

from rewards.documents import write_json
from rewards.errors import InputError, MissingFileError
from rewards.intervals import Interval
from rewards.judges.base import Judge, JudgeCard
from rewards.judges.config import JudgeSettings
from rewards.judges.generative import GenerativeJudge
from rewards.judges.shipped import judge_file
from rewards.protocol.spec import Decoding
from rewards.types import Record

CERTIFICATE_FILE = "judge_certificate.json"


class JudgeParts(Record):
    """What a judge's digest is made of; all None for a judge that is not asked in the words of a protocol."""

    weights: str | None = None
    """The backend's revision: digest of weights and adapter, or the server's model."""
    protocol: str | None = None
    """Digest of the protocol."""
    mode: str
    decoding: Decoding | None = None


class Measure(Record):
    """One headline number."""

    name: str
    value: Interval
    share: bool = True
    """Whether it is a share (shown in percent)."""

    @property
    def text(self) -> str:
        """The number with its interval, in words."""
        one = self.value
        if self.share:
            return f"{one.value:.1%} ({one.low:.1%} to {one.high:.1%})"
        return f"{one.value:.3f} ({one.low:.3f} to {one.high:.3f})"


class JudgeCertificate(Record):
    """What was measured of one judge."""

    version: Literal[1] = 1
    judge: JudgeCard
    """Its `digest` is what the certificate is keyed to."""
    parts: JudgeParts
    made: str
    """Date and time (UTC, ISO 8601)."""
    versions: dict[str, str] = Field(default_factory=dict)
    """Libraries."""
    machine: str = ""
    headline: tuple[Measure, ...] = ()
    """The main numbers, for reports."""
    judgments_per_second: float | None = None
    """On this machine, on the small bundled set."""
    details: dict[str, JsonValue] = Field(default_factory=dict)
    """Every evaluation whole, by name, with all intervals."""

    @staticmethod
    def load(path: Path) -> JudgeCertificate:
        """Read a certificate from a file or from the folder that holds it.

        Raises MissingFileError, or InputError when the file is not a certificate.
        """
        file = path / CERTIFICATE_FILE if path.is_dir() else path
        if not file.is_file():
            raise MissingFileError(f"expected a judge's certificate at {file}, found none; autoj certify writes one")
        try:
            return JudgeCertificate.model_validate_json(file.read_bytes())
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(map(str, first["loc"])) or "the file"
            raise InputError(
                f"{file}: expected a certificate that autoj certify wrote, got something else: {where}: {first['msg']}"
            ) from error

    def save(self, path: Path) -> None:
        """Write it; raises StorageError when that fails."""
        write_json(path, self)

    def fits(self, card: JudgeCard) -> bool:
        """Whether it is about this judge."""
        return self.judge.digest == card.digest

    def differences(self, parts: JudgeParts) -> list[str]:
        """Which parts of a judge are not those that were measured, in words."""
        mine, other = self.parts.model_dump(), parts.model_dump()
        return [name for name in mine if mine[name] != other[name]]


def parts_of(judge: Judge) -> JudgeParts:
    """What the judge's digest is made of."""
    if not isinstance(judge, GenerativeJudge):
        return JudgeParts(mode=judge.card.mode)
    return JudgeParts(
        weights=judge.backend.revision,
        protocol=judge.protocol.digest,
        mode=judge.mode,
        decoding=judge.decoding,
    )


def find_certificate(settings: JudgeSettings, named: Path | None = None) -> Path | None:
    """The file of the judge's certificate: the one named, else the one with the adapter or the model.

    A model that is loaded here may have it on the hub. None where there is none. Raises MissingFileError when one is
    named and is not there.
    """
    if named is not None:
        file = named / CERTIFICATE_FILE if named.is_dir() else named
        if not file.is_file():
            raise MissingFileError(f"expected the judge's certificate at {file}, found none; autoj certify writes one")
        return file
    return judge_file(settings, CERTIFICATE_FILE)


def check_certificate(path: Path, judge: Judge) -> JudgeCertificate:
    """The certificate in a file, which must be this judge's; raises InputError, naming what differs, if it is not."""
    certificate = JudgeCertificate.load(path)
    if certificate.fits(judge.card):
        return certificate
    differing = ", ".join(certificate.differences(parts_of(judge))) or "digest"
    raise InputError(
        f"{path} is the certificate of another judge: expected that of {judge.card.name} "
        f"({judge.card.digest[:12]}), got that of {certificate.judge.name} ({certificate.judge.digest[:12]}), which "
        f"differs in: {differing}. Measure this judge with autoj certify, or train without: --allow-uncertified true"
    )
