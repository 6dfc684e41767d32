"""`autoj evaluate-judge rivals`: judges side by side, published rows, one that fails, a searched tie threshold."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from judge_training.rivals_table import PUBLISHED_EVAL_P
from recipes.cli import main
from recipes.commands.evaluate.rivals import read_entries
from rewards.errors import InputError
from tests.rewards.judges.rivals.tiny_rivals import build_tiny_reward_model


def eval_p(path: Path, count: int = 12) -> Path:
    rows = [
        {
            "scenario": "open_question",
            "prompt": f"Question {index}?",
            "response 1": "word " * (index % 5 + 1),
            "response 2": "word " * 3,
            "label": 0 if index % 5 > 2 else 1 if index % 5 < 2 else 2,
        }
        for index in range(count)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def judges(path: Path, **entries: object) -> Path:
    path.write_text(yaml.safe_dump(entries), encoding="utf-8")
    return path


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    code = main(["evaluate-judge", "rivals", *map(str, arguments)])
    return code, capsys.readouterr().out


def test_judges_stand_beside_the_published_numbers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = eval_p(tmp_path / "data.jsonl")
    file = judges(
        tmp_path / "judges.yaml",
        longer={"judge": {"rival": {"kind": "longer"}}},
        first={"judge": {"rival": {"kind": "first"}}},
        said={"predictions": str(tmp_path / "said.jsonl"), "swapped": str(tmp_path / "said.jsonl")},
    )
    (tmp_path / "said.jsonl").write_text('{"output": 2}\n' * 12, encoding="utf-8")
    arguments = ("--data", data, "--judges", file, "--output", tmp_path / "out")
    code, out = run(capsys, *arguments, "--json")
    assert code == 0
    shown = json.loads(out)
    assert shown["measured"]["longer"] == {"pairs": 12, "agreement": 100.0, "consistency": 100.0, "unparsed": 0}
    assert (shown["measured"]["first"]["agreement"], shown["measured"]["said"]["consistency"]) == (0.0, 100.0)
    assert shown["published"]["GPT-4"] == {"pairs": 1392, "agreement": 62.28, "consistency": 86.28}
    code, out = run(capsys, *arguments)
    assert code == 0
    assert out.count("│ published") == len(PUBLISHED_EVAL_P)
    assert out.index("longer") < out.index("GPT-4") < out.index("Claude-2") < out.index("first ")


def test_one_that_cannot_be_asked_does_not_stop_the_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = judges(
        tmp_path / "judges.yaml",
        absent={"judge": {"model": str(tmp_path / "none"), "rival": {"kind": "pandalm"}}},
        longer={"judge": {"rival": {"kind": "longer"}}},
    )
    data = eval_p(tmp_path / "data.jsonl")
    code, out = run(capsys, "--data", data, "--judges", file, "--output", tmp_path / "out", "--json")
    assert code == 1
    shown = json.loads(out)
    assert list(shown["measured"]) == ["longer"]
    assert "found none" in shown["failed"]["absent"]


def test_a_tie_threshold_is_searched_on_other_pairs_only(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = build_tiny_reward_model(tiny_model, tmp_path / "model")
    data, other = eval_p(tmp_path / "data.jsonl"), eval_p(tmp_path / "other.jsonl", 20)
    entry = {"judge": {"model": str(model), "rival": {"kind": "scalar"}}, "tie_data": str(other)}
    file = judges(tmp_path / "judges.yaml", scalar=entry)
    code, out = run(capsys, "--data", data, "--judges", file, "--output", tmp_path / "out", "--json")
    assert code == 0
    found = json.loads(out)["details"]["tie_thresholds"]["scalar"]
    assert found["n"] == 20
    asked = json.loads((tmp_path / "out" / "scalar" / "asked.json").read_text())
    assert asked["judge"]["backend"] == "scalar"
    same = judges(tmp_path / "same.yaml", scalar=entry | {"tie_data": str(data)})
    code, out = run(capsys, "--data", data, "--judges", same, "--output", tmp_path / "out", "--json")
    assert code == 1
    assert "the same pairs" in json.loads(out)["failed"]["scalar"]


def test_everything_wrong_with_the_file_is_said_at_once(tmp_path: Path) -> None:
    file = judges(
        tmp_path / "judges.yaml",
        neither={},
        typo={"judge": {"rival": {"kind": "pandaml"}}},
        ties={"judge": {"rival": {"kind": "longer"}}, "tie_data": "x"},
    )
    with pytest.raises(InputError, match="3 problem") as caught:
        read_entries(file)
    assert all(name in str(caught.value) for name in ("neither", "typo", "ties"))
    with pytest.raises(InputError, match="differ in letters"):
        read_entries(judges(file, **{"a b": {"predictions": "x"}, "A-b": {"predictions": "x"}}))


@pytest.mark.shared_data
def test_the_released_verdicts_are_the_published_row(
    shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = shared_data / "auto-j" / "data"
    released = {
        "predictions": str(data / "outputs" / "pairwise_example_output.jsonl"),
        "swapped": str(data / "outputs" / "pairwise_exchange_example_output.jsonl"),
    }
    longer = {"judge": {"rival": {"kind": "longer"}}}
    file = judges(tmp_path / "judges.yaml", released=released, longer=longer)
    test = data / "test" / "testdata_pairwise.jsonl"
    code, out = run(capsys, "--data", test, "--judges", file, "--output", tmp_path / "out", "--json")
    assert code == 0
    shown = json.loads(out)
    published = {key: shown["published"]["AUTO-J"][key] for key in ("pairs", "agreement", "consistency")}
    assert {key: shown["measured"]["released"][key] for key in published} == published
    assert shown["measured"]["longer"]["agreement"] == 52.87


@pytest.mark.shared_data
def test_a_critics_critiques_are_a_source_for_eval_c(
    shared_data: Path, tmp_path: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from judge_training.eval_c import read_critiques, read_eval_c

    lines = (shared_data / "auto-j" / "data" / "test" / "testdata_critique.jsonl").read_text("utf-8").splitlines()
    data = tmp_path / "data.jsonl"
    data.write_text("\n".join(sorted(lines, key=len)[:3]) + "\n", encoding="utf-8")
    flags = ["--judge.model", str(tiny_model), "--judge.decoding.max-new-tokens", "4", "--judge.rival.kind", "selfee"]
    out = tmp_path / "out"
    code = main(["evaluate-judge", "critiques", "--data", str(data), "--output", str(out), *flags])
    assert code == 0, capsys.readouterr().err
    rows = read_eval_c(data)
    assert set(read_critiques(rows, str(out / "critiques.jsonl"))) == {row.id for row in rows}
