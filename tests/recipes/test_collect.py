"""`autoj collect` from the command: dry run, the job, stopping and going on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from judge_training.collection.collect import CollectionFolder
from judge_training.collection.manifest import CollectionManifest
from judge_training.collection.unjudged import read_unjudged
from judge_training.examples import JudgeExample, read_examples, training_text, write_examples
from recipes.cli import main
from recipes.judge_recipes import CollectRecipe
from recipes.loading import load_recipe
from rewards.errors import InputError
from rewards.protocol.builtin import builtin_protocol
from tests.judge_server import Body, Reply, Server, chat_reply, said, serving
from tests.scripted_teacher import pair, single, teach

KEY = "sk-teacher-secret"


def polite(path: str, body: Body) -> Reply:
    return chat_reply(teach(said(body)))


@pytest.fixture
def server() -> Iterator[Server]:
    with serving(polite) as one:
        yield one


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    rows = [
        {
            "prompt": f"Why {n}?",
            "response 1": f"{n} ++",
            "response 2": f"{n} -",
            "label": n % 3,
            "scenario": "chitchat",
        }
        for n in range(6)
    ]
    rows.append({"prompt": "No label?", "response 1": "a", "response 2": "b", "label": None, "scenario": "chitchat"})
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def collect(data: Path, output: Path, url: str, *flags: str) -> int:
    teacher = ["--teacher.model", "m", "--teacher.endpoint.base_url", url, "--teacher.endpoint.max_retries", "0"]
    return main(["collect", str(data), *teacher, "--output", str(output), *flags])


def test_pairs_become_examples_and_the_last_lines_say_so(
    pairs: Path, tmp_path: Path, server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    assert collect(pairs, output, server.url, "--kind", "pairs", "--price-in", "10", "--price-out", "20") == 0
    shown = capsys.readouterr().err
    assert "pairwise: kept 2 of 6, dropped 4 (label_disagrees 4)" in shown
    assert "8 calls; 40 prompt and 24 new tokens (reported by the server), cost 0.00088" in shown
    kept = list(read_examples(output / "examples.jsonl"))
    assert {(example.label, example.human_label, example.source) for example in kept} == {("first", "first", "pairs")}
    assert training_text(kept[0], builtin_protocol()).completion.endswith("Final decision: Response 1")
    manifest = CollectionManifest.model_validate_json((output / "manifest.json").read_text())
    assert sum(manifest.skipped.values()) == 1
    assert len((output / "dropped.jsonl").read_text().splitlines()) == 4
    assert not (output / "report.html").exists()


def test_an_existing_folder_is_resumed_only_when_asked_and_only_by_the_same_job(
    pairs: Path, tmp_path: Path, server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    assert collect(pairs, output, server.url, "--kind", "pairs", "--max-calls", "3") == 0
    assert "max_calls 3 is used up" in capsys.readouterr().err
    assert len(server.requests) == 3
    assert collect(pairs, output, server.url, "--kind", "pairs") == 2
    assert collect(pairs, output, server.url, "--kind", "pairs", "--both_orders", "false", "--resume") == 2
    assert "both_orders" in capsys.readouterr().err
    assert len(server.requests) == 3
    assert collect(pairs, output, server.url, "--kind", "pairs", "--max-calls", "100", "--resume") == 0
    assert len(server.requests) == 8
    assert len(CollectionFolder(output).kept()) == 2


def test_a_dry_run_sends_and_writes_nothing(
    pairs: Path, tmp_path: Path, server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    flags = ["--kind", "pairs", "--dry-run", "--price-in", "1000000", "--price-out", "0"]
    assert collect(pairs, output, server.url, *flags) == 0
    shown = capsys.readouterr().out
    assert server.requests == []
    assert not output.exists()
    assert "nothing was sent" in shown
    first = next(line for line in shown.splitlines() if "first_order" in line)
    total = next(line for line in shown.splitlines() if "at most" in line)
    calls, prompt_tokens, new, cost = (cell.strip().replace(",", "") for cell in first.split("│")[2:6])
    assert (calls, new) == ("6", str(6 * 450))
    assert float(cost) == pytest.approx(int(prompt_tokens), rel=1e-3)
    assert total.split("│")[2].strip() == "12"


def test_the_estimate_is_what_an_agreeing_teacher_then_costs(
    tmp_path: Path, server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "unjudged.jsonl"
    write_examples(data, [pair(1), pair(2), single(3), single(4, scenario="math_reasoning")])
    assert collect(data, tmp_path / "out", server.url, "--dry-run") == 0
    total = next(line for line in capsys.readouterr().out.splitlines() if "at most" in line)
    assert collect(data, tmp_path / "out", server.url) == 0
    assert int(total.split("│")[2]) == len(server.requests) == 11
    assert collect(data, tmp_path / "out", server.url, "--dry-run") == 0
    assert "4 examples are decided" in capsys.readouterr().out


def test_a_given_rate_tells_the_time_and_a_teacher_is_never_probed(
    pairs: Path, tmp_path: Path, server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--kind", "pairs", "--dry-run"]
    assert collect(pairs, tmp_path / "out", server.url, *flags, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["seconds"], found["device_hours"]) == (None, None)
    tokens = sum(call["prompt_tokens"] + call["new_tokens"] for call in found["calls"])
    assert collect(pairs, tmp_path / "out", server.url, *flags, "--json", "--rate", "20", "--devices", "8") == 0
    timed = json.loads(capsys.readouterr().out)
    assert timed["seconds"] == pytest.approx(tokens / 20)
    assert timed["device_hours"] == pytest.approx(8 * tokens / 20 / 3600)
    assert collect(pairs, tmp_path / "out", server.url, *flags) == 0
    assert "for the time, give the server's --rate" in capsys.readouterr().out
    assert collect(pairs, tmp_path / "out", server.url, *flags, "--rate", "20", "--devices", "8") == 0
    assert "(8 x GPU)" in capsys.readouterr().out
    assert collect(pairs, tmp_path / "out", server.url, *flags, "--probe", "2") == 2
    assert "expected no --probe with a teacher" in capsys.readouterr().err
    assert server.requests == []


def test_tokens_are_counted_with_a_local_tokenizer(
    pairs: Path, tmp_path: Path, tiny_model: Path, server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--kind", "pairs", "--dry-run", "--teacher.tokenizer"]
    assert collect(pairs, tmp_path / "out", server.url, *flags, str(tiny_model)) == 0
    assert f"counted with {tiny_model}" in capsys.readouterr().out.replace("\n", "")
    assert collect(pairs, tmp_path / "out", server.url, *flags, str(pairs)) == 2
    assert collect(pairs, tmp_path / "out", server.url, *flags, str(tmp_path / "none")) == 2


def test_the_key_is_read_from_the_environment_and_written_nowhere(
    pairs: Path, tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = ["--kind", "pairs", "--teacher.endpoint.api_key_env", "TEACHER_KEY"]
    assert collect(pairs, tmp_path / "out", server.url, *flags, "--dry-run") == 0, "a dry run needs no key"
    assert collect(pairs, tmp_path / "without", server.url, *flags) == 2
    monkeypatch.setenv("TEACHER_KEY", KEY)
    assert collect(pairs, tmp_path / "out", server.url, *flags) == 0
    assert server.headers[-1]["authorization"] == f"Bearer {KEY}"
    assert not any(KEY.encode() in path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file())


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--max-cost", "3", "--kind", "pairs"], "price_in"),
        ([], "--kind"),
        (["--kind", "responses"], "response"),
        (["--kind", "pairs", "--human_labels", "maybe"], "human_labels"),
        (["--kind", "pairs", "--teacher.modle", "x"], "did you mean model"),
        (["--kind", "pairs", "--criteria", "nowhere"], "nowhere"),
    ],
)
def test_bad_input_is_named(
    flags: list[str], named: str, pairs: Path, tmp_path: Path, server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    assert collect(pairs, tmp_path / "out", server.url, *flags) == 2
    assert named in capsys.readouterr().err
    assert server.requests == []


def test_help_names_the_flags(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["collect", "--help"]) == 0
    shown = capsys.readouterr().out
    assert "--dry-run" in shown
    assert "--teacher.endpoint.base-url" in shown


def test_it_is_a_recipe_too(pairs: Path, tmp_path: Path) -> None:
    path = tmp_path / "collect.yaml"
    path.write_text(f"recipe: collect\ndata: {pairs}\nkind: pairs\nteacher: {{model: m}}\n")
    recipe = load_recipe(str(path), ["--max-cost", "2.5"])
    assert isinstance(recipe, CollectRecipe)
    assert recipe.max_cost == 2.5


# What is read


def test_examples_are_recognised_and_judged_ones_left_alone(tmp_path: Path) -> None:
    judged = single(1).model_copy(update={"rating": 5.0, "critique": "Fine."})
    bare = [single(2).model_copy(update={"rating": 3.0}), pair(3, label=None).model_copy(update={"label": "tie"})]
    write_examples(tmp_path / "data.jsonl", [judged, *bare])
    found = read_unjudged(tmp_path / "data.jsonl")
    assert found.skipped == {"already_judged": 1}
    rated, labelled = found.examples
    assert (rated.rating, rated.columns["given_rating"]) == (None, 3.0)
    assert (labelled.label, labelled.human_label) == (None, "tie")


def test_responses_are_single_examples(tmp_path: Path) -> None:
    path = tmp_path / "responses.csv"
    path.write_text("prompt,response,scenario,generator\nWhy?,Because.,chitchat,a\nWhy?,,chitchat,b\n")
    found = read_unjudged(path, "responses").examples
    assert [(one.kind, one.responses, one.columns["generator"]) for one in found] == [
        ("single", ("Because.",), "a"),
        ("single", ("",), "b"),
    ]
    assert all(isinstance(one, JudgeExample) and one.scenario == "chitchat" for one in found)


def test_an_id_that_stands_for_two_examples_is_refused(tmp_path: Path) -> None:
    write_examples(tmp_path / "data.jsonl", [pair(1), pair(1)])
    with pytest.raises(InputError, match="2 times"):
        read_unjudged(tmp_path / "data.jsonl")


@pytest.mark.shared_data
def test_the_released_pairs_can_be_estimated(shared_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = shared_data / "auto-j" / "data" / "test" / "testdata_pairwise.jsonl"
    release = shared_data / "auto-j"
    flags = ["--kind", "pairs", "--teacher.model", "m", "--criteria", str(release), "--dry-run"]
    assert main(["collect", str(data), *flags]) == 0
    shown = capsys.readouterr().out
    assert "1,382" in shown
    assert "without a known scenario" not in shown
