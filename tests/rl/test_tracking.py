from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from rewards.errors import InputError, MissingFileError
from rl.run_folder import RunFolder
from rl.tracking import MAX_CELL, Tracker, resolve_mode, trainer_callback
from tests.rl.wandb_log import OfflineRun, offline_runs


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    folder = tmp_path / "my run"
    folder.mkdir()
    return RunFolder(folder)


def only(run: RunFolder) -> OfflineRun:
    (found,) = offline_runs(run.path)
    return found


@pytest.mark.parametrize(
    ("mode", "environment", "expected"),
    [
        ("auto", {}, "offline"),
        ("auto", {"WANDB_API_KEY": "k"}, "online"),
        ("auto", {"WANDB_API_KEY": ""}, "offline"),
        ("auto", {"WANDB_API_KEY": "k", "WANDB_MODE": "offline"}, "offline"),
        ("auto", {"WANDB_API_KEY": "k", "WANDB_MODE": "disabled"}, "off"),
        ("auto", {"WANDB_MODE": "online"}, "online"),
        ("online", {"WANDB_MODE": "offline"}, "offline"),
        ("online", {"WANDB_DISABLED": "true"}, "off"),
        ("online", {}, "online"),
        ("offline", {"WANDB_API_KEY": "k", "WANDB_MODE": "online"}, "offline"),
        ("off", {"WANDB_API_KEY": "k", "WANDB_MODE": "online"}, "off"),
    ],
)
def test_the_environment_makes_it_quieter_never_louder(mode: Any, environment: dict[str, str], expected: str) -> None:
    assert resolve_mode(mode, environment) == expected


def test_an_offline_run_reads_back_with_scalars_tables_artifacts_and_lineage(
    run: RunFolder, capfd: pytest.CaptureFixture[str]
) -> None:
    for path in (run.prompts, run.candidates, run.judgments, run.pairs):
        path.write_text(f'{{"file": "{path.stem}"}}\n')
    (run.policy / "checkpoint-1").mkdir(parents=True)
    (run.policy / "adapter.safetensors").write_bytes(b"weights")
    (run.policy / "checkpoint-1" / "optimizer.pt").write_bytes(b"big")

    config = {"beta": 0.1, "judge": {"api_key_env": "KEY", "api_key": "sk-secret"}, "hf_token": "hf_secret"}
    with Tracker.start(run, project="test", config=config, tags=["tiny"]) as tracker:
        assert tracker.active
        for step in range(1, 4):
            tracker.scalars("dpo", step, {"loss": 1.0 / step, "rewards/margins": 0.1 * step})
        tracker.scalars("evaluation", 0, {"win_rate": 0.5})
        tracker.samples("judge", [{"prompt": "héllo <b>", "rating": 5}, {"prompt": "x", "rating": None}])
        tracker.artifact("candidates", run.candidates, inputs=[run.prompts])
        tracker.artifact("judgments", run.judgments, inputs=[run.candidates])
        tracker.artifact("pairs", run.pairs, inputs=[run.judgments])
        tracker.artifact("model", run.policy, inputs=[run.pairs])

    logged = only(run)
    assert logged.exit_code == 0
    assert (logged.run.project, list(logged.run.tags), logged.run.display_name) == ("test", ["tiny"], "my run")
    assert logged.scalars("dpo/loss", by="dpo/step") == [(1, 1.0), (2, 0.5), (3, pytest.approx(1 / 3))]
    assert logged.scalars("evaluation/win_rate", by="evaluation/step") == [(0, 0.5)]
    assert logged.tables()["samples/judge"]["columns"] == ["prompt", "rating"]
    assert logged.tables()["samples/judge"]["data"] == [["héllo <b>", 5], ["x", None]]
    assert logged.config["beta"] == 0.1
    assert logged.config["judge"] == {"api_key_env": "KEY"}

    made = {a.type: a for a in logged.artifacts if not a.use_after_commit and a.type != "run_table"}
    assert set(made) == {"candidates", "judgments", "pairs", "model"}
    assert made["pairs"].name == "my-run-pairs"
    (entry,) = made["model"].manifest.contents
    assert (entry.path, Path(entry.local_path)) == ("adapter.safetensors", run.policy / "adapter.safetensors")
    used = [(a.type, a.digest) for a in logged.artifacts if a.use_after_commit]
    assert [kind for kind, _ in used] == ["dataset", "candidates", "judgments", "pairs"]
    assert used[1] == ("candidates", made["candidates"].digest)
    for child, parent in [("judgments", "candidates"), ("pairs", "judgments"), ("model", "pairs")]:
        (source,) = json.loads(made[child].metadata)["inputs"]
        assert source == {"artifact": made[parent].name, "digest": made[parent].digest}

    everything = b"".join(path.read_bytes() for path in run.path.rglob("*") if path.is_file())
    assert b"sk-secret" not in everything and b"hf_secret" not in everything
    assert capfd.readouterr() == ("", "")


def test_nothing_of_the_machine_or_the_code_is_recorded(run: RunFolder) -> None:
    with Tracker.start(run) as tracker:
        tracker.scalars("s", 1, {"x": 1.0})
    logged = only(run)
    assert (logged.run.host, logged.run.git.remote_url, logged.run.git.commit) == ("", "", "")
    assert not {"output", "output_raw", "stats", "environment"} & set(logged.kinds)
    files = [path.name for path in logged.folder.rglob("*") if path.is_file()]
    assert not [name for name in files if name in {"wandb-metadata.json", "requirements.txt", "output.log"}]
    assert not any(name.endswith((".py", ".patch")) for name in files)
    assert "WANDB_DATA_DIR" not in os.environ


