import json

import pytest

from recipes.cli import main


def test_everything_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["scenarios", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert {name: len(rows) for name, rows in shown.items()} == {"groups": 8, "scenarios": 58, "criteria": 332}


def test_one_scenario_and_a_misspelt_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["scenarios", "writing_email", "--json"]) == 0
    assert {"name", "type", "text"} <= set(json.loads(capsys.readouterr().out)[0])
    assert main(["scenarios", "writing_emial"]) == 2
    assert "writing_email" in capsys.readouterr().err
