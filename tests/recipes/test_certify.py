"""`autoj certify`, and how jobs that train read what it wrote."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from recipes.cli import main
from rewards.certificate import JudgeCertificate

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
