"""The judging of one example as steps: given what the teacher said so far, what is asked next, or what came out.

A pair is asked about in the order given and, where that can still matter, in the other one; it becomes an example when
the verdict is the people's and the same in both orders. A single response gets one critique without criteria and one
with them, and a third call makes one critique with a rating of the two. In exam scenarios the teacher answers the
question first, and sees its answer in the calls that judge.

Everything here is a function of values: nothing is sent, stored or counted, so a stopped job goes on by walking
through the same steps with the replies that it kept. No verdict is read from anywhere but the teacher's own reply.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from pydantic import JsonValue

from judge_training.collection import questions
from judge_training.collection.critique_text import critique_before_verdict
from judge_training.collection.settings import HumanLabels
from judge_training.examples import ExampleKind, JudgeExample
from judge_training.scenarios.catalog import Catalog, Criterion
from rewards.judges.base import Answer
from rewards.protocol.parse import parse_rating, parse_verdict
from rewards.protocol.spec import JudgeProtocol
from rewards.protocol.view import query_text
from rewards.types import Id, Record, Unparsed, UnparsedReason, Verdict, Winner

CallName = Literal["answer", "first_order", "second_order", "free_critique", "guided_critique", "combine"]
CALLS: tuple[CallName, ...] = get_args(CallName)

DropReason = (
    UnparsedReason
    | Literal[
        "no_human_label",  # agreement with people is asked for, and they did not say
        "label_disagrees",  # the teacher's verdict is not the people's
        "orders_disagree",  # the verdict changed with the order
        "equal_responses",  # the two responses are the same text
        "no_critique",  # a verdict and no reasons
        "two_verdicts",  # the critique holds another verdict than the one it ends with
    ]
)
EXAM_GROUP = "Exam Questions"
FAILURES: frozenset[str] = frozenset(get_args(UnparsedReason))
"""Reasons that are the teacher's or the server's failure, and not an outcome of judging."""


class Reply(Record):
    """What came of one call."""

    text: str = ""
    cut_off: bool = False
    failure: Unparsed | None = None
    prompt_tokens: int | None = None
    new_tokens: int | None = None

    @classmethod
    def of(cls, answer: Answer | Unparsed) -> Reply:
        """The reply of a backend as it is kept."""
        if isinstance(answer, Unparsed):
            return cls(failure=answer)
        return cls(
            text=answer.text,
            cut_off=answer.finish_reason == "length",
            prompt_tokens=answer.prompt_tokens,
            new_tokens=answer.new_tokens,
        )


class Dropped(Record):
    """An example that did not become one, and why."""

    id: Id
    kind: ExampleKind
    scenario: str | None = None
    reason: DropReason
    detail: str = ""
    call: CallName | None = None
    """The call that decided, where one did."""
    human_label: Winner | None = None
    verdicts: tuple[Winner, ...] = ()
    """The teacher's verdicts so far, in the order of the responses."""


@dataclass(frozen=True, slots=True)
class Call:
    """One question to the teacher."""

    name: CallName
    content: str


@dataclass(frozen=True, slots=True)
class Rules:
    """What a judgment must fulfil, and how it is read."""

    protocol: JudgeProtocol
    """The judge's to be: its scale, its labels and its view of a conversation."""
    teacher: str
    """Its name, for the examples' columns."""
    human_labels: HumanLabels = "agree"
    both_orders: bool = True


@dataclass(frozen=True, slots=True)
class Task:
    """One example to be judged, with what guides the teacher."""

    example: JudgeExample
    criteria: tuple[Criterion, ...]
    exam: bool
    known: bool
    """Whether the scenario is in the catalog; without it the criteria are the basic ones."""


Replies = Mapping[CallName, Reply]


def make_task(example: JudgeExample, catalog: Catalog) -> Task:
    """The example with its scenario's criteria, or the basic ones where the catalog does not know the scenario."""
    scenario = next((one for one in catalog.scenarios if one.name == example.scenario), None)
    if scenario is None:
        return Task(example, basic_criteria(catalog), exam=False, known=False)
    return Task(example, catalog.criteria_of(scenario.name), exam=scenario.group == EXAM_GROUP, known=True)


def basic_criteria(catalog: Catalog) -> tuple[Criterion, ...]:
    """The shared set that most scenarios take in; all criteria of type basic where there are no shared sets."""
    named = [name for scenario in catalog.scenarios for name in scenario.shared]
    if not named:
        return tuple(criterion for criterion in catalog.criteria if criterion.type == "basic")
    commonest = max(dict.fromkeys(named), key=named.count)
    return tuple(criterion for criterion in catalog.criteria if criterion.id.rpartition("/")[0] == commonest)


def next_step(task: Task, replies: Replies, rules: Rules) -> tuple[Call, ...] | JudgeExample | Dropped:
    """The calls to make now (never one that has a reply), or the finished example, or why there is none."""
    unusable = _refuse(task.example, rules)
    if unusable is not None:
        return unusable
    for name in CALLS:
        if name in replies and (failed := _failure(task.example, name, replies[name])):
            return failed
    query = query_text(task.example.prompt, rules.protocol.view)
    if task.exam and "answer" not in replies:
        return (Call("answer", questions.answer_question(query)),)
    own = replies["answer"].text if task.exam else None
    step = _single if task.example.kind == "single" else _pairwise
    return step(task, query, own, replies, rules)


def _refuse(example: JudgeExample, rules: Rules) -> Dropped | None:
    """Why an example cannot be judged at all."""
    if any(not response.strip() for response in example.responses):
        return _dropped(example, "empty_response", "there is no response to judge")
    if example.kind == "single":
        return None
    if example.responses[0] == example.responses[-1]:
        return _dropped(example, "equal_responses", "both responses are the same text")
    if rules.human_labels == "agree" and example.human_label is None:
        return _dropped(example, "no_human_label", "people did not label it; human_labels: none asks for no label")
    return None


