"""What a collection will ask, and what that may cost, before anything is sent.

The steps are the job's own: each example is walked to its end with replies of the expected length that agree with
everybody, so calls cannot be counted otherwise than they are made. A teacher that disagrees saves calls (its second
order is not asked for), so the number of calls is an upper bound; tokens are an expectation, and the cost is also
given for the case that every answer runs to the token limit.

It needs no network. How long answers are is assumed, not known: the table says what was assumed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from judge_training.collection.settings import PriceSettings
from judge_training.collection.spending import Spending
from judge_training.collection.steps import CALLS, CallName, Dropped, Reply, Rules, Task, next_step
from rewards.errors import InputError, MissingFileError
from rewards.protocol.spec import JudgeProtocol
from rewards.types import Record, Verdict, Winner

EXPECTED_TOKENS: dict[CallName, int] = {
    "answer": 350,
    "first_order": 450,
    "second_order": 450,
    "free_critique": 300,
    "guided_critique": 350,
    # The targets of AUTO-J's 960 single judgments have a median of 1,606 characters.
    "combine": 400,
}
"""Tokens that an answer is assumed to have."""
_WORD = " the"
"""One token for most tokenizers, and four characters."""

Count = Callable[[str], int]


class CallEstimate(Record):
    """The calls of one name."""

    call: CallName
    calls: int
    prompt_tokens: int
    new_tokens: int
    """As expected."""
    cost: float | None = None
    """As expected, where prices are known."""


class Estimate(Record):
    """What a collection may ask for."""

    examples: int
    """Examples that are not decided yet."""
    without_calls: dict[str, int]
    """Of them, those that are dropped without a call, by reason."""
    calls: tuple[CallEstimate, ...]
    most_cost: float | None = None
    """If every answer ran to the token limit."""

    @property
    def total(self) -> tuple[int, int, int]:
        """Calls, prompt tokens and tokens of answers."""
        calls = self.calls
        return sum(c.calls for c in calls), sum(c.prompt_tokens for c in calls), sum(c.new_tokens for c in calls)


def token_counter(path: Path) -> Count:
    """Counts with a tokenizer.json, or the one in a folder.

    Raises MissingFileError when there is none and InputError when it is none.
    """
    from tokenizers import Tokenizer

    file = path / "tokenizer.json" if path.is_dir() else path
    if not file.is_file():
        raise MissingFileError(f"expected a tokenizer.json at {file}, found none; leave it out to estimate by length")
    text = file.read_text(encoding="utf-8", errors="replace")
    if not text.lstrip().startswith("{") or '"model"' not in text:
        raise InputError(f"expected a tokenizer.json (of the tokenizers library) in {file}, got something else")
    tokenizer = Tokenizer.from_str(text)
    return lambda text: len(tokenizer.encode(text, add_special_tokens=False).ids)


def estimate(
    tasks: Iterable[Task], rules: Rules, count: Count, prices: PriceSettings, *, max_new_tokens: int
) -> Estimate:
    """The calls that these tasks may need at most; equal questions count once."""
    seen: set[str] = set()
    tokens: dict[CallName, list[int]] = {name: [] for name in CALLS}
    without: dict[str, int] = {}
    number = 0
    for task in tasks:
        number += 1
        replies: dict[CallName, Reply] = {}
        step = next_step(task, replies, rules)
        if isinstance(step, Dropped):
            without[step.reason] = without.get(step.reason, 0) + 1
        while isinstance(step, tuple):
            for call in step:
                replies[call.name] = _expected(call.name, task, rules.protocol, max_new_tokens)
                if call.content not in seen:
                    seen.add(call.content)
                    tokens[call.name].append(count(call.content))
            step = next_step(task, replies, rules)
    account = Spending(prices.model_copy(update={"max_cost": None, "max_calls": None}), max_new_tokens)
    calls = tuple(
        _line(name, counts, max_new_tokens, account if prices.priced else None)
        for name, counts in tokens.items()
        if counts
    )
    most = sum(account.cost_of(one.prompt_tokens, one.calls * max_new_tokens) for one in calls)
    return Estimate(examples=number, without_calls=without, calls=calls, most_cost=most if prices.priced else None)


def _line(name: CallName, counts: list[int], max_new_tokens: int, account: Spending | None) -> CallEstimate:
    prompt, new = sum(counts), len(counts) * min(EXPECTED_TOKENS[name], max_new_tokens)
    cost = None if account is None else account.cost_of(prompt, new)
    return CallEstimate(call=name, calls=len(counts), prompt_tokens=prompt, new_tokens=new, cost=cost)


def _expected(name: CallName, task: Task, protocol: JudgeProtocol, max_new_tokens: int) -> Reply:
    """A reply of the expected length that agrees with people, and in both orders."""
    text = (_WORD * min(EXPECTED_TOKENS[name], max_new_tokens)).strip()
    if name in ("first_order", "second_order"):
        verdict = Verdict(winner=task.example.human_label or "tie")
        winner: Winner = verdict.winner if name == "first_order" else verdict.swap().winner
        return Reply(text=f"{text}\n\nFinal decision: {protocol.labels.label(winner)}")
    if name == "combine":
        return Reply(text=f"{text}\n\nRating: [[{protocol.scale.strings[0]}]]")
    return Reply(text=text)
