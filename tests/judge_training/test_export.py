"""An exported judge is the same judge in one folder: its ratings, its protocol, and only a certificate of its own."""

from __future__ import annotations

import json
import os
import shutil
import stat
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from huggingface_hub.errors import LocalEntryNotFoundError
from safetensors.torch import load_file

from judge_training import export as exporting
from judge_training.export import export_judge
from judge_training.push import push
from recipes.cli import main
from rewards.certificate import CERTIFICATE_FILE, JudgeCertificate, find_certificate, parts_of
from rewards.errors import InputError, StorageError
from rewards.intervals import Interval
from rewards.judges.base import RateItem
from rewards.judges.config import JudgeSettings
from rewards.judges.load import find_protocol, load_judge
from rewards.protocol.builtin import builtin_protocol
from rewards.protocol.spec import JudgeProtocol
from rewards.types import Candidate, Message, Prompt, Rating
from tests.gptq_model import build_gptq_models
from tests.rewards.judges.test_local_model import make_adapter

MINE = builtin_protocol().model_copy(update={"name": "mine"})
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


def head_of(card: str) -> dict[str, Any]:
    _, head, _ = card.split("---\n", 2)
    found = yaml.safe_load(head)
    assert isinstance(found, dict)
    return found


def test_a_certificate_of_other_weights_stays_behind_and_is_quoted(adapter: Path, tmp_path: Path):
    source = certify(adapter, adapter)
    done = export_judge(settings_of(adapter), tmp_path / "out", licence="apache-2.0")
    assert not done.certified
    assert not (done.folder / CERTIFICATE_FILE).exists()
    card = (done.folder / "README.md").read_text(encoding="utf-8")
    assert head_of(card)["license"] == "apache-2.0"
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


def test_a_certificate_that_was_the_sources_no_more_is_not_quoted(adapter: Path, tmp_path: Path):
    certify(adapter, adapter)
    MINE.save(adapter)  # asked in other words since
    card = (export_judge(settings_of(adapter), tmp_path / "out").folder / "README.md").read_text(encoding="utf-8")
    assert "nobody measured this judge" in card
    assert "agreement on Eval-P" not in card


def test_a_certificate_of_fewer_bits_is_not_that_of_the_floats(adapter: Path, tmp_path: Path):
    certificate = certify(adapter, adapter)
    parts = certificate.parts.model_copy(update={"weights": f"{certificate.parts.weights}-int8"})
    certificate.model_copy(update={"parts": parts}).save(adapter / CERTIFICATE_FILE)
    card = (export_judge(settings_of(adapter), tmp_path / "out").folder / "README.md").read_text(encoding="utf-8")
    assert "nobody measured this judge" in card


def test_what_is_quantised_is_not_exported(adapter: Path, tmp_path: Path):
    with pytest.raises(InputError, match="expected no quantization, got int8"):
        export_judge(settings_of(adapter).model_copy(update={"quantization": "int8"}), tmp_path / "out")
    models = build_gptq_models(tmp_path / "gptq")
    builtin_protocol().save(models.old)
    with pytest.raises(InputError, match=r"is quantised \(gptq, 4 bits\)"):
        export_judge(settings_of(models.old), tmp_path / "out")
    assert {path.name for path in tmp_path.iterdir()} == {"adapter", "gptq"}


def test_the_code_that_a_configuration_names_stays_behind(adapter: Path, tiny_model: Path, tmp_path: Path):
    base = Path(shutil.copytree(tiny_model, tmp_path / "base"))
    config = json.loads((base / "config.json").read_text()) | {"auto_map": {"AutoModelForCausalLM": "mine.Model"}}
    (base / "config.json").write_text(json.dumps(config))
    settings = JudgeSettings(model=str(base), adapter=adapter)
    folder = export_judge(settings, tmp_path / "out").folder
    assert "auto_map" not in json.loads((folder / "config.json").read_text())


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


