"""Every shipped tiny recipe, run from the command to its report on a tiny model built in code."""

import json
from pathlib import Path

import pytest

from recipes.cli import main
from recipes.jobs import run_recipe
from recipes.loading import load_recipe
from recipes.stages import SCORED
from rewards.calibration import CalibrationMap
from rewards.errors import InputError
from rewards.jsonl import read_records, write_records
from rewards.judges.base import Judge
from rewards.judges.config import JudgeSettings
from rewards.types import Candidate, Comparison, Judgment, Pair, Prompt, Rating, Reward
from rl.results import BestOfNCurve, Evaluation
from rl.run_folder import RunFolder

SHORT = ["--prompts.limit", "3", "--sampling.max_new_tokens", "6"]
TRAIN = ["--evaluate.max_new_tokens", "6", "--train.max_length", "2000"]
SMALL = {
    "quickstart": [*SHORT, *TRAIN, "--evaluate.prompts", "2", "--train.max_steps", "2"],
    "quickstart/tiny": [*SHORT, *TRAIN],
    "best_of_n/tiny": SHORT,
    "filter/tiny": [],
    "rft/tiny": [*SHORT, *TRAIN],
    "dpo/tiny": [*SHORT, *TRAIN],
    "kto/tiny": [*SHORT, *TRAIN],
}

TABLES = {
    "quickstart": {"rate", "compare", "evaluate"},
    "quickstart/tiny": {"rate", "compare", "evaluate"},
    "best_of_n/tiny": {"rate"},
    "filter/tiny": {"rate", "compare"},
    "rft/tiny": {"rate", "evaluate"},
    "dpo/tiny": {"rate", "evaluate"},
    "kto/tiny": {"rate", "evaluate"},
}
"""Stages with a W&B table of judged samples."""


def flags(name: str, model: Path, output: Path) -> list[str]:
    judge = ["--judge.backend", "scripted", "--judge.rule", "longer", "--judge.mode", "critique"]
    policy = [] if name == "filter/tiny" else ["--policy.model", str(model)]
    trains = [] if name in ("filter/tiny", "best_of_n/tiny") else ["--allow-uncertified", "true"]
    return [*SMALL[name], *judge, *policy, *trains, "--output", str(output)]


@pytest.mark.parametrize("name", SMALL)
def test_a_recipe_runs_to_its_report_and_a_second_start_does_nothing_again(
    name: str, tiny_model: Path, tmp_path: Path
) -> None:
    output = tmp_path / "run"
    arguments = flags(name, tiny_model, output)
    assert main(["run", name, *arguments]) == 0
    run = RunFolder(output)
    assert "<!DOCTYPE html>" in run.report.read_text(encoding="utf-8")[:100]
    metrics = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    assert metrics
    tables = {path.name.rsplit("_", 2)[0] for path in output.glob("wandb/**/media/table/samples/*.json")}
    assert tables == TABLES[name]
    assert all("step" in line for line in metrics)
    before = {path: path.stat().st_mtime_ns for path in output.rglob("*.jsonl") if path != run.metrics}
    assert main(["run", name, *arguments]) == 2  # exists: says --resume or --clean
    assert main(["run", name, *arguments, "--resume"]) == 0
    after = {path: path.stat().st_mtime_ns for path in before}
    changed = {path.name for path in before if before[path] != after[path]}
    assert changed <= {"review.jsonl"}
    _check(name, run)


def _check(name: str, run: RunFolder) -> None:
    prompts = list(read_records(run.prompts, Prompt))
    candidates = {one.id: one for one in read_records(run.candidates, Candidate)}
    judgments = list(read_records(run.judgments, Judgment))
    assert {one.candidate_ids[0] for one in judgments} == set(candidates)
    if name in ("quickstart", "quickstart/tiny", "filter/tiny"):
        comparisons = list(read_records(run.comparisons, Comparison))
        assert comparisons
        assert all(len(one.judgments) == 2 for one in comparisons)
    if name in ("quickstart", "best_of_n/tiny"):
        curve = BestOfNCurve.model_validate_json(run.best_of_n.read_bytes())
        assert [point.k for point in curve.points] == [1, 2, 3, 4]
    if name in ("quickstart", "quickstart/tiny", "dpo/tiny", "filter/tiny"):
        known = {one.id for one in judgments}
        for pair in read_records(run.pairs, Pair):
            assert candidates[pair.chosen_id].text == pair.chosen
            assert set(pair.judgment_ids) <= known
            assert len(pair.chosen) > len(pair.rejected)  # the scripted judge's rule
    if name in ("quickstart", "quickstart/tiny", "dpo/tiny", "rft/tiny", "kto/tiny"):
        assert (run.policy / "adapter_model.safetensors").is_file()
        evaluation = Evaluation.model_validate_json(run.evaluation.read_bytes())
        assert evaluation.wins + evaluation.losses + evaluation.ties == 2
        held_out = {one.id for one in read_records(run.evaluation_prompts, Prompt)}
        assert not held_out & {one.id for one in prompts}


def test_resuming_under_another_recipe_names_the_keys(tiny_model: Path, tmp_path: Path) -> None:
    arguments = flags("best_of_n/tiny", tiny_model, tmp_path / "run")
    run_recipe(load_recipe("best_of_n/tiny", arguments))
    with pytest.raises(InputError, match=r"these keys differ: sampling\.n \(4 -> 3\)"):
        run_recipe(load_recipe("best_of_n/tiny", [*arguments, "--sampling.n", "3"]), resume=True)


