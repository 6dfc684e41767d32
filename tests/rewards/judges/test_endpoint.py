"""Judges behind a server: a real HTTP server on loopback that behaves, and behaves badly."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from math import log
from pathlib import Path
from typing import Any

import pytest

from rewards.budget import FailureBudget
from rewards.errors import FailureBudgetError, InputError, JudgeUnavailableError
from rewards.judges.base import Answer, Question, RateItem
from rewards.judges.config import EndpointSettings
from rewards.judges.endpoint import REFUSED_IN_A_ROW, EndpointBackend
from rewards.judges.generative import GenerativeJudge
from rewards.judges.load import load_judge
from rewards.protocol.builtin import builtin_protocol
from rewards.protocol.spec import ChatText, ChatTokenizer, Decoding
from rewards.types import Candidate, Judgment, Message, Prompt, Rating, Unparsed
from tests.judge_server import Act, Body, Reply, chat_reply, is_probe, serving

PROTOCOL = builtin_protocol()
WRAPPED = PROTOCOL.model_copy(update={"chat": ChatText(before="[INST] ", after=" [/INST]")})
KEY = "sk-very-secret"


def settings(url: str, **options: Any) -> EndpointSettings:
    return EndpointSettings(base_url=url, **{"max_retries": 0, "timeout": 20.0, **options})


def judge(url: str, mode: str = "critique", **options: Any) -> GenerativeJudge:
    protocol = WRAPPED if options.get("api") == "completions" else PROTOCOL
    backend = EndpointBackend("m", settings(url, **options), protocol.chat)
    return GenerativeJudge(backend, protocol, "direct" if mode == "direct" else "critique")


def items(count: int = 1) -> list[RateItem]:
    prompt = Prompt(id="p", messages=(Message(role="user", content="Why?"),))
    texts = [f"response number {number}" for number in range(count)]
    return [
        RateItem(prompt=prompt, candidate=Candidate(id=f"c{number}", prompt_id="p", text=text))
        for number, text in enumerate(texts)
    ]


def outcome(one: GenerativeJudge) -> Any:
    [judgment] = one.rate(items())
    return judgment.outcome


def polite(text: str = "Fine.\n\nRating: [[7]]") -> Act:
    """Writes, and ignores everything that it does not know, as some servers do."""
    return lambda path, body: chat_reply("yes" if is_probe(body) else text)


PATH: list[tuple[str, dict[str, float]]] = [
    ("Fine. Rating: [[", {"Fine. Rating: [[": 1.0}),
    ("7", {"7": 0.75, "5": 0.25}),
    ("]]", {"]]": 1.0}),
]


def reporting(path: list[tuple[str, dict[str, float]]] = PATH) -> Act:
    """Reports log-probabilities, but does not continue a started answer."""

    def act(_: str, body: Body) -> Reply:
        steps = [("yes", {"yes": 0.9, "no": 0.1})] if is_probe(body) else path
        return chat_reply("".join(token for token, _ in steps), steps if body.get("logprobs") else None)

    return act


SHARES = {"": {"1": 0.5, "5": 0.3, "10": 0.1, "Hm": 0.1}, "1": {"]]": 0.25, "0": 0.75}}


def next_token(text: str) -> dict[str, float]:
    """A model that is asked for one more token: of a count, or of a rating whose "1" may be a "10"."""
    if text.endswith("8,"):
        return {"9": 0.9, "x": 0.1}
    return SHARES.get(text.rpartition("[[")[2], {"x": 0.5, "y": 0.5})


def continuing(path: str, body: Body) -> Reply:
    """Continues a started answer and reports log-probabilities, in both APIs."""
    if path.endswith("/completions") and "prompt" in body:
        top = next_token(body["prompt"])
        token = next(iter(top))
        reported = {
            "tokens": [token],
            "token_logprobs": [log(top[token])],
            "top_logprobs": [{name: log(share) for name, share in top.items()}],
        }
        one: Body = {"index": 0, "text": token, "finish_reason": "length", "logprobs": reported}
        if not body.get("logprobs"):
            del one["logprobs"]
        return 200, json.dumps({"choices": [one]})
    last = body["messages"][-1]
    top = next_token(last["content"] if last["role"] == "assistant" else "")
    token = next(iter(top))
    return chat_reply(token, [(token, top)] if body.get("logprobs") else None, finish_reason="length")


def test_writes_and_is_read() -> None:
    with serving(polite()) as server:
        [judgment] = judge(server.url).rate(items())
    assert judgment.outcome == Rating(value=7)
    assert (judgment.prompt_tokens, judgment.new_tokens) == (5, 3)
    body = server.requests[-1]
    assert body["temperature"] == 0
    assert "seed" not in body
    assert body["max_tokens"] == PROTOCOL.decoding.max_new_tokens
    assert body["model"] == "m"


@pytest.mark.parametrize("mode", ["critique", "direct"])
def test_a_server_that_ignores_logprobs_is_noticed_and_gives_no_expected_rating(mode: str) -> None:
    with serving(polite()) as server:
        one = judge(server.url, mode)
        assert outcome(one) == Rating(value=7)
        assert not one.backend.can_score
        assert any("no token probabilities" in warning for warning in one.card.warnings)
        assert "logprobs" not in server.requests[-1]


def test_reported_alternatives_along_the_path_give_an_expected_rating() -> None:
    with serving(reporting()) as server:
        one = judge(server.url)
        rating = outcome(one)
        assert not one.backend.can_score
        assert any("does not continue" in warning for warning in one.card.warnings)
    assert rating.value == 7
    assert rating.expected == pytest.approx(6.5)
    assert rating.variance == pytest.approx(0.75)


def test_an_alternative_that_may_be_two_ratings_gives_no_expected_rating() -> None:
    with serving(reporting([PATH[0], ("7", {"7": 0.75, "1": 0.25}), PATH[2]])) as server:
        assert outcome(judge(server.url)) == Rating(value=7)


def test_tokens_that_do_not_spell_the_answer_give_no_expected_rating() -> None:
    def act(path: str, body: Body) -> Reply:
        return chat_reply("Rating: [[7]]", [("<0x37>", {"<0x37>": 0.5, "8": 0.5})])

    with serving(act) as server:
        assert outcome(judge(server.url)) == Rating(value=7)


@pytest.mark.parametrize("api", ["chat", "completions"])
def test_a_fork_between_one_and_ten_is_settled_by_a_second_request(api: str) -> None:
    with serving(continuing) as server:
        one = judge(server.url, "direct", api=api)
        rating = outcome(one)
        assert one.backend.can_score
        assert one.card.warnings == ()
    assert isinstance(rating, Rating)
    assert rating.probabilities is not None
    found = {text: round(share * 0.9, 6) for text, share in rating.probabilities.items() if share}
    assert found == {"1": 0.125, "5": 0.3, "10": 0.475}
    assert rating.value == 10
    asked = [body for body in server.requests if not is_probe(body)]
    assert len(asked) == 2
    if api == "completions":
        assert asked[0]["prompt"].startswith("[INST] ")
        assert asked[0]["prompt"].endswith(" [/INST]Rating: [[")
    else:
        assert asked[0]["messages"][-1] == {"role": "assistant", "content": "Rating: [["}
        assert asked[0]["continue_final_message"] is True


def test_a_server_that_refuses_unknown_options_still_works() -> None:
    def act(path: str, body: Body) -> Reply:
        if "logprobs" in body or "continue_final_message" in body:
            return 422, '{"error": {"message": "Unexpected fields"}}'
        return chat_reply("yes" if is_probe(body) else "Rating: [[7]]")

    with serving(act, models=(404, "{}")) as server:
        assert outcome(judge(server.url, "direct")) == Rating(value=7)


LIES = {
    "no choices": '{"choices": []}',
    "choices missing": "{}",
    "null": "null",
    "html": "<html><body>502 Bad Gateway</body></html>",
    "not json": "{'choices': ",
    "empty": "",
    "a list": "[1, 2]",
    "wrong types": '{"choices": [{"message": {"content": 7}, "finish_reason": "stop"}]}',
    "text as choices": '{"choices": "Rating: [[9]]"}',
    "null content": chat_reply(None)[1],
    "null message": '{"choices": [{"message": null, "finish_reason": "stop"}]}',
    "lone surrogate": '{"choices": [{"message": {"content": "\\ud800 Rating: [[9]]"}}]}',
    "bytes": b"\xff\xfe\x00Rating: [[9]]",
    "impossible probability": chat_reply("Rating: [[9]]", [("Rating: [[9]]", {"Rating: [[9]]": 9.0})])[1],
    "error with status 200": '{"error": {"message": "overloaded"}, "detail": "Rating: [[9]]"}',
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES.keys())
def test_mistake_01_a_lying_server_is_a_backend_error_and_never_a_number(lie: str | bytes) -> None:
    with serving(lambda path, body: polite()(path, body) if is_probe(body) else (200, lie)) as server:
        failure = outcome(judge(server.url))
    assert isinstance(failure, Unparsed)
    assert failure.reason == "backend_error"
    assert failure.detail


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ((500, '{"error": {"message": "out of memory"}}'), "backend_error"),
        ((503, "<html>"), "backend_error"),
        ((429, '{"error": {"message": "slow down"}}'), "backend_error"),
        ((400, '{"error": {"message": "no", "code": "content_filter"}}'), "refused"),
        ((400, '{"error": {"message": "This model\'s maximum context length is 8 tokens."}}'), "prompt_too_long"),
        ((504, "{}"), "timeout"),
        (chat_reply("I can", finish_reason="content_filter"), "refused"),
        (chat_reply(None, finish_reason="content_filter"), "refused"),
        (chat_reply("", message={"content": None, "refusal": "I will not judge this"}), "refused"),
        (chat_reply("The response is", finish_reason="length"), "cut_off"),
    ],
)
def test_every_way_to_fail_has_its_reason(reply: Reply, reason: str) -> None:
    with serving(lambda path, body: polite()(path, body) if is_probe(body) else reply) as server:
        failure = outcome(judge(server.url))
    assert isinstance(failure, Unparsed)
    assert failure.reason == reason


def test_a_slow_server_is_a_timeout() -> None:
    release = threading.Event()

    def act(path: str, body: Body) -> Reply:
        if not is_probe(body):
            release.wait(20)
        return chat_reply("Rating: [[7]]")

    with serving(act) as server:
        failure = outcome(judge(server.url, timeout=0.5))
        release.set()
    assert isinstance(failure, Unparsed)
    assert failure.reason == "timeout"


def test_the_client_retries() -> None:
    replies = [(500, "{}"), chat_reply("Rating: [[7]]")]
    with serving(lambda path, body: chat_reply("yes") if is_probe(body) else replies.pop(0)) as server:
        assert outcome(judge(server.url, max_retries=1)) == Rating(value=7)


def test_a_server_that_is_not_there_stops_the_run_at_once() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    with pytest.raises(JudgeUnavailableError, match="Start the server") as raised:
        outcome(judge(url))
    assert url in str(raised.value)


def test_a_server_that_dies_stops_the_run_and_keeps_what_came() -> None:
    answered = threading.Semaphore(3)

    def act(path: str, body: Body) -> Reply:
        if not is_probe(body) and not answered.acquire(blocking=False):
            raise ConnectionAbortedError
        return chat_reply("Rating: [[7]]")

    kept: list[Judgment] = []
    with serving(act) as server:
        with pytest.raises(JudgeUnavailableError, match="one after the other"):
            for judgment in judge(server.url, concurrency=2).rate(items(100)):
                kept.append(judgment)
        assert 3 + REFUSED_IN_A_ROW <= len(server.requests) < 40  # of 100; how many depends on what was under way
    assert Rating(value=7) in [judgment.outcome for judgment in kept]


def test_garbage_from_a_server_uses_up_the_failure_budget() -> None:
    with serving(lambda path, body: polite()(path, body) if is_probe(body) else (200, "<html>")) as server:
        kept = []
        with pytest.raises(FailureBudgetError, match="backend_error 20"):
            for judgment in FailureBudget().watch(judge(server.url).rate(items(100))):
                kept.append(judgment)
        assert len(kept) == 20
        assert len(server.requests) < 80


@pytest.mark.parametrize("status", [401, 404])
def test_a_wrong_key_or_model_stops_the_run_at_once_without_naming_the_key(
    status: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("JUDGE_KEY", KEY)
    message = json.dumps({"error": {"message": f"Incorrect key or model: {KEY}"}})
    with (
        caplog.at_level(logging.DEBUG),
        serving(lambda path, body: (status, message)) as server,
        pytest.raises(JudgeUnavailableError, match=f"HTTP {status}") as raised,
    ):
        outcome(judge(server.url, api_key_env="JUDGE_KEY"))
    assert KEY not in str(raised.value)
    assert "api_key_env" in str(raised.value)
    ours = [record for record in caplog.records if record.name.startswith(("rewards", "openai"))]
    assert all(KEY not in record.getMessage() for record in ours if "Incorrect key" not in record.getMessage())


def test_the_key_goes_to_the_server_and_nowhere_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUDGE_KEY", KEY)

    def act(path: str, body: Body) -> Reply:
        return chat_reply("yes") if is_probe(body) else (500, json.dumps({"error": {"message": f"key {KEY} broke"}}))

    with serving(act) as server:
        one = judge(server.url, api_key_env="JUDGE_KEY")
        [judgment] = one.rate(items())
        assert server.headers[-1]["authorization"] == f"Bearer {KEY}"
        assert isinstance(judgment.outcome, Unparsed)
        assert "[key] broke" in judgment.outcome.detail
        written = judgment.to_json() + one.card.to_json() + repr(one.backend) + repr(one.backend.revision)
        assert KEY not in written


def test_without_a_named_variable_no_key_of_the_user_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with serving(polite()) as server:
        outcome(judge(server.url))
    assert all(KEY not in str(headers) for headers in server.headers)


def test_a_key_that_is_not_set_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JUDGE_KEY", raising=False)
    with pytest.raises(InputError, match="JUDGE_KEY"):
        judge("http://127.0.0.1:1/v1", api_key_env="JUDGE_KEY")


def test_completions_need_the_chat_wrapping_written_out() -> None:
    with pytest.raises(InputError, match="api: chat"):
        EndpointBackend("m", settings("http://127.0.0.1:1/v1", api="completions"), ChatTokenizer())


def test_requests_under_way_are_bounded_and_wait_for_the_reader() -> None:
    def act(path: str, body: Body) -> Reply:
        time.sleep(0.005)
        return chat_reply("Rating: [[7]]")

    with serving(act) as server:
        one = judge(server.url, concurrency=3)
        probes = len(one.card.digest) and len(server.requests)
        results = one.rate(items(60))
        next(results)
        time.sleep(0.3)
        assert len(server.requests) - probes <= 2 * 3 + 1
        assert len(list(results)) == 59
        assert server.most_at_once == 3


def test_a_reader_that_stops_leaves_nothing_running() -> None:
    with serving(polite()) as server:
        results = judge(server.url, concurrency=2).rate(items(60))
        next(results)
        assert any(thread.name == "judge-requests" for thread in threading.enumerate())
        del results
        assert not any(thread.name == "judge-requests" for thread in threading.enumerate())


def test_works_inside_a_running_event_loop() -> None:
    async def inside(url: str) -> Any:
        return outcome(judge(url))

    with serving(polite()) as server:
        assert asyncio.run(inside(server.url)) == Rating(value=7)


def test_samples_are_seeded() -> None:
    with serving(polite()) as server:
        backend = EndpointBackend("m", settings(server.url), PROTOCOL.chat)
        drawn = Decoding(temperature=0.7, top_p=0.9, samples=2, seed=40)
        answers = dict(backend.generate([Question("q", sample=0), Question("q", sample=1)], drawn))
        assert all(isinstance(answer, Answer) for answer in answers.values())
        assert sorted(body["seed"] for body in server.requests[-2:]) == [40, 41]
        assert server.requests[-1]["top_p"] == 0.9


def test_load_judge_takes_an_endpoint() -> None:
    with serving(polite()) as server:
        one = load_judge(backend="endpoint", model="m", endpoint=settings(server.url), mode="critique")
        assert outcome(one) == Rating(value=7)
        assert (one.card.backend, one.card.trained) == ("endpoint", False)


@pytest.mark.real_model
def test_a_real_server_that_ignores_logprobs_and_prefills(tmp_path: Path) -> None:
    """`transformers serve`, the OpenAI-compatible server that everybody has."""
    pytest.importorskip("fastapi", reason="needs transformers[serving]")
    from rewards.judges.embedded_model import embedded_model_path

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    model = str(embedded_model_path())
    (tmp_path / "hub").mkdir()
    environment = {**os.environ, "HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "transformers.cli.transformers", "serve", model, "--device", "cpu"]
    command += ["--dtype", "float32", "--host", "127.0.0.1", "--port", str(port)]
    with (tmp_path / "log").open("w") as log_file:
        server = subprocess.Popen(command, env=environment, stdout=log_file, stderr=subprocess.STDOUT)
        try:
            wait_for(f"http://127.0.0.1:{port}/health", server, tmp_path / "log")
            endpoint = EndpointSettings(base_url=f"http://127.0.0.1:{port}/v1", concurrency=2, timeout=200)
            one = load_judge(backend="endpoint", model=model, endpoint=endpoint, mode="direct")
            judgments = list(one.rate(items(3)))
        finally:
            server.terminate()
            server.wait()
    assert not one.backend.can_score
    assert any("no token probabilities" in warning for warning in one.card.warnings)
    assert len(judgments) == 3
    for judgment in judgments:
        assert judgment.critique, "the server wrote something"
        assert isinstance(judgment.outcome, Rating | Unparsed)
        if isinstance(judgment.outcome, Rating):
            assert judgment.outcome.expected is None


def wait_for(url: str, server: subprocess.Popen[bytes], log_file: Path, *, seconds: int = 120) -> None:
    for _ in range(2 * seconds):
        if server.poll() is not None:
            pytest.fail(f"the server ended: {log_file.read_text()[-2000:]}")
        try:
            with urllib.request.urlopen(url) as reply:
                if reply.status == 200:
                    return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.5)
    pytest.fail(f"the server did not start: {log_file.read_text()[-2000:]}")
