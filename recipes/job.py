"""One run: its folder, its recipe, its tracker, and which stages are already done.

A run folder belongs to one resolved recipe and, while it works, to one process. Starting in a folder that exists is
an error that names `--resume` and `--clean`; resuming under another recipe is refused and names the keys that differ.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
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
from rewards.documents import write_json
from rewards.errors import AutojError, InputError
from rl.run_folder import RunFolder, StageRecord
from rl.tracking import Tracker

VERSIONS_OF = ("autoj", "torch", "transformers", "trl", "peft", "accelerate", "datasets", "polars", "openai", "wandb")

_BEGINNING = ("metrics.jsonl", "wandb")
"""What tracking writes into a folder before anything is done."""

console = Console(stderr=True)


class Job:
    """A run under way. prefix: stands before the stages' names in metrics, where several runs share a tracker."""

    def __init__(self, run: RunFolder, tracker: Tracker, *, prefix: str = "") -> None:
        self.run = run
        self.tracker = tracker
        self._prefix = prefix
        self._finished = run.finished()

    def named(self, stage: str) -> str:
        """A stage's name in metrics and tables."""
        return self._prefix + stage

    def announce(self, text: str) -> None:
        """Say in the terminal what comes now."""
        console.print(f"\n[bold]{text}[/bold]", soft_wrap=True)

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
            self.tracker.scalars(self.named(name), 0, {**counts, "seconds": record.seconds})
        shown = ", ".join(f"{key.replace('_', ' ')} {_number(value)}" for key, value in counts.items())
        console.print(f"  {shown}{', ' if shown else ''}{record.seconds:.1f} s", soft_wrap=True)


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"


@contextmanager
def opened_run(recipe: Recipe, *, resume: bool, clean: bool) -> Iterator[RunFolder]:
    """The run folder of a recipe, made or taken up again, and held for this process until the block ends.

    A folder made here in which nothing but reading was done before an error of ours (bad input, a judge that cannot be
    loaded) is taken away again, so that the corrected command can be given without `--clean`. Raises InputError when
    the folder exists and neither flag was given, when `resume` finds another recipe, when `clean` would remove what is
    no run, and when another process works in it.
    """
    if clean and resume:
        raise InputError("expected --resume or --clean, got both")
    run = RunFolder(recipe.output)
    if run.path.exists() and not run.path.is_dir():
        raise InputError(f"expected --output to name a folder, got the file {run.path}")
    run.path.mkdir(parents=True, exist_ok=True)
    with _held(run):
        if clean:
            _empty(run)
        fresh = not any(run.path.iterdir())
        if not fresh and not resume:
            raise InputError(f"the run folder {run.path} exists; --resume goes on with it, --clean starts over")
        if not fresh:
            _check_same(run, recipe)
        _note_recipe(run, recipe)  # again when resumed: the report reads the failure budget that holds now
        try:
            yield run
        except AutojError:
            if fresh and _only_read(run):
                shutil.rmtree(run.path)
            raise


def _only_read(run: RunFolder) -> bool:
    """Whether nothing lies here but what was read, which is read again in no time."""
    read = {"prompts": run.evaluation_prompts.parent, "candidates": run.candidates}
    files = [run.recipe, run.calibration, run.certificate, run.judge, run.stages, run.prompts]
    files += [read[stage] for stage in run.finished() if stage in read]
    return {path.name for path in run.path.iterdir()} <= {*_BEGINNING, *(file.name for file in files)}


@contextmanager
def _held(run: RunFolder) -> Iterator[None]:
    """A lock on the folder that ends with the process, however it ends."""
    descriptor = os.open(run.path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise InputError(f"another process works in the run folder {run.path}; wait for it or stop it") from error
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOTSUP):  # some network file systems have no locks
            raise
    try:
        yield
    finally:
        os.close(descriptor)


def _note_recipe(run: RunFolder, recipe: Recipe) -> None:
    content = {
        "digest": recipe_digest(recipe),
        "recipe": recipe.model_dump(mode="json"),
        "versions": library_versions(),
    }
    write_json(run.recipe, content)


def _empty(run: RunFolder) -> None:
    """Remove what a run folder holds; the folder stays, since the lock is on it."""
    if any(run.path.iterdir()) and not run.recipe.exists():
        raise InputError(f"--clean removes a run folder, but {run.path} holds no recipe.json; remove it yourself")
    for path in sorted(run.path.iterdir(), key=lambda path: path == run.recipe):  # last, so that it can be done again
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _check_same(run: RunFolder, recipe: Recipe) -> None:
    if not run.recipe.is_file():
        raise InputError(f"expected a run folder at {run.path} to resume, found no recipe.json in it")
    try:
        before = json.loads(run.recipe.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(
            f"{run.recipe} is damaged ({error}); start over with --clean, or in another --output"
        ) from error
    if before["digest"] == recipe_digest(recipe):
        return
    names = differing_keys(before["recipe"], recipe.model_dump(mode="json"))
    raise InputError(
        f"{run.path} was started with another recipe; these keys differ: {', '.join(names)}. "
        "Give the same recipe to resume, or another --output"
    )


def library_versions() -> dict[str, str]:
    """Python's version and those of the libraries that results depend on, where they are installed."""
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