def test_clean_removes_a_run_and_nothing_else(tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match=r"holds no recipe\.json"):
        run_recipe(load_recipe("best_of_n/tiny", flags("best_of_n/tiny", tiny_model, tmp_path / "mine")), clean=True)
    assert (tmp_path / "mine" / "thesis.txt").exists()


def test_sample_judge_select_and_review_as_separate_commands(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text("".join(json.dumps({"prompt": f"Question {i}?"}) + "\n" for i in range(3)))
    sampled, judged, selected = tmp_path / "sampled", tmp_path / "judged", tmp_path / "selected"
    policy = ["--policy.model", str(tiny_model), "--sampling.n", "3", "--sampling.max_new_tokens", "8"]
    assert main(["sample", "--prompts.source", str(prompts), *policy, "--output", str(sampled)]) == 0
    judge = ["--judge.backend", "scripted", "--compare.design", "circular", "--output", str(judged)]
    assert main(["judge", str(RunFolder(sampled).candidates), *judge]) == 0
    before, after = (list(read_records(RunFolder(one).candidates, Candidate)) for one in (sampled, judged))
    assert after == before
    assert RunFolder(judged).prompts.read_bytes() == RunFolder(sampled).prompts.read_bytes()
    review = tmp_path / "review.jsonl"
    assert main(["select", str(judged), "--review", str(review), "--output", str(selected)]) == 0
    assert len(list(read_records(RunFolder(selected).pairs, Pair))) == 3
    assert main(["inspect", str(judged), "--size", "4", "--out", str(tmp_path / "drawn.jsonl")]) == 0
    labels = [json.loads(line) | {"label": 7} for line in (tmp_path / "drawn.jsonl").read_text().splitlines()]
    ratings = [line for line in labels if "candidate_id" in line]
    assert ratings
    (tmp_path / "labels.jsonl").write_text("".join(json.dumps(line) + "\n" for line in ratings))
    capsys.readouterr()
    labelled = ["--labels", str(tmp_path / "labels.jsonl"), "--run", str(judged), "--json"]
    assert main(["evaluate-judge", "pairs", *labelled]) == 0
    assert json.loads(capsys.readouterr().out)["ratings"]["n"] == len(ratings)
    assert main(["show", str(judged)]) == 0
    assert main(["report", str(judged)]) == 0


def test_a_run_takes_the_map_that_the_evaluation_saved(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    judge = ["--judge.backend", "scripted", "--judge.rule", "longer", "--judge.mode", "critique"]
    rows = [{"prompt": f"q{n // 4}", "text": "long " * (1 + n % 4), "reward": 1 + 2 * (n % 4)} for n in range(40)]
    data, curve = tmp_path / "rated.jsonl", tmp_path / "map.json"
    write_records(data, rows)
    fit = ["evaluate-judge", "calibration", "--kind", "ratings", "--data", str(data), "--columns.response", "text"]
    assert main([*fit, *judge, "--output", str(tmp_path / "asked"), "--save", str(curve)]) == 0
    words = ["run", "filter/tiny", *judge, "--track.mode", "off", "--reward.calibration", str(curve)]
    assert main([*words, "--output", str(tmp_path / "run")]) == 0
    run, people = RunFolder(tmp_path / "run"), CalibrationMap.load(curve)
    said = {one.candidate_ids[0]: one.outcome for one in read_records(run.judgments, Judgment)}
    rewards = [one for one in read_records(run.rewards, SCORED) if isinstance(one, Reward)]
    assert rewards
    for one in rewards:
        rating = said[one.candidate_id]
        assert isinstance(rating, Rating)
        assert one.value == pytest.approx((people.apply_rating(rating) - 1) / 9)
    # Another map than the one that it began with is refused, and the one that it keeps is enough to look again.
    people.model_copy(update={"n": 41}).save(curve)
    assert main([*words, "--output", str(tmp_path / "run"), "--resume"]) == 2
    assert "than the one that this run began with" in capsys.readouterr().err
    curve.unlink()
    assert main([*words, "--output", str(tmp_path / "run"), "--resume"]) == 0
    people.save(curve)
    # Another judge's map, and one that is not there, stop a run before it has a folder.
    other = ["--judge.rule", "shorter", "--output", str(tmp_path / "other")]
    assert main([*words, *other]) == 2
    assert "expected a calibration map of the judge" in capsys.readouterr().err
    assert main([*words, "--reward.calibration", str(tmp_path / "none"), "--output", str(tmp_path / "other")]) == 2
    assert "expected a calibration map at" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()
    assert main(["check", "filter/tiny", "--reward.source", "win_rate", "--reward.calibration", str(curve)]) == 2
    assert "only with `source: ratings`" in capsys.readouterr().err


def test_a_recipe_of_one_process_refuses_several(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main(["run", "filter/tiny", "--judge.backend", "scripted", "--output", str(tmp_path / "run")]) == 2
    assert "which trains nothing" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_the_judge_is_loaded_once_for_ratings_and_comparisons(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rewards.judges import load

    opened: list[str] = []
    real = load.load_judge

    def counted(settings: JudgeSettings) -> Judge:
        opened.append(settings.backend)
        return real(settings)

    monkeypatch.setattr(load, "load_judge", counted)
    arguments = ["--judge.backend", "scripted", "--output", str(tmp_path / "run"), "--track.mode", "off"]
    assert main(["run", "filter/tiny", *arguments]) == 0
    assert opened == ["scripted"]
    assert main(["run", "filter/tiny", *arguments, "--resume"]) == 0
    assert opened == ["scripted"]  # nothing is left to judge