@pytest.mark.parametrize("fails", [True, False])
def test_a_folder_of_the_user_beside_the_export_is_never_touched(
    adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: bool
):
    mine = tmp_path / "out.part" / "mine.txt"
    mine.parent.mkdir()
    mine.write_text("mine", encoding="utf-8")
    if fails:
        monkeypatch.setattr(exporting, "model_card", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            export_judge(settings_of(adapter), tmp_path / "out")
    else:
        export_judge(settings_of(adapter), tmp_path / "out")
    assert mine.read_text(encoding="utf-8") == "mine"
    expected = {"adapter", "out.part"} if fails else {"adapter", "out.part", "out"}
    assert {path.name for path in tmp_path.iterdir()} == expected


def test_a_folder_that_is_no_model_is_said_to_be_none(tmp_path: Path):
    builtin_protocol().save(tmp_path)
    with pytest.raises(InputError, match=r"expected a model in .* no config\.json"):
        export_judge(settings_of(tmp_path), tmp_path / "out")


class Hub:
    """What is asked of the hub."""

    def __init__(self, *, private: bool = True) -> None:
        self.private = private
        self.asked: list[tuple[str, dict[str, Any]]] = []

    def create_repo(self, repo: str, **given: Any) -> str:
        self.asked.append((repo, given))
        return f"https://hub.test/{repo}"

    def repo_info(self, repo: str) -> Any:
        return SimpleNamespace(private=self.private)

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


def test_what_is_to_be_private_is_not_put_where_it_is_public(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    public = Hub(private=False)
    monkeypatch.setattr("huggingface_hub.HfApi", lambda: public)
    with pytest.raises(InputError, match="is public: nothing was uploaded"):
        push(tmp_path, "me/judge", private=True)
    assert [name for name, _ in public.asked] == ["me/judge"]
    push(tmp_path, "me/judge", private=False)
    assert [name for name, _ in public.asked][-1] == "upload"
    assert public.asked[-2][1]["private"] is None  # the organisation's default


def test_a_pushed_judge_is_asked_in_its_own_words_by_its_name(
    adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    folder = export_judge(settings_of(adapter), tmp_path / "out").folder
    MINE.save(folder)
    certify(folder, folder)

    def download(repo: str, name: str) -> str:
        if repo != "me/judge" or not (folder / name).is_file():
            raise LocalEntryNotFoundError("not there")
        return str(folder / name)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    assert find_protocol(JudgeSettings(model="me/judge")) == (MINE, True)
    assert find_protocol(JudgeSettings(model="me/other"))[1] is False
    assert find_certificate(JudgeSettings(model="me/judge")) == folder / CERTIFICATE_FILE
    assert find_certificate(JudgeSettings(model="me/other")) is None
    # Of a server's model the name says nothing of the hub.
    assert find_protocol(JudgeSettings(model="me/judge", backend="endpoint"))[1] is False
    assert find_certificate(JudgeSettings(model="me/judge", backend="endpoint")) is None


def test_a_hub_that_refuses_leaves_the_export(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    class Refuses(Hub):
        def create_repo(self, repo: str, **given: Any) -> str:
            raise OSError("no network")

    monkeypatch.setattr("huggingface_hub.HfApi", Refuses)
    with pytest.raises(InputError, match=r"no network.*complete in"):
        push(tmp_path, "me/judge", private=True)


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_every_exported_file_has_the_mode_that_the_umask_says(
    umask: int, mode: int, adapter: Path, tmp_path: Path
) -> None:
    before = os.umask(umask)
    try:
        export_judge(settings_of(adapter), tmp_path / "mine")
    finally:
        os.umask(before)
    files = [path for path in (tmp_path / "mine").rglob("*") if path.is_file()]
    assert "model.safetensors" in {path.name for path in files}
    assert {path.name: oct(stat.S_IMODE(path.stat().st_mode)) for path in files} == {
        path.name: oct(mode) for path in files
    }
