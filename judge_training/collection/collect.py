"""The job: ask a teacher about many examples, and keep what came of each as it comes.

    examples -> calls.jsonl, answers.sqlite -> examples.jsonl | dropped.jsonl -> manifest.json

Design decisions. Each example walks through the steps of `steps.py` with the replies it has; a *wave* is every call
that the open examples wait for, equal questions once, those with a kept answer not at all. An answer is entered in the
account, then kept, then used, each committed on its own: whatever kills the job, no finished call is made again. A
decided example is one line of one file at once. When all is decided both files are put into the order of the input,
so that a job that was killed ten times leaves the same bytes as one that was not.

Failures that may go away (a timeout, a dead server) are not kept: such examples are asked again on the next start.
Nothing here judges, reads a verdict, or knows HTTP.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self, get_args

from tqdm import tqdm

from judge_training.collection.manifest import CollectionManifest, count_kinds, count_verdicts
from judge_training.collection.settings import PriceSettings
from judge_training.collection.spending import CallRecord, Spending
from judge_training.collection.steps import (
    Call,
    CallName,
    Dropped,
    Reply,
    Rules,
    Task,
    make_task,
    next_step,
)
from judge_training.examples import JudgeExample
from judge_training.scenarios.catalog import Catalog
from rewards.budget import FailureBudget
from rewards.documents import write_json
from rewards.jsonl import AppendLog, read_records, write_records
from rewards.judges.base import Backend, Question
from rewards.judges.cache import NOT_KEPT, RecordCache, cache_key
from rewards.protocol.spec import Decoding
from rewards.types import TRANSIENT_REASONS, UnparsedReason

_WAVES = 4
"""Examples under way, as a multiple of the calls under way."""
_LAYOUT = 101
"""Marks the SQLite file as one of teacher's answers."""
_REASONS: dict[str, UnparsedReason] = {reason: reason for reason in get_args(UnparsedReason)}


class CollectionFolder:
    """The files of one collection."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.examples = path / "examples.jsonl"
        """`JudgeExample`s that the teacher judged."""
        self.dropped = path / "dropped.jsonl"
        """`Dropped`, one for each example that was decided otherwise."""
        self.calls = path / "calls.jsonl"
        """`CallRecord`s, one for each call made."""
        self.answers = path / "answers.sqlite"
        """Everything that the teacher wrote."""
        self.manifest = path / "manifest.json"
        """`CollectionManifest`."""

    def kept(self) -> list[JudgeExample]:
        """The examples so far."""
        return list(read_records(self.examples, JudgeExample)) if self.examples.exists() else []

    def left_out(self) -> list[Dropped]:
        """What was dropped so far."""
        return list(read_records(self.dropped, Dropped)) if self.dropped.exists() else []

    def decided(self) -> frozenset[str]:
        """Ids of all examples that need no more calls; what a dead or slow server stopped does."""
        final = [one.id for one in self.left_out() if one.reason not in TRANSIENT_REASONS]
        return frozenset([*final, *(example.id for example in self.kept())])


@dataclass(frozen=True, slots=True)
class Teacher:
    """Who judges, and how it is asked."""

    backend: Backend
    identity: str
    """What its answers are kept under; for a server its address and the model's name."""
    decoding: Decoding
    concurrency: int = 16
    """Calls under way at once."""


@dataclass(slots=True)
class _Work:
    """An example under way."""

    task: Task
    replies: dict[CallName, Reply] = field(default_factory=dict)
    calls: tuple[Call, ...] = ()
    """What it waits for."""
    decided: bool = False


@dataclass(slots=True)
class _Asked:
    """One question of a wave, and all who wait for its answer."""

    example: JudgeExample
    """The first of them."""
    call: Call
    waiting: list[tuple[_Work, CallName]] = field(default_factory=list)


def collect(
    examples: Sequence[JudgeExample],
    folder: CollectionFolder,
    teacher: Teacher,
    rules: Rules,
    catalog: Catalog,
    *,
    prices: PriceSettings | None = None,
    budget: FailureBudget | None = None,
    skipped: Mapping[str, int] | None = None,
) -> CollectionManifest:
    """Have the teacher judge every example that the folder has not decided yet.

    skipped: rows that were no examples, by reason, for the manifest. Raises FailureBudgetError when too many examples
    fail, and JudgeUnavailableError when the server is gone. In every case what came is kept, and the manifest says so.
    """
    budget = budget or FailureBudget()
    spending = Spending(prices or PriceSettings(), teacher.decoding.max_new_tokens)
    folder.path.mkdir(parents=True, exist_ok=True)
    stopped = "an error or Ctrl-C"
    try:
        with _Job(folder, teacher, rules, spending, budget) as job:
            stopped = job.run([make_task(example, catalog) for example in examples])
        if not stopped:
            budget.check()
            _put_in_order(folder, examples)
    finally:
        manifest = _account(folder, examples, catalog, rules.teacher, spending, skipped or {}, stopped)
        write_json(folder.manifest, manifest)
    return manifest


