"""`autoj certify`, and how jobs that train read what it wrote."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from recipes.cli import main
from rewards.calibration import CalibrationMap
from rewards.certificate import CERTIFICATE_FILE, JudgeCertificate, check_certificate, find_certificate
from rewards.judges.config import JudgeSettings
from rewards.judges.load import load_generative_judge
from rl.report import write_report
from rl.report_findings import UNCERTIFIED
from rl.run_folder import RunFolder

SCRIPTED = ["--judge.backend", "scripted", "--judge.mode", "critique"]


def sets(folder: Path, size: int = 30) -> list[str]:
    """Labelled pairs where the longer is better (mostly), and rated responses."""
    pairs, rated = folder / "pairs.jsonl", folder / "rated.jsonl"
    with pairs.open("w") as file:
        for n in range(size):
            row = {"prompt": f"Question {n}?", "response_1": "word " * (n + 2), "response_2": "short"}
            file.write(json.dumps(row | {"label": "second" if n % 5 == 0 else "first"}) + "\n")
    with rated.open("w") as file:
        for n in range(size):
            for k in range(3):
                row = {"prompt": f"Question {n}?", "response": "word " * (9 * k + 2), "reward": k + 1 + n % 2}
                file.write(json.dumps(row) + "\n")
    return ["--pairs", str(pairs), "--ratings", str(rated)]


def test_it_writes_a_certificate_and_a_page_and_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    given = sets(tmp_path)
    assert main(["certify", *SCRIPTED, "--out", str(out), *given]) == 0
    found = JudgeCertificate.load(out)
    names = {one.name for one in found.headline}
    assert {"answers that could be read", "agreement on pairs.jsonl", "Spearman on rated.jsonl"} <= names
    assert {"rating raised by an attack", "rating raised by a harmless sentence"} <= names
    assert {"pairs", "pairs_calibration", "ratings", "ratings_calibration", "attacks", "bundled"} <= set(found.details)
    assert all(one.value.low <= one.value.value <= one.value.high for one in found.headline)
    assert found.judgments_per_second is not None
    assert found.parts.decoding is not None
    page = (out / "certificate.html").read_text(encoding="utf-8")
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert found.judge.digest in page
    before = (out / "answers" / "pairs.jsonl").stat().st_mtime_ns
    assert main(["certify", *SCRIPTED, "--out", str(out), *given]) == 0
    assert (out / "answers" / "pairs.jsonl").stat().st_mtime_ns == before
    again = JudgeCertificate.load(out)
    assert (again.judge, again.parts) == (found.judge, found.parts)
    capsys.readouterr()
    assert main(["certify", *SCRIPTED, "--judge.rule", "shorter", "--out", str(out), *given]) == 2
    assert "give another --out" in capsys.readouterr().err


def test_without_labels_it_says_what_it_does_not_say(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["certify", *SCRIPTED, "--out", str(tmp_path / "out"), "--attack-responses", "1"]) == 0
    assert "says nothing about how often the judge is right" in capsys.readouterr().out


def test_a_floor_cannot_be_certified(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["certify", "--judge.rival.kind", "longer", "--out", str(tmp_path / "out")]) == 2
    assert "expected a judge that is asked in the words of a protocol" in capsys.readouterr().err


def test_a_set_that_cannot_be_used_is_said_before_anything_is_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = sets(tmp_path)
    (tmp_path / "rated.jsonl").write_text(json.dumps({"prompt": "Why?", "response": "So."}) + "\n")
    assert main(["certify", *SCRIPTED, "--out", str(tmp_path / "out"), *given]) == 2
    assert "expected reference ratings" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.shared_data
def test_the_longer_response_gets_its_known_numbers_on_eval_p(shared_data: Path, tmp_path: Path) -> None:
    data = next(shared_data.rglob("testdata_pairwise.jsonl"))
    assert main(["certify", *SCRIPTED, "--out", str(tmp_path / "out"), "--eval-p", str(data)]) == 0
    shares = {one.name: 100 * one.value.value for one in JudgeCertificate.load(tmp_path / "out").headline}
    assert shares["agreement on Eval-P"] == pytest.approx(52.87, abs=0.2)
    assert shares["consistency on Eval-P"] > 99


# ---------------------------------------------------------------- in a run


SMALL = ["--prompts.limit", "3", "--sampling.max_new_tokens", "6", "--evaluate.max_new_tokens", "6"]


def run(model: Path, output: Path, *more: str) -> list[str]:
    train = ["--train.max_length", "2000", "--policy.model", str(model), "--track.mode", "off"]
    return ["run", "dpo/tiny", *SMALL, *SCRIPTED, *train, "--output", str(output), *more]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("certificate")
    assert main(["certify", *SCRIPTED, "--out", str(out)]) == 0
    return out / CERTIFICATE_FILE


def test_training_without_a_certificate_says_what_to_do_and_leaves_no_folder(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "run"
    assert main(run(tiny_model, output, "--allow-uncertified", "false")) == 2
    said = capsys.readouterr().err
    assert "autoj certify --out" in said
    assert "--allow-uncertified true" in said
    assert not output.exists()


def test_before_a_training_the_judge_is_opened_once_for_its_certificate_and_its_calibration_map(
    tiny_model: Path, tmp_path: Path, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rewards.judges import load

    judge, opened = JudgeCertificate.load(certificate).judge, []
    curve = tmp_path / "map.json"
    CalibrationMap(kind="rating", x=(1, 10), y=(1, 10), n=9, judge=judge.digest).save(curve)
    real = load.load_judge
    monkeypatch.setattr(load, "load_judge", lambda *given, **more: opened.append(1) or real(*given, **more))
    named = ["--judge-certificate", str(certificate), "--reward.calibration", str(curve)]
    words = run(tiny_model, tmp_path / "run", "--allow-uncertified", "false", *named, "--sampling.n", "2")
    assert main([*words, "--policy.adapter", str(tmp_path / "none")]) == 2  # stops at sampling, before any judging
    assert len(opened) == 1


def test_training_refuses_the_certificate_of_another_judge(
    tiny_model: Path, tmp_path: Path, certificate: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--allow-uncertified", "false", "--judge-certificate", str(certificate)]
    assert main(run(tiny_model, tmp_path / "run", *given, "--judge.rule", "shorter")) == 2
    assert "is the certificate of another judge" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_run_with_a_certificate_shows_its_numbers(tiny_model: Path, tmp_path: Path, certificate: Path) -> None:
    output = tmp_path / "run"
    given = ["--allow-uncertified", "false", "--judge-certificate", str(certificate)]
    assert main(run(tiny_model, output, *given)) == 0
    page = RunFolder(output).report.read_text(encoding="utf-8")
    assert "Measured before this run" in page
    assert "answers that could be read 100.0%" in page
    assert main([*run(tiny_model, output, *given), "--resume"]) == 0
    # What is known of a judge is not part of a run's digest: the same run goes on without it.
    assert main([*run(tiny_model, output), "--resume"]) == 0


def test_the_report_says_when_there_is_none_or_it_is_of_another_judge(tmp_path: Path, certificate: Path) -> None:
    folder = RunFolder(tmp_path)
    card = JudgeCertificate.load(certificate).judge
    folder.judge.write_text(card.model_dump_json())
    assert UNCERTIFIED in write_report(folder).read_text(encoding="utf-8")
    folder.certificate.write_bytes(certificate.read_bytes())
    assert "Measured before this run" in write_report(folder).read_text(encoding="utf-8")
    folder.judge.write_text(card.model_copy(update={"digest": "0" * 64}).model_dump_json())
    page = write_report(folder).read_text(encoding="utf-8")
    assert "certificate found with this judge is of another one" in page
    assert "Measured before this run" not in page


def test_a_certificate_beside_the_weights_is_found_and_fits(tiny_model: Path, tmp_path: Path) -> None:
    model, out = tmp_path / "model", tmp_path / "out"
    shutil.copytree(tiny_model, model)
    asked = ["--judge.model", str(model), "--judge.mode", "direct", "--attack-responses", "1"]
    assert main(["certify", *asked, "--out", str(out)]) == 0
    shutil.copy(out / CERTIFICATE_FILE, model)
    settings = JudgeSettings(model=str(model), mode="direct")
    judge = load_generative_judge(settings)
    found = find_certificate(settings)
    assert found is not None
    assert check_certificate(found, judge) == JudgeCertificate.load(out)
    lines = (out / "answers" / "attack_ratings.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(lines) > 25
    assert judge.backend.turn_marks == (  # type: ignore[attr-defined]
        "<|im_end|>\n<|im_start|>assistant\n",
        "<|im_start|>user\n",
    )
