"""An exported judge is the same judge in one folder: its ratings, its protocol, and only a certificate of its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from judge_training import export as exporting
from judge_training.export import export_judge
from judge_training.push import push
from recipes.cli import main
from rewards.certificate import CERTIFICATE_FILE, JudgeCertificate, parts_of
from rewards.errors import InputError, StorageError
from rewards.intervals import Interval
from rewards.judges.base import RateItem
from rewards.judges.config import JudgeSettings
from rewards.judges.load import load_judge
from rewards.protocol.builtin import builtin_protocol
from rewards.protocol.spec import JudgeProtocol
from rewards.types import Candidate, Message, Prompt, Rating
from tests.rewards.judges.test_local_model import make_adapter

PROMPT = Prompt(id="p", messages=(Message(role="user", content="Why is the sky blue?"),))
ANSWERS = ("Because of scattering.", "The answer is good, and this is better.", "no")


@pytest.fixture
def adapter(tiny_model: Path, tmp_path: Path) -> Path:
    """A LoRA judge on the tiny model, with its protocol and what its training said."""
    folder = make_adapter(tiny_model, tmp_path / "adapter")
    builtin_protocol().save(folder)
    (folder / "training.json").write_text(json.dumps({"kind": "judge", "steps": 7, "seconds": 1.5}), encoding="utf-8")
    return folder


def settings_of(folder: Path) -> JudgeSettings:
    return JudgeSettings(model=str(folder))


def ratings(folder: Path) -> list[float]:
    items = [
        RateItem(prompt=PROMPT, candidate=Candidate(id=str(i), prompt_id="p", text=text, index=i))
        for i, text in enumerate(ANSWERS)
    ]
    found = {one.candidate_ids[0]: one.outcome for one in load_judge(model=str(folder)).rate(items)}
    scores = [found[str(i)] for i in range(len(ANSWERS))]
    assert all(isinstance(one, Rating) for one in scores)
    return [one.score for one in scores if isinstance(one, Rating)]


def certify(folder: Path, place: Path) -> JudgeCertificate:
    judge = load_judge(model=str(folder))
    measure = {"name": "agreement on Eval-P", "value": Interval(value=0.5, low=0.4, high=0.6, n=99)}
    certificate = JudgeCertificate.model_validate(
        {"judge": judge.card, "parts": parts_of(judge), "made": "2026-01-01T00:00:00Z", "headline": [measure]}
    )
    certificate.save(place / CERTIFICATE_FILE)
    return certificate


def test_the_exported_judge_rates_as_the_adapter_does(adapter: Path, tmp_path: Path):
    done = export_judge(settings_of(adapter), tmp_path / "out")
    names = {file.name for file in done.folder.iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "judge_protocol.json", "README.md"} <= names
    assert not any(name.endswith((".bin", ".pt", ".pkl")) or "adapter" in name for name in names)
    assert ratings(done.folder) == pytest.approx(ratings(adapter), abs=1e-4)
    assert JudgeProtocol.load(done.folder).digest == builtin_protocol().digest
    assert load_judge(model=str(done.folder)).card.trained


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_the_weights_are_rounded_once(adapter: Path, tmp_path: Path, dtype: str):
    whole = export_judge(settings_of(adapter), tmp_path / "whole").folder
    half = export_judge(settings_of(adapter), tmp_path / "half", dtype=dtype).folder  # type: ignore[arg-type]
    exact, rounded = (load_file(folder / "model.safetensors") for folder in (whole, half))
    for name, weight in rounded.items():
        assert weight.dtype == getattr(torch, dtype)
        assert torch.equal(weight, exact[name].to(weight.dtype))


def test_a_certificate_of_other_weights_stays_behind_and_is_quoted(adapter: Path, tmp_path: Path):
    source = certify(adapter, adapter)
    done = export_judge(settings_of(adapter), tmp_path / "out", licence="apache-2.0")
    assert not done.certified
    assert not (done.folder / CERTIFICATE_FILE).exists()
    card = (done.folder / "README.md").read_text(encoding="utf-8")
    assert card.startswith("---\nbase_model: ")
    assert "license: apache-2.0" in card
    assert source.judge.digest[:12] in card
    assert "agreement on Eval-P | 50.0% (40.0% to 60.0%)" in card
    assert "not of these weights" in card
    assert "| steps | 7 |" in card


def test_a_certificate_of_exactly_these_weights_goes_along(adapter: Path, tmp_path: Path):
    first = export_judge(settings_of(adapter), tmp_path / "first").folder
    again = export_judge(settings_of(first), tmp_path / "again").folder
    certify(again, first)  # of weights that another export of the same judge has
    if (first / "config.json").read_bytes() != (again / "config.json").read_bytes():
        pytest.skip("this transformers writes another configuration each time")
    done = export_judge(settings_of(first), tmp_path / "out")
    assert done.certified
    kept = JudgeCertificate.load(done.folder)
    assert kept.fits(load_judge(model=str(done.folder)).card)


def test_without_a_protocol_or_into_an_old_folder_nothing_is_written(tiny_model: Path, adapter: Path, tmp_path: Path):
    with pytest.raises(InputError, match=r"--judge\.protocol"):
        export_judge(settings_of(tiny_model), tmp_path / "out")
    (tmp_path / "old").mkdir()
    with pytest.raises(InputError, match="exists"):
        export_judge(settings_of(adapter), tmp_path / "old")
    with pytest.raises(InputError, match="scripted"):
        export_judge(JudgeSettings(backend="scripted"), tmp_path / "out")
    assert {path.name for path in tmp_path.iterdir()} == {"adapter", "old"}


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_an_export_that_breaks_off_leaves_nothing(
    adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
):
    def fails(*_: Any, **__: Any) -> str:
        raise error

    monkeypatch.setattr(exporting, "model_card", fails)
    with pytest.raises(StorageError if isinstance(error, OSError) else KeyboardInterrupt):
        export_judge(settings_of(adapter), tmp_path / "out")
    assert {path.name for path in tmp_path.iterdir()} == {"adapter"}


class Hub:
    """What is asked of the hub."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []

    def create_repo(self, repo: str, **given: Any) -> str:
        self.asked.append((repo, given))
        return f"https://hub.test/{repo}"

    def upload_folder(self, **given: Any) -> str:
        self.asked.append(("upload", given))
        return "done"


def test_it_is_uploaded_only_when_told_to(
    adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    hub = Hub()
    monkeypatch.setattr("huggingface_hub.HfApi", lambda: hub)
    assert main(["export", "--judge.model", str(adapter), "--out", str(tmp_path / "one")]) == 0
    assert hub.asked == []
    arguments = ["--judge.model", str(adapter), "--out", str(tmp_path / "two"), "--push", "me/judge", "--private"]
    assert main(["export", *arguments]) == 0
    assert [name for name, _ in hub.asked] == ["me/judge", "upload"]
    assert hub.asked[0][1]["private"] is True
    assert hub.asked[1][1]["folder_path"] == tmp_path / "two"
    assert "https://hub.test/me/judge" in capsys.readouterr().out


def test_a_hub_that_refuses_leaves_the_export(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    class Refuses(Hub):
        def create_repo(self, repo: str, **given: Any) -> str:
            raise OSError("no network")

    monkeypatch.setattr("huggingface_hub.HfApi", Refuses)
    with pytest.raises(InputError, match=r"no network.*complete in"):
        push(tmp_path, "me/judge", private=True)
