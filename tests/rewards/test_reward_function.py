"""A judge as TRL's reward: None for what could not be judged, and really used by TRL's trainers."""

from __future__ import annotations

import asyncio
import inspect
import math
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rewards.budget import FailureBudget
from rewards.calibration import CalibrationMap
from rewards.errors import FailureBudgetError, InputError
from rewards.judges.base import CompareItem, JudgeCard, Question, RateItem
from rewards.judges.generative import GenerativeJudge
from rewards.judges.scripted import ScriptedBackend, rule_backend
from rewards.protocol.builtin import builtin_protocol
from rewards.ratings import LengthTerm
from rewards.reward_function import JudgeReward
from rewards.types import Comparison, Judgment, Unparsed

PROTOCOL = builtin_protocol()
OPEN = FailureBudget(limit=1.0)


def judge(reply: Callable[[Question], str | Unparsed]) -> GenerativeJudge:
    return GenerativeJudge(ScriptedBackend(reply), PROTOCOL, "critique")


def by_text(question: Question) -> str | Unparsed:
    """Rates "r5" with 5; everything else cannot be read."""
    text = question.responses[0]
    return f"Rating: [[{text[1:]}]]" if text.startswith("r") else "I cannot say."


class Reversed:
    """A judge that gives its results in reverse order."""

    def __init__(self, inner: GenerativeJudge, backend: str = "scripted") -> None:
        self._inner = inner
        self._backend = backend

    @property
    def card(self) -> JudgeCard:
        return self._inner.card.model_copy(update={"backend": self._backend})

    def rate(self, items: Iterable[RateItem]) -> Iterator[Judgment]:
        yield from reversed(list(self._inner.rate(items)))

    def compare(self, items: Iterable[CompareItem], *, both_orders: bool = True) -> Iterator[Comparison]:
        yield from self._inner.compare(items, both_orders=both_orders)


def called(reward: JudgeReward, *texts: Any, **columns: Any) -> list[float | None]:
    result = reward(["Say r and a number."] * len(texts), list(texts), **columns)
    assert isinstance(result, list)
    return result


def test_gives_one_reward_or_none_in_the_order_of_the_completions() -> None:
    reward = JudgeReward(judge(by_text), budget=OPEN)
    assert called(reward, "r5", "garbage", "", "r10", "r5") == [5.0, None, None, 10.0, 5.0]
    assert reward.__name__ == "judge"


def test_mistake_07_results_in_any_order_reach_their_own_completions() -> None:
    texts = [f"r{number}" for number in range(1, 11)]
    assert called(JudgeReward(Reversed(judge(by_text)), budget=OPEN), *texts) == [float(n) for n in range(1, 11)]


def test_takes_conversations_as_trl_has_them() -> None:
    seen: list[Question] = []

    def reply(question: Question) -> str:
        seen.append(question)
        return "Rating: [[4]]"

    prompts = [
        [{"role": "system", "content": "Be short."}, {"role": "user", "content": "Why?"}],
        [{"role": "user", "content": [{"type": "text", "text": "What"}, {"type": "text", "text": " now?"}]}],
    ]
    completions = [
        [{"role": "assistant", "content": "Because."}],
        [
            {"role": "assistant", "content": None, "tool_calls": []},
            {"role": "tool", "content": "42"},
            {"role": "assistant", "content": "It is 42."},
        ],
    ]
    assert JudgeReward(judge(reply))(prompts, completions, answer=["x", "y"], trainer_state=None) == [4.0, 4.0]
    assert [question.query for question in seen] == ["Why?", "What now?"]
    assert [question.responses for question in seen] == [("Because.",), ("It is 42.",)]


@pytest.mark.parametrize(
    "prompt", [[{"role": "wizard", "content": "?"}], [{"role": "assistant", "content": "Hi"}], []]
)
def test_refuses_prompts_that_are_none(prompt: list[dict[str, str]]) -> None:
    with pytest.raises(InputError):
        JudgeReward(judge(by_text))([prompt], ["r5"])
    with pytest.raises(InputError, match="one prompt per completion"):
        JudgeReward(judge(by_text))(["a", "b"], ["r5"])


def test_a_lone_surrogate_does_not_break_the_training() -> None:
    assert called(JudgeReward(judge(lambda question: "Rating: [[2]]")), "\ud800 hello") == [2.0]


