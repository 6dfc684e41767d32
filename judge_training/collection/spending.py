"""What the calls cost, and how many more may be made.

One line of `calls.jsonl` for every call that was made, written before its answer is used, is the account: it is read
again on the next start, so a limit holds over all starts of a job. Tokens are the server's `usage`; where it reports
none they are estimated as characters / 4, and that is counted. Before calls are made their worst case is set aside:
a token for every byte of the prompt (no tokenizer makes more) and the whole token limit for the answer. So the cost
stays under its limit as long as the server reports usage truthfully.

Retries by the HTTP client inside one call are not seen, and a failed call counts with an estimate of its prompt.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from pydantic import Field

from judge_training.collection.settings import PriceSettings
from judge_training.collection.steps import CallName, Reply
from rewards.errors import InputError
from rewards.types import Id, Record, UnparsedReason

MILLION = 1_000_000
_CHARACTERS_PER_TOKEN = 4
_WRAPPING = 64
"""Tokens that a server's chat template may add to a question."""


def estimate_tokens(text: str) -> int:
    """Characters / 4, rounded up: the usual estimate for English."""
    return -(-len(text) // _CHARACTERS_PER_TOKEN)


class CallRecord(Record):
    """One call that was made."""

    example: Id
    """The example that it was first made for; equal questions are asked once."""
    call: CallName
    key: str
    """Under which its answer is kept."""
    prompt_tokens: int = Field(ge=0)
    new_tokens: int = Field(ge=0)
    estimated: bool = False
    """The server reported no usage."""
    failure: UnparsedReason | None = None

    @classmethod
    def of(cls, example: str, call: CallName, key: str, content: str, reply: Reply) -> CallRecord:
        """The record of a call by its question and its reply."""
        seen, made = reply.prompt_tokens, reply.new_tokens
        return cls(
            example=example,
            call=call,
            key=key,
            prompt_tokens=estimate_tokens(content) if seen is None else seen,
            new_tokens=estimate_tokens(reply.text) if made is None else made,
            estimated=seen is None or made is None,
            failure=None if reply.failure is None else reply.failure.reason,
        )


class Usage(Record):
    """Calls made and tokens used, by all starts of a job."""

    calls: dict[CallName, int] = Field(default_factory=dict)
    failed: dict[UnparsedReason, int] = Field(default_factory=dict)
    prompt_tokens: int = 0
    new_tokens: int = 0
    estimated_calls: int = 0
    """Calls for which the server reported no usage; their tokens are estimates."""
    cost: float | None = None
    """In the currency of the prices, where they were given."""


@dataclass(slots=True)
class Spending:
    """The account of a job, and its limits.

    Raises InputError when a cost is to be limited and a price is missing.
    """

    prices: PriceSettings
    max_new_tokens: int
    """Token limit of one answer."""
    calls: Counter[CallName] = field(default_factory=Counter)
    failed: Counter[UnparsedReason] = field(default_factory=Counter)
    tokens: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))

    def __post_init__(self) -> None:
        if self.prices.max_cost is not None and not self.prices.priced:
            raise InputError(
                "expected price_in and price_out beside max_cost, got at most one of them; give both (per million "
                "tokens)"
            )

    def cost_of(self, prompt_tokens: int, new_tokens: int) -> float:
        """The price of tokens; 0 without prices."""
        return (prompt_tokens * (self.prices.price_in or 0.0) + new_tokens * (self.prices.price_out or 0.0)) / MILLION

    def note(self, record: CallRecord) -> None:
        """Count a call."""
        self.calls[record.call] += 1
        self.tokens["prompt"] += record.prompt_tokens
        self.tokens["new"] += record.new_tokens
        self.tokens["estimated"] += record.estimated
        if record.failure is not None:
            self.failed[record.failure] += 1

    def affordable(self, contents: Sequence[str]) -> int:
        """How many of these questions, from the first on, may be asked for certain."""
        count = len(contents)
        if self.prices.max_calls is not None:
            count = min(count, max(0, self.prices.max_calls - self.calls.total()))
        if self.prices.max_cost is None:
            return count
        reached = self.cost_of(self.tokens["prompt"], self.tokens["new"])
        for index, content in enumerate(contents[:count]):
            reached += self.cost_of(len(content.encode("utf-8")) + _WRAPPING, self.max_new_tokens)
            if reached > self.prices.max_cost:
                return index
        return count

    def limit_reached(self) -> str:
        """Which limit stops the job, in words."""
        if self.prices.max_calls is not None and self.calls.total() >= self.prices.max_calls:
            return f"max_calls {self.prices.max_calls:,} is used up"
        spent = self.cost_of(self.tokens["prompt"], self.tokens["new"])
        return f"max_cost {self.prices.max_cost:g} leaves no room for another call ({spent:.4g} spent)"

    def usage(self) -> Usage:
        """The account as a record."""
        prompt, new = self.tokens["prompt"], self.tokens["new"]
        return Usage(
            calls=dict(self.calls),
            failed=dict(self.failed),
            prompt_tokens=prompt,
            new_tokens=new,
            estimated_calls=self.tokens["estimated"],
            cost=self.cost_of(prompt, new) if self.prices.priced else None,
        )
