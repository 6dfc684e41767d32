"""`autoj import-protocol FOLDER`: learn the released AUTO-J's exact prompts from your copy of its training file."""

from __future__ import annotations

from pathlib import Path

from rewards.judges.config import Settings


class ImportArguments(Settings):
    """Learn a judge protocol from single_traindata.jsonl (and pairwise_traindata.jsonl when it is there)."""

    folder: Path
    """The release, or any folder that holds its training files."""
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

    learned = learn_protocol(settings.folder)
    path = learned.protocol.save(settings.out)
    print(f"single: {learned.single_rows} of {learned.single_rows} inputs render again byte for byte")
    if learned.pairwise_rows:
        print(f"pairwise: {learned.pairwise_rows} of {learned.pairwise_rows} inputs render again byte for byte")
    else:
        print("pairwise: no pairwise_traindata.jsonl there, so this protocol rates but does not compare")
    print(f"saved {path}; use it with --judge.protocol {settings.out}")
    return 0