class _Job:
    """The open files of a job under way."""

    def __init__(
        self, folder: CollectionFolder, teacher: Teacher, rules: Rules, spending: Spending, budget: FailureBudget
    ) -> None:
        self._teacher, self._rules, self._spending, self._budget = teacher, rules, spending, budget
        self._decided = self._take_up(folder)
        self._files = ExitStack()
        self._answers = self._files.enter_context(
            RecordCache(folder.answers, Reply, what="file of a teacher's answers", layout=_LAYOUT)
        )
        self._calls = self._files.enter_context(AppendLog(folder.calls))
        self._examples = self._files.enter_context(AppendLog(folder.examples))
        self._dropped = self._files.enter_context(AppendLog(folder.dropped))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._files.close()

    def _take_up(self, folder: CollectionFolder) -> frozenset[str]:
        """Count what earlier starts paid and decided, and take out what is to be asked again."""
        for record in read_records(folder.calls, CallRecord) if folder.calls.exists() else ():
            self._spending.note(record)
        decided = folder.decided()
        dropped = folder.left_out()
        final = [one for one in dropped if one.id in decided]
        if len(final) < len(dropped):
            write_records(folder.dropped, final)
        for _ in range(len(decided) - len(final)):
            self._budget.note(None)
        for one in final:
            self._budget.note(_REASONS.get(one.reason))
        return decided

    def run(self, tasks: Sequence[Task]) -> str:
        """Decide all tasks that are not decided yet; returns the limit that stopped it, or ""."""
        missing = deque(task for task in tasks if task.example.id not in self._decided)
        works: list[_Work] = []
        with tqdm(total=len(missing), desc="collecting", unit="example", disable=not missing) as bar:
            while missing or works:
                while missing and len(works) < _WAVES * self._teacher.concurrency:
                    works.append(_Work(missing.popleft()))
                    bar.update(self._walk(works[-1]))
                wave = _distinct(works)
                affordable = self._spending.affordable([asked.call.content for asked in wave])
                if wave and not affordable:
                    for task in missing:  # some of them need no call, or none any more
                        bar.update(self._walk(_Work(task)))
                    return self._spending.limit_reached()
                with closing(self._ask(wave[:affordable])) as answered:
                    for work in answered:
                        bar.update(self._walk(work))
                works = [work for work in works if not work.decided]
        return ""

    def _walk(self, work: _Work) -> bool:
        """Go on with a work as far as kept answers reach; whether that decided it."""
        if work.decided:
            return False
        step = next_step(work.task, work.replies, self._rules)
        while isinstance(step, tuple):
            found = {call.name: reply for call in step if (reply := self._answers.get(self._key(call.content)))}
            if not found:
                work.calls = step
                return False
            work.replies.update(found)
            step = next_step(work.task, work.replies, self._rules)
        work.decided, work.calls = True, ()
        if isinstance(step, JudgeExample):
            self._examples.write(step)
            self._budget.note(None)
        else:
            self._dropped.write(step)
            self._budget.note(_REASONS.get(step.reason))
        self._budget.check(final=False)
        return True

    def _ask(self, wave: Sequence[_Asked]) -> Generator[_Work, None, None]:
        """Make the calls; gives each work that an answer came for, once the answer is safe."""
        questions = [_question(asked) for asked in wave]
        for index, answer in self._teacher.backend.generate(questions, self._teacher.decoding) if wave else ():
            asked, reply = wave[index], Reply.of(answer)
            call, key = asked.call, self._key(asked.call.content)
            record = CallRecord.of(asked.example.id, call.name, key, call.content, reply)
            self._calls.write(record)
            self._spending.note(record)
            if reply.failure is None or reply.failure.reason not in NOT_KEPT:
                self._answers.put(key, reply)
            for work, name in asked.waiting:
                work.replies[name] = reply
                yield work

    def _key(self, content: str) -> str:
        return cache_key(self._teacher.identity, self._teacher.decoding.model_dump_json(), content)


def _distinct(works: Sequence[_Work]) -> list[_Asked]:
    """Every call that works wait for, equal questions once."""
    wave: dict[str, _Asked] = {}
    for work in works:
        for call in work.calls:
            asked = wave.setdefault(call.content, _Asked(work.task.example, call))
            asked.waiting.append((work, call.name))
    return list(wave.values())


def _question(asked: _Asked) -> Question:
    """The question, with its parts for scripted backends and logs (in the example's order)."""
    example = asked.example
    return Question(asked.call.content, query=example.prompt.messages[-1].content, responses=example.responses)


def _put_in_order(folder: CollectionFolder, examples: Sequence[JudgeExample]) -> None:
    """Both files in the order of the input, so that they do not tell how often the job was stopped."""
    rank = {example.id: place for place, example in enumerate(examples)}
    for path, records in ((folder.examples, folder.kept()), (folder.dropped, folder.left_out())):
        ordered = sorted(records, key=lambda one: rank.get(one.id, len(rank)))
        if ordered != records:
            write_records(path, ordered)


def _account(
    folder: CollectionFolder,
    examples: Sequence[JudgeExample],
    catalog: Catalog,
    teacher: str,
    spending: Spending,
    skipped: Mapping[str, int],
    stopped: str,
) -> CollectionManifest:
    ids = {example.id for example in examples}
    known = {scenario.name for scenario in catalog.scenarios}
    kept = [example for example in folder.kept() if example.id in ids]
    dropped = [one for one in folder.left_out() if one.id in ids]
    return CollectionManifest(
        teacher=teacher,
        kinds=count_kinds(examples, kept, dropped),
        verdicts=count_verdicts(kept),
        unknown_scenario=sum(example.scenario not in known for example in examples),
        skipped=dict(skipped),
        usage=spending.usage(),
        stopped=stopped,
    )
