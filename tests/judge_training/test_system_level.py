"""System level: ranks against a leaderboard, by id, and AlpacaEval's labels against its leaderboards."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path

import pytest
from scipy.stats import kendalltau, pearsonr, spearmanr

from judge_training.score_sheets import system_sheet
from judge_training.system_level import SystemLevel
from judge_training.system_level import evaluate_systems as evaluate_with
from judge_training.system_scores import (
    SystemScore,
    lengths_of_candidates,
    read_leaderboard,
    read_lengths,
    read_outputs,
    read_system_scores,
    scores_of_candidates,
)
from rewards.errors import InputError, MissingFileError
from rewards.intervals import Interval
from rewards.types import Candidate

BOARD = {"a": 10.0, "b": 30.0, "c": 20.0, "d": 5.0}
MEANS = {"a": 1.0, "b": 3.5, "c": 3.0, "d": 1.5}


def evaluate_systems(*arguments: object, **named: object) -> SystemLevel:
    return evaluate_with(*arguments, **({"resamples": 100} | named))  # type: ignore[arg-type]


def value(one: Interval | None) -> float:
    assert one is not None
    assert one.low <= one.value <= one.high
    return one.value


def scores(prompts: int = 20, noise: float = 1.0) -> list[SystemScore]:
    draw = random.Random(0)
    made = []
    for system, mean in MEANS.items():
        noises = [draw.uniform(-noise, noise) for _ in range(prompts)]
        centre = sum(noises) / prompts
        made += [SystemScore(system, f"p{n}", mean + one - centre) for n, one in enumerate(noises)]
    return made


def lines(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_correlations_are_of_the_systems_means() -> None:
    result = evaluate_systems(scores(), BOARD)
    mean, board = [MEANS[name] for name in "abcd"], [BOARD[name] for name in "abcd"]
    assert value(result.judge.pearson) == pytest.approx(pearsonr(mean, board).statistic)
    assert value(result.judge.spearman) == pytest.approx(spearmanr(mean, board).statistic)
    assert value(result.judge.kendall) == pytest.approx(kendalltau(mean, board).statistic)
    assert [row.name for row in result.systems] == ["b", "c", "a", "d"]
    assert [round(row.score.value, 6) for row in result.systems] == [3.5, 3.0, 1.0, 1.5]
    assert result.length is result.gain is None


def test_mistake_07_scores_go_by_system_and_prompt_in_any_order() -> None:
    rows = scores()
    shuffled = random.Random(1).sample(rows, len(rows))
    assert evaluate_systems(rows, BOARD) == evaluate_systems(shuffled, dict(reversed(BOARD.items())))
    with pytest.raises(InputError, match="expected one score of 'a' for prompt 'p0', got a second one"):
        evaluate_systems([*rows, rows[0]], BOARD)


def test_the_interval_says_how_far_the_ranking_hangs_on_the_prompts() -> None:
    still, noisy = evaluate_systems(scores(noise=0.01), BOARD), evaluate_systems(scores(noise=6.0), BOARD)
    assert still.judge.pearson is not None
    assert noisy.judge.pearson is not None
    width = [one.high - one.low for one in (still.judge.pearson, noisy.judge.pearson)]
    assert width[0] < 0.01 < 0.1 < width[1]


def test_length_beside_the_judge_and_the_paired_difference() -> None:
    lengths = [SystemScore(name, f"p{n}", BOARD[name]) for name in BOARD for n in range(25)]  # p20 … p24 have no score
    result = evaluate_systems(scores(), BOARD, lengths=lengths)
    assert result.length is not None
    assert result.gain is not None
    assert value(result.length.spearman) == pytest.approx(1.0)
    assert value(result.gain.spearman) == pytest.approx(value(result.judge.spearman) - 1.0)
    assert {row.length.n for row in result.systems if row.length} == {20}
    with pytest.raises(InputError, match="lengths of the responses of every system, got none of 'd'"):
        evaluate_systems(scores(), BOARD, lengths=[one for one in lengths if one.system != "d"])


def test_systems_off_the_leaderboard_are_named_and_in_no_number() -> None:
    extra = [*scores(), SystemScore("z", "p0", 9.0)]
    result = evaluate_systems(extra, BOARD)
    assert result.not_on_leaderboard == ("z",)
    assert result.judge == evaluate_systems(scores(), BOARD).judge
    assert "Not on the leaderboard: z." in system_sheet("s", result).notes
    with pytest.raises(InputError, match="at least 3 systems"):
        evaluate_systems(scores(), {"a": 1.0, "b": 2.0, "x": 3.0})


def test_a_leaderboard_of_chosen_columns(tmp_path: Path) -> None:
    path = tmp_path / "board.csv"
    path.write_text('\ufeff,win_rate,"Elo\n[2024]"\na,1.5,1000\nb,2,\nc,x,900\n', encoding="utf-8")
    assert read_leaderboard(path, score="win_rate") == {"a": 1.5, "b": 2.0}
    assert read_leaderboard(path, score="Elo\n[2024]") == {"a": 1000.0, "c": 900.0}
    with pytest.raises(InputError, match="expected a column 'elo', got columns ''"):
        read_leaderboard(path, score="elo")
    with pytest.raises(InputError, match="expected a column 'name'"):
        read_leaderboard(path, score="win_rate", system="name")
    path.write_text("s,x\na,1\na,2\n")
    with pytest.raises(InputError, match="every system once, got 'a' again"):
        read_leaderboard(path, score="x")
    path.write_text("s,x\n")
    with pytest.raises(InputError, match="expected a column"):
        read_leaderboard(path, score="x")
    with pytest.raises(MissingFileError):
        read_leaderboard(tmp_path / "none.csv", score="x")


def test_scores_with_values_that_stand_for_others_and_rows_left_out(tmp_path: Path) -> None:
    rows = [{"model": "a", "prompt_id": 1, "preference": 0}, {"model": "a", "prompt_id": 2, "preference": 2}]
    bad = [{"model": "a", "prompt_id": 3, "preference": None}, {"model": "", "prompt_id": 3, "preference": 1}]
    path = lines(tmp_path / "scores.jsonl", rows + bad)
    found, skipped = read_system_scores(path, values={"0": 1.5})
    assert found == [SystemScore("a", "1", 1.5), SystemScore("a", "2", 2.0)]
    assert skipped == {"no_score": 1, "bad_id": 1}
    with pytest.raises(InputError, match="expected rows with 'model', 'prompt_id' and 'score', got none"):
        read_system_scores(path, score="score")


def test_a_judge_s_ratings_and_lengths_of_the_same_candidates() -> None:
    candidates = [Candidate(id=name, prompt_id="p", text="x" * n, source=name) for n, name in enumerate("abc", 1)]
    ratings = {"a": 3.0, "b": None}
    assert scores_of_candidates(candidates, ratings) == [SystemScore("a", "p", 3.0)]
    assert lengths_of_candidates(candidates, ratings) == [SystemScore("a", "p", 1.0)]
    with pytest.raises(InputError, match="the system that wrote each response"):
        scores_of_candidates([Candidate(id="a", prompt_id="p", text="x")], ratings)


def test_outputs_are_joined_with_their_prompts_by_id(tmp_path: Path) -> None:
    prompts = lines(tmp_path / "prompts.jsonl", [{"prompt_id": n, "instruction": f"question {n}"} for n in (7, 8)])
    rows = [{"prompt_id": n, "model": name, "output": f"{name}{n}"} for n in (8, 7, 9) for name in "ab"]
    outputs = lines(tmp_path / "outputs.jsonl", [*rows, rows[0], {"prompt_id": 7, "model": "c", "output": None}])
    items, skipped = read_outputs(outputs, prompts)
    assert [(one.prompt.messages[0].content, one.candidate.text) for one in items] == [
        ("question 8", "a8"),
        ("question 8", "b8"),
        ("question 7", "a7"),
        ("question 7", "b7"),
    ]
    assert skipped == {"repeated": 1, "null": 1}
    assert {one.prompt.id for one in read_outputs(outputs, prompts, limit=1)[0]} == {"7"}


@pytest.mark.shared_data
@pytest.mark.parametrize(
    ("scored", "board", "values", "systems", "judge", "length"),
    [
        ("gpt4_vs_text_davinci_003", "1_gpt4", {"0": 1.5}, 33, 0.98, 0.65),
        ("gpt4turbo_vs_gpt4_1106", "2_gpt4_turbo", {}, 32, 0.99, 0.76),
    ],
)
def test_alpaca_eval_s_labels_rank_as_its_leaderboards(
    shared_data: Path, scored: str, board: str, values: dict, systems: int, judge: float, length: float
) -> None:
    folder = shared_data / "alpaca-eval"
    leaderboard = read_leaderboard(folder / f"leaderboard_alpaca_eval_{board}.csv", score="win_rate")
    found, skipped = read_system_scores(folder / f"{scored}.jsonl.gz", values=values)
    lengths, _ = read_lengths(folder / "outputs.jsonl.gz")
    with gzip.open(folder / f"{scored}.jsonl.gz") as file:
        assert len(found) == len(file.readlines())
    result: SystemLevel = evaluate_systems(found, leaderboard, lengths=lengths, skipped=skipped, resamples=40)
    assert len(result.systems) == systems
    assert result.prompts == 320
    assert result.length is not None
    assert round(value(result.judge.spearman), 2) == judge
    assert round(value(result.length.spearman), 2) == length
