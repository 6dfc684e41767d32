"""What a server silently ignores is found out before the first judgment, and refused, worked around or named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import ValidationError

from rewards.errors import InputError, JudgeUnavailableError
from rewards.judges.base import RateItem
from rewards.judges.config import DecodingSettings, EndpointSettings, JudgeSettings
from rewards.judges.generative import GenerativeJudge
from rewards.judges.load import load_generative_judge, load_judge
from rewards.types import Candidate, Message, Prompt, Rating, Unparsed
from tests.judge_server import Body, Reply, Server, chat_reply, is_probe, said, serving

RATINGS = {"1": 0.1, "2": 0.1, "5": 0.2, "7": 0.3, "8": 0.2, "9": 0.06, "3": 0.04}
AFTER_ONE = {"]]": 0.25, "0": 0.75}
WORDS = {"yes": 0.7, "no": 0.2, "maybe": 0.1}
PROMPT = Prompt(id="p", messages=(Message(role="user", content="Why?"),))
ITEM = RateItem(prompt=PROMPT, candidate=Candidate(id="c", prompt_id="p", text="Because."))


@dataclass(frozen=True)
class Habits:
    """A model server that honours everything, less what a test takes away."""

    logprobs: bool = True
    continues: bool = True
    seeds: bool = True
    draws: bool = True
    top: int = 20
    distort: Callable[[dict[str, float]], dict[str, float]] = dict
    text: str = "It answers.\n\nRating: [[7]]"

    def __call__(self, path: str, body: Body) -> Reply:
        last = body["messages"][-1]
        start = last["content"] if last["role"] == "assistant" and self.continues else ""
        if "Count from 1" in said(body):
            return chat_reply("9,10" if start else "1,2")
        if "ten random words" in said(body):
            return chat_reply(self._draw(body))
        if is_probe(body):
            return self._said(body, [("yes", WORDS)])
        if start.endswith("[["):
            closing = [("]]", {"]]": 1.0})] if body["max_tokens"] > 1 else []
            return self._said(body, [("7", RATINGS), *closing])
        if start.endswith("[[1"):
            return self._said(body, [("0", AFTER_ONE)])
        head, _, end = self.text.partition("7")
        return self._said(body, [(head, {head: 1.0}), ("7", RATINGS), (end, {end: 1.0})])

    def _said(self, body: Body, steps: list[tuple[str, dict[str, float]]]) -> Reply:
        def kept(top: dict[str, float]) -> dict[str, float]:
            most = sorted(top, key=lambda token: -top[token])[: min(self.top, body["top_logprobs"])]
            return self.distort({token: top[token] for token in most})

        reported = [(token, kept(top)) for token, top in steps] if self.logprobs and body.get("logprobs") else None
        return chat_reply("".join(token for token, _ in steps), reported)

    def _draw(self, body: Body) -> str:
        if not self.draws:
            return "apple"
        return f"apple {body['seed']}" if self.seeds else f"apple {id(body)}{body['seed']}{next(_COUNT)}"


_COUNT = iter(range(10**6))


def judge_of(server: Server, **options: Any) -> GenerativeJudge:
    server_options = {"max_retries": 0, "timeout": 20.0, **options.pop("endpoint", {})}
    settings = JudgeSettings(
        backend="endpoint", model="m", endpoint=EndpointSettings(base_url=server.url, **server_options), **options
    )
    return load_generative_judge(settings)


def outcome(judge: GenerativeJudge) -> Any:
    [judgment] = judge.rate([ITEM])
    return judgment.outcome


@pytest.mark.parametrize("mode", ["direct", "critique"])
def test_a_server_that_honours_everything_tells_the_whole_distribution(mode: str) -> None:
    with serving(Habits()) as server:
        judge = judge_of(server, mode=mode, require_expected=True)
        rating = outcome(judge)
    assert judge.card.warnings == ()
    assert isinstance(rating, Rating)
    assert rating.value == 7
    shares = rating.probabilities
    assert shares is not None
    assert (shares["1"], shares["10"]) == (pytest.approx(0.025), pytest.approx(0.075))
    assert rating.expected == pytest.approx(sum(float(text) * share for text, share in shares.items()))


@pytest.mark.parametrize(
    ("habits", "told"),
    [
        (Habits(logprobs=False), "ignores the request"),
        (Habits(top=1), "no alternatives"),
        (Habits(distort=lambda top: dict.fromkeys(top, 0.6)), "add up to more than 1"),
        (
            Habits(
                distort=lambda top: {
                    token: 1.0 if share == max(top.values()) else 1e-99 for token, share in top.items()
                }
            ),
            "not the model's own probabilities",
        ),
    ],
)
def test_probabilities_that_cannot_be_used_are_refused_where_needed_and_named_where_not(
    habits: Habits, told: str
) -> None:
    with serving(habits) as server:
        with pytest.raises(JudgeUnavailableError, match=told) as raised:
            outcome(judge_of(server, mode="direct", require_expected=True))
        assert "require_expected" in str(raised.value)
        assert all(is_probe(body) for body in server.requests), "no judgment was asked for"
        judge = judge_of(server, mode="direct")
        assert outcome(judge) == Rating(value=7)
        assert any(told in warning for warning in judge.card.warnings)


def test_a_server_that_does_not_continue_is_read_along_its_path_or_not_at_all() -> None:
    """The path was not through "1", so what lies on "1" and "10" is unknown: 0.1 of the probability."""
    with serving(Habits(continues=False)) as server:
        judge = judge_of(server, mode="direct")
        assert outcome(judge) == Rating(value=7)
        assert any("does not continue" in warning for warning in judge.card.warnings)
        failed = outcome(judge_of(server, mode="direct", require_expected=True))
    assert isinstance(failed, Unparsed)
    assert failed.reason == "ambiguous_distribution"
    assert "0.1 lies on beginnings of several" in failed.detail


@pytest.mark.parametrize("mode", ["direct", "critique"])
def test_a_candidate_cut_off_by_the_servers_top_k_is_said_and_never_guessed(mode: str) -> None:
    with serving(Habits(top=2)) as server:
        judge = judge_of(server, mode=mode, require_expected=True)
        failed = outcome(judge)
        assert any("reports 2 alternatives of a token where 20" in warning for warning in judge.card.warnings)
    assert isinstance(failed, Unparsed)
    assert failed.reason == "ambiguous_distribution"
    assert "were not among the alternatives reported" in failed.detail


def test_without_the_requirement_a_cut_off_candidate_leaves_the_written_rating_alone() -> None:
    with serving(Habits(top=2)) as server:
        assert outcome(judge_of(server, mode="critique")) == Rating(value=7)
        assert isinstance(outcome(judge_of(server, mode="direct")), Unparsed), "nothing was written there"


def test_a_server_that_reports_fewer_because_there_are_no_more_is_not_suspected() -> None:
    with serving(Habits(top=3)) as server:
        assert judge_of(server, mode="critique").card.warnings == ()


SAMPLED = DecodingSettings(samples=3, temperature=0.8)


def test_samples_that_would_be_copies_are_refused() -> None:
    with serving(Habits(draws=False)) as server:
        with pytest.raises(JudgeUnavailableError, match="samples would be copies"):
            outcome(judge_of(server, mode="critique", decoding=SAMPLED))
        assert all(is_probe(body) for body in server.requests)


def test_a_judge_that_reads_distributions_needs_no_different_draws() -> None:
    with serving(Habits(draws=False)) as server:
        assert isinstance(outcome(judge_of(server, mode="direct", decoding=SAMPLED)), Rating)


def test_seeds_that_are_ignored_are_named() -> None:
    with serving(Habits(seeds=False)) as server:
        assert any(
            "ignores seeds" in told for told in judge_of(server, mode="critique", decoding=SAMPLED).card.warnings
        )
    with serving(Habits()) as server:
        assert judge_of(server, mode="critique", decoding=SAMPLED).card.warnings == ()


def test_n_is_never_asked_for_and_every_sample_is_a_request() -> None:
    with serving(Habits()) as server:
        [judgment] = judge_of(server, mode="critique", decoding=SAMPLED, endpoint={"top_logprobs": 0}).rate([ITEM])
        assert judgment.sample_values == (7.0, 7.0, 7.0)
        asked = [body for body in server.requests if not is_probe(body)]
    assert len({body["seed"] for body in asked}) == len(asked) == 3
    assert all("n" not in body for body in server.requests)


@pytest.mark.parametrize(
    ("options", "probes"),
    [
        ({"mode": "critique", "endpoint": {"top_logprobs": 0}}, ["Say yes"]),
        ({"mode": "direct", "endpoint": {"top_logprobs": 0}}, ["Say yes", "Count from 1"]),
        ({"mode": "critique"}, ["Say yes", "Say yes", "Count from 1"]),
        ({"mode": "critique", "decoding": SAMPLED, "endpoint": {"top_logprobs": 0}}, ["Say yes"] + ["Write ten"] * 3),
        ({"mode": "direct", "decoding": SAMPLED}, ["Say yes", "Say yes", "Count from 1"]),
        (
            {"mode": "direct", "decoding": SAMPLED, "endpoint": {"top_logprobs": 0}},
            ["Say yes", "Count from 1"] + ["Write ten"] * 3,
        ),
    ],
)
def test_only_what_the_judge_needs_is_probed(options: dict[str, Any], probes: list[str]) -> None:
    with serving(Habits()) as server:
        judge = judge_of(server, **options)
        outcome(judge)
        outcome(judge)
        asked = [said(body) for body in server.requests if is_probe(body)]
    assert len(asked) == len(probes)
    assert all(text.startswith(probe) for text, probe in zip(asked, probes, strict=True))


def test_a_judge_that_insists_has_a_cache_of_its_own() -> None:
    with serving(Habits()) as server:
        lax, strict = judge_of(server, mode="critique"), judge_of(server, mode="critique", require_expected=True)
        assert lax.card.digest != strict.card.digest


def test_settings_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(ValidationError, match="top_logprobs above 0"):
        JudgeSettings(backend="endpoint", require_expected=True, endpoint=EndpointSettings(top_logprobs=0))
    with pytest.raises(InputError, match="top_logprobs above 0"):
        load_judge(backend="endpoint", require_expected=True, endpoint=EndpointSettings(top_logprobs=0))
