"""Tracking: what a run measured and made, to `metrics.jsonl` always and to Weights & Biases when it is wanted.

One class stands between the project and W&B. Decisions:

- Without a key everything is written offline into the run folder; nothing leaves the machine. `WANDB_MODE` and
  `WANDB_DISABLED` of the user's environment can make tracking quieter than a recipe asks, never louder.
- W&B is a guest: when it fails, the run goes on, with one warning, and the metrics are still in `metrics.jsonl`.
- Only the last table under a name is visible in W&B and a table cannot change once logged; so every table has a
  name of its own that carries its stage, is a copy of the rows, and is logged exactly once.
- Artifacts name their inputs twice: as W&B's own lineage and in their metadata. Files are logged when their stage
  is complete and are referred to where they lie, not copied: logging a large run costs no disk.
- No code, git state, host name, console output or hardware is recorded, and no key of the configuration that
  names a secret.

It deliberately does not wrap W&B's plots, sweeps or alerts.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import JsonValue

from rewards.errors import MissingFileError
from rewards.jsonl import AppendLog
from rl.metrics import RESERVED, Scalar, metrics_line
from rl.redact import is_secret_name, redact
from rl.run_folder import RunFolder

if TYPE_CHECKING:
    from transformers import TrainerCallback

TrackingMode = Literal["auto", "offline", "online", "off"]
ArtifactKind = Literal[
    "dataset", "candidates", "judgments", "comparisons", "rewards", "selected", "pairs", "model", "report"
]

MAX_TABLE_ROWS = 10_000
"""Rows of one table; W&B shows no more."""
MAX_CELL = 10_000
"""Characters of one cell of a table; the whole text is in the run folder and in the artifacts."""

_STAGING = "WANDB_DATA_DIR"


def resolve_mode(mode: TrackingMode, environment: Mapping[str, str]) -> Literal["offline", "online", "off"]:
    """Where W&B data goes, from the recipe's wish and the user's environment.

    `auto` follows WANDB_MODE where it is set, else is online with WANDB_API_KEY and offline without it. An
    environment that says offline or disabled always wins over `online`.
    """
    wish = environment.get("WANDB_MODE", "").strip().lower()
    disabled = environment.get("WANDB_DISABLED", "").strip().lower() in {"1", "true", "yes", "on"}
    if mode == "off" or wish == "disabled" or disabled:
        return "off"
    if mode == "offline" or wish in {"offline", "dryrun"}:
        return "offline"
    if mode == "online" or wish in {"online", "run", "shared"} or environment.get("WANDB_API_KEY"):
        return "online"
    return "offline"


class Tracker:
    """The metrics file of a run and, beside it, a W&B run. Make one with `Tracker.start`; use as a context manager.

    In a distributed job only the first process (RANK 0) writes anything.
    """

    def __init__(self, run: RunFolder) -> None:
        self._folder = run
        self._writes = os.environ.get("RANK", "0") == "0"
        self._metrics = AppendLog(run.metrics) if self._writes else None
        self._run: Any = None
        self._warned = False
        self._stages: set[str] = set()
        self._tables: set[str] = set()
        self._artifacts: dict[Path, Any] = {}
        self._staging_before = os.environ.get(_STAGING)

    @classmethod
    def start(
        cls,
        run: RunFolder,
        *,
        mode: TrackingMode = "auto",
        project: str = "autoj",
        config: Mapping[str, JsonValue] | None = None,
        tags: Sequence[str] = (),
        name: str | None = None,
    ) -> Tracker:
        """Begin tracking. An online run that cannot be started becomes an offline one, with a warning.

        `config` is redacted; `name` is the run folder's name unless given.
        """
        tracker = cls(run)
        resolved = resolve_mode(mode, os.environ)
        if resolved == "off" or not tracker._writes:
            return tracker
        kept = {key: redact(value) for key, value in (config or {}).items() if not is_secret_name(key)}
        for attempt in dict.fromkeys((resolved, "offline")):
            start = partial(_init, run.path, attempt, project, config=kept, tags=tags, name=name or run.path.name)
            tracker._run = tracker._guard(start)
            if tracker._run is not None:
                break
        return tracker

    @property
    def active(self) -> bool:
        """Whether a W&B run is being written."""
        return self._run is not None

    def scalars(self, stage: str, step: int, values: Mapping[str, Scalar]) -> None:
        """Log numbers of one step of a stage. Raises InputError for a metric called `step` or `stage`."""
        line = metrics_line(stage, step, values)
        if self._metrics is None:
            return
        self._metrics.write(line)
        if self._run is not None:
            self._guard(lambda: self._log_scalars(stage, step, values))

    def _log_scalars(self, stage: str, step: int, values: Mapping[str, Scalar]) -> None:
        if stage not in self._stages:
            self._stages.add(stage)
            self._run.define_metric(f"{stage}/step", hidden=True)
            self._run.define_metric(f"{stage}/*", step_metric=f"{stage}/step")
        self._run.log({f"{stage}/step": step} | {f"{stage}/{name}": value for name, value in values.items()})

    def samples(self, stage: str, rows: Sequence[Mapping[str, JsonValue]]) -> str:
        """Log judged samples as a table that never changes, and return the table's name.

        The name is `samples/<stage>`, and `samples/<stage>-2` and so on for further tables of the same stage: a
        name is never used twice. At most MAX_TABLE_ROWS rows and MAX_CELL characters a cell are logged.
        """
        key = f"samples/{stage}"
        number = 2
        while key in self._tables:
            key, number = f"samples/{stage}-{number}", number + 1
        self._tables.add(key)
        if self._run is not None and rows:
            columns = list(dict.fromkeys(name for row in rows for name in row))
            data = [[_cell(row.get(name)) for name in columns] for row in rows[:MAX_TABLE_ROWS]]
            self._guard(lambda: self._run.log({key: _table(columns, data)}))
        return key

    def artifact(self, kind: ArtifactKind, path: Path, inputs: Sequence[Path] = ()) -> None:
        """Log a finished file or folder, and the files it was made from.

        Raises MissingFileError when `path` or an input does not exist. In a folder, training checkpoints
        (`checkpoint-*`) are left out. Neither the file (but for a report) nor its inputs may change afterwards.
        """
        for needed in (path, *inputs):
            if not needed.exists():
                raise MissingFileError(
                    f"expected a finished file or folder to log as an artifact, found none at {needed}"
                )
        if self._run is not None:
            self._guard(lambda: self._log_artifact(kind, path, inputs))

    def _log_artifact(self, kind: ArtifactKind, path: Path, inputs: Sequence[Path]) -> None:
        sources = [self._use(source) for source in inputs]
        lineage = [{"artifact": source.name, "digest": source.digest} for source in sources]
        self._artifacts[path.resolve()] = self._run.log_artifact(self._draft(kind, path, lineage))

    def _use(self, path: Path) -> Any:
        """Declare an input of the run and return its artifact; a file that this run did not make is a dataset.

        `Run.use_artifact` refuses to work offline, although the log has a field for it and W&B's own online code
        sets it for an artifact that is not yet uploaded; offline the same record is written here (wandb 0.31).
        """
        made = self._artifacts.get(path.resolve())
        source = made or self._draft("dataset", path, [])
        if self._run.settings._offline:
            self._run._log_artifact(source, aliases=[], is_user_created=True, use_after_commit=True)
            return source
        if made is not None:
            made.wait(timeout=300)
        return self._run.use_artifact(source)

    def _draft(self, kind: ArtifactKind, path: Path, lineage: list[dict[str, str]]) -> Any:
        import wandb

        name = re.sub(r"[^\w.-]+", "-", f"{self._folder.path.name or 'run'}-{path.stem}")[-120:]
        artifact = wandb.Artifact(name, type=kind, metadata={"inputs": lineage, "file": path.name})
        # A report may be written again later, so it is copied; anything else stays as its stage left it.
        policy: Literal["mutable", "immutable"] = "mutable" if kind == "report" else "immutable"
        for file, inside in _files(path):
            artifact.add_file(str(file), name=inside, policy=policy, skip_cache=True)
        artifact.finalize()
        return artifact

    def _guard(self, action: Callable[[], Any]) -> Any:
        """Run something of W&B. Its failure warns once and ends the W&B part of tracking, never the run."""
        try:
            return action()
        except Exception as error:  # noqa: BLE001 - the boundary to a service that must not end a training run
            if not self._warned:
                self._warned = True
                warnings.warn(
                    f"W&B tracking failed and is left out from here on ({type(error).__name__}: {error}). "
                    f"The run goes on; its metrics are in {self._folder.metrics}",
                    RuntimeWarning,
                    stacklevel=3,
                )
            self._close_run(exit_code=1)
            return None

    def _close_run(self, exit_code: int) -> None:
        run, self._run = self._run, None
        if run is not None:
            self._guard(lambda: run.finish(exit_code=exit_code))
        if self._staging_before is None:
            os.environ.pop(_STAGING, None)

    def finish(self, *, failed: bool = False) -> None:
        """End the W&B run (marked as failed if asked) and close the metrics file. May be called twice."""
        self._close_run(exit_code=int(failed))
        if self._metrics is not None:
            self._metrics.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.finish(failed=error is not None)


def _init(
    folder: Path, mode: str, project: str, *, config: dict[str, JsonValue], tags: Sequence[str], name: str
) -> Any:
    """A W&B run of its own (no global state) that writes under the run folder and keeps quiet."""
    folder.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault(_STAGING, str((folder / "wandb" / "data").resolve()))
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # else W&B reports its own crashes over the network
    import wandb

    settings = wandb.Settings(
        mode=mode,
        reinit="create_new",
        console="off",
        silent=True,
        disable_git=True,
        disable_code=True,
        save_code=False,
        disable_job_creation=True,
        host="",
        program="",
        x_disable_meta=True,
        x_disable_stats=True,
        x_disable_machine_info=True,
        x_save_requirements=False,
        login_timeout=10,
        init_timeout=60,
        finish_timeout=600,
    )
    return wandb.init(
        project=project, dir=str(folder), config=config, tags=list(tags), name=name, group=name, settings=settings
    )


def _table(columns: list[str], data: list[list[JsonValue]]) -> Any:
    import wandb

    return wandb.Table(columns=columns, data=data, allow_mixed_types=True, log_mode="IMMUTABLE")


def _cell(value: JsonValue) -> JsonValue:
    """A value as it goes into a table: text without lone surrogates and not longer than MAX_CELL."""
    if isinstance(value, str):
        text = value.encode("utf-8", "replace").decode("utf-8")
        return text if len(text) <= MAX_CELL else f"{text[:MAX_CELL]} … (cut, {len(text)} characters)"
    return str(value) if isinstance(value, dict | list) else value


def _files(path: Path) -> Iterator[tuple[Path, str]]:
    """The files of an artifact with their names inside it."""
    if path.is_file():
        yield path, path.name
        return
    for file in sorted(path.rglob("*")):
        inside = file.relative_to(path)
        if file.is_file() and not any(part.startswith("checkpoint-") for part in inside.parts):
            yield file, inside.as_posix()


def trainer_callback(tracker: Tracker, stage: str) -> TrainerCallback:
    """A callback that hands what a transformers or TRL trainer logs to `tracker.scalars`.

    Use it with `report_to="none"`; what is not a number, and metrics called `step` or `stage`, are left out.
    """
    from transformers import TrainerCallback

    class Forward(TrainerCallback):  # type: ignore[misc]  # transformers ships no types
        def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
            if state.is_world_process_zero and logs:
                tracker.scalars(stage, state.global_step, _numbers(logs))

    return Forward()


def _numbers(logs: Mapping[str, Any]) -> dict[str, Scalar]:
    return {
        name: value
        for name, value in logs.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and name not in RESERVED
    }