def _failure(example: JudgeExample, name: CallName, reply: Reply) -> Dropped | None:
    if reply.failure is not None:
        return _dropped(example, reply.failure.reason, reply.failure.detail, name)
    if name in ("answer", "free_critique", "guided_critique"):
        if reply.cut_off:
            return _dropped(example, "cut_off", "expected a whole text, got one cut off at the token limit", name)
        if not reply.text.strip():
            return _dropped(example, "no_critique", "expected a text, got an empty answer", name)
    return None


# Two responses


def _pairwise(
    task: Task, query: str, own: str | None, replies: Replies, rules: Rules
) -> tuple[Call, ...] | JudgeExample | Dropped:
    example = task.example
    orders: tuple[CallName, ...] = ("first_order", "second_order") if rules.both_orders else ("first_order",)
    verdicts: list[Winner] = []
    for name in orders:
        if name not in replies:
            continue
        verdict = _verdict(name, replies[name], rules)
        if isinstance(verdict, Unparsed):
            return _dropped(example, verdict.reason, verdict.detail, name, tuple(verdicts))
        verdicts.append(verdict)
        disagrees = rules.human_labels == "agree" and verdict != example.human_label
        if name == "first_order" and disagrees:
            detail = f"people said {example.human_label}, the teacher {verdict}"
            return _dropped(example, "label_disagrees", detail, name, tuple(verdicts))
    if len(verdicts) == 2 and verdicts[0] != verdicts[1]:
        detail = f"{verdicts[0]} in the order given, {verdicts[1]} in the other"
        return _dropped(example, "orders_disagree", detail, "second_order", tuple(verdicts))
    missing = [name for name in orders if name not in replies]
    if missing:
        # Where people's label decides, the second order is worth its price only once the first has agreed with it.
        asked = missing[:1] if rules.human_labels == "agree" else missing
        return tuple(_compare(task, query, own, name, rules) for name in asked)
    critique = critique_before_verdict(replies["first_order"].text, "pairwise", rules.protocol)
    if not critique:
        return _no_critique(example, critique, "first_order")
    return _finished(task, rules.teacher, {"label": verdicts[0], "critique": critique})


def _compare(task: Task, query: str, own: str | None, name: CallName, rules: Rules) -> Call:
    first, second = task.example.responses[0], task.example.responses[-1]
    shown = (first, second) if name == "first_order" else (second, first)
    return Call(name, questions.compare_question(query, shown, task.criteria, rules.protocol.labels, own))


def _verdict(name: CallName, reply: Reply, rules: Rules) -> Winner | Unparsed:
    """The teacher's verdict in the example's own order."""
    finish: Literal["stop", "length"] = "length" if reply.cut_off else "stop"
    parsed = parse_verdict(reply.text, labels=rules.protocol.labels, finish_reason=finish)
    if isinstance(parsed, Unparsed):
        return parsed
    verdict = Verdict(winner=parsed.winner)
    return verdict.winner if name == "first_order" else verdict.swap().winner


# One response


def _single(
    task: Task, query: str, own: str | None, replies: Replies, rules: Rules
) -> tuple[Call, ...] | JudgeExample | Dropped:
    response = task.example.responses[0]
    critiques = {
        "free_critique": Call("free_critique", questions.free_question(query, response, own)),
        "guided_critique": Call("guided_critique", questions.guided_question(query, response, task.criteria, own)),
    }
    missing = tuple(call for call in critiques.values() if call.name not in replies)
    if missing:
        return missing
    if "combine" not in replies:
        both = (replies["free_critique"].text.strip(), replies["guided_critique"].text.strip())
        return (Call("combine", questions.combine_question(query, response, both, rules.protocol.scale)),)
    reply = replies["combine"]
    finish: Literal["stop", "length"] = "length" if reply.cut_off else "stop"
    parsed = parse_rating(reply.text, scale=rules.protocol.scale, finish_reason=finish)
    if isinstance(parsed, Unparsed):
        return _dropped(task.example, parsed.reason, parsed.detail, "combine")
    critique = critique_before_verdict(reply.text, "single", rules.protocol)
    if not critique:
        return _no_critique(task.example, critique, "combine")
    return _finished(task, rules.teacher, {"rating": parsed.value, "critique": critique})


# What is kept


def _no_critique(example: JudgeExample, critique: str | None, call: CallName) -> Dropped:
    if critique is None:
        return _dropped(example, "two_verdicts", "the critique holds another verdict than its last", call)
    return _dropped(example, "no_critique", "expected reasons before the verdict, got the verdict alone", call)


def _finished(task: Task, teacher: str, judged: dict[str, object]) -> JudgeExample:
    """The example with its judgment; the criteria are named by id in a column and stand nowhere else."""
    criteria: list[JsonValue] = [criterion.id for criterion in task.criteria]
    columns = {**task.example.columns, "teacher": teacher, "criteria": criteria, "answered_first": task.exam}
    return JudgeExample.model_validate({**dict(task.example), **judged, "columns": columns})


def _dropped(
    example: JudgeExample,
    reason: DropReason,
    detail: str,
    call: CallName | None = None,
    verdicts: tuple[Winner, ...] = (),
) -> Dropped:
    return Dropped(
        id=example.id,
        kind=example.kind,
        scenario=example.scenario,
        reason=reason,
        detail=detail,
        call=call,
        human_label=example.human_label,
        verdicts=verdicts,
    )
