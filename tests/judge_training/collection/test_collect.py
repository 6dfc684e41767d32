"""The job: kept, dropped, counted, stopped and taken up again; scripted, and over HTTP."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from judge_training.collection.collect import CollectionFolder, Teacher, collect
from judge_training.collection.manifest import CollectionManifest, KindCount
from judge_training.collection.settings import PriceSettings
from judge_training.collection.spending import CallRecord
from judge_training.collection.steps import Reply, Rules
from judge_training.examples import JudgeExample, write_examples
from judge_training.scenarios import load_scenarios
from rewards.budget import FailureBudget
from rewards.errors import FailureBudgetError, InputError, JudgeUnavailableError
from rewards.jsonl import read_records
from rewards.judges.base import Question
from rewards.judges.cache import RecordCache
from rewards.judges.config import EndpointSettings
from rewards.judges.endpoint import EndpointBackend
from rewards.judges.scripted import ScriptedBackend
from rewards.protocol.builtin import builtin_protocol
from rewards.protocol.spec import ChatTokenizer, Decoding
from rewards.types import Unparsed
from tests.judge_server import Body, chat_reply, said, serving
from tests.judge_server import Reply as HttpReply
from tests.scripted_teacher import call_of, pair, prompt, single, teach

CATALOG = load_scenarios()
RULES = Rules(builtin_protocol(), "teacher")
DECODING = Decoding(max_new_tokens=100)
NO_LIMIT = 1.0
EXAMPLES = [
    pair(1),
    pair(2, label="second"),
    single(3),
    pair(4, "+", "-", "first", "math_reasoning"),
    single(5, scenario="math_reasoning"),
    pair(6, scenario="unheard of"),
    pair(7, label=None),
    single(8, scenario=None),
]


class Listening:
    """A scripted teacher that remembers what it was asked."""

    def __init__(self, answers: object = teach) -> None:
        self.asked: list[str] = []
        self._answers = answers

    def teacher(self, concurrency: int = 2) -> Teacher:
        return Teacher(ScriptedBackend(self._reply), "scripted", DECODING, concurrency)

    def _reply(self, question: Question) -> str | Unparsed:
        self.asked.append(question.content)
        return self._answers(question.content)  # type: ignore[operator,no-any-return]


def run(
    folder: Path,
    teacher: Teacher,
    examples: list[JudgeExample] | None = None,
    limit: float = NO_LIMIT,
    **prices: float,
) -> CollectionManifest:
    return collect(
        EXAMPLES if examples is None else examples,
        CollectionFolder(folder),
        teacher,
        RULES,
        CATALOG,
        prices=PriceSettings.model_validate(prices),
        budget=FailureBudget(limit),
    )


def files(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in ("examples.jsonl", "dropped.jsonl")}


def test_everything_that_came_in_is_kept_or_dropped_for_a_reason(tmp_path: Path) -> None:
    listening = Listening()
    manifest = run(tmp_path, listening.teacher())
    assert manifest.kinds["pairwise"] == KindCount(
        input=5, kept=3, dropped={"label_disagrees": 1, "no_human_label": 1}
    )
    assert manifest.kinds["single"] == KindCount(input=3, kept=3)
    assert manifest.verdicts == {"first": 3, "5": 3}
    assert manifest.unknown_scenario == 2
    assert manifest.stopped == ""
    folder = CollectionFolder(tmp_path)
    assert [example.id for example in folder.kept()] == [
        "pair-1",
        "single-3",
        "pair-4",
        "single-5",
        "pair-6",
        "single-8",
    ]
    assert CollectionManifest.model_validate_json(folder.manifest.read_text()) == manifest
    calls = Counter(call_of(content) for content in listening.asked)
    assert calls == {"first_order": 7, "free_critique": 3, "guided_critique": 3, "combine": 3, "answer": 2}
    assert manifest.usage.calls == {**calls, "first_order": 4, "second_order": 3}
    assert manifest.usage.estimated_calls == len(listening.asked)


def test_a_second_start_asks_nothing_and_changes_nothing(tmp_path: Path) -> None:
    first = run(tmp_path, Listening().teacher())
    before = files(tmp_path)
    listening = Listening()
    assert run(tmp_path, listening.teacher()) == first
    assert listening.asked == []
    assert files(tmp_path) == before


def test_equal_questions_are_asked_once(tmp_path: Path) -> None:
    question = prompt(0, "math_reasoning", "What is 6 x 7?")
    examples = [
        single(number, scenario="math_reasoning").model_copy(update={"prompt": question}) for number in range(9)
    ]
    listening = Listening()
    run(tmp_path, listening.teacher(), examples)
    assert Counter(call_of(content) for content in listening.asked)["answer"] == 1


def test_what_a_bad_server_stopped_is_asked_again_and_nothing_else(tmp_path: Path) -> None:
    broken = {"on": True}

    def answers(content: str) -> str | Unparsed:
        if broken["on"] and call_of(content) == "combine":
            return Unparsed(reason="timeout")
        return teach(content)

    listening = Listening(answers)
    manifest = run(tmp_path, listening.teacher())
    assert manifest.kinds["single"].dropped == {"timeout": 3}
    assert manifest.usage.failed == {"timeout": 3}
    broken["on"] = False
    asked = len(listening.asked)
    manifest = run(tmp_path, listening.teacher())
    assert manifest.kinds["single"].kept == 3
    assert {call_of(content) for content in listening.asked[asked:]} == {"combine"}
    reference = run(tmp_path / "reference", Listening().teacher())
    assert files(tmp_path) == files(tmp_path / "reference")
    assert manifest.kinds == reference.kinds


def test_a_broken_teacher_uses_up_the_failure_budget_and_what_came_is_kept(tmp_path: Path) -> None:
    examples = [pair(number) for number in range(200)]
    listening = Listening(lambda content: "I would rather not say.")
    with pytest.raises(FailureBudgetError, match="no_verdict 20"):
        run(tmp_path, listening.teacher(), examples, limit=0.05)
    assert len(listening.asked) == 20
    folder = CollectionFolder(tmp_path)
    assert len(folder.left_out()) == 20
    manifest = CollectionManifest.model_validate_json(folder.manifest.read_text())
    assert manifest.kinds["pairwise"].unfinished == 180
    assert manifest.stopped
    with pytest.raises(FailureBudgetError):
        run(tmp_path, listening.teacher(), examples, limit=0.05)
    assert len(listening.asked) < 25, "a resumed run is not let through"


def test_disagreement_is_no_failure(tmp_path: Path) -> None:
    examples = [pair(number, label="second") for number in range(40)]
    manifest = run(tmp_path, Listening().teacher(), examples, limit=0.05)
    assert manifest.kinds["pairwise"].dropped == {"label_disagrees": 40}


def test_ctrl_c_keeps_everything(tmp_path: Path) -> None:
    def answers(content: str) -> str:
        if len(listening.asked) == 10:
            raise KeyboardInterrupt
        return teach(content)

    listening = Listening(answers)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, listening.teacher())
    manifest = CollectionManifest.model_validate_json((tmp_path / "manifest.json").read_text())
    assert sum(manifest.usage.calls.values()) == 9
    again = Listening()
    run(tmp_path, again.teacher())
    assert not set(again.asked) & set(listening.asked[:9])
    run(tmp_path / "reference", Listening().teacher())
    assert files(tmp_path) == files(tmp_path / "reference")


@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 9), max_size=6), st.integers(1, 4))
def test_limits_in_any_steps_lead_to_the_same_end(
    tmp_path_factory: pytest.TempPathFactory, steps: list[int], concurrency: int
) -> None:
    folder, listening, limit = tmp_path_factory.mktemp("limits"), Listening(), 0
    for step in steps:
        limit += step
        manifest = run(folder, listening.teacher(concurrency), max_calls=limit)
        assert len(listening.asked) <= limit
        assert sum(manifest.usage.calls.values()) == len(listening.asked)
        assert bool(manifest.stopped) == any(count.unfinished for count in manifest.kinds.values())
        assert (len(listening.asked) == limit) or not manifest.stopped
    run(folder, listening.teacher(concurrency))
    assert len(listening.asked) == len(set(listening.asked)), "a finished call was made again"
    run(folder / "reference", Listening().teacher())
    assert files(folder) == files(folder / "reference")


@pytest.mark.parametrize("max_cost", [0.0, 1e-6, 0.002, 0.01])
def test_the_cost_stays_under_its_limit(tmp_path: Path, max_cost: float) -> None:
    def act(path: str, body: Body) -> HttpReply:
        return chat_reply(teach(said(body)), usage=(len(said(body).encode()), body["max_tokens"]))

    with serving(act) as server:
        manifest = run(tmp_path, http_teacher(server.url), price_in=1.0, price_out=2.0, max_cost=max_cost)
        made = len(server.requests)
    assert manifest.usage.cost is not None
    assert manifest.usage.cost <= max_cost
    assert "max_cost" in manifest.stopped
    assert sum(manifest.usage.calls.values()) == made
    most = max(len(said(body).encode()) for body in server.requests) + 200 if made else 0
    assert made == 0 or max_cost - manifest.usage.cost < 8 * most / 1e6, "it stops near the limit, not far from it"


def test_a_cost_limit_needs_prices(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="price_in and price_out"):
        run(tmp_path, Listening().teacher(), max_cost=1.0, price_in=1.0)


def http_teacher(url: str, concurrency: int = 4) -> Teacher:
    server = EndpointSettings(base_url=url, max_retries=0, timeout=20.0, top_logprobs=0, concurrency=concurrency)
    return Teacher(EndpointBackend("m", server, ChatTokenizer()), "endpoint", DECODING, concurrency)


def polite(path: str, body: Body) -> HttpReply:
    return chat_reply(teach(said(body)))


def test_over_http_only_the_questions_are_sent_and_reported_usage_is_summed(tmp_path: Path) -> None:
    with serving(polite) as server:
        manifest = run(tmp_path, http_teacher(server.url), price_in=100.0, price_out=1000.0)
        sent = Counter(call_of(said(body)) for body in server.requests)
        assert server.most_at_once <= 4
    assert sent == {"first_order": 7, "free_critique": 3, "guided_critique": 3, "combine": 3, "answer": 2}
    number = sent.total()
    assert (manifest.usage.prompt_tokens, manifest.usage.new_tokens) == (5 * number, 3 * number)
    assert manifest.usage.estimated_calls == 0
    assert manifest.usage.cost == pytest.approx(number * (5 * 100 + 3 * 1000) / 1e6)
    assert all(body["max_tokens"] == 100 for body in server.requests)


LIES: dict[str, tuple[HttpReply, str]] = {
    "error": ((500, "{}"), "backend_error"),
    "html": ((200, "<html>"), "backend_error"),
    "filter": ((400, '{"error": {"message": "no", "code": "content_filter"}}'), "refused"),
    "slow": ((504, "{}"), "timeout"),
    "cut off": (chat_reply("Response 1", finish_reason="length"), "cut_off"),
}


@pytest.mark.parametrize(("reply", "reason"), LIES.values(), ids=LIES.keys())
def test_mistake_01_a_bad_server_gives_no_example(tmp_path: Path, reply: HttpReply, reason: str) -> None:
    with serving(lambda path, body: reply) as server:
        manifest = run(tmp_path, http_teacher(server.url), [pair(1), single(2)])
    assert {kind: count.dropped for kind, count in manifest.kinds.items()} == {
        "pairwise": {reason: 1},
        "single": {reason: 1},
    }
    assert (tmp_path / "examples.jsonl").read_bytes() == b""


def test_a_server_that_dies_stops_the_job_and_a_new_one_goes_on(tmp_path: Path) -> None:
    answered = threading.Semaphore(7)

    def dying(path: str, body: Body) -> HttpReply:
        if not answered.acquire(blocking=False):
            raise ConnectionAbortedError
        return polite(path, body)

    examples = [pair(number) for number in range(30)]
    with serving(dying) as server, pytest.raises(JudgeUnavailableError):
        run(tmp_path, http_teacher(server.url), examples)
    safe = {record.key for record in read_records(tmp_path / "calls.jsonl", CallRecord) if record.failure is None}
    with serving(polite) as server:
        manifest = run(tmp_path, http_teacher(server.url), examples)
        assert manifest.kinds["pairwise"].kept == 30
        assert len(server.requests) == 60 - len(safe)


KILLED = """
import sys
from pathlib import Path
from judge_training.examples import read_examples
from tests.judge_training.collection.test_collect import http_teacher, run
run(Path(sys.argv[1]), http_teacher(sys.argv[2], 3), list(read_examples(Path(sys.argv[3]))))
"""


def test_a_killed_job_repeats_no_finished_call_and_ends_with_the_same_bytes(tmp_path: Path) -> None:
    examples = [pair(number) if number % 2 else single(number) for number in range(40)]
    write_examples(tmp_path / "unjudged.jsonl", examples)
    folder, chance = tmp_path / "out", random.Random(0)

    def slow(path: str, body: Body) -> HttpReply:
        time.sleep(0.02)
        return polite(path, body)

    with serving(slow) as server:
        command = [sys.executable, "-c", KILLED, str(folder), server.url, str(tmp_path / "unjudged.jsonl")]
        for _ in range(3):
            before, finished = len(server.requests), kept_questions(folder)
            process = subprocess.Popen(command, cwd=Path(__file__).parents[3], stderr=subprocess.DEVNULL)
            while len(server.requests) < before + 8 + chance.randrange(8) and process.poll() is None:
                time.sleep(0.005)
            process.send_signal(signal.SIGKILL)
            process.wait()
            assert not finished & {said(body) for body in server.requests[before:]}
        before, finished = len(server.requests), kept_questions(folder)
        assert finished
        manifest = run(folder, http_teacher(server.url, 3), examples)
        assert not finished & {said(body) for body in server.requests[before:]}
    assert manifest.kinds["pairwise"] == KindCount(input=20, kept=20)
    run(tmp_path / "reference", Listening().teacher(), examples)
    assert files(folder) == files(tmp_path / "reference")


def kept_questions(folder: Path) -> set[str]:
    """The questions whose answers are safe, found by their keys."""
    if not (folder / "answers.sqlite").exists():
        return set()
    from judge_training.collection.steps import make_task, next_step
    from rewards.judges.cache import cache_key

    found: set[str] = set()
    with RecordCache(folder / "answers.sqlite", Reply, what="answers", layout=101) as answers:
        for number in range(40):
            task = make_task(pair(number) if number % 2 else single(number), CATALOG)
            replies = {}
            while isinstance(step := next_step(task, replies, RULES), tuple):
                keys = {call: cache_key("endpoint", DECODING.model_dump_json(), call.content) for call in step}
                known = {call: reply for call, key in keys.items() if (reply := answers.get(key)) is not None}
                found |= {call.content for call in known}
                if not known:
                    break
                replies |= {call.name: reply for call, reply in known.items()}
    return found


def test_a_judgment_cache_is_not_taken_for_a_teachers_answers(tmp_path: Path) -> None:
    from rewards.judges.cache import JudgmentCache

    JudgmentCache(tmp_path / "answers.sqlite").close()
    with pytest.raises(InputError, match="teacher's answers"):
        run(tmp_path, Listening().teacher())


def test_a_manifest_that_does_not_add_up_cannot_be_made() -> None:
    with pytest.raises(ValueError, match="expected input"):
        KindCount(input=3, kept=1, dropped={"no_verdict": 1})