def test_rescale_and_length_are_parts_of_the_reward() -> None:
    assert called(JudgeReward(judge(by_text), rescale=(1.0, 10.0)), "r1", "r10") == [0.0, 1.0]
    term = LengthTerm(unit="token", weight=0.5, target=1.0)
    logged: dict[str, float] = {}
    found = called(
        JudgeReward(judge(by_text), length=term), "r5", "r5", completion_ids=[[1], [1, 2, 3]],
        log_metric=logged.__setitem__,
    )  # fmt: skip
    assert found == [5.0, 4.0]
    assert logged["judge/length_term"] == -0.5


def test_a_calibration_map_is_of_this_judge() -> None:
    people = CalibrationMap(kind="rating", x=(1, 10), y=(3, 5), n=30)
    assert called(JudgeReward(judge(by_text), calibration=people), "r1", "r10") == [3.0, 5.0]
    with pytest.raises(InputError, match="got one of abc"):
        JudgeReward(judge(by_text), calibration=people.model_copy(update={"judge": "abc"}))
    with pytest.raises(InputError, match="within rescale 1 to 4"):
        JudgeReward(judge(by_text), calibration=people, rescale=(1, 4))
    of_pairs = CalibrationMap(kind="probability", x=(0, 1), y=(0, 1), n=30)
    with pytest.raises(InputError, match="--kind ratings"):
        JudgeReward(judge(by_text), calibration=of_pairs)


def test_tells_trl_what_the_mean_hides() -> None:
    metrics: dict[str, float] = {}
    extra: dict[str, list[Any]] = {}
    backend = ScriptedBackend(by_text, score=lambda question, choices: {"4": 0.5, "6": 0.5})
    reward = JudgeReward(GenerativeJudge(backend, PROTOCOL, "critique"), name="helpful", budget=OPEN)
    assert called(reward, "r5", "?", log_metric=metrics.__setitem__, log_extra=extra.__setitem__) == [5.0, None]
    assert metrics == {"helpful/unscored": 0.5, "helpful/judge_std": 1.0}
    assert extra == {"helpful_critique": ["Rating: [[5]]", "I cannot say."]}


def test_mistake_01_a_failing_judge_is_never_a_number_and_stops_the_training() -> None:
    reward = JudgeReward(judge(by_text))
    batch = ["r5"] + ["garbage"] * 9
    seen: list[float | None] = []
    with pytest.raises(FailureBudgetError, match="no_verdict"):
        for _ in range(100):
            seen.extend(called(reward, *batch))
    assert seen == [5.0, *[None] * 9], "90% garbage: stopped in the second batch, at 20 judgments"
    assert not any(value is not None and (math.isnan(value) or value <= 0) for value in seen)


def test_the_default_budget_notices_a_judge_that_breaks_late() -> None:
    reward = JudgeReward(judge(by_text))
    for _ in range(200):
        assert called(reward, *["r5"] * 10) == [5.0] * 10
    with pytest.raises(FailureBudgetError):
        for _ in range(5):
            called(reward, *["garbage"] * 10)


def test_is_async_where_the_judge_waits_for_a_server() -> None:
    waiting = JudgeReward(Reversed(judge(by_text), backend="endpoint"), name="remote", budget=OPEN)
    assert inspect.iscoroutinefunction(waiting.__call__)
    assert waiting.__name__ == "remote"
    coroutine = waiting(["a", "a"], ["r3", "?"])
    assert inspect.iscoroutine(coroutine)
    assert asyncio.run(coroutine) == [3.0, None]
    assert not inspect.iscoroutinefunction(JudgeReward(judge(by_text)).__call__)


