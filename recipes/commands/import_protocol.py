"""`autoj import-protocol FOLDER`: learn the released AUTO-J's exact prompts from your copy of its training file."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from rewards.judges.config import Settings


class ImportArguments(Settings):
    """Learn a judge protocol from the training files of the AUTO-J release, or from its file of prompts."""

    folder: Path
    """The release, or any folder that holds its training files or its file of prompts."""
    language: Literal["en", "zh"] = "en"
    """Whose prompts: AUTO-J's, or the Chinese ones of the bilingual judge."""
    out: Path = Path("protocols/autoj")
    """Folder for judge_protocol.json; give it to a judge as `protocol`."""


def main(arguments: list[str]) -> int:
    """Learn, save, and say what was learned from."""
    import tyro

    if arguments and not arguments[0].startswith("-"):
        arguments = ["--folder", *arguments]
    settings = tyro.cli(
        ImportArguments, args=arguments, prog="autoj import-protocol", description=ImportArguments.__doc__
    )
    from rewards.protocol.learn import learn_protocol

    learned = learn_protocol(settings.folder, language=settings.language)
    path = learned.protocol.save(settings.out)
    print(f"single: {_from(learned.single_rows)}")
    if learned.protocol.pairwise is None:
        print("pairwise: neither its training file nor the file of prompts is there, so this protocol only rates")
    else:
        print(f"pairwise: {_from(learned.pairwise_rows)}")
    print(f"saved {path}; use it with --judge.protocol {settings.out}")
    return 0


def _from(rows: int) -> str:
    return (
        f"{rows} of {rows} inputs render again byte for byte" if rows else "taken from the release's file of prompts"
    )
