"""`autoj judge-data`: make the data set that a judge is trained on, with its card."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from judge_training.data.build import DataSettings
from rewards.columns import ColumnMap
from rewards.errors import InputError
from rewards.judges.config import Settings
from rewards.protocol.spec import JudgeProtocol

if TYPE_CHECKING:
    from judge_training.data.sources import SourceName
    from judge_training.examples import JudgeExample
    from rewards.inputs import ReadResult

EXAMPLE = """\
Reads judgments, pairs with people's labels and ratings; leaves out other languages and test prompts; balances,
splits and swaps; writes train.jsonl, valid.jsonl, card.json and card.md. What has no verdict yet is for autoj collect.

  autoj judge-data --release auto-j/ --apart auto-j/ --out data/judge
  autoj judge-data --source chatbot_arena=arena.parquet --source stanford_shp --apart auto-j/ --out data/pairs
"""


class JudgeDataArguments(Settings):
    """Where the judgments come from, what they are kept apart from, and how they are chosen."""

    out: Path
    """Folder for the data set."""
    release: Path | None = None
    """A copy of the AUTO-J release: its training files."""
    examples: tuple[Path, ...] = ()
    """Files of examples that autoj wrote (autoj collect)."""
    source: tuple[str, ...] = ()
    """AUTO-J's sources and AlpacaEval, by name from the hub, or NAME=PATH from a file or folder."""
    pairs: tuple[Path, ...] = ()
    """Files of pairs with people's labels."""
    ratings: tuple[Path, ...] = ()
    """Files of rated responses."""
    critique: str | None = None
    """Column of the critique in the files of pairs and ratings, if they have one."""
    columns: ColumnMap = ColumnMap()
    """Names of the columns of those files, where they are not the usual ones."""
    protocol: Path | None = None
    """A judge_protocol.json whose scale the ratings are on; without it the built-in one."""
    apart: tuple[Path, ...] = ()
    """Test sets to keep apart from: copies of the AUTO-J release, or files of prompts."""
    sample: int | None = Field(default=None, ge=1)
    """At most this many of each named source."""
    settings: DataSettings = DataSettings()
    """Languages, caps, decontamination, split, swap."""


def main(arguments: list[str]) -> int:
    """Build the data set and print its card."""
    import tyro

    parsed = tyro.cli(
        JudgeDataArguments,
        args=arguments,
        prog="autoj judge-data",
        description=EXAMPLE,
        config=(tyro.conf.UseAppendAction,),
    )
    from rich.console import Console

    from judge_training.data.build import build_dataset
    from judge_training.data.card import card_table

    sources = read_sources(parsed)
    if not sources:
        raise InputError("expected at least one of --release, --examples, --source, --pairs, --ratings, got none")
    parsed.out.mkdir(parents=True, exist_ok=True)
    dataset = build_dataset(sources, parsed.out, settings=parsed.settings, evaluation=prompts_apart(parsed.apart))
    Console().print(card_table(dataset.card))
    if not parsed.apart:
        print("kept apart from nothing: name the test sets with --apart")
    print(f"{len(dataset.train)} to train on, {len(dataset.valid)} to validate on, in {dataset.folder}")
    return 0


def read_sources(arguments: JudgeDataArguments) -> dict[str, ReadResult[JudgeExample]]:
    """Everything that was named, by its name."""
    from judge_training.data.generic import read_labelled_pairs, read_ratings
    from judge_training.data.release import read_release
    from judge_training.data.sources import read_source
    from judge_training.examples import read_examples
    from rewards.inputs import ReadResult
    from rewards.protocol.builtin import builtin_protocol

    protocol = JudgeProtocol.load(arguments.protocol) if arguments.protocol else builtin_protocol()
    found: dict[str, ReadResult[JudgeExample]] = {}
    if arguments.release is not None:
        found["auto_j"] = read_release(arguments.release).examples
    for path in arguments.examples:
        found[str(path)] = ReadResult(tuple(read_examples(path)), {}, ())
    for named in arguments.source:
        name, _, path_text = named.partition("=")
        where = Path(path_text) if path_text else None
        found[name] = read_source(_known(name), where, sample=arguments.sample, seed=arguments.settings.seed)
    shared = {"columns": arguments.columns, "critique": arguments.critique}
    for path in arguments.pairs:
        found[str(path)] = read_labelled_pairs(path, protocol, source=path.stem, **shared)  # type: ignore[arg-type]
    for path in arguments.ratings:
        found[str(path)] = read_ratings(path, protocol, source=path.stem, **shared)  # type: ignore[arg-type]
    return found


def _known(name: str) -> SourceName:
    from judge_training.data.sources import known_sources

    known = {str(one): one for one in known_sources()}
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known sources: {', '.join(known)}"
        raise InputError(f"expected --source NAME or NAME=PATH with a known source, got {name!r}; {hint}")
    return known[name]


def prompts_apart(apart: tuple[Path, ...]) -> dict[str, tuple[str, ...]]:
    """The prompts of the test sets, by name."""
    from judge_training.data.release import evaluation_prompts
    from rewards.inputs import read_prompts
    from rewards.protocol.view import query_text

    found: dict[str, tuple[str, ...]] = {}
    for path in apart:
        if path.is_dir():
            found |= evaluation_prompts(path)
        else:
            found[path.stem] = tuple(query_text(prompt, "first_turn") for prompt in read_prompts(path).records)
    return found
