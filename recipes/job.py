"""One run: its folder, its recipe, its tracker, and which stages are already done.

A run folder belongs to one resolved recipe. Starting in a folder that exists is an error that names
`--resume` and `--clean`; resuming under another recipe is refused and names the keys that differ.
"""

from __future__ import annotations

import json
import platform
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

from rich.console import Console

from recipes.loading import differing_keys, recipe_digest
from recipes.schema import Recipe
from rewards.errors import InputError
from rl.run_folder import RunFolder, StageRecord
from rl.tracking import Tracker

VERSIONS_OF = ("autoj", "torch", "transformers", "trl", "peft", "accelerate", "datasets", "polars", "openai", "wandb")

console = Console(stderr=True)


class Job:
    """A run under way."""

    def __init__(self, run: RunFolder, tracker: Tracker) -> None:
        self.run = run
        self.tracker = tracker
        self._finished = run.finished()

    def done(self, stage: str) -> bool:
        """Whether a stage was finished by an earlier start of this run."""
        return stage in self._finished

    @contextmanager
    def stage(self, name: str, title: str) -> Iterator[dict[str, int | float]]:
        """Announce a stage, and note it as finished with what it counted once its block ends without an error."""
        console.print(f"[bold]{title}[/bold]", soft_wrap=True)
        started = time.perf_counter()
        counts: dict[str, int | float] = {}
        yield counts
        record = StageRecord(stage=name, seconds=time.perf_counter() - started, counts=counts)
        if not self.done(name):
            self.run.finish(record)
            self._finished[name] = record
            self.tracker.scalars(name, 0, {**counts, "seconds": record.seconds})
        shown = ", ".join(f"{key.replace('_', ' ')} {_number(value)}" for key, value in counts.items())
        console.print(f"  {shown}{', ' if shown else ''}{record.seconds:.1f} s", soft_wrap=True)


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"


def open_run(recipe: Recipe, *, resume: bool, clean: bool) -> RunFolder:
    """The run folder of a recipe, made or taken up again.

    Raises InputError when the folder exists and neither flag was given, when `resume` finds another recipe,
    and when `clean` would remove a folder that is no run.
    """
    run = RunFolder(recipe.output)
    if clean and resume:
        raise InputError("expected --resume or --clean, got both")
    if clean and run.path.exists():
        _remove(run)
    if run.path.exists() and any(run.path.iterdir()):
        if not resume:
            raise InputError(f"the run folder {run.path} exists; --resume goes on with it, --clean starts over")
        _check_same(run, recipe)
        return run
    run.path.mkdir(parents=True, exist_ok=True)
    content = {"digest": recipe_digest(recipe), "recipe": recipe.model_dump(mode="json"), "versions": _versions()}
    run.recipe.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return run


def _remove(run: RunFolder) -> None:
    if any(run.path.iterdir()) and not run.recipe.exists():
        raise InputError(f"--clean removes a run folder, but {run.path} holds no recipe.json; remove it yourself")
    shutil.rmtree(run.path)


def _check_same(run: RunFolder, recipe: Recipe) -> None:
    if not run.recipe.is_file():
        raise InputError(f"expected a run folder at {run.path} to resume, found no recipe.json in it")
    before = json.loads(run.recipe.read_text(encoding="utf-8"))
    if before["digest"] == recipe_digest(recipe):
        return
    names = differing_keys(before["recipe"], recipe.model_dump(mode="json"))
    raise InputError(
        f"{run.path} was started with another recipe; these keys differ: {', '.join(names)}. "
        "Give the same recipe to resume, or another --output"
    )


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for name in VERSIONS_OF:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def run_path(folder: str) -> RunFolder:
    """A run folder that exists, for the commands that read one."""
    run = RunFolder(Path(folder))
    if not run.path.is_dir():
        raise InputError(f"expected a run folder at {folder}, found none")
    return run
