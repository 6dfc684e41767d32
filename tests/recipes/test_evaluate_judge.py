"""`autoj evaluate-judge`: every kind as tables, JSON and a page; judges asked now, resumed, and never mixed up."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from recipes.cli import main
from rewards.calibration import CalibrationMap

SCRIPTED = ["--judge.backend", "scripted"]
KINDS = ("eval-p", "eval-c", "eval-r", "system-level", "pairs", "ratings", "calibration")


def lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


class Page(HTMLParser):
    """What a page holds: balanced tags, text, and anything that would load or run."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in ("meta", "br", "hr", "img"):
            self.open.append(tag)
        for name, value in attrs:
            assert not name.startswith("on")
            assert name not in ("src", "href") or (value or "").startswith("#")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def page(path: Path) -> Page:
    text = path.read_text(encoding="utf-8")
    found = Page(text)
    assert found.open == []
    assert "script" not in found.tags
    assert not re.search(r"https?://", text)
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    return found


def called(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    capsys.readouterr()
    assert main(["evaluate-judge", *arguments, "--json"]) == 0
    return dict(json.loads(capsys.readouterr().out))


def intervals(value: Any) -> int:
    """How many intervals a result holds; every one holds its own value."""
    if isinstance(value, dict):
        if {"value", "low", "high"} <= value.keys():
            assert value["low"] - 1e-9 <= value["value"] <= value["high"] + 1e-9
            return 1
        return sum(map(intervals, value.values()))
    return sum(map(intervals, value)) if isinstance(value, list) else 0


# ---------------------------------------------------------------- what is there


def test_usage_names_every_kind_and_each_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate-judge"]) == 0
    usage = capsys.readouterr().out
    for kind in KINDS:
        assert f"\n  {kind} " in usage
        with pytest.raises(SystemExit) as stopped:
            main(["evaluate-judge", kind, "--help"])
        assert stopped.value.code == 0
        shown = capsys.readouterr().out
        assert "--html" in shown
        assert "--json" in shown
    assert main(["evaluate-judge", "calibraton"]) == 2
    assert "did you mean calibration?" in capsys.readouterr().err


# ---------------------------------------------------------------- Eval-P and Eval-C


def eval_p_data(folder: Path, n: int = 8) -> Path:
    rows = [
        {
            "scenario": ("planning", "chitchat")[i // 4 % 2],
            "label": i % 3,
            "prompt": f"question {i} <b>&amp;</b>",
            "response 1": "x" * (10 + 7 * i),
            "response 2": "y" * (40 - 2 * i),
        }
        for i in range(n)
    ]
    return lines(folder / "testdata_pairwise.jsonl", rows)


def test_eval_p_of_a_judge_asked_now_and_resumed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, out = eval_p_data(tmp_path), tmp_path / "out"
    asked = ["eval-p", "--data", str(data), *SCRIPTED, "--output", str(out)]
    four = called(capsys, *asked, "--limit", "4")
    assert four["pairs"] == 4
    first = [json.loads(line)["prompt_id"] for line in (out / "comparisons.jsonl").read_text().splitlines()]
    assert len(first) == 4
    html = tmp_path / "pages" / "eval_p.html"
    everything = called(capsys, *asked, "--html", str(html))
    assert everything["pairs"] == 8
    ids = [json.loads(line)["prompt_id"] for line in (out / "comparisons.jsonl").read_text().splitlines()]
    # The four asked first (two of each scenario) kept their ids and were not asked again.
    assert ids[:4] == first
    assert sum(int(name[-4:]) <= 4 for name in first) == 2
    assert len(set(ids)) == len(ids) == 8
    assert everything["consistency"] == 100.0
    assert everything["details"]["abstention_curves"][1]["by"] == "margin"
    assert intervals(everything) > 30
    shown = page(html)
    assert shown.tags.count("svg") == 4
    assert "General Communication" in shown.text
    assert "not trained to judge" in shown.text
    assert called(capsys, "eval-p", "--data", str(data), "--predictions", str(out / "comparisons.jsonl")) == everything


def test_a_folder_of_answers_is_one_judge_s_about_one_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, out = eval_p_data(tmp_path), tmp_path / "out"
    asked = ["evaluate-judge", "eval-p", "--data", str(data), "--output", str(out), *SCRIPTED]
    assert main(asked) == 0
    assert main([*asked, "--judge.rule", "shorter"]) == 2
    assert "holds answers of the judge 'rule-longer" in capsys.readouterr().err
    eval_p_data(tmp_path, 7)
    assert main(asked) == 2
    assert "answers about other data" in capsys.readouterr().err
    (out / "asked.json").unlink()
    assert main(asked) == 2
    assert "no asked.json that says whose" in capsys.readouterr().err


@pytest.mark.shared_data
def test_the_released_files_give_the_published_numbers(
    shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shared_data / "auto-j" / "data"
    predictions = [str(folder / "outputs" / f"pairwise_{name}example_output.jsonl") for name in ("", "exchange_")]
    data = str(folder / "test" / "testdata_pairwise.jsonl")
    html = tmp_path / "p.html"
    pairs = called(
        capsys,
        *("eval-p", "--data", data, "--predictions", predictions[0], "--swapped", predictions[1], "--html", str(html)),
    )
    assert (pairs["agreement"], pairs["consistency"], pairs["longer_wins"]) == (54.96, 83.41, 71.77)
    assert pairs["abstention"] == {"accuracy": 85.45, "coverage": 85.67}
    assert pairs["groups"]["NLP Tasks"] == {"agreement": 57.58, "consistency": 86.36}
    assert "54.96%" in page(html).text
    comparisons = str(folder / "outputs" / "gpt-4-Eval_auto-j_vs_chatgpt.jsonl")
    critiques = str(folder / "test" / "testdata_critique.jsonl")
    found = called(capsys, "eval-c", "--data", critiques, "--comparisons", comparisons, "--html", str(html))
    assert found["win_rate"] == 73.71
    assert found["groups"]["Functional Writing"] == {"win_rate": 55.0}
    assert "critiques of autoj against chatgpt" in page(html).text


def test_eval_c_asks_a_judge_in_both_orders(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        {"scenario": "planning", "prompt": f"q{n}", "response": "r", "critiques": {"autoj": f"{n} " + "long " * n}}
        for n in range(5)
    ]
    data = lines(tmp_path / "testdata_critique.jsonl", rows)
    lines(tmp_path / "reference_chatgpt_critique.jsonl", [{"output": "not so short"} for _ in rows])
    asked = ["eval-c", "--data", str(data), *SCRIPTED, "--output", str(tmp_path / "out")]
    found = called(capsys, *asked, "--html", str(tmp_path / "c.html"))
    assert (found["win_rate"], found["consistency"], found["longer_preferred"]) == (40.0, 100.0, 100.0)
    assert "win rate of autoj" in page(tmp_path / "c.html").text
    other = lines(tmp_path / "mine_critique.jsonl", [{"output": "x" * 99} for _ in rows])
    swapped = called(capsys, *asked[:-1], str(tmp_path / "out2"), "--first", str(other), "--second", "autoj")
    assert (swapped["details"]["first"], swapped["details"]["second"]) == ("mine", "autoj")
    assert swapped["win_rate"] == 100.0


# ---------------------------------------------------------------- ratings


def rated_data(folder: Path, *, reference: bool = True) -> Path:
    rows = [
        {
            "prompt_id": f"p{p}",
            "candidate_id": f"p{p}/{n}",
            "prompt": f"question {p}",
            "text": "word " * (n * 20 + p + 1),
            "judge_b": 10 - n,
            "model": ("one", "two")[n % 2],
        }
        | ({"reward": n + 1} if reference else {})
        for p in range(6)
        for n in range(6)
    ]
    return lines(folder / "rated.jsonl", rows)


def test_eval_r_of_a_judge_a_column_and_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, out = rated_data(tmp_path), tmp_path / "out"
    base = ["eval-r", "--data", str(data), "--columns.response", "text"]
    asked = called(capsys, *base, *SCRIPTED, "--output", str(out), "--html", str(tmp_path / "r.html"))
    assert set(asked["best_of_n"]) == {"2", "4", "all"}
    assert asked["best_of_n"]["all"]["judge"] == asked["best_of_n"]["all"]["oracle"] == 6.0
    assert asked["best_of_n"]["all"]["captured"] == 100.0
    assert asked["best_of_n"]["all"]["random"] == 3.5
    assert intervals(asked) > 30
    assert page(tmp_path / "r.html").tags.count("svg") == 1
    by_file = called(capsys, *base, "--judgments", str(out / "judgments.jsonl"), "--sizes", "3")
    assert set(by_file["best_of_n"]) == {"3", "all"}
    worst = called(capsys, *base, "--scores", "judge_b")
    assert worst["best_of_n"]["all"]["judge"] == 1.0
    assert worst["spearman_within_prompt"] == -1.0
    assert main(["evaluate-judge", *base, "--scores", "judge_b", "--judgments", str(out / "judgments.jsonl")]) == 2


def test_without_a_reference_the_judge_becomes_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, out = rated_data(tmp_path, reference=False), tmp_path / "reference"
    base = ["eval-r", "--data", str(data), "--columns.response", "text"]
    assert main(["evaluate-judge", *base, *SCRIPTED, "--output", str(out)]) == 0
    assert "give them as --reference" in re.sub(r"\s+", " ", capsys.readouterr().out)
    reference = ["--reference", str(out / "judgments.jsonl")]
    found = called(capsys, *base, *reference, *SCRIPTED, "--judge.rule", "shorter", "--output", str(tmp_path / "o"))
    assert found["spearman_within_prompt"] == -1.0
    assert main(["evaluate-judge", *base, "--scores", "judge_b"]) == 2
    assert "expected reference ratings" in capsys.readouterr().err


def test_ratings_with_a_calibration_map(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, curve = rated_data(tmp_path), tmp_path / "map.json"
    base = ["--data", str(data), "--columns.response", "text", *SCRIPTED, "--output", str(tmp_path / "out")]
    found = called(
        capsys, "calibration", "--kind", "ratings", *base, "--save", str(curve), "--html", str(tmp_path / "c.html")
    )
    assert found["gain"] > 0
    assert page(tmp_path / "c.html").tags.count("svg") == 2
    saved = CalibrationMap.load(curve)
    assert (saved.kind, saved.n, saved.labels) == ("rating", 36, "rated.jsonl")
    assert saved.judge == json.loads((tmp_path / "out" / "asked.json").read_text())["judge"]["digest"]
    before = called(capsys, "ratings", *base)
    after = called(capsys, "ratings", *base, "--map", str(curve))
    assert after["mean_absolute_difference"] < before["mean_absolute_difference"]
    assert before["n"] == after["n"] == 36
    assert main(["evaluate-judge", "calibration", "--kind", "ratings", *base, "--map", str(curve)]) == 2


# ---------------------------------------------------------------- pairs


def labelled_data(folder: Path) -> Path:
    rows = [
        {
            "id": f"pair{n}",
            "ask": f"question {n // 2}",
            "left": "a " * (n % 7 + 1),
            "right": "b " * (n * 3 % 8 + 2),
            "who": ("L", "R", "draw")[n % 3],
            "kind": ("one", "two")[n % 2],
        }
        for n in range(48)
    ]
    return lines(folder / "labelled.jsonl", rows)


PAIR_COLUMNS = [
    *("--columns.prompt", "ask", "--columns.response-1", "left", "--columns.response-2", "right"),
    *("--columns.label", "who", "--columns.label-values", "L", "first", "R", "second", "draw", "tie"),
]


def test_pairs_in_any_columns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, out = labelled_data(tmp_path), tmp_path / "out"
    base = ["pairs", "--data", str(data), *PAIR_COLUMNS, "--columns.scenario", "kind"]
    found = called(capsys, *base, *SCRIPTED, "--output", str(out), "--html", str(tmp_path / "p.html"))
    assert found["pairs"] == 48
    assert found["consistency"] == 100.0
    assert found["details"]["agreement"]["longer_agreement"]["value"] <= found["agreement"] / 100 + 1e-9
    assert [one["name"] for one in found["details"]["agreement"]["scenarios"]] == ["one", "two"]
    assert "floor: a coin right, three ways" in page(tmp_path / "p.html").text
    assert called(capsys, *base, "--comparisons", str(out / "comparisons.jsonl")) == found
    capsys.readouterr()
    assert main(["evaluate-judge", *base, "--comparisons", str(out / "comparisons.jsonl")]) == 0
    assert "longer preferred, people" in capsys.readouterr().out
    assert main(["evaluate-judge", "pairs", "--data", str(data), "--labels", "x", "--run", "y"]) == 2
    assert main(["evaluate-judge", "pairs"]) == 2
    assert "got neither or both" in capsys.readouterr().err


def test_calibration_of_verdicts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, curve = labelled_data(tmp_path), tmp_path / "map.json"
    base = ["calibration", "--data", str(data), *PAIR_COLUMNS, *SCRIPTED, "--output", str(tmp_path / "out")]
    found = called(capsys, *base, "--save", str(curve))
    assert found["labels"] == 32
    assert 0 <= found["ece"] <= 1
    assert found["details"]["certain"] is False
    saved = CalibrationMap.load(curve)
    assert saved.kind == "probability"
    assert saved.apply(0.3) == pytest.approx(1 - saved.apply(0.7))
    assert main(["evaluate-judge", *base, "--map", str(curve)]) == 2


# ---------------------------------------------------------------- systems


def test_system_level_from_scores_and_from_a_judge(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    systems = {"alpha": 30, "beta": 20, "gamma": 10, "delta": 5}
    board = tmp_path / "board.csv"
    board.write_text(",win_rate\n" + "".join(f"{name},{size}\n" for name, size in systems.items()))
    rows = [
        {"prompt_id": n, "model": name, "preference": 2 if size > 7 * n else 1}
        for name, size in systems.items()
        for n in range(6)
    ]
    scores = lines(tmp_path / "scores.jsonl", rows)
    outputs = lines(
        tmp_path / "outputs.jsonl",
        [
            {"prompt_id": n, "model": name, "output": "w " * (size + n)}
            for name, size in systems.items()
            for n in range(6)
        ],
    )
    prompts = lines(tmp_path / "prompts.jsonl", [{"prompt_id": n, "instruction": f"question {n}"} for n in range(6)])
    base = ["system-level", "--leaderboard", str(board), "--outputs", str(outputs)]
    found = called(capsys, *base, "--scores", str(scores), "--html", str(tmp_path / "s.html"))
    assert (found["systems"], found["prompts"]) == (4, 6)
    assert found["length_spearman"] == 1.0
    assert page(tmp_path / "s.html").tags.count("svg") == 1
    asked = [*base, "--prompts", str(prompts), *SCRIPTED, "--output", str(tmp_path / "out")]
    judged = called(capsys, *asked, "--limit", "3")
    assert (judged["spearman"], judged["prompts"]) == (1.0, 3)
    assert called(capsys, *asked)["prompts"] == 6
    assert main(["evaluate-judge", *base]) == 2
    assert "expected one of --scores, --run" in capsys.readouterr().err


def test_names_from_data_are_text_on_the_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        {"prompt_id": n, "model": f"<script>{name}</script>\u202e", "preference": k + n % 2}
        for k, name in enumerate("abc")
        for n in range(4)
    ]
    scores = lines(tmp_path / "scores.jsonl", rows)
    board = tmp_path / "board.csv"
    board.write_text(
        "s,win_rate\n" + "".join(f"<script>{name}</script>\u202e,{n}\n" for n, name in enumerate("abc")),
        encoding="utf-8",
    )
    html = tmp_path / "s.html"
    called(capsys, "system-level", "--leaderboard", str(board), "--scores", str(scores), "--html", str(html))
    assert "<script>a</script>[U+202E]" in page(html).text
