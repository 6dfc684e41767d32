"""`autoj export`: a judge as a model of its own, for servers and for others."""

from __future__ import annotations

from pathlib import Path

import tyro

from judge_training.export import ExportDtype
from rewards.judges.config import JudgeSettings, Settings


class ExportArguments(Settings):
    """Merge a judge's adapter into its base and save it with its protocol, certificate and model card."""

    out: Path
    """The new folder."""
    judge: JudgeSettings = JudgeSettings()
    """Which judge: model, adapter and protocol count."""
    dtype: ExportDtype = "float32"
    """Numbers of the saved weights."""
    license: str | None = None
    """Of the weights, for the model card (apache-2.0); none is stated without it."""
    push: str | None = None
    """Upload it to the hub under this name (owner/name) as well."""
    private: bool = False
    """Make the uploaded model a private one."""


def main(arguments: list[str]) -> int:
    """Export, and upload where asked to."""
    settings = tyro.cli(ExportArguments, args=arguments, prog="autoj export", description=ExportArguments.__doc__)
    from judge_training.export import export_judge

    done = export_judge(settings.judge, settings.out, dtype=settings.dtype, licence=settings.license)
    print(f"saved {done.folder}; ask it with --judge.model {done.folder}")
    if not done.certified:
        print(
            "without a certificate, since these weights have not been measured: autoj certify --judge.model "
            f"{done.folder} --out {done.folder}"
        )
    if settings.push is not None:
        from judge_training.push import push

        print(f"uploaded to {push(done.folder, settings.push, private=settings.private)}")
    return 0