def test_mistake_09_every_table_of_a_stage_stays_visible(run: RunFolder) -> None:
    rows: list[dict[str, Any]] = [{"candidate": "c0", "rating": 3}]
    with Tracker.start(run) as tracker:
        names = [tracker.samples("judge", rows)]
        rows[0]["rating"] = 9
        rows.append({"candidate": "c1", "rating": 4})
        names.append(tracker.samples("judge", rows))
        names.append(tracker.samples("evaluation", rows))
    assert names == ["samples/judge", "samples/judge-2", "samples/evaluation"]
    logged = only(run)
    assert [name for name, _ in logged.table_records()] == names  # each exactly once
    assert {value["log_mode"] for _, value in logged.table_records()} == {"IMMUTABLE"}
    tables = logged.tables()
    assert tables["samples/judge"]["data"] == [["c0", 3]]
    assert tables["samples/judge-2"]["data"] == [["c0", 9], ["c1", 4]]


def test_awkward_cells(run: RunFolder) -> None:
    rows = [
        {"text": "x" * 1_000_000, "value": 1},
        {"text": "lone \ud83d surrogate", "value": "a string in a column of numbers"},
        {"text": None, "value": {"nested": [1]}, "extra": True},
    ]
    with Tracker.start(run) as tracker:
        tracker.samples("judge", rows)
        assert tracker.active
    table = only(run).tables()["samples/judge"]
    assert table["columns"] == ["text", "value", "extra"]
    assert len(table["data"][0][0]) < MAX_CELL + 100
    assert table["data"][1][:2] == ["lone ? surrogate", "a string in a column of numbers"]
    assert table["data"][2] == [None, "{'nested': [1]}", True]


def test_a_report_is_kept_as_it_was_logged(run: RunFolder) -> None:
    run.report.write_text("first")
    with Tracker.start(run) as tracker:
        tracker.artifact("report", run.report)
        run.report.write_text("written again")
    (artifact,) = only(run).artifacts
    (entry,) = artifact.manifest.contents
    assert Path(entry.local_path).read_text() == "first"
    assert run.path in Path(entry.local_path).parents


def test_off_still_writes_the_metrics(run: RunFolder) -> None:
    with Tracker.start(run, mode="off") as tracker:
        tracker.scalars("dpo", 1, {"loss": 0.5})
        tracker.samples("judge", [{"a": 1}])
        assert not tracker.active
    assert json.loads(run.metrics.read_text()) == {"step": 1, "stage": "dpo", "loss": 0.5}
    assert not (run.path / "wandb").exists()


def test_only_the_first_process_writes(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    with Tracker.start(run) as tracker:
        tracker.scalars("dpo", 1, {"loss": 0.5})
    assert not run.metrics.exists()


def test_a_failure_of_wandb_warns_once_and_the_run_goes_on(run: RunFolder) -> None:
    def broken(*_: object, **__: object) -> None:
        raise OSError("no space left")

    tracker = Tracker.start(run)
    tracker._run.log = broken
    with pytest.warns(RuntimeWarning, match="no space left") as caught:
        for step in range(3):
            tracker.scalars("dpo", step, {"loss": 0.5})
        tracker.finish()
    assert len(caught) == 1
    assert not tracker.active
    assert len(run.metrics.read_text().splitlines()) == 3


def test_online_without_a_network_becomes_offline(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    import wandb

    real = wandb.init

    def init(**kwargs: Any) -> Any:
        if kwargs["settings"].mode == "online":
            raise wandb.errors.CommError("no route to host")
        return real(**kwargs)

    monkeypatch.setattr(wandb, "init", init)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    with pytest.warns(RuntimeWarning, match="no route"), Tracker.start(run, mode="online") as tracker:
        tracker.scalars("dpo", 1, {"loss": 0.5})
    assert only(run).scalars("dpo/loss", by="dpo/step") == [(1, 0.5)]


def test_callers_mistakes_are_errors(run: RunFolder) -> None:
    with Tracker.start(run, mode="off") as tracker:
        with pytest.raises(InputError, match="step"):
            tracker.scalars("dpo", 1, {"step": 1.0})
        with pytest.raises(MissingFileError, match="found none at"):
            tracker.artifact("candidates", run.candidates)


def test_a_failed_run_is_marked(run: RunFolder) -> None:
    with pytest.raises(ZeroDivisionError), Tracker.start(run):
        _ = 1 / 0
    assert only(run).exit_code == 1


def test_trainer_logs_arrive_as_scalars(run: RunFolder) -> None:
    from transformers import TrainerControl, TrainerState, TrainingArguments

    state = TrainerState(global_step=7, is_world_process_zero=True)
    arguments = TrainingArguments(output_dir=str(run.path / "out"), report_to="none", use_cpu=True)
    with Tracker.start(run, mode="off") as tracker:
        callback = trainer_callback(tracker, "dpo")
        logs = {"loss": 0.4, "epoch": 1, "note": "text", "step": 3, "ok": True}
        callback.on_log(arguments, state, TrainerControl(), logs=logs)
        state.is_world_process_zero = False
        callback.on_log(arguments, state, TrainerControl(), logs={"loss": 9.0})
    assert json.loads(run.metrics.read_text()) == {"step": 7, "stage": "dpo", "loss": 0.4, "epoch": 1}