def test_importing_the_package_loads_nothing_heavy() -> None:
    script = (
        "import sys, rewards\n"
        "heavy = {'torch', 'transformers', 'polars', 'openai', 'trl', 'scipy'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
        "missing = [name for name in rewards.__all__ if getattr(rewards, name, None) is None]\n"
        "assert not missing, missing\n"
        "from rewards import JudgeReward, load_judge\n"
        "load_judge(backend='scripted')\n"
        "assert not {'torch', 'transformers', 'trl'} & set(sys.modules)\n"
        "assert set(rewards.__all__) == set(rewards._HOME)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=Path(__file__).parents[2])


@pytest.fixture(scope="module")
def prompts() -> Any:
    from datasets import Dataset

    return Dataset.from_dict({"prompt": ["What is the answer?", "Which response is better?"], "answer": ["a", "b"]})


def trained(
    kind: str, reward: JudgeReward, model: Path, prompts: Any, folder: Path
) -> tuple[Any, list[Any], list[Any]]:
    """Two steps of the trainer; the trainer, its rewards and its advantages by batch."""
    import trl

    trainer_type, config_type = {
        "grpo": (trl.GRPOTrainer, trl.GRPOConfig),
        "rloo": (trl.RLOOTrainer, trl.RLOOConfig),
    }[kind]
    args = config_type(
        output_dir=str(folder),
        use_cpu=True,
        bf16=False,
        max_steps=2,
        per_device_train_batch_size=8,
        num_generations=4,
        max_completion_length=8,
        learning_rate=1e-2,
        logging_steps=1,
        report_to=[],
        save_strategy="no",
        beta=0.0,
        disable_tqdm=True,
    )
    rewards: list[Any] = []
    advantages: list[Any] = []

    class Watched(trainer_type):  # type: ignore[misc, valid-type] # a class chosen at run time
        def _calculate_rewards(self, *arguments: Any, **named: Any) -> Any:
            found = super()._calculate_rewards(*arguments, **named)
            rewards.append(found.clone())
            return found

        def _generate_and_score_completions(self, inputs: Any) -> Any:
            found = super()._generate_and_score_completions(inputs)
            advantages.append(found["advantages"].clone())
            return found

    trainer = Watched(model=str(model), reward_funcs=reward, args=args, train_dataset=prompts)
    before = {name: parameter.detach().clone() for name, parameter in trainer.model.named_parameters()}
    trainer.train()
    assert any(not parameter.equal(before[name]) for name, parameter in trainer.model.named_parameters())
    return trainer, rewards, advantages


def some_fail(question: Question) -> str | Unparsed:
    """Rates by the characters of a response, and cannot say for about a third of them."""
    total = sum(map(ord, question.responses[0]))
    return "I cannot say." if total % 3 == 0 else f"Rating: [[{1 + total % 10}]]"


@pytest.mark.parametrize("kind", ["grpo", "rloo"])
@pytest.mark.parametrize("remote", [False, True], ids=["here", "async"])
def test_trl_trains_with_it_and_gives_no_advantage_where_the_judge_gave_none(
    kind: str, remote: bool, tiny_model: Path, prompts: Any, tmp_path: Path
) -> None:
    import torch

    inner = Reversed(judge(some_fail), backend="endpoint" if remote else "scripted")
    trainer, rewards, advantages = trained(kind, JudgeReward(inner, budget=OPEN), tiny_model, prompts, tmp_path)
    scores, weights = torch.cat(rewards)[:, 0], torch.cat(advantages).flatten()
    unscored = scores.isnan()
    assert scores.shape == weights.shape
    assert 0 < int(unscored.sum()) < len(scores), "some completions must have failed for this test to say anything"
    assert weights.isfinite().all()
    assert (weights[unscored] == 0).all(), "a failed judgment must not move the policy"
    assert (weights[~unscored] != 0).any()
    groups, shares = scores.view(-1, 4), weights.view(-1, 4)
    for group, share in zip(groups, shares, strict=True):
        known = group[~group.isnan()]
        if len(known) > 1:
            assert ((group > known.mean()) == (share > 1e-6)).all(), "the baseline is the mean of what was judged"
    logged = [line for line in trainer.state.log_history if "judge/unscored" in line]
    assert len(logged) == 2
    assert all(math.isfinite(line["loss"]) for line in logged)
    assert logged[0]["rewards/judge/mean"] == pytest.approx(rewards[0].nanmean().item(), rel=1e-4)


def test_trl_stops_when_the_judge_only_writes_garbage(tiny_model: Path, prompts: Any, tmp_path: Path) -> None:
    budget = FailureBudget(minimum=10)
    with pytest.raises(FailureBudgetError):
        trained("grpo", JudgeReward(judge(lambda question: "garbage"), budget=budget), tiny_model, prompts, tmp_path)


def test_trl_uses_a_rule_judge(tiny_model: Path, prompts: Any, tmp_path: Path) -> None:
    rule = GenerativeJudge(rule_backend("longer", PROTOCOL), PROTOCOL, "direct")
    _, rewards, _ = trained("grpo", JudgeReward(rule, rescale=(1.0, 10.0)), tiny_model, prompts, tmp_path)
    assert all(0.0 <= value <= 1.0 for value in rewards[0].flatten().tolist())
